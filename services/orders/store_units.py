"""Statements about sold units: order lines, the remedies that take units, receipts, goodwill.

All of them run under the lock of the order, which ``store`` takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis.db import Row, Tx
from services.orders import store
from services.orders.refunds import (
    PricedLine,
    Share,
    discount_of,
    price_line,
    share_of,
    taxes_of,
    worth_of,
)
from services.orders.remedies import HeldLine, Line
from services.orders.store import OWN, goodwill_lines, receipts, remedies, remedy_lines


async def lines_with_remedies(tx: Tx, *, order_id: str, line_ids: Iterable[str]) -> list[Row]:
    """Lines of the order, one row per live remedy on the line (its share), at least one each."""
    return await tx.fetch(
        "SELECT l.id, l.variant_id, l.title, l.quantity, l.unit_price, l.fulfilled_quantity,"
        " l.shipped_quantity, l.returned_quantity, l.remedied_quantity, l.returned_before,"
        " l.delivered_at, l.includes_tax, l.allow_discounts, l.tax_lines, l.adjustments, l.worth,"
        " l.goodwill_amount,"
        " rl.quantity AS taken_quantity, rl.goods, rl.discount, rl.taxes"
        " FROM order_lines l LEFT JOIN remedy_lines rl ON rl.line_id = l.id"
        " WHERE l.order_id = :order_id AND l.id IN :ids ORDER BY l.id",
        order_id=order_id,
        ids=list(line_ids),
    )


async def goodwill_on(tx: Tx, *, line_ids: Collection[str]) -> list[Row]:
    """What was given back of these lines, refund by refund: line_id, net, taxes, and the state of
    the refund."""
    return await tx.fetch(
        "SELECT g.line_id, g.net, g.taxes, r.state FROM goodwill_lines g"
        " JOIN refunds r ON r.id = g.refund_id WHERE g.line_id IN :ids"
        " ORDER BY g.line_id, g.refund_id",
        ids=sorted(line_ids),
    )


async def goodwill_of(tx: Tx, *, refund_id: str) -> list[Row]:
    """What a refund gives back of lines: line_id, net, taxes."""
    return await tx.fetch(
        "SELECT line_id, net, taxes FROM goodwill_lines WHERE refund_id = :id ORDER BY line_id",
        id=refund_id,
    )


async def add_goodwill(tx: Tx, *, refund_id: str, shares: Mapping[str, Share]) -> None:
    """Write what a refund gives back of lines, and count it on them."""
    rows = [
        {
            "refund_id": refund_id,
            "line_id": line_id,
            "net": -share.discount,
            "taxes": list(share.taxes),
        }
        for line_id, share in shares.items()
    ]
    await tx.insert(goodwill_lines, rows)
    await _count_goodwill(tx, {line_id: share.amount for line_id, share in shares.items()})


async def lower_goodwill(
    tx: Tx, *, refund_id: str, before: Mapping[str, Share], now: Mapping[str, Share]
) -> None:
    """Less went out than was to be given back of these lines."""
    for line_id, share in now.items():
        await tx.execute(
            "UPDATE goodwill_lines SET net = :net, taxes = :taxes"
            " WHERE refund_id = :refund_id AND line_id = :line_id",
            refund_id=refund_id,
            line_id=line_id,
            net=-share.discount,
            taxes=list(share.taxes),
        )
    await _count_goodwill(
        tx, {line_id: share.amount - before[line_id].amount for line_id, share in now.items()}
    )


async def _count_goodwill(tx: Tx, amounts: Mapping[str, int]) -> None:
    await store.change_rows(
        tx,
        "order_lines",
        ["more"],
        sorted(amounts.items()),
        "goodwill_amount = goodwill_amount + d.more WHERE goodwill_amount + d.more >= 0",
    )


async def lines_elsewhere(tx: Tx, *, line_ids: Iterable[str]) -> list[str]:
    """Which of these lines exist at all, on whatever order."""
    rows = await tx.fetch("SELECT id FROM order_lines WHERE id IN :ids", ids=list(line_ids))
    return [row["id"] for row in rows]


async def hold_units(tx: Tx, *, quantities: Mapping[str, int], limit: str) -> bool:
    """Put units under a remedy; False (and a rollback is due) when some line has not so many.

    ``limit`` is the column that bounds claimed or returned units: fulfilled_quantity or quantity.
    """
    rows = sorted(quantities.items())
    touched = await store.change_rows(
        tx,
        "order_lines",
        ["units"],
        rows,
        "remedied_quantity = remedied_quantity + d.units"
        f" WHERE returned_quantity + remedied_quantity + d.units <= {limit}",
    )
    return touched == len(rows)


async def free_units(tx: Tx, *, quantities: Mapping[str, int]) -> bool:
    """Give held units back."""
    rows = sorted(quantities.items())
    if not rows:
        return True
    touched = await store.change_rows(
        tx,
        "order_lines",
        ["units"],
        rows,
        "remedied_quantity = remedied_quantity - d.units WHERE remedied_quantity >= d.units",
    )
    return touched == len(rows)


async def book_arrivals(tx: Tx, *, rows: Sequence[tuple[str, int, int, int]]) -> bool:
    """Move units to *returned*: (line id, announced, unannounced, their worth) rows."""
    touched = await store.change_rows(
        tx,
        "order_lines",
        ["announced", "unannounced", "worth"],
        sorted(rows),
        "remedied_quantity = remedied_quantity - d.announced,"
        " returned_quantity = returned_quantity + d.announced + d.unannounced,"
        " returned_amount = returned_amount + d.worth"
        " WHERE remedied_quantity >= d.announced"
        " AND returned_quantity + remedied_quantity + d.unannounced <= quantity",
    )
    return touched == len(rows)


async def unit_counts(tx: Tx, *, order_id: str) -> tuple[int, int]:
    """(ordered, returned) units over the whole order; not those that claims sent out."""
    row = await tx.fetch_one(
        "SELECT SUM(quantity) AS ordered, SUM(returned_quantity) AS returned"
        f" FROM order_lines WHERE order_id = :order_id AND {OWN}",
        order_id=order_id,
    )
    return (int(row["ordered"] or 0), int(row["returned"] or 0)) if row else (0, 0)


async def live_remedies(tx: Tx, *, order_id: str) -> list[str]:
    """The kinds of remedies that hold or have settled units of an order; lock the order before."""
    rows = await tx.fetch(
        "SELECT DISTINCT kind FROM remedies WHERE order_id = :id AND state <> 'released'",
        id=order_id,
    )
    return [row["kind"] for row in rows]


async def remedy(tx: Tx, *, remedy_id: str) -> Row | None:
    """A remedy, or None; read it after the order is locked."""
    return await tx.fetch_one(
        "SELECT id, kind, order_id, state, amount, given_amount, shipping_cost, answer, refusal,"
        " retries FROM remedies WHERE id = :id",
        id=remedy_id,
    )


async def remedy_lines_of(tx: Tx, *, remedy_id: str) -> list[Row]:
    """The live lines of a remedy with their frozen shares."""
    return await tx.fetch(
        "SELECT line_id, quantity, received_quantity, goods, discount, taxes FROM remedy_lines"
        " WHERE remedy_id = :id ORDER BY line_id",
        id=remedy_id,
    )


async def add_remedy(tx: Tx, *, row: Mapping[str, Any]) -> bool:
    """Write a remedy; False when its id is already taken (a repeat, or a release came first)."""
    return await tx.insert(remedies, [row], ignore_conflicts=True) == 1


async def add_remedy_lines(tx: Tx, *, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the lines of a remedy."""
    await tx.insert(remedy_lines, rows)


async def replace_remedy_lines(
    tx: Tx, *, remedy_id: str, line_ids: Iterable[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write these lines of a remedy anew; named lines without a row are gone."""
    await tx.execute(
        "DELETE FROM remedy_lines WHERE remedy_id = :id AND line_id IN :line_ids",
        id=remedy_id,
        line_ids=sorted(line_ids),
    )
    await tx.insert(remedy_lines, rows)


async def remember_retry(
    tx: Tx, *, remedy: Row, request_id: str, refusal: Mapping[str, Any] | None
) -> None:
    """What was decided for a request is not decided again."""
    await tx.execute(
        "UPDATE remedies SET retries = :retries WHERE id = :id",
        retries={**(remedy["retries"] or {}), request_id: refusal},
        id=remedy["id"],
    )


async def decide_remedy(
    tx: Tx, *, remedy_id: str, amount: int, explanation: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    """A live remedy gets an amount after its hold; its answer tells it from now on."""
    answer = await tx.fetch_value("SELECT answer FROM remedies WHERE id = :id", id=remedy_id)
    await tx.execute(
        "UPDATE remedies SET state = 'settled', amount = :amount, answer = :answer,"
        " updated_at = :now WHERE id = :id AND state <> 'released'",
        id=remedy_id,
        amount=amount,
        answer={**answer, "amount": amount, "explanation": list(explanation)},
        now=now,
    )


async def set_remedy_state(tx: Tx, *, remedy_id: str, state: str, now: datetime) -> None:
    """Move a live remedy to another state."""
    await tx.execute(
        "UPDATE remedies SET state = :state, updated_at = :now"
        " WHERE id = :id AND state <> 'released'",
        id=remedy_id,
        state=state,
        now=now,
    )


async def receipt(tx: Tx, *, receipt_id: str) -> Row | None:
    """A settled or settling receipt, or None."""
    return await tx.fetch_one(
        "SELECT id, order_id, return_id, remedy_id, state, answer FROM receipts WHERE id = :id",
        id=receipt_id,
    )


async def add_receipt(tx: Tx, *, row: Mapping[str, Any]) -> bool:
    """Write a receipt; False when it is already there."""
    return await tx.insert(receipts, [row], ignore_conflicts=True) == 1


async def settle_receipt(
    tx: Tx,
    *,
    receipt_id: str,
    answer: Mapping[str, Any],
    owed_amount: int,
    owed_explanation: Sequence[Mapping[str, Any]],
) -> None:
    """The money of a receipt is decided."""
    await tx.execute(
        "UPDATE receipts SET state = 'settled', answer = :answer, owed_amount = :owed_amount,"
        " owed_explanation = :owed_explanation WHERE id = :id",
        id=receipt_id,
        answer=answer,
        owed_amount=owed_amount,
        owed_explanation=list(owed_explanation),
    )


async def take_owed(tx: Tx, *, return_id: str) -> list[Row]:
    """What the receipts of a return left owed: amount, explanation; from now on it is not any more.
    Lock the order before."""
    rows = await tx.fetch(
        "SELECT owed_amount AS amount, owed_explanation AS explanation FROM receipts"
        " WHERE return_id = :return_id AND owed_amount > 0 ORDER BY created_at, id",
        return_id=return_id,
    )
    await tx.execute(
        "UPDATE receipts SET owed_amount = 0 WHERE return_id = :return_id AND owed_amount > 0",
        return_id=return_id,
    )
    return rows


def priced(*, row: Row, order_tax_rate: float | None) -> PricedLine:
    """A line's row, taken apart for the arithmetic."""
    if row.get("worth") is not None:
        return worth_of(line_id=row["id"], quantity=row["quantity"], amount=row["worth"])
    return price_line(
        line_id=row["id"],
        unit_price=row["unit_price"],
        quantity=row["quantity"],
        taxes=taxes_of(
            order_tax_rate=order_tax_rate,
            tax_lines=[(tax["rate"], tax["name"]) for tax in row["tax_lines"] or ()],
        ),
        includes_tax=row["includes_tax"],
        discount=discount_of(
            adjustments=[
                (adjustment["amount"], adjustment.get("discount_id"))
                for adjustment in row["adjustments"] or ()
            ],
            allow_discounts=row["allow_discounts"],
        ),
    )


def share(*, row: Row, quantity: str = "quantity") -> Share:
    """The share in a row of ``remedy_lines``; ``quantity`` names the column of its units."""
    return Share(
        quantity=row[quantity],
        goods=row["goods"],
        discount=row["discount"],
        taxes=tuple(row["taxes"] or ()),
    )


def goodwill_share(*, row: Row) -> Share:
    """The share in a row of ``goodwill_lines``: it takes no unit."""
    return Share(quantity=0, goods=0, discount=-row["net"], taxes=tuple(row["taxes"] or ()))


def lines(
    *, rows: Iterable[Row], order_tax_rate: float | None, goodwill: Iterable[Row] = ()
) -> dict[str, Line]:
    """The rows of ``lines_with_remedies`` as lines, by id; ``goodwill``: what ``goodwill_on`` has
    of them."""
    found: dict[str, Line] = {}
    for row in rows:
        line = found.get(row["id"]) or _line(row, order_tax_rate)
        if row["taken_quantity"] is not None:
            taken = (*line.taken, share(row=row, quantity="taken_quantity"))
            line = replace(line, taken=taken)
        found[row["id"]] = line
    for row in goodwill:
        line = found[row["line_id"]]
        whole = replace(line.priced, given_back=line.priced.given_back + row["net"])
        taken = (*line.taken, goodwill_share(row=row))
        settling = line.is_settling or row["state"] == "pending"
        found[row["line_id"]] = replace(line, priced=whole, taken=taken, is_settling=settling)
    return found


def _line(row: Row, order_tax_rate: float | None) -> Line:
    whole = priced(row=row, order_tax_rate=order_tax_rate)
    before: int = row["returned_before"]
    taken = (share_of(line=whole, remaining=whole.paid, quantity=before),) if before else ()
    delivered_at = row["delivered_at"]
    return Line(
        line_id=row["id"],
        variant_id=row["variant_id"],
        title=row["title"],
        quantity=row["quantity"],
        unit_price=row["unit_price"],
        fulfilled_quantity=row["fulfilled_quantity"],
        shipped_quantity=row["shipped_quantity"],
        returned_quantity=row["returned_quantity"],
        remedied_quantity=row["remedied_quantity"],
        delivered_at=delivered_at.isoformat() if delivered_at else None,
        priced=whole,
        taken=taken,
    )


def held_lines(*, rows: Iterable[Row]) -> dict[str, HeldLine]:
    """The rows of ``remedy_lines_of`` as held lines, by line id."""
    return {
        row["line_id"]: HeldLine(
            line_id=row["line_id"], share=share(row=row), received=row["received_quantity"]
        )
        for row in rows
    }


def remedy_line_row(*, remedy_id: str, line_id: str, share: Share, received: int = 0) -> Row:
    """A row of ``remedy_lines``."""
    return {
        "remedy_id": remedy_id,
        "line_id": line_id,
        "quantity": share.quantity,
        "received_quantity": received,
        "goods": share.goods,
        "discount": share.discount,
        "taxes": list(share.taxes),
    }
