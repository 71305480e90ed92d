"""Every call of every client as JSONL, and the checker that reads nothing but it and the books.

A line is {process, type, f, value, time}: ``invoke`` when a client asks, then ``ok`` (done),
``fail`` (refused for good: nothing may come of it) or ``info`` (nobody knows: it may have happened
or not). A client repeats the same key until it knows; each try is an operation of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from chassis import clock
from chassis.db import Database, Row
from services.claims import invariants as claims_books
from services.orders import invariants as orders_books
from services.orders.providers import fake_captures, fake_ledger
from services.returns import invariants as returns_books
from tests.crash.kinds import KINDS, Kind


class History:
    """Writes the file; one line per event, flushed, so that it survives its writer."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._out: IO[str] = file.open("a", buffering=1)

    def add(self, process: int, type_: str, f: str, value: dict[str, Any]) -> None:
        """One event, now."""
        event = {
            "process": process,
            "type": type_,
            "f": f,
            "value": value,
            "time": int(clock.monotonic_s() * 1e9),
        }
        self._out.write(json.dumps(event, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """No more events."""
        self._out.close()


def digest(status: int, body: bytes) -> str:
    """What tells one answer from another."""
    return f"{status}:{hashlib.sha256(body).hexdigest()[:16]}"


@dataclass(frozen=True)
class Books:
    """What three services and the payment provider hold."""

    claims: list[Row]
    claimed: list[Row]
    returns: list[Row]
    returned: list[Row]
    refunds: list[Row]
    provider: list[dict[str, str | int]]
    fulfillments: list[Row] = field(default_factory=list)
    canceled: list[Row] = field(default_factory=list)
    captures: list[Row] = field(default_factory=list)
    captured: list[dict[str, str | int]] = field(default_factory=list)
    sent: list[Row] = field(default_factory=list)


async def read_books(databases: dict[str, Database], provider: Path) -> Books:
    """Out of the services' databases, and the ledger of the fake provider."""
    async with databases["claims"].reading() as tx:
        claims = await claims_books.claims(tx)
        claimed = await claims_books.claimed_units(tx)
        sent = await claims_books.fulfillments(tx)
    async with databases["returns"].reading() as tx:
        returns = await returns_books.returns(tx)
        returned = await returns_books.returned_units(tx)
    async with databases["orders"].reading() as tx:
        refunds = await orders_books.refunds(tx)
        fulfillments = await orders_books.fulfillments(tx)
        canceled = await orders_books.canceled_orders(tx)
        captures = await orders_books.provider_captures(tx)
    return Books(
        claims,
        claimed,
        returns,
        returned,
        refunds,
        fake_ledger(provider),
        fulfillments,
        canceled,
        captures,
        fake_captures(provider),
        sent,
    )


@dataclass
class _Line:
    """What clients wanted done about one line, as far as they know."""

    kind: Kind
    order_id: str
    provider: str
    known: dict[str, str] = field(default_factory=dict)  # act -> ok | fail
    asked: list[str] = field(default_factory=list)

    @property
    def certain(self) -> bool:
        """Every act that was asked for has its answer."""
        return all(act in self.known for act in self.asked)

    @property
    def complete(self) -> bool:
        """All of it was asked for and answered."""
        return self.certain and len(self.asked) == len(self.kind.acts)


def events(file: Path) -> list[dict[str, Any]]:
    """The history; a last line that its writer did not finish is passed over."""
    found = []
    for line in file.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def audit(history: Iterable[dict[str, Any]], books: Books) -> list[str]:
    """What was lost, doubled or not expected; empty when all is well."""
    lines, wrong = _lines(history)
    claims_of = _by_line(books.claimed, "claim_id", books.claims)
    returns_of = _by_line(books.returned, "return_id", books.returns)
    for line_id, line in lines.items():
        claims, returns = claims_of.pop(line_id, []), returns_of.pop(line_id, [])
        told = f"{line.kind.name} on {line_id}"
        for what, rows in (("claim", claims), ("return", returns)):
            if len(rows) > 1:
                wrong.append(f"doubled: {told} has {len(rows)} {what}s")
        if not line.complete:
            continue
        wrong += _claim_is_right(told, line.kind, claims)
        wrong += _return_is_right(told, line.kind, returns)
    wrong += _replacements_are_right(lines, books)
    for row in books.sent:
        # What was sent out is claimed and returned by those who had it sent.
        for item in row["items"]:
            returns_of.pop(item["item_id"], None)
    wrong += _goods_are_right(lines, books) + _orders_are_right(lines, books)
    wrong += [f"unexpected: nobody asked for a claim on {line_id}" for line_id in claims_of]
    wrong += [f"unexpected: nobody asked for a return on {line_id}" for line_id in returns_of]
    return wrong + _money_is_right(lines, books)


def _lines(history: Iterable[dict[str, Any]]) -> tuple[dict[str, _Line], list[str]]:
    """What each line's clients know; and answers that differ for one key, or have no question."""
    lines: dict[str, _Line] = {}
    wrong: list[str] = []
    answers: dict[str, str] = {}
    under_way: Counter[tuple[int, str]] = Counter()
    for event in history:
        value, type_ = event["value"], event["type"]
        kind = KINDS[value["kind"]]
        line = lines.setdefault(value["line_id"], _Line(kind, value["order_id"], value["provider"]))
        process = (event["process"], value["key"])
        if type_ == "invoke":
            under_way[process] += 1
            if event["f"] not in line.asked:
                line.asked.append(event["f"])
            continue
        under_way[process] -= 1
        if under_way[process] < 0:
            wrong.append(f"unexpected: an answer to nobody's {value['key']}")
        if type_ == "info":
            continue
        first = answers.setdefault(value["key"], value["digest"])
        if first != value["digest"]:
            wrong.append(f"{value['key']} was answered {first}, then {value['digest']}")
        line.known[event["f"]] = type_
        expected = "fail" if event["f"] == kind.acts[-1] and kind.status >= 400 else "ok"
        if type_ != expected:
            wrong.append(f"{event['f']} ({kind.name}) on {value['line_id']}: {value['digest']}")
    return lines, wrong


def _claim_is_right(told: str, kind: Kind, claims: list[Row]) -> list[str]:
    if kind.claim is None:
        return [f"unexpected: {told} has a claim" for _ in claims]
    if not claims:
        return [f"lost: {told} has no claim"]
    claim = claims[0]
    wrong = []
    if claim["status"] != kind.claim:
        wrong.append(f"lost: {told}: its claim is {claim['status']}, not {kind.claim}")
    if kind.claim == "open":
        actual = (claim["payment_status"], claim["recovery_point"])
        if actual != (kind.payment, "finished"):
            wrong.append(f"lost: {told}: its claim is {actual}")
        if kind.payment == "refunded" and claim["refund_amount"] != kind.refund:
            wrong.append(f"{told}: refunds {claim['refund_amount']} instead of {kind.refund}")
    return wrong


def _return_is_right(told: str, kind: Kind, returns: list[Row]) -> list[str]:
    if kind.returned is None:
        return [f"unexpected: {told} has a return" for _ in returns]
    if not returns:
        return [f"lost: {told} has no return"]
    state = returns[0]["state"]
    if state != kind.returned:
        return [f"lost: {told}: its return is {state}, not {kind.returned}"]
    return []


def _goods_are_right(lines: dict[str, _Line], books: Books) -> list[str]:
    """Each line was packed as often as somebody wanted, and what was packed is in its state."""
    packed: dict[str, list[str]] = defaultdict(list)
    for row in books.fulfillments:
        state = "shipped" if row["shipped_at"] else row["state"]
        for item in row["items"]:
            packed[item["item_id"]].append(state)
    wrong = [
        f"unexpected: nobody asked for a fulfillment of {line_id}"
        for line_id in packed
        if line_id not in lines
    ]
    for line_id, line in lines.items():
        found, told = packed.get(line_id, []), f"{line.kind.name} on {line_id}"
        wanted = [] if line.kind.packed is None else [line.kind.packed]
        if len(found) > len(wanted):
            wrong.append(f"doubled: {told} was packed {len(found)} times")
        elif line.complete and found != wanted:
            wrong.append(f"lost: {told}: its fulfillments are {found}, not {wanted}")
    return wrong


def _replacements_are_right(lines: dict[str, _Line], books: Books) -> list[str]:
    """Each claim packed as often as somebody wanted, and what it packed is in its state."""
    sent: dict[str, list[str]] = defaultdict(list)
    for row in books.sent:
        sent[row["claim_id"]].append("shipped" if row["shipped_at"] else row["state"])
    wrong = []
    for unit in books.claimed:
        line = lines.get(unit["line_id"])
        if line is None:
            continue
        found, told = sent.get(unit["claim_id"], []), f"{line.kind.name} on {unit['line_id']}"
        wanted = [] if line.kind.sent is None else [line.kind.sent]
        if len(found) > len(wanted):
            wrong.append(f"doubled: the claim of {told} was packed {len(found)} times")
        elif line.complete and found != wanted:
            wrong.append(f"lost: {told}: its claim packed {found}, not {wanted}")
    return wrong


def _orders_are_right(lines: dict[str, _Line], books: Books) -> list[str]:
    """Orders were canceled, and their money was taken, where somebody wanted it, and once."""
    done = {row["order_id"]: "canceled" for row in books.canceled}
    keys = {row["provider_key"]: row["payment_id"] for row in books.captures}
    taken = Counter(keys.get(str(row["key"]), "nobody's") for row in books.captured)
    wrong = [f"doubled: {id_} was captured {n} times" for id_, n in taken.items() if n > 1]
    orders = {payment.replace("pay_", "order_", 1) for payment in taken}
    done |= dict.fromkeys(orders, "captured")
    wanted = {line.order_id: line for line in lines.values() if line.kind.alone}
    for order_id, what in done.items():
        line = wanted.get(order_id)
        if line is None or line.kind.order != what:
            wrong.append(f"unexpected: {order_id} was {what}")
    for order_id, line in wanted.items():
        if line.complete and done.get(order_id) != line.kind.order:
            wrong.append(f"lost: {order_id} was not {line.kind.order}")
    return wrong


def _money_is_right(lines: dict[str, _Line], books: Books) -> list[str]:
    """Per order between what is certain and what may be; so too what the provider paid."""
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    by_provider = [0, 0]
    for line in lines.values():
        if line.complete or not line.certain:
            most[line.order_id] += line.kind.refund
            by_provider[1] += line.kind.refund if line.provider == "fake" else 0
        if line.complete:
            least[line.order_id] += line.kind.refund
            by_provider[0] += line.kind.refund if line.provider == "fake" else 0
    paid: Counter[str] = Counter()
    for refund in books.refunds:
        paid[refund["order_id"]] += refund["amount"] if refund["state"] == "posted" else 0
    wrong = []
    for order_id in sorted({*most, *paid}):
        if paid[order_id] < least[order_id]:
            wrong.append(f"lost: {order_id}: {paid[order_id]} refunded of {least[order_id]}")
        if paid[order_id] > most[order_id]:
            wrong.append(f"doubled: {order_id}: {paid[order_id]} refunded of {most[order_id]}")
    out = sum(int(row["amount"]) for row in books.provider)
    if not by_provider[0] <= out <= by_provider[1]:
        wrong.append(f"the provider paid {out}, expected {by_provider}")
    return wrong


def _by_line(units: list[Row], id_name: str, rows: list[Row]) -> dict[str, list[Row]]:
    known = {row["id"]: row for row in rows}
    found: dict[str, list[Row]] = defaultdict(list)
    for unit in units:
        found[unit["line_id"]].append(known[unit[id_name]])
    return found
