"""Claims: what a customer reports as wrong with an order, and what is done about it.

Owns claims, claim items, exchanges, the lines that both send out with their fulfillments, and the
sagas that create, cancel, send and convert a claim and settle an exchange. Says ``claims.claim.*``
and ``claims.swap.*`` events; asks orders for units and money, inventory for stock, returns for the
way back.
"""
