"""Inventory: variants, what is in stock of them and where, and what is promised to whom.

Owns variants with their prices, inventory items, stock locations and the sales channels they
serve, levels, reservations and the journal of stock movements.
Obeys: reserve or release the replacement units of a claim, put received goods back into stock, take
the goods of a fulfillment out and put them back, release what a canceled order had reserved.
Says: reservation placed / rejected / released, receipt stock received / rejected, fulfillment stock
consumed / rejected / restored, order reservation released; and, for outside, what people did to
reservations, items and levels.
Its words: *on hand* is what lies there, *reserved* is promised, *available* is the difference,
*incoming* is expected; a *level* is these figures of one item at one location; a *movement* is
one change of what is on hand, and a level is the sum of its movements.
"""
