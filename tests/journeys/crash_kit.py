"""A shop under load while its parts are killed, and the books in which nothing may be missing.

``Shop`` runs the distributed mode (a process per service, private engines) and remembers every
request that clients made. ``Load`` is eight clients who repeat each call with the same key until it
is answered. ``Audit`` compares, at rest, what was answered with what the services hold.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from chassis import clock
from chassis.db import Database, Row, chunks, connect
from chassis.engines import Server, free_port
from chassis.settings import Settings
from chassis.testing import eventually
from chassis.topology import dead_letter_queue
from deploy.assembly import SERVICES, STORES, topology
from deploy.local import Local
from deploy.secrets_file import Secrets
from deploy.verify import Report, verify
from services.claims import invariants as claims_books
from services.orders import invariants as orders_books
from services.orders.providers import fake_ledger
from services.returns import invariants as returns_books

CLIENTS = 8
PATIENCE_S = 60.0
REST_WITHIN_S = 60.0
# Well before the first timer of a saga (30 s) everything is at rest, if no message was lost.
LATE = timedelta(seconds=20)
# What a client of the shop repeats with the same key; anything else is an answer.
PASSING = (409, 502, 503, 504)
NET, GROSS = 1000, 1200
_VAT = {"rate": 20, "code": "VAT20", "name": "VAT 20 %"}
_DELIVERED_AT = clock.now().isoformat()
ORDERS_AT_ONCE = 100
# The fake provider refunds these by hand and loses its first answer (see FakeProvider).
LOST_ANSWER = 108
KINDS = (
    "refund claim",
    "return",
    "replace claim",
    "refund claim with return",
    "refund by hand",
    "replace claim with return",
    "refund claim with replacement",
    "return",
)
CLAIMS = tuple(kind for kind in KINDS if "claim" in kind)


class WrongAnswer(Exception):
    """A client was told what it must not be told, or nothing at all."""


@dataclass
class Call:
    """One request with its key. ``body_bytes`` is the answer, None while there is none."""

    path: str
    body: dict[str, Any]
    key: str
    answer: bytes | None = None
    tries: int = 0


@dataclass
class Errand:
    """What a client wants done about one order line, by one call or by two."""

    kind: str
    order_id: str
    line_id: str
    provider: str
    calls: list[Call] = field(default_factory=list)

    @property
    def refund(self) -> int:
        """The money that goes back, in cents."""
        if self.kind == "refund by hand":
            return LOST_ANSWER
        return 0 if self.kind.startswith("replace") else GROSS


@dataclass(frozen=True)
class Outcome:
    """How one test went: what the report prints."""

    what: str
    kills: int
    calls: int
    retries: int
    rest_after_s: float

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.calls} calls, {self.retries} retries,"
            f" at rest {self.rest_after_s:.1f} s after everything answered again"
        )


class Load:
    """Clients at work until ``enough`` is set; each finishes the errand in hand."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.enough = asyncio.Event()
        self.errands: list[Errand] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """All clients at once."""
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    async def answered(self, calls: int) -> None:
        """Until that many calls of this load have their answer; raises what a client met."""

        def probe() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return self.calls_answered >= calls

        await eventually(probe, within_s=PATIENCE_S)

    async def finish(self) -> None:
        """Nobody begins anything new; returns when every client has every answer."""
        self.enough.set()
        await asyncio.gather(*self._tasks)

    async def leave(self) -> None:
        """Everybody goes, answered or not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def calls(self) -> list[Call]:
        """Every call that was begun."""
        return [call for errand in self.errands for call in errand.calls]

    @property
    def calls_answered(self) -> int:
        """How many of them have an answer."""
        return sum(call.answer is not None for call in self.calls)

    async def _client(self, number: int) -> None:
        kinds = itertools.islice(itertools.cycle(KINDS), number, None)
        while not self.enough.is_set():
            errand = self._shop.errand(next(kinds))
            self.errands.append(errand)
            await self._shop.run(errand)


class Shop:
    """The system under test, its stock of order lines, and everything that was asked of it."""

    def __init__(self, data_dir: Path) -> None:
        self.system = Local(
            data_dir,
            Secrets("crash-" + "0123456789abcdef" * 3, "rk_" + "fedcba9876543210" * 3, "none"),
            port=free_port(),
            fsync=False,
            extra={"RECLAMO_REQUESTS_PER_MINUTE": "1000000"},
        )
        self.errands: list[Errand] = []
        self.outcomes: list[Outcome] = []
        self._keys = itertools.count(1)
        self._lines: Iterator[tuple[str, str, str]] = iter(())
        self._session: aiohttp.ClientSession | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._databases: dict[str, Database] = {}

    # ------------------------------------------------------------------ life

    async def open(self, *, orders: int) -> None:
        """Start everything, load orders, wait until the broker would survive a kill."""
        await self.system.start()
        self._supervisor = asyncio.create_task(self.system.supervise())
        self._session = aiohttp.ClientSession(
            headers={"x-medusa-access-token": self.system.secrets.admin_token},
            connector=aiohttp.TCPConnector(limit=CLIENTS * 2),
            timeout=aiohttp.ClientTimeout(total=30),
        )
        for name in SERVICES:
            self._databases[name] = connect(self.system.database_url(name)).serve(
                name, STORES[name].METADATA
            )
            await self._databases[name].open()
        sold = [_order(number) for number in range(1, orders + 1)]
        documents = [reference_data()]
        documents += [{"orders": list(part)} for part in chunks(sold, ORDERS_AT_ONCE)]
        for number, document in enumerate(documents):
            status, answer = await self._post("/admin/import", document, f"import-{number}")
            assert status == 200, answer
            assert json.loads(answer)["refused"] == 0, answer
        self._lines = iter(
            (order["id"], item["id"], order["payments"][0]["provider_id"])
            for order in sold
            for item in order["items"]
        )
        queues = [name for q in topology().queues for name in (q, dead_letter_queue(q))]
        await eventually(lambda: all(self.system.rabbit.would_keep(q) for q in queues), 30)

    async def close(self) -> None:
        """Stop everything."""
        if self._supervisor is not None:
            self._supervisor.cancel()
        if self._session is not None:
            await self._session.close()
        for database in self._databases.values():
            await database.close()
        await self.system.stop()

    # ------------------------------------------------------------------ what clients do

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Clients that work while inside and have all their answers at the end."""
        load = Load(self)
        load.start()
        try:
            yield load
            await load.finish()
        finally:
            await load.leave()

    def errand(self, kind: str) -> Errand:
        """The next one, about a line that nobody else touches, on an order that others do."""
        order_id, line_id, provider = next(self._lines)
        errand = Errand(kind, order_id, line_id, provider)
        self.errands.append(errand)
        return errand

    async def run(self, errand: Errand) -> None:
        """Do all calls of an errand and look at each answer."""
        order = (await self._answer(errand, *_first_call(errand)))["order"]
        if errand.kind == "return":
            mine = [each for each in order["returns"] if _is_about(each["items"], errand)]
            if len(mine) != 1:
                raise WrongAnswer(f"{errand}: {len(mine)} returns")
            path = f"/admin/returns/{mine[0]['id']}/receive"
            body = {"items": [{"item_id": errand.line_id, "quantity": 1}]}
            received = (await self._answer(errand, path, body))["return"]
            if received["status"] != "received":
                raise WrongAnswer(f"{errand}: {received}")
        elif errand.kind in CLAIMS:
            mine = [each for each in order["claims"] if _is_about(each["claim_items"], errand)]
            if len(mine) != 1:
                raise WrongAnswer(f"{errand}: {len(mine)} claims")
        elif not order["refunds"]:
            raise WrongAnswer(f"{errand}: {order}")

    async def _answer(self, errand: Errand, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask with one key until there is an answer; it has to be a 200."""
        call = Call(path, body, f"crash-{next(self._keys)}")
        errand.calls.append(call)
        give_up_at = clock.monotonic_s() + PATIENCE_S
        trouble = ""
        while clock.monotonic_s() < give_up_at:
            call.tries += 1
            try:
                status, answer = await self._post(path, body, call.key)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                trouble = repr(error)
            else:
                if status == 200:
                    call.answer = answer
                    found: dict[str, Any] = json.loads(answer)
                    return found
                trouble = f"{status} {answer[:300]!r}"
                if status not in PASSING:
                    break
            await asyncio.sleep(0.25)
        raise WrongAnswer(f"{errand.kind}, {path}, {call.key}, {call.tries} tries: {trouble}")

    async def _post(self, path: str, body: dict[str, Any], key: str) -> tuple[int, bytes]:
        assert self._session is not None
        async with self._session.post(
            self.system.url + path, json=body, headers={"Idempotency-Key": key}
        ) as answer:
            return answer.status, await answer.read()

    # ------------------------------------------------------------------ what happens to it

    async def arm(self, service: str, failpoint: str) -> int:
        """Start the service again, orderly and under load, so that it dies at the failpoint once.

        Who starts it after that knows of no failpoint. Returns how often it was started so far.
        """
        process = self.system.processes[service]
        process.wanted = False
        process.signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)
        assert process.running is not None
        assert process.running.returncode == 0, f"{service} ended with {process.running.returncode}"
        process.environment["RECLAMO_FAILPOINT"] = failpoint
        process.start()
        del process.environment["RECLAMO_FAILPOINT"]
        process.wanted = True

        return process.starts

    async def reborn(self, service: str, starts: int) -> datetime:
        """Until its supervisor has started it once more and it answers; that moment."""
        process = self.system.processes[service]
        await eventually(lambda: process.starts > starts, within_s=PATIENCE_S)
        await eventually(lambda: self._lives(process.url), within_s=PATIENCE_S, every_s=0.05)
        return clock.now()

    async def kill(self, *services: str) -> datetime:
        """SIGKILL, now and at once; the moment when all of them answer again."""
        starts = {name: self.system.processes[name].starts for name in services}
        for name in services:
            self.system.processes[name].signal(signal.SIGKILL)
        return max([await self.reborn(name, starts[name]) for name in services])

    async def kill_engine(self, engine: Server) -> datetime:
        """SIGKILL a server with all its processes and start it again; when it answers again."""
        await asyncio.to_thread(engine.kill)
        await asyncio.to_thread(engine.start)
        return clock.now()

    async def _lives(self, url: str) -> bool:
        assert self._session is not None
        try:
            async with self._session.get(f"{url}/livez") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    # ------------------------------------------------------------------ what is true afterwards

    async def rest(self, since: datetime) -> float:
        """Until nothing is under way and nothing is wrong; how many seconds after ``since``."""
        report = Report()
        while (clock.now() - since).total_seconds() < REST_WITHIN_S:
            report = await verify(self._settings(), at_rest=True)
            if not report.findings:
                return (clock.now() - since).total_seconds()
        raise AssertionError("\n".join([report.summary, *map(str, report.findings[:20])]))

    def _settings(self) -> Settings:
        return Settings(
            bus_url=self.system.rabbit.url,
            data_dir=self.system.data_dir,
            secret_key=SecretStr(self.system.secrets.secret_key),
            databases={name: self.system.database_url(name) for name in SERVICES},
        )

    async def healed_late(self, since: datetime) -> list[str]:
        """Sagas that had to ask again long after everything answered: a message was lost.

        A timer heals that, so it would not show otherwise. Questions repeated while a process was
        away, or slow to come back, are what timers are for.
        """
        lost = []
        for name in ("claims", "returns"):
            async with self._databases[name].reading() as tx:
                for row in await tx.fetch("SELECT id, kind, history FROM sagas"):
                    lost += [
                        f"{row['kind']} {row['id']} asked again at {entry['at']}"
                        for entry in row["history"]
                        if entry["step"] == "timer"
                        and datetime.fromisoformat(entry["at"]) > since + LATE
                    ]
        return lost

    async def same_answers(self, load: Load) -> None:
        """Every call of a load once more: byte for byte what its client was told."""
        for call in load.calls:
            status, answer = await self._post(call.path, call.body, call.key)
            assert status == 200, answer
            assert answer == call.answer, f"{call.key} is answered differently now"

    async def books(self) -> Books:
        """What the services hold, for ``audit``."""
        async with self._databases["claims"].reading() as tx:
            claims = {row["id"]: row for row in await claims_books.claims(tx)}
            claimed = await claims_books.claimed_units(tx)
        async with self._databases["returns"].reading() as tx:
            returns = {row["id"]: row for row in await returns_books.returns(tx)}
            returned = await returns_books.returned_units(tx)
        async with self._databases["orders"].reading() as tx:
            refunds = await orders_books.refunds(tx)
        ledger = fake_ledger(self.system.data_dir / "fake_provider.sqlite3")
        return Books(claims, claimed, returns, returned, refunds, ledger)


@dataclass(frozen=True)
class Books:
    """The rows of three services and of the payment provider."""

    claims: dict[str, Row]
    claimed: list[Row]
    returns: dict[str, Row]
    returned: list[Row]
    refunds: list[Row]
    provider: list[dict[str, str | int]]


def audit(errands: list[Errand], books: Books) -> list[str]:
    """Total queue: what was lost, doubled, or came from nowhere. Errands are all answered."""
    wrong: list[str] = []
    claims_of = _by_line(books.claimed, "claim_id", books.claims)
    returns_of = _by_line(books.returned, "return_id", books.returns)
    for errand in errands:
        claims, returns = claims_of.pop(errand.line_id, []), returns_of.pop(errand.line_id, [])
        told = f"{errand.kind} on {errand.line_id}"
        wants_claim = errand.kind in CLAIMS
        if len(claims) != wants_claim:
            wrong.append(f"{told}: {len(claims)} claims {claims}")
        elif wants_claim:
            wrong += _claim_is_right(told, errand, claims[0])
        wants_return = "return" in errand.kind
        if len(returns) != wants_return:
            wrong.append(f"{told}: {len(returns)} returns {returns}")
        elif wants_return:
            state = "received" if errand.kind == "return" else "requested"
            if returns[0]["state"] != state:
                wrong.append(f"{told}: its return is {returns[0]['state']}")
    wrong += [f"nobody asked for a claim on {line}" for line in claims_of]
    wrong += [f"nobody asked for a return on {line}" for line in returns_of]
    return wrong + _money_is_right(errands, books)


def _claim_is_right(told: str, errand: Errand, claim: Row) -> list[str]:
    is_refund = errand.kind.startswith("refund")
    expected = ("open", "refunded" if is_refund else "na", "finished")
    actual = (claim["status"], claim["payment_status"], claim["recovery_point"])
    wrong = [] if actual == expected else [f"{told}: {actual} instead of {expected}"]
    if is_refund and claim["refund_amount"] != errand.refund:
        wrong.append(f"{told}: refunds {claim['refund_amount']} instead of {errand.refund}")
    return wrong


def _money_is_right(errands: list[Errand], books: Books) -> list[str]:
    expected: Counter[str] = Counter()
    expected_of_provider = 0
    for errand in errands:
        expected[errand.order_id] += errand.refund
        expected_of_provider += errand.refund if errand.provider == "fake" else 0
    actual: Counter[str] = Counter()
    for refund in books.refunds:
        actual[refund["order_id"]] += refund["amount"] if refund["state"] == "posted" else 0
    wrong = [
        f"{order_id}: refunded {actual[order_id]} instead of {expected[order_id]}"
        for order_id in sorted({*expected, *actual})
        if actual[order_id] != expected[order_id]
    ]
    wanted = sum(errand.refund > 0 for errand in errands)
    if len(books.refunds) != wanted:
        wrong.append(f"{len(books.refunds)} refunds instead of {wanted}")
    out = sum(int(row["amount"]) for row in books.provider)
    if out != expected_of_provider:
        wrong.append(f"the provider paid {out} instead of {expected_of_provider}")
    return wrong


def _by_line(units: list[Row], id_name: str, rows: dict[str, Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for unit in units:
        found[unit["line_id"]].append(rows[unit[id_name]])
    return found


def _is_about(items: list[dict[str, Any]], errand: Errand) -> bool:
    return errand.line_id in [item["item_id"] for item in items]


def _first_call(errand: Errand) -> tuple[str, dict[str, Any]]:
    base = f"/admin/orders/{errand.order_id}"
    if errand.kind == "refund by hand":
        return f"{base}/refund", {"amount": LOST_ANSWER, "reason": "discount"}
    item = {"item_id": errand.line_id, "quantity": 1}
    if errand.kind == "return":
        return f"{base}/return", {"items": [item]}
    body: dict[str, Any] = {
        "type": errand.kind.split()[0],
        "claim_items": [item | {"reason": "wrong_item"}],
    }
    if errand.kind.startswith("replace") or errand.kind.endswith("replacement"):
        body["additional_items"] = [{"variant_id": "variant_crash", "quantity": 1}]
    if errand.kind.endswith("return"):
        body["return_shipping"] = {"option_id": "so_crash_return", "price": 0}
    return f"{base}/claims", body


def reference_data() -> dict[str, Any]:
    """An import of what orders need: a region, a shipping option, one variant in plenty."""
    option = {"region_id": "reg_crash", "amount": 0}
    return {
        "regions": [
            {
                "id": "reg_crash",
                "name": "Test",
                "currency_code": "eur",
                "tax_rate": 20,
                "tax_code": "VAT20",
                "countries": ["si"],
            }
        ],
        "stock_locations": [{"id": "sloc_crash", "name": "Warehouse"}],
        "sales_channels": [
            {"id": "sc_crash", "name": "Shop", "stock_location_ids": ["sloc_crash"]}
        ],
        "shipping_options": [
            {**option, "id": "so_crash_return", "name": "Return", "is_return": True}
        ],
        "variants": [
            {
                "id": "variant_crash",
                "title": "Thing",
                "product_title": "Thing",
                "sku": "CRASH",
                "manage_inventory": True,
                "allow_backorder": False,
                "prices": [{"currency_code": "eur", "amount": NET}],
            }
        ],
        "inventory_levels": [
            {
                "variant_id": "variant_crash",
                "location_id": "sloc_crash",
                "stocked_quantity": 1_000_000,
            }
        ],
        "customers": [
            {
                "id": "cus_crash",
                "email": "crash@reclamo.example",
                "first_name": "Cy",
                "last_name": "Crash",
            }
        ],
    }


def _order(number: int) -> dict[str, Any]:
    """Four lines; every other order was paid by the fake provider. A line has units to spare, so
    that a doubled claim would show and not be refused."""
    items = [
        {
            "id": f"item_crash_{number}_{line}",
            "variant_id": "variant_crash",
            "title": "Thing",
            "unit_price": NET,
            "quantity": 3,
            "fulfilled_quantity": 3,
            "shipped_quantity": 3,
            "returned_quantity": 0,
            "delivered_at": _DELIVERED_AT,
            "tax_lines": [_VAT],
            "adjustments": [],
        }
        for line in range(1, 5)
    ]
    return {
        "id": f"order_crash_{number}",
        "display_id": number,
        "email": "crash@reclamo.example",
        "customer_id": "cus_crash",
        "region_id": "reg_crash",
        "currency_code": "eur",
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured",
        "fulfillment_status": "shipped",
        "sales_channel_id": "sc_crash",
        "created_at": _DELIVERED_AT,
        "items": items,
        "shipping_methods": [],
        "payments": [
            {
                "id": f"pay_crash_{number}",
                "amount": GROSS * 12,
                "provider_id": ("manual", "fake")[number % 2],
                "captured_at": _DELIVERED_AT,
            }
        ],
        "fulfillments": [
            {
                "id": f"ful_crash_{number}",
                "items": [{"item_id": item["id"], "quantity": 3} for item in items],
                "location_id": "sloc_crash",
                "shipped_at": _DELIVERED_AT,
            }
        ],
        "discounts": [],
    }
