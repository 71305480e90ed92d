"""Returns: the agreed sending-back of units, and what of it has come.

Owns returns with their items and numbers, receipts (one per parcel, many per return), return
reasons, the return policy, and the sagas that request, receive and cancel.
Obeys: open or check the return of a claim or an exchange. Asks orders to hold, release and settle
units, inventory to book what came. Says ``returns.return.requested | received | canceled``,
and to claims ``returns.claim-return.moved``.
Its words: an *item* is what somebody asks to send back, a *line* is it on the return; a *receipt*
is one parcel, an *arrival* a line of it; a *finding* is what the policy has against a line.
"""
