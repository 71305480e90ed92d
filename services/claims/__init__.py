"""Claims: what a customer reports as wrong with an order, and what is done about it.

Owns claims, claim items, the lines sent out as replacement with their fulfillments, and the sagas
that create, cancel, send and convert a claim. Says ``claims.claim.*`` events; asks orders for
units and money, inventory for stock, returns for the way back.
"""
