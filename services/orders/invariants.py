"""What must always be true of orders, as queries that find the exceptions.

``findings`` looks at this database alone; the other readers give the rows that are joined with
what claims, returns and the payment provider know. Everything here only reads.
"""

from __future__ import annotations

from collections import Counter

from chassis import at_rest
from chassis.db import Row, Tx
from services.orders import refunds as refunds_of
from services.orders import store_units
from services.orders.remedies import Line


async def findings(tx: Tx) -> list[Row]:
    """What is wrong in this database: [{invariant, id, message}]."""
    return [
        *await _money(tx),
        *await _payments(tx),
        *await _refunds(tx),
        *await _units(tx),
        *await _goodwill(tx),
        *await _store_credit(tx),
        *await _strays(tx),
        *await _packed(tx),
        *await _replacements(tx),
        *await _exchanges(tx),
        *await _captures(tx),
        *await _memos(tx),
        *await _versions(tx),
    ]


def _finding(invariant: str, row: Row, message: str) -> Row:
    return {"invariant": invariant, "id": row["id"], "message": message.format(**row)}


# What the ledger says: a pending row counts until another row names it in pending_id.
_SUMS = (
    "SUM(CASE WHEN t.kind = 'capture' THEN t.amount ELSE 0 END) AS captured,"
    " SUM(CASE WHEN t.kind = 'capture' OR t.state <> 'posted' THEN 0"
    " WHEN t.kind = 'reversal' THEN -t.amount ELSE t.amount END) AS refunded,"
    " SUM(CASE WHEN t.state = 'pending' THEN t.amount ELSE 0 END)"
    " - SUM(CASE WHEN t.pending_id IS NOT NULL THEN t.amount ELSE 0 END) AS pending"
)


async def _money(tx: Tx) -> list[Row]:
    """I3, I9: an order's money is what its ledger says, and no more goes back than came."""
    rows = await tx.fetch(
        "SELECT o.id, o.captured, o.refunded, o.refund_pending,"
        " COALESCE(l.captured, 0) AS ledger_captured, COALESCE(l.refunded, 0) AS ledger_refunded,"
        " COALESCE(l.pending, 0) AS ledger_pending FROM orders o LEFT JOIN"
        f" (SELECT t.order_id, {_SUMS} FROM transfers t GROUP BY t.order_id) l"
        " ON l.order_id = o.id"
        " WHERE o.captured <> COALESCE(l.captured, 0) OR o.refunded <> COALESCE(l.refunded, 0)"
        " OR o.refund_pending <> COALESCE(l.pending, 0)"
        " OR o.refunded + o.refund_pending > o.captured"
    )
    found = []
    for row in rows:
        if row["refunded"] + row["refund_pending"] > row["captured"]:
            text = "{refunded} refunded and {refund_pending} pending of {captured} captured"
            found.append(_finding("I3", row, text))
        else:
            text = (
                "captured {captured}, refunded {refunded}, pending {refund_pending}, but the"
                " ledger says {ledger_captured}, {ledger_refunded}, {ledger_pending}"
            )
            found.append(_finding("I9", row, text))
    other = await tx.fetch(
        "SELECT t.id, t.currency_code, o.currency_code AS expected FROM transfers t"
        " JOIN orders o ON o.id = t.order_id WHERE t.currency_code <> o.currency_code"
    )
    text = "a transfer in {currency_code} on an order in {expected}"
    return found + [_finding("I9", row, text) for row in other]


async def _payments(tx: Tx) -> list[Row]:
    """I9: what went back over a payment is what the ledger says."""
    rows = await tx.fetch(
        "SELECT p.id, p.amount_refunded, p.refund_pending,"
        " COALESCE(l.refunded, 0) AS ledger_refunded, COALESCE(l.pending, 0) AS ledger_pending"
        f" FROM payments p LEFT JOIN (SELECT t.payment_id, {_SUMS} FROM transfers t"
        " GROUP BY t.payment_id) l ON l.payment_id = p.id"
        " WHERE p.amount_refunded <> COALESCE(l.refunded, 0)"
        " OR p.refund_pending <> COALESCE(l.pending, 0)"
    )
    text = (
        "refunded {amount_refunded}, pending {refund_pending}, but the ledger says"
        " {ledger_refunded}, {ledger_pending}"
    )
    return [_finding("I9", row, text) for row in rows]


_POSTED = "COALESCE(SUM(CASE WHEN t.kind = 'reversal' THEN -t.amount ELSE t.amount END), 0)"


async def _refunds(tx: Tx) -> list[Row]:
    """I2: a posted refund has its amount in posted transfers, any other has none."""
    rows = await tx.fetch(
        "SELECT r.id, r.state, r.amount, r.cause_kind, r.cause_id,"
        f" {_POSTED} AS posted FROM refunds r"
        " LEFT JOIN transfers t ON t.refund_id = r.id AND t.state = 'posted'"
        " GROUP BY r.id, r.state, r.amount, r.cause_kind, r.cause_id"
        f" HAVING (r.state = 'posted' AND {_POSTED} <> r.amount)"
        f" OR (r.state IN ('held', 'declined', 'voided') AND {_POSTED} <> 0)"
    )
    text = "refund of {cause_kind} {cause_id} is {state} with {amount}, transfers say {posted}"
    found = [_finding("I2", row, text) for row in rows]
    lost = await tx.fetch(
        "SELECT t.id, t.refund_id FROM transfers t LEFT JOIN refunds r ON r.id = t.refund_id"
        " WHERE t.kind = 'refund' AND r.id IS NULL"
    )
    return found + [_finding("I2", row, "a transfer of no refund: {refund_id}") for row in lost]


async def _units(tx: Tx) -> list[Row]:
    """I5, I16: every unit has at most one remedy, and the counters are the sum of the remedies."""
    rows = await tx.fetch(
        "SELECT l.id, l.quantity, l.fulfilled_quantity, l.returned_quantity, l.remedied_quantity,"
        " l.returned_before + COALESCE(s.received, 0) AS came_back,"
        " COALESCE(s.still_out, 0) AS still_out, COALESCE(s.claimed, 0) AS claimed"
        " FROM order_lines l LEFT JOIN (SELECT rl.line_id,"
        " SUM(rl.received_quantity) AS received,"
        " SUM(rl.quantity - rl.received_quantity) AS still_out,"
        " SUM(CASE WHEN r.kind <> 'return' THEN rl.quantity ELSE 0 END) AS claimed"
        " FROM remedy_lines rl JOIN remedies r ON r.id = rl.remedy_id GROUP BY rl.line_id) s"
        " ON s.line_id = l.id"
        " WHERE l.returned_quantity + l.remedied_quantity > l.quantity"
        " OR COALESCE(s.claimed, 0) > l.fulfilled_quantity"
        " OR l.returned_quantity <> l.returned_before + COALESCE(s.received, 0)"
        " OR l.remedied_quantity <> COALESCE(s.still_out, 0)"
    )
    found = []
    for row in rows:
        if row["returned_quantity"] + row["remedied_quantity"] > row["quantity"]:
            text = "{returned_quantity} returned and {remedied_quantity} remedied of {quantity}"
            found.append(_finding("I5", row, text))
        elif row["claimed"] > row["fulfilled_quantity"]:
            text = "{claimed} claimed of {fulfilled_quantity} fulfilled"
            found.append(_finding("I5", row, text))
        else:
            text = (
                "returned {returned_quantity}, remedied {remedied_quantity}, but its remedies say"
                " {came_back}, {still_out}"
            )
            found.append(_finding("I16", row, text))
    return found


async def _goodwill(tx: Tx) -> list[Row]:
    """I3: what was given back of a line's price is what its refunds gave, with the remedies of the
    line it is no more than was paid for it, and no unit is worth more than was paid for it."""
    found = []
    on_line: Counter[str] = Counter()
    of_refund: Counter[str] = Counter()
    for row in await tx.fetch("SELECT refund_id, line_id, net, taxes FROM goodwill_lines"):
        amount = row["net"] + sum(row["taxes"] or ())
        on_line[row["line_id"]] += amount
        of_refund[row["refund_id"]] += amount
    refunds = await tx.fetch(
        "SELECT id, state, amount FROM refunds WHERE id IN :ids", ids=sorted(of_refund)
    )
    text = "{given} of prices were given back, its refund is {state} with {amount}"
    for row in refunds:
        due = row["amount"] if row["state"] in ("pending", "posted") else 0
        if due != of_refund[row["id"]]:
            found.append(_finding("I3", {**row, "given": of_refund[row["id"]]}, text))
    lowered = await tx.fetch(
        "SELECT l.id, l.order_id, l.goodwill_amount, o.tax_rate FROM order_lines l"
        " JOIN orders o ON o.id = l.order_id WHERE l.goodwill_amount <> 0 OR l.id IN :ids",
        ids=sorted(on_line),
    )
    for row in lowered:
        if row["goodwill_amount"] != on_line[row["id"]]:
            told = {**row, "given": on_line[row["id"]]}
            found.append(_finding("I3", told, "{goodwill_amount} given back, refunds say {given}"))
        line = await _line(tx, row)
        left = refunds_of.minus(share=line.priced.paid, taken=line.taken)
        if min(left.quantity, left.goods - left.discount, *left.taxes) < 0:
            found.append(_finding("I3", row, "more given back than was paid for the line"))
        # Only what is given back, a share of no unit, has a negative discount.
        if any(share.discount < 0 for share in (left, *line.taken) if share.quantity):
            found.append(_finding("I3", row, "a unit is worth more than was paid for it"))
    return found


async def _line(tx: Tx, row: Row) -> Line:
    rows = await store_units.lines_with_remedies(tx, order_id=row["order_id"], line_ids=[row["id"]])
    goodwill = await store_units.goodwill_on(tx, line_ids=[row["id"]])
    return store_units.lines(rows=rows, order_tax_rate=row["tax_rate"], goodwill=goodwill)[
        row["id"]
    ]


async def _store_credit(tx: Tx) -> list[Row]:
    """I9: an account is the sum of its entries, which are numbered from 1; I2: a refund to store
    credit is in its customer's account exactly while it is posted."""
    rows = await tx.fetch(
        "SELECT c.customer_id || ':' || c.currency_code AS id, c.balance, c.version,"
        " COUNT(e.id) AS entries, COALESCE(SUM(e.amount), 0) AS booked FROM store_credits c"
        " LEFT JOIN store_credit_entries e ON e.customer_id = c.customer_id"
        " AND e.currency_code = c.currency_code"
        " GROUP BY c.customer_id, c.currency_code, c.balance, c.version"
        " HAVING c.balance <> COALESCE(SUM(e.amount), 0) OR c.version <> COUNT(e.id)"
        " OR COALESCE(MAX(e.number), 0) <> c.version"
    )
    text = "store credit of {balance} at {version}, but {entries} entries say {booked}"
    found = [_finding("I9", row, text) for row in rows]
    rows = await tx.fetch(
        "SELECT r.id, r.state, r.amount, COALESCE(SUM(e.amount), 0) AS given FROM refunds r"
        " LEFT JOIN store_credit_entries e ON e.refund_id = r.id"
        " WHERE r.destination = 'store_credit' GROUP BY r.id, r.state, r.amount"
        " HAVING COALESCE(SUM(e.amount), 0)"
        " <> CASE WHEN r.state = 'posted' THEN r.amount ELSE 0 END"
    )
    text = "a refund to store credit is {state} with {amount}, {given} is in the account"
    found += [_finding("I2", row, text) for row in rows]
    lost = await tx.fetch(
        "SELECT e.id, e.refund_id FROM store_credit_entries e LEFT JOIN refunds r"
        " ON r.id = e.refund_id AND r.destination = 'store_credit'"
        " WHERE e.refund_id IS NOT NULL AND r.id IS NULL"
    )
    return found + [_finding("I2", row, "store credit of no refund: {refund_id}") for row in lost]


async def _strays(tx: Tx) -> list[Row]:
    """I16: only a live remedy has lines."""
    rows = await tx.fetch(
        "SELECT DISTINCT rl.remedy_id AS id, r.state FROM remedy_lines rl"
        " LEFT JOIN remedies r ON r.id = rl.remedy_id"
        " WHERE r.id IS NULL OR r.state = 'released'"
    )
    return [_finding("I16", row, "a remedy in state {state} still has units") for row in rows]


async def _packed(tx: Tx) -> list[Row]:
    """I5: what fulfillments made here have packed and sent is packed and sent on the lines."""
    packed: Counter[str] = Counter()
    shipped: Counter[str] = Counter()
    async for row in at_rest.paged(
        tx,
        "SELECT id, items, shipped_at FROM fulfillments"
        " WHERE made_here = TRUE AND state = 'live' AND id > :after ORDER BY id",
    ):
        for item in row["items"] or ():
            packed[item["item_id"]] += item["quantity"]
            shipped[item["item_id"]] += item["quantity"] if row["shipped_at"] else 0
    lines = await tx.fetch(
        "SELECT id, fulfilled_quantity, shipped_quantity FROM order_lines WHERE id IN :ids",
        ids=sorted(packed),
    )
    text = (
        "fulfilled {fulfilled_quantity}, shipped {shipped_quantity}, but its fulfillments say"
        " {packed}, {sent}"
    )
    told = [{**row, "packed": packed[row["id"]], "sent": shipped[row["id"]]} for row in lines]
    return [
        _finding("I5", row, text)
        for row in told
        if row["packed"] > row["fulfilled_quantity"] or row["sent"] > row["shipped_quantity"]
    ]


async def _replacements(tx: Tx) -> list[Row]:
    """I16: lines that claims sent out are there exactly while they are packed; I3: together they
    are not worth more than what was paid for what they replace, and those of an exchange not more
    than they cost."""
    rows = await tx.fetch(
        "SELECT l.id, p.state FROM order_lines l LEFT JOIN parcels p"
        " ON p.fulfillment_id = l.fulfillment_id WHERE l.claim_id IS NOT NULL"
        " AND (p.state IS NULL OR p.state = 'withdrawn' OR l.worth IS NULL"
        " OR l.fulfilled_quantity <> l.quantity"
        " OR (p.state = 'shipped') <> (l.shipped_quantity = l.quantity))"
    )
    text = "a line of a claim does not fit its fulfillment, which is {state}"
    found = [_finding("I16", row, text) for row in rows]
    worth: Counter[str] = Counter()
    for row in await tx.fetch(
        "SELECT claim_id, worth FROM order_lines WHERE claim_id IS NOT NULL AND worth IS NOT NULL"
    ):
        worth[row["claim_id"]] += row["worth"]
    paid: Counter[str] = Counter()
    for row in await tx.fetch(
        "SELECT remedy_id, goods, discount, taxes FROM remedy_lines WHERE remedy_id IN :ids",
        ids=sorted(worth),
    ):
        paid[row["remedy_id"]] += row["goods"] - row["discount"] + sum(row["taxes"] or ())
    for row in await tx.fetch(
        "SELECT id, lines FROM exchanges WHERE id IN :ids", ids=sorted(worth)
    ):
        paid[row["id"]] = sum(line["amount"] for line in row["lines"])
    text = "its replacements are worth {worth}, what they replace was paid with {paid}"
    told = [
        {"id": id_, "worth": amount, "paid": paid[id_]}
        for id_, amount in sorted(worth.items())
        if amount > paid[id_]
    ]
    return found + [_finding("I3", row, text) for row in told]


async def _exchanges(tx: Tx) -> list[Row]:
    """I9: the difference of an exchange is what its explanation adds up to, and the payment that
    settled it has that amount; I2: its refund gives no more. I16: it is settled exactly once its
    remedy is."""
    found = []
    rows = at_rest.paged(
        tx,
        "SELECT e.id, e.difference_due, e.explanation, e.payment_id, r.kind, r.state,"
        " p.amount AS paid, p.captured_at, f.state AS refund_state,"
        " COALESCE(f.amount, 0) AS refunded FROM exchanges e"
        " LEFT JOIN remedies r ON r.id = e.id LEFT JOIN payments p ON p.id = e.payment_id"
        " LEFT JOIN refunds f ON f.cause_kind = 'exchange' AND f.cause_id = e.id"
        " WHERE e.id > :after ORDER BY e.id",
    )
    async for row in rows:
        explained = sum(part["amount"] for part in row["explanation"])
        due, dead = row["difference_due"], row["state"] == "released"
        given = row["refunded"] if row["refund_state"] == "posted" else 0
        if row["kind"] != "exchange":
            found.append(_finding("I16", row, "a difference was settled for a remedy of {kind}"))
        if explained != -due and not (dead and explained == given):
            text = "a difference of {difference_due}, its parts add up to {explained}"
            found.append(_finding("I9", {**row, "explained": -explained}, text))
        if row["payment_id"] and (row["paid"] != due or row["captured_at"] is None):
            found.append(_finding("I9", row, "{difference_due} was due, its payment is {paid}"))
        if given > abs(due) or (given and due >= 0 and not dead):
            found.append(_finding("I2", row, "{difference_due} was due, {refunded} went back"))
    lost = await tx.fetch(
        "SELECT r.id FROM remedies r LEFT JOIN exchanges e ON e.id = r.id"
        " WHERE r.kind = 'exchange' AND r.state = 'settled' AND e.id IS NULL"
    )
    return found + [_finding("I16", row, "settled without a difference") for row in lost]


async def _captures(tx: Tx) -> list[Row]:
    """I9: a payment that its provider gave is captured, and one that is canceled is not."""
    rows = await tx.fetch(
        "SELECT p.id FROM payments p JOIN captures c ON c.payment_id = p.id"
        " WHERE c.state = 'posted' AND p.captured_at IS NULL"
    )
    found = [_finding("I9", row, "its provider gave the money, it is not captured") for row in rows]
    rows = await tx.fetch(
        "SELECT id FROM payments WHERE captured_at IS NOT NULL AND canceled_at IS NOT NULL"
    )
    return found + [_finding("I9", row, "captured and canceled at once") for row in rows]


async def _memos(tx: Tx) -> list[Row]:
    """I9: a credit memo says what its refund paid, line by line, and numbers have no gap."""
    found = []
    memos = at_rest.paged(
        tx,
        "SELECT m.id, m.number, m.amount, m.lines, m.payments, r.state,"
        " COALESCE(r.amount, 0) AS refunded, r.memo_id FROM credit_memos m"
        " LEFT JOIN refunds r ON r.id = m.refund_id WHERE m.id > :after ORDER BY m.id",
    )
    async for row in memos:
        lines = sum(line["amount"] for line in row["lines"] or ())
        paid = sum(share["amount"] for share in row["payments"] or ())
        if row["state"] != "posted" or row["memo_id"] != row["id"]:
            found.append(_finding("I9", row, "credit memo {number} is of no posted refund"))
        elif not row["amount"] == row["refunded"] == lines == paid:
            text = "credit memo {number} says {amount}, its lines {lines}, its refund {refunded}"
            found.append(_finding("I9", {**row, "lines": lines}, text))
    years = await tx.fetch(
        "SELECT CAST(y.year AS TEXT) AS id, y.last_sequence AS last, COUNT(m.id) AS memos,"
        " COALESCE(MIN(m.sequence), 1) AS first, COALESCE(MAX(m.sequence), 0) AS highest"
        " FROM credit_memo_years y LEFT JOIN credit_memos m ON m.year = y.year"
        " GROUP BY y.year, y.last_sequence"
        " HAVING COUNT(m.id) <> y.last_sequence OR COALESCE(MAX(m.sequence), 0) <> y.last_sequence"
        " OR COALESCE(MIN(m.sequence), 1) <> 1"
    )
    text = "{memos} credit memos from {first} to {highest}, the last number given is {last}"
    return found + [_finding("I9", row, text) for row in years]


async def _versions(tx: Tx) -> list[Row]:
    """I10: an order's events have the versions 1 to n without a gap."""
    rows = await tx.fetch(
        "SELECT o.id, o.version, COUNT(b.id) AS events, COALESCE(MAX(b.aggregateversion), 0)"
        " AS last FROM orders o LEFT JOIN outbox b ON b.aggregatetype = 'order'"
        " AND b.aggregateid = o.id AND b.aggregateversion IS NOT NULL"
        " WHERE o.version > 0 GROUP BY o.id, o.version"
        " HAVING COUNT(b.id) <> o.version OR COALESCE(MAX(b.aggregateversion), 0) <> o.version"
    )
    return [
        _finding("I10", row, "version {version}, but {events} events up to {last}") for row in rows
    ]


async def unsettled(tx: Tx) -> list[Row]:
    """Refunds and captures that no provider has answered: none at rest. what, id, payment_id,
    state, tries."""
    waiting = "state IN ('pending', 'sent', 'unknown') ORDER BY 2"
    refunds = await tx.fetch(
        "SELECT 'refund attempt' AS what, refund_id AS id, payment_id, provider_id, state, tries,"
        f" last_error FROM refund_attempts WHERE {waiting}"
    )
    return refunds + await tx.fetch(
        "SELECT 'capture' AS what, id, payment_id, provider_id, state, tries, last_error"
        f" FROM captures WHERE {waiting}"
    )


# Each part by its own index, so that a page costs the same at the end as at the beginning.
_PARTS = (
    ("id", "remedies", ""),
    ("id", "receipts", ""),
    ("cause_id", "refunds", "cause_kind = 'claim' AND "),
    ("cause_id", "refunds", "cause_kind = 'receipt' AND "),
    ("id", "fulfillments", "made_here = TRUE AND "),
    ("fulfillment_id", "parcels", ""),
    ("subject_id", "sagas", "kind = 'order_cancel' AND "),
)
_SUBJECTS = " UNION ".join(
    f"SELECT id FROM (SELECT {column} AS id FROM {table} WHERE {only}{column} > :after"
    f" ORDER BY {column} LIMIT :limit) AS part_{number}"
    for number, (column, table, only) in enumerate(_PARTS)
)


async def subjects(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Ids of remedies, receipts, fulfillments, canceled orders and of what was refunded for, in
    order."""
    rows = await tx.fetch(f"{_SUBJECTS} ORDER BY id LIMIT :limit", after=after, limit=limit)
    return [row["id"] for row in rows]


async def rows(tx: Tx, ids: list[str] | None) -> dict[str, list[Row]]:
    """What orders has of these claims, returns, receipts, fulfillments, orders (None: of all)."""
    return {
        "remedies": await remedies(tx, ids),
        "remedied": await remedied_units(tx, ids),
        "refunds": await refunds(tx, ids),
        "exchanges": await exchanges(tx, ids),
        "order_receipts": await receipts(tx, ids),
        "fulfillments": await fulfillments(tx, ids),
        "parcels": await parcels(tx, ids),
        "canceled_orders": await canceled_orders(tx, ids),
    }


async def fulfillments(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every fulfillment made here: id, order_id, state, uses_stock, items, shipped_at."""
    return await tx.fetch(
        "SELECT id, order_id, state, uses_stock, items, shipped_at FROM fulfillments"
        f" WHERE made_here = TRUE{' AND id IN :ids' if ids is not None else ''} ORDER BY id",
        ids=ids,
    )


async def parcels(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every fulfillment of a claim that orders was told of: fulfillment_id, claim_id, state."""
    return await tx.fetch(
        "SELECT fulfillment_id, claim_id, state FROM parcels"
        f"{' WHERE fulfillment_id IN :ids' if ids is not None else ''} ORDER BY fulfillment_id",
        ids=ids,
    )


async def canceled_orders(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every order that was canceled here and whose reservations are released: order_id."""
    return await tx.fetch(
        "SELECT subject_id AS order_id FROM sagas WHERE kind = 'order_cancel'"
        f" AND direction = 'finished'{' AND subject_id IN :ids' if ids is not None else ''}"
        " ORDER BY subject_id",
        ids=ids,
    )


async def remedies(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every remedy that holds or held units: id (of the claim or return), kind, order_id, state,
    amount. Tombstones and refusals are not among them."""
    return await tx.fetch(
        "SELECT id, kind, order_id, state, amount FROM remedies"
        " WHERE (answer IS NOT NULL OR state <> 'released')"
        f"{' AND id IN :ids' if ids is not None else ''} ORDER BY id",
        ids=ids,
    )


async def remedied_units(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Units under live remedies: remedy_id, kind, line_id, quantity, received_quantity."""
    return await tx.fetch(
        "SELECT rl.remedy_id, r.kind, rl.line_id, rl.quantity, rl.received_quantity"
        " FROM remedy_lines rl JOIN remedies r ON r.id = rl.remedy_id"
        f"{' WHERE rl.remedy_id IN :ids' if ids is not None else ''}"
        " ORDER BY rl.remedy_id, rl.line_id",
        ids=ids,
    )


async def refunds(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every refund: id, order_id, cause_kind, cause_id, state, amount."""
    return await tx.fetch(
        "SELECT id, order_id, cause_kind, cause_id, state, amount FROM refunds"
        f"{_CAUSED_BY if ids is not None else ''} ORDER BY id",
        ids=ids,
    )


_CAUSED_BY = " WHERE cause_kind IN ('claim', 'receipt', 'exchange') AND cause_id IN :ids"


async def exchanges(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every exchange whose difference was found: id, order_id, difference_due, payment_id."""
    return await tx.fetch(
        "SELECT id, order_id, difference_due, payment_id FROM exchanges"
        f"{' WHERE id IN :ids' if ids is not None else ''} ORDER BY id",
        ids=ids,
    )


async def receipts(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every settled receipt: id, order_id, return_id, remedy_id, state, owed_amount."""
    return await tx.fetch(
        "SELECT id, order_id, return_id, remedy_id, state, owed_amount FROM receipts"
        f"{' WHERE id IN :ids' if ids is not None else ''} ORDER BY id",
        ids=ids,
    )


async def provider_refunds(tx: Tx) -> list[Row]:
    """What providers were asked: provider_id, provider_key, provider_ref, payment_id, amount,
    state. A posted one is in its provider's ledger once, and nothing else is in there."""
    return await tx.fetch(
        "SELECT provider_id, provider_key, provider_ref, payment_id, amount, state"
        " FROM refund_attempts ORDER BY provider_key"
    )


async def provider_captures(tx: Tx) -> list[Row]:
    """What providers were asked to give: provider_id, provider_key, provider_ref, payment_id,
    amount, state, as ``provider_refunds``."""
    return await tx.fetch(
        "SELECT provider_id, id AS provider_key, provider_ref, payment_id, amount, state"
        " FROM captures ORDER BY id"
    )


def provider_findings(
    attempts: list[Row], ledger: list[Row], *, did: str = "refunded", do: str = "refund"
) -> list[Row]:
    """I2 against a provider's own ledger (rows with key, ref, amount): [{invariant, id, message}].

    A refund there that nobody asked for, a posted attempt that is not there, another amount, and
    one that was booked here as declined. ``did`` and ``do`` name another act: captures.
    """
    asked = {row["provider_key"]: row for row in attempts}
    theirs = {row["key"]: row for row in ledger}
    found = []
    for key, row in theirs.items():
        attempt = asked.get(key)
        if attempt is None:
            found.append((key, f"the provider {did}, but nobody asked for it"))
        elif attempt["amount"] != row["amount"]:
            found.append((key, f"asked for {attempt['amount']}, {did} {row['amount']}"))
        elif attempt["state"] == "declined":
            found.append((key, f"the provider {did} what is booked as declined"))
    found += [
        (key, f"booked as {did}, but the provider did not {do} it")
        for key, attempt in asked.items()
        if attempt["state"] == "posted" and key not in theirs
    ]
    return [{"invariant": "I2", "id": key, "message": message} for key, message in found]
