"""Replays the credit notes of an Online Retail file as claims or returns, and reconciles the money.

What should be refunded is computed from the file alone; what was refunded is read from three
places: the claims and returns, the orders' refunds, and the orders' money ledger. They must agree
to the penny.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deploy import online_retail
from deploy.gateway_client import PATIENCE_S, Gateway, GatewayRefused
from deploy.import_client import FileUnreadable
from deploy.online_retail import Book, Credit, Unmatched
from deploy.progress import Advance, bar

As = Literal["claims", "returns", "both"]
Kind = Literal["claim", "return"]

IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class RefusedCredit:
    """A planned claim or return that the system refused."""

    credit_invoice: str
    order_id: str
    kind: Kind
    message: str


@dataclass(slots=True)
class Reconciliation:
    """What the file says and what the system did, money in pence."""

    credit_lines: int = 0
    lines_matched: int = 0
    lines_partly: int = 0
    lines_unmatched: int = 0
    units_matched: int = 0
    units_unmatched: int = 0
    claims: int = 0
    returns: int = 0
    expected_refund_pence: int = 0
    refunded_claims_pence: int = 0
    refunded_orders_pence: int = 0
    refunded_ledger_pence: int = 0
    seconds: float = 0.0
    refusals: list[RefusedCredit] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)

    @property
    def difference_pence(self) -> int:
        """How far the worst of the three places is from what the file says."""
        places = (
            self.refunded_claims_pence,
            self.refunded_orders_pence,
            self.refunded_ledger_pence,
        )
        return max(abs(self.expected_refund_pence - place) for place in places)

    @property
    def ok(self) -> bool:
        """Whether every planned claim was made and all money agrees."""
        return self.difference_pence == 0 and not self.refusals

    def to_json(self) -> dict[str, int | float]:
        """The reconciliation's keys, which never change."""
        return {
            "credit_lines": self.credit_lines,
            "lines_matched": self.lines_matched,
            "lines_partly": self.lines_partly,
            "lines_unmatched": self.lines_unmatched,
            "units_matched": self.units_matched,
            "units_unmatched": self.units_unmatched,
            "claims": self.claims,
            "returns": self.returns,
            "expected_refund_pence": self.expected_refund_pence,
            "refunded_claims_pence": self.refunded_claims_pence,
            "refunded_orders_pence": self.refunded_orders_pence,
            "refunded_ledger_pence": self.refunded_ledger_pence,
            "difference_pence": self.difference_pence,
            "seconds": round(self.seconds, 3),
        }


async def replay(
    url: str,
    token: str | None,
    file: Path,
    as_: As = "claims",
    progress: bool = True,
    *,
    in_flight: int = IN_FLIGHT,
    patience_s: float = PATIENCE_S,
) -> Reconciliation:
    """Open one claim or return per (credit invoice, matched order) of the file, then reconcile.

    Credits of one order keep the file's order; orders go side by side. Repeating a replay changes
    nothing: each credit has its own idempotency key. Raises FileUnreadable, GatewayUnreachable, and
    GatewayRefused if the caller may not do this at all.
    """
    started = asyncio.get_running_loop().time()
    book = await asyncio.to_thread(_read, file)
    report = _planned(book)
    credits_by_order: dict[str, list[Credit]] = {}
    for credit in book.credits.values():
        credits_by_order.setdefault(credit.order_id, []).append(credit)
    with bar(f"Replaying {file.name}", len(book.credits), shown=progress) as advance:
        async with Gateway(url, token, in_flight=in_flight, patience_s=patience_s) as gateway:
            run = _Replay(gateway, as_, report, advance)
            await run.all(iter(credits_by_order.values()), in_flight)
    report.seconds = asyncio.get_running_loop().time() - started
    return report


def _read(file: Path) -> Book:
    try:
        return online_retail.read(file)
    except (OSError, ValueError) as reason:
        raise FileUnreadable(f"{file}: {reason}") from reason


def _planned(book: Book) -> Reconciliation:
    return Reconciliation(
        credit_lines=book.credit_lines,
        lines_matched=book.lines_matched,
        lines_partly=book.lines_partly,
        lines_unmatched=book.lines_unmatched,
        units_matched=book.units_matched,
        units_unmatched=book.units_unmatched,
        expected_refund_pence=book.expected_refund,
        unmatched=book.unmatched,
    )


@dataclass(slots=True)
class _Made:
    """The ids of what this replay made on one order."""

    claims: set[str] = field(default_factory=set)
    returns: set[str] = field(default_factory=set)


class _Replay:
    """One run: makes the credits of each order in their order, then reads what was refunded."""

    def __init__(self, gateway: Gateway, as_: As, report: Reconciliation, advance: Advance) -> None:
        self._gateway = gateway
        self._as = as_
        self._report = report
        self._advance = advance

    async def all(self, orders: Iterator[list[Credit]], in_flight: int) -> None:
        """Work through all orders, ``in_flight`` of them at a time."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(self._worker(orders))
        except ExceptionGroup as errors:
            # The first failure canceled the other workers; it is the one to tell.
            raise errors.exceptions[0] from None

    async def _worker(self, orders: Iterator[list[Credit]]) -> None:
        for credits in orders:
            made = _Made()
            for credit in credits:
                await self._make(credit, made)
                self._advance(1)
            if made.claims or made.returns:
                await self._read_back(credits[0].order_id, made)

    async def _make(self, credit: Credit, made: _Made) -> None:
        kind = self._kind(credit)
        try:
            if kind == "claim":
                await self._claim(credit, made)
            else:
                await self._return(credit, made)
        except GatewayRefused as refused:
            if refused.status in (401, 403):
                raise
            self._report.refusals.append(
                RefusedCredit(credit.invoice, credit.order_id, kind, refused.message)
            )

    def _kind(self, credit: Credit) -> Kind:
        if self._as == "both":
            return "claim" if credit.number % 2 else "return"
        return "claim" if self._as == "claims" else "return"

    async def _claim(self, credit: Credit, made: _Made) -> None:
        key = _key(credit)
        body = {
            "type": "refund",
            "claim_items": [
                {
                    "item_id": item_id,
                    "quantity": quantity,
                    "reason": "other",
                    "note": f"credit note {credit.invoice}",
                }
                for item_id, quantity in credit.items.items()
            ],
            "metadata": {"credit_invoice": credit.invoice},
        }
        answer = await self._gateway.post(f"/admin/orders/{credit.order_id}/claims", body, key)
        for claim in _rows(answer, "order", "claims"):
            metadata = claim.get("metadata") or {}
            if metadata.get("credit_invoice") == credit.invoice and not claim.get("canceled_at"):
                made.claims.add(str(claim["id"]))
                self._report.claims += 1
                if claim.get("payment_status") == "refunded":
                    self._report.refunded_claims_pence += int(claim.get("refund_amount") or 0)
                return
        raise GatewayRefused(200, "missing", "The answered order does not show the claim")

    async def _return(self, credit: Credit, made: _Made) -> None:
        key = _key(credit)
        items = [{"item_id": item, "quantity": units} for item, units in credit.items.items()]
        body = {"items": items, "receive_now": True}
        answer = await self._gateway.post(f"/admin/orders/{credit.order_id}/return", body, key)
        found = _return_of(credit, _rows(answer, "order", "returns"), made)
        if found is None:
            raise GatewayRefused(200, "missing", "The answered order does not show the return")
        made.returns.add(str(found["id"]))
        self._report.returns += 1
        if found.get("status") == "received":
            self._report.refunded_claims_pence += int(found.get("refund_amount") or 0)

    async def _read_back(self, order_id: str, made: _Made) -> None:
        path = f"/admin/orders/{order_id}"
        answer = await self._gateway.get(f"{path}?expand=refunds,returns")
        ledger = await self._gateway.get(f"{path}/ledger")
        foreign = _foreign_receipts(_rows(answer, "order", "returns"), made)
        refunds = (
            (row.get("metadata") or {}, int(row["amount"]))
            for row in _rows(answer, "order", "refunds")
        )
        transfers = (
            (row, int(row["amount"]))
            for row in _rows(ledger, "transfers")
            if row.get("kind") == "refund" and row.get("state") == "posted"
        )
        self._report.refunded_orders_pence += _sum_caused_by(refunds, made, foreign)
        self._report.refunded_ledger_pence += _sum_caused_by(transfers, made, foreign)


def _key(credit: Credit) -> str:
    return f"replay-{credit.invoice}-{credit.order_id}"


def _rows(answer: Mapping[str, Any], *path: str) -> list[dict[str, Any]]:
    found: Any = answer
    for step in path:
        found = found.get(step) or {}
    return list(found)


def _return_of(
    credit: Credit, returns: Iterable[dict[str, Any]], made: _Made
) -> dict[str, Any] | None:
    """The return that a credit made: by its key, else the one with the same units.

    A return carries no metadata of ours, so two credits with the same units of one order are told
    apart by which return was seen before.
    """
    unseen = [row for row in returns if row["id"] not in made.returns]
    for row in unseen:
        if row.get("idempotency_key") == _key(credit):
            return row
    for row in unseen:
        units = {item["item_id"]: item["quantity"] for item in row.get("items") or ()}
        if units == credit.items and row.get("status") != "canceled":
            return row
    return None


def _foreign_receipts(returns: Iterable[dict[str, Any]], made: _Made) -> int:
    """What receipts that are not of this replay refunded on the order, in pence."""
    return sum(
        int(row.get("refund_amount") or 0)
        for row in returns
        if row["id"] not in made.returns
        and row.get("status") in ("received", "requires_action")
        and not row.get("claim_order_id")
    )


def _sum_caused_by(
    rows: Iterable[tuple[Mapping[str, Any], int]], made: _Made, foreign_receipts: int
) -> int:
    """Add up the refunds whose cause is a claim or return of this replay, in pence.

    A refund of a return names its receipt, whose id only the services know, unless it names the
    return as well; then what the order's other returns refunded is taken off.
    """
    total = receipts = 0
    for cause, amount in rows:
        kind, cause_id = cause.get("cause_kind"), cause.get("cause_id")
        return_id = cause.get("return_id")
        if kind is None or cause_id in made.claims or made.returns & {cause_id, return_id}:
            total += amount
        elif kind in ("receipt", "return") and return_id is None:
            receipts += amount
    if made.returns and receipts:
        total += receipts - foreign_receipts
    return total
