"""How a hold is written down and taken back: the units of one order, changed under its lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from chassis import audit
from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.inbox import Retry
from contracts.base import LineQuantity, LineSnapshot, RefundLine, ReturnShipping, ShippingQuote
from contracts.base import TaxRate as Tax
from contracts.orders import ClaimHoldPlaced, ReturnHoldPlaced
from services.orders import refunds, remedies, store, store_units
from services.orders.paying import OpenOrder
from services.orders.refunds import Part
from services.orders.remedies import HeldLine, Hold, Line


def quantities_of(lines: Sequence[LineQuantity]) -> dict[str, int]:
    """Units per line, summed; raises for a quantity below 1."""
    return remedies.summed(lines=[(line.line_id, line.quantity) for line in lines])


def received_quantities(lines: Sequence[LineQuantity]) -> dict[str, int]:
    """As ``_quantities``, but nothing is refused: lines of nothing are passed over."""
    return remedies.summed(
        lines=[(line.line_id, line.quantity) for line in lines if line.quantity > 0]
    )


async def lines_of(tx: Tx, order: OpenOrder, asked: Mapping[str, int]) -> dict[str, Line]:
    """Those of the asked lines that are on the order, with what is taken of them."""
    if not asked:
        return {}
    rows = await store_units.lines_with_remedies(tx, order_id=order.id, line_ids=sorted(asked))
    lowered = {row["id"] for row in rows if row["goodwill_amount"]}
    goodwill = await store_units.goodwill_on(tx, line_ids=lowered) if lowered else []
    return store_units.lines(rows=rows, order_tax_rate=order.row["tax_rate"], goodwill=goodwill)


def wait_until_settled(lines: Mapping[str, Line], line_ids: Iterable[str]) -> None:
    """Units are not taken while a refund of their line is on its way: what the provider declines
    belongs to all of them, and a share that is taken is frozen. Raises Retry."""
    for line_id in line_ids:
        if lines[line_id].is_settling:
            raise Retry(f"a refund of {line_id} is on its way: its units wait for it")


async def hold_units(tx: Tx, lines: Mapping[str, Line], hold: Hold, *, limit: str) -> None:
    """Put units of these lines under a remedy; ``limit`` is the column that bounds them. Raises
    Retry, as ``wait_until_settled`` too."""
    wait_until_settled(lines, hold.shares)
    quantities = {line_id: share.quantity for line_id, share in hold.shares.items()}
    if quantities and not await store_units.hold_units(tx, quantities=quantities, limit=limit):
        raise Retry("the units changed meanwhile")


async def add_remedy(
    tx: Tx,
    kind: str,
    remedy_id: str,
    order: OpenOrder,
    hold: Hold,
    answer: ClaimHoldPlaced | ReturnHoldPlaced,
    state: str,
    now: datetime,
    *,
    given_amount: int | None = None,
    shipping_cost: int = 0,
) -> bool:
    """Write a hold; False when the business id is known: it is a repeat, or was released first."""
    added = await store_units.add_remedy(
        tx,
        row={
            "id": remedy_id,
            "kind": kind,
            "order_id": order.id,
            "state": state,
            "amount": hold.amount,
            "given_amount": given_amount,
            "shipping_cost": shipping_cost,
            "answer": answer.model_dump(mode="json"),
            "created_at": now,
            "updated_at": now,
        },
    )
    if added:
        await store_units.add_remedy_lines(
            tx,
            rows=[
                store_units.remedy_line_row(remedy_id=remedy_id, line_id=line_id, share=share)
                for line_id, share in hold.shares.items()
            ],
        )
        units = {line_id: share.quantity for line_id, share in hold.shares.items()}
        after = {"order_id": order.id, "state": state, "amount": hold.amount, "units": units}
        order.records.append(audit.Entry(f"{kind}.held", f"{kind}/{remedy_id}", None, after))
    return added


async def remember_refusal(
    tx: Tx, kind: str, remedy_id: str, order_id: str, no: Refusal, now: datetime
) -> bool:
    """Keep a refusal under the business id; False when the id is known already."""
    refusal = {"code": no.code, "kind": no.kind, "message": no.message}
    added = await _add_released(tx, kind, remedy_id, order_id, refusal, now)
    if added:
        await audit.record(
            tx,
            action=f"{kind}.hold_refused",
            about=f"{kind}/{remedy_id}",
            after={"order_id": order_id, "code": no.code},
            note=no.message,
        )
    return added


async def _add_released(
    tx: Tx, kind: str, remedy_id: str, order_id: str, refusal: Row | None, now: datetime
) -> bool:
    return await store_units.add_remedy(
        tx,
        row={
            "id": remedy_id,
            "kind": kind,
            "order_id": order_id,
            "state": "released",
            "refusal": refusal,
            "created_at": now,
            "updated_at": now,
        },
    )


async def known_remedy(tx: Tx, remedy_id: str) -> Row:
    """A remedy whose id was just found taken."""
    remedy = await store_units.remedy(tx, remedy_id=remedy_id)
    if remedy is None:
        raise Retry(f"remedy {remedy_id} was written a moment ago and cannot be seen yet")
    return remedy


async def remedy_or_tombstone(
    tx: Tx, kind: str, remedy_id: str, order_id: str, now: datetime
) -> Row | None:
    """The remedy; where there is none, a tombstone now stands in its place."""
    remedy = await store_units.remedy(tx, remedy_id=remedy_id)
    if remedy is None and not await _add_released(tx, kind, remedy_id, order_id, None, now):
        raise Retry(f"remedy {remedy_id} was written a moment ago and cannot be seen yet")
    return remedy


async def release_units(tx: Tx, order: OpenOrder, kind: str, remedy_id: str, now: datetime) -> None:
    """Give back what has not come; units that came stay returned, under a settled remedy."""
    held = store_units.held_lines(rows=await store_units.remedy_lines_of(tx, remedy_id=remedy_id))
    back = {line_id: line.open for line_id, line in held.items() if line.open}
    if not back:
        return
    if not await store_units.free_units(tx, quantities=back):
        raise Retry(f"the units of remedy {remedy_id} changed meanwhile")
    kept = remedies.trimmed(held=held)
    await store_units.replace_remedy_lines(
        tx,
        remedy_id=remedy_id,
        line_ids=held,
        rows=[remedy_line(remedy_id, line) for line in kept.values()],
    )
    state = "settled" if kept else "released"
    await store_units.set_remedy_state(tx, remedy_id=remedy_id, state=state, now=now)
    after = {"order_id": order.id, "state": state, "units": back}
    order.records.append(audit.Entry(f"{kind}.released", f"{kind}/{remedy_id}", None, after))


async def quote_of(
    tx: Tx, order: OpenOrder, asked: ReturnShipping | None
) -> tuple[ShippingQuote | None, int]:
    """The return shipping as orders prices it, and what it takes off a refund.

    Without an option there is no method, whatever price was named.
    """
    if asked is None or asked.option_id is None:
        return None, 0
    option = await store.shipping_option(tx, option_id=asked.option_id)
    if option is None:
        raise remedies.shipping_option_unknown(option_id=asked.option_id)
    price = option["amount"] if asked.price is None else max(0, asked.price)
    tax = _order_tax(order)
    on_top = 0
    if not option["includes_tax"]:
        on_top = refunds.tax_on(net=price, rate=tax.rate)
    quote = ShippingQuote(
        option_id=option["id"],
        name=option["name"],
        price=price,
        tax_amount=on_top,
        tax_lines=[tax.model_dump()],
        data=option["data"] or {},
    )
    return quote, price + on_top


def _order_tax(order: OpenOrder) -> Tax:
    """The tax on what is added to an order: its own rate in the old system, else its region's."""
    own = order.row["tax_rate"]
    rate = order.row["region_tax_rate"] if own is None else own
    return Tax(rate=rate or 0.0, code=order.row["region_tax_code"], name="default")


def replacement_tax(order: OpenOrder) -> Tax:
    """Replacement lines carry the region's rate."""
    row = order.row
    return Tax(rate=row["region_tax_rate"] or 0.0, code=row["region_tax_code"], name="default")


def explained(parts: Sequence[Part]) -> list[RefundLine]:
    """Parts of an amount as messages carry them."""
    return [RefundLine(**asdict(part)) for part in parts]


def snapshots(lines: Mapping[str, Line], line_ids: Iterable[str]) -> list[LineSnapshot]:
    """These lines as they are now."""
    return [
        LineSnapshot(
            line_id=line.line_id,
            variant_id=line.variant_id,
            title=line.title,
            quantity=line.quantity,
            unit_price=line.unit_price,
            fulfilled_quantity=line.fulfilled_quantity,
            shipped_quantity=line.shipped_quantity,
            returned_quantity=line.returned_quantity,
            delivered_at=line.delivered_at,
        )
        for line in (lines[line_id] for line_id in line_ids)
    ]


def remedy_line(remedy_id: str, line: HeldLine) -> Row:
    """A line of a remedy as a row."""
    return store_units.remedy_line_row(
        remedy_id=remedy_id, line_id=line.line_id, share=line.share, received=line.received
    )
