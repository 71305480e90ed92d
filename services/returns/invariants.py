"""What must always be true of returns, as queries that find the exceptions, and the rows with
which other services' books are compared."""

from __future__ import annotations

from chassis.db import Row, Tx

_RECEIVED_IS_WHAT_RECEIPTS_SAY = """
SELECT return_items.return_id AS id, return_items.line_id AS line_id,
       return_items.received_quantity AS received_quantity, COALESCE(came.quantity, 0) AS came
FROM return_items
LEFT JOIN (
    SELECT receipts.return_id AS return_id, receipt_lines.line_id AS line_id,
           SUM(receipt_lines.quantity) AS quantity
    FROM receipt_lines JOIN receipts ON receipts.id = receipt_lines.receipt_id
    WHERE receipts.state = 'settled'
    GROUP BY receipts.return_id, receipt_lines.line_id
) AS came ON came.return_id = return_items.return_id AND came.line_id = return_items.line_id
WHERE return_items.received_quantity <> COALESCE(came.quantity, 0)
"""
_RECEIVED_MEANS_ALL = """
SELECT returns.id AS id FROM returns
WHERE returns.state = 'received' AND returns.closed_at IS NULL AND EXISTS (
    SELECT 1 FROM return_items WHERE return_items.return_id = returns.id
    AND return_items.received_quantity <> return_items.requested_quantity)
"""
_CANCELED_MEANS_NONE = """
SELECT returns.id AS id FROM returns
WHERE returns.state IN ('canceled', 'refused') AND EXISTS (
    SELECT 1 FROM return_items WHERE return_items.return_id = returns.id
    AND return_items.received_quantity > 0)
"""
_LOCK_WITHOUT_SAGA = """
SELECT returns.id AS id, returns.state AS state FROM returns
WHERE returns.state IN ('opening', 'receiving', 'canceling', 'closing') AND NOT EXISTS (
    SELECT 1 FROM sagas WHERE sagas.subject_id = returns.id
    AND sagas.direction IN ('forward', 'back'))
"""
_RECEIPT_IN_FLIGHT = """
SELECT returns.id AS id, returns.receipt_id AS receipt_id FROM returns
LEFT JOIN receipts ON receipts.return_id = returns.id AND receipts.state = 'receiving'
WHERE (returns.state = 'receiving') <> (receipts.id IS NOT NULL)
   OR COALESCE(returns.receipt_id, '') <> COALESCE(receipts.id, '')
"""
_MONEY = """
SELECT returns.id AS id, returns.refunded_amount AS refunded_amount,
       SUM(receipts.refund_amount) AS paid
FROM returns JOIN receipts ON receipts.return_id = returns.id
GROUP BY returns.id, returns.refunded_amount
HAVING SUM(receipts.refund_amount) <> returns.refunded_amount
"""
_OWES_WHEN_DONE = """
SELECT returns.id AS id, SUM(receipts.owed_amount) AS owed
FROM returns JOIN receipts ON receipts.return_id = returns.id
WHERE returns.state IN ('received', 'closing') GROUP BY returns.id
HAVING SUM(receipts.owed_amount) <> 0
"""
_VERSION_GAPS = """
SELECT returns.id AS id, returns.version AS version, COUNT(outbox.id) AS said,
       MAX(outbox.aggregateversion) AS last
FROM returns
LEFT JOIN outbox ON outbox.aggregatetype = 'return' AND outbox.aggregateid = returns.id
    AND outbox.aggregateversion IS NOT NULL
GROUP BY returns.id, returns.version
HAVING COUNT(outbox.id) <> returns.version OR COALESCE(MAX(outbox.aggregateversion), 0) <> returns.version
"""  # noqa: E501

_CHECKS = (
    ("I5", _RECEIVED_IS_WHAT_RECEIPTS_SAY, "line {line_id} shows {received_quantity}, came {came}"),
    ("I5", _RECEIVED_MEANS_ALL, "received, but not what was announced"),
    ("I5", _CANCELED_MEANS_NONE, "canceled or refused, but units came"),
    ("I6", _LOCK_WITHOUT_SAGA, "in state {state}, but no saga is under way"),
    ("I6", _RECEIPT_IN_FLIGHT, "the receipt in flight is not the one the return names"),
    ("I9", _MONEY, "shows {refunded_amount} as refunded, its receipts paid {paid}"),
    ("I9", _OWES_WHEN_DONE, "received, but still owes {owed}"),
    ("I10", _VERSION_GAPS, "version {version}, but {said} events were said, the last is {last}"),
)


async def findings(tx: Tx) -> list[Row]:
    """What is wrong in this database alone: [{invariant, id, message}]."""
    return [
        {"invariant": invariant, "id": row["id"], "message": message.format(**row)}
        for invariant, sql, message in _CHECKS
        for row in await tx.fetch(sql)
    ]


async def subjects(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Ids of returns, in order."""
    rows = await tx.fetch(
        "SELECT id FROM returns WHERE id > :after ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [row["id"] for row in rows]


async def rows(tx: Tx, ids: list[str] | None) -> dict[str, list[Row]]:
    """What returns has of these returns, claims and receipts (None: of all)."""
    return {
        "returns": await returns(tx, ids),
        "receipts": await refunds(tx, ids),
        "receipt_lines": await receipts(tx, ids),
    }


async def returns(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every return as the others should know it: id, order_id, claim_id, state, status,
    refund_amount, refunded_amount, closed_at.

    Orders holds its units while the state is not opening, canceled or refused; those of a return
    with a ``claim_id`` are held under the claim.
    """
    return await tx.fetch(
        "SELECT id, order_id, claim_id, state, status, refund_amount, refunded_amount, closed_at"
        " FROM returns"
        f"{' WHERE id IN :ids OR claim_id IN :ids' if ids is not None else ''} ORDER BY id",
        ids=ids,
    )


async def returned_units(tx: Tx) -> list[Row]:
    """Units per return and order line: return_id, line_id, requested_quantity,
    received_quantity."""
    return await tx.fetch(
        "SELECT return_id, line_id, requested_quantity, received_quantity FROM return_items"
        " ORDER BY return_id, line_id"
    )


_OF_THESE = " AND (receipts.id IN :ids OR receipts.return_id IN :ids)"


async def receipts(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Lines of settled receipts: receipt_id, return_id, line_no, line_id, variant_id, quantity,
    damaged_quantity.

    Inventory has one movement for each that has a managed variant and is not all damaged.
    """
    return await tx.fetch(
        "SELECT receipt_lines.receipt_id AS receipt_id, receipts.return_id AS return_id,"
        " receipt_lines.line_no AS line_no, receipt_lines.line_id AS line_id,"
        " receipt_lines.variant_id AS variant_id, receipt_lines.quantity AS quantity,"
        " receipt_lines.damaged_quantity AS damaged_quantity"
        " FROM receipt_lines JOIN receipts ON receipts.id = receipt_lines.receipt_id"
        f" WHERE receipts.state = 'settled'{_OF_THESE if ids is not None else ''}"
        " ORDER BY receipt_lines.receipt_id, receipt_lines.line_no",
        ids=ids,
    )


async def refunds(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Settled receipts and the money they say went out: receipt_id, return_id, refund_id,
    refund_amount, and what is still to go: owed_amount."""
    return await tx.fetch(
        "SELECT id AS receipt_id, return_id, refund_id, refund_amount, owed_amount FROM receipts"
        f" WHERE state = 'settled'{_OF_THESE if ids is not None else ''} ORDER BY id",
        ids=ids,
    )
