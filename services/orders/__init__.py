"""Orders: the sale, its money, and the unit remedy ledger.

Owns orders with their lines, payments, fulfillments, refunds and the money ledger; customers,
regions, sales channels and shipping options; notes about anything; the holds that claims, exchanges
and returns place on units, and the difference of an exchange.
Obeys: place and release holds, execute a claim's refund, settle the difference of an exchange and
the receipt of returned goods.
Asks: inventory for the goods of a fulfillment, and to release what a canceled order had reserved.
Says: what it answered, and what became of an order to whoever listens.
Never refuses goods that arrived, never refunds a cause twice, never more than was captured.
"""
