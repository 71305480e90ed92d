"""Payment providers: the port, our own books, and a fake that behaves like the real thing.

A provider answers, or it does not: an exception of any kind means *unknown*, and the same call
with the same key is the only way to find out. Keys are functions of the refund's cause.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

MANUAL = "manual"
FAKE = "fake"


class AnswerLost(Exception):
    """The call went out and no answer came: the refund may or may not have happened."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A definitive answer: posted with the provider's reference, or declined with its words."""

    posted: bool
    provider_ref: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class RefundCall:
    """What a provider is asked. ``amount`` is minor units; ``cause_id`` travels as metadata."""

    key: str
    payment_id: str
    amount: int
    currency_code: str
    cause_id: str


@dataclass(frozen=True, slots=True)
class CaptureCall:
    """What a provider is asked to take. ``amount`` is minor units."""

    key: str
    payment_id: str
    amount: int
    currency_code: str


class PaymentProvider(Protocol):
    """What orders needs from a payment provider."""

    id: ClassVar[str]

    async def capture(self, call: CaptureCall) -> Answer:
        """Take once per key: a repeated key gets the first answer. Raises when it is unknown."""

    async def refund(self, call: RefundCall) -> Answer:
        """Refund once per key: a repeated key gets the first answer. Raises when it is unknown."""

    async def status(self, call: RefundCall) -> Answer | None:
        """What became of this key (or of this cause); None when the provider never saw it."""


class ManualProvider:
    """Money that people hand back outside: the books are all there is, and they never fail."""

    id: ClassVar[str] = MANUAL

    async def capture(self, call: CaptureCall) -> Answer:
        """Settled by writing it down."""
        return Answer(posted=True, provider_ref=call.key)

    async def refund(self, call: RefundCall) -> Answer:
        """Settled by writing it down."""
        return Answer(posted=True, provider_ref=call.key)

    async def status(self, call: RefundCall) -> Answer | None:
        """Our books are the only ones."""
        return None


@dataclass(frozen=True, slots=True)
class Faults:
    """How often the fake provider misbehaves, from 0 to 1, decided by ``seed`` and the key.

    ``lost_call``: the first call never arrives; ``lost_answer``: it does, its answer does not;
    ``doubled``: every call arrives twice at once; ``slow``: the answer takes its time.
    """

    declined: float = 0.0
    lost_answer: float = 0.0
    slow: float = 0.0
    seed: int = 0
    lost_call: float = 0.0
    doubled: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read ``declined:0.1,lost_answer:0.1,slow:0.05,seed=1``; raises ValueError."""
        values: dict[str, float] = {}
        seed = 0
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, number = part.replace("=", ":").partition(":")
            if name not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise ValueError(f"unknown fault {name!r} of the fake provider; there are {known}")
            if name == "seed":
                seed = int(float(number))
            else:
                values[name] = float(number)
        return cls(**values, seed=seed)

    def strike(self, *, name: str, chance: float, key: str) -> bool:
        """Whether this fault hits this key: always the same answer for the same seed."""
        digest = hashlib.sha256(f"{self.seed}/{name}/{key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < chance * 2**64


_SCHEMA = """
CREATE TABLE IF NOT EXISTS refunds (
    key TEXT PRIMARY KEY, ref TEXT NOT NULL UNIQUE, payment_id TEXT NOT NULL,
    amount INTEGER NOT NULL, currency_code TEXT NOT NULL, cause_id TEXT NOT NULL,
    declined TEXT
)
"""
_CAPTURES = """
CREATE TABLE IF NOT EXISTS captures (
    key TEXT PRIMARY KEY, ref TEXT NOT NULL UNIQUE, payment_id TEXT NOT NULL,
    amount INTEGER NOT NULL, currency_code TEXT NOT NULL, declined TEXT
)
"""
_SLOW_S = 0.3


class FakeProvider:
    """A payment provider that does not move any money: for rehearsals, tests and demonstrations.

    It is a real adapter of the port with a ledger of its own (a SQLite file, which stands for the
    provider's side), idempotent by key as the good ones are, and it can misbehave: by chance
    (``Faults``) or on command, by the last two digits of the amount, like test cards:

    02  declined for good, ``card closed``
    08  it happens, the first answer is lost
    09  the first call is lost before anything happens

    The same for refunds and for captures.
    """

    id: ClassVar[str] = FAKE

    def __init__(self, file: Path, faults: Faults | None = None) -> None:
        self.file = file
        self._faults = faults or Faults()
        self._lost: set[str] = set()

    async def refund(self, call: RefundCall) -> Answer:
        """Refund once per key. Raises AnswerLost as its faults have it."""
        return await self._do(call)

    async def capture(self, call: CaptureCall) -> Answer:
        """Take once per key. Raises AnswerLost as its faults have it."""
        return await self._do(call)

    async def _do(self, call: RefundCall | CaptureCall) -> Answer:
        faults = self._faults
        if faults.strike(name="slow", chance=faults.slow, key=call.key):
            await asyncio.sleep(_SLOW_S)
        lost_call = call.amount % 100 == 9 or faults.strike(
            name="lost_call", chance=faults.lost_call, key=call.key
        )
        if lost_call and call.key not in self._lost:
            self._lost.add(call.key)
            raise AnswerLost("the connection was lost before the provider heard of it")
        if faults.strike(name="doubled", chance=faults.doubled, key=call.key):
            booked = (asyncio.to_thread(self._book, call) for _ in range(2))
            answers = await asyncio.gather(*booked)
            answer, first = answers[0][0], any(made for _, made in answers)
        else:
            answer, first = await asyncio.to_thread(self._book, call)
        lost = call.amount % 100 == 8 or faults.strike(
            name="lost_answer", chance=faults.lost_answer, key=call.key
        )
        if first and lost:
            raise AnswerLost("the answer was lost on its way")
        return answer

    async def status(self, call: RefundCall) -> Answer | None:
        """What the ledger says of the key."""
        return await asyncio.to_thread(self._look, "refunds", call.key)

    def _open(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=10, isolation_level=None)
        # Not in WAL mode: who switches to it does not wait for another who writes. What dies here
        # are processes, and of those nothing is lost without fsync.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_SCHEMA)
        connection.execute(_CAPTURES)
        return connection

    def _book(self, call: RefundCall | CaptureCall) -> tuple[Answer, bool]:
        """The answer of the key, and whether it was made just now."""
        declined = call.amount % 100 == 2 or self._faults.strike(
            name="declined", chance=self._faults.declined, key=call.key
        )
        row = {
            "key": call.key,
            "ref": f"fake_{hashlib.sha256(call.key.encode()).hexdigest()[:24]}",
            "payment_id": call.payment_id,
            "amount": call.amount,
            "currency_code": call.currency_code,
            "declined": "card closed" if declined else None,
        }
        table = "captures"
        if isinstance(call, RefundCall):
            table = "refunds"
            row["cause_id"] = call.cause_id
        connection = self._open()
        try:
            first = connection.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES (:{', :'.join(row)})"
                " ON CONFLICT (key) DO NOTHING",
                row,
            ).rowcount
        finally:
            connection.close()
        answer = self._look(table, call.key)
        assert answer is not None, "what was booked is in the ledger"
        return answer, first == 1

    def _look(self, table: str, key: str) -> Answer | None:
        connection = self._open()
        try:
            row = connection.execute(
                f"SELECT ref, declined FROM {table} WHERE key = ?", (key,)
            ).fetchone()
        finally:
            connection.close()
        if row is None:
            return None
        ref, declined = row
        return Answer(posted=declined is None, provider_ref=ref, message=declined)


def fake_ledger(file: Path) -> list[dict[str, str | int]]:
    """What the fake provider really refunded: key, ref, payment_id, amount, cause_id; read only."""
    return _booked(file, "refunds", "key, ref, payment_id, amount, cause_id")


def fake_captures(file: Path) -> list[dict[str, str | int]]:
    """What the fake provider really took: key, ref, payment_id, amount; read only."""
    return _booked(file, "captures", "key, ref, payment_id, amount")


def _booked(file: Path, table: str, columns: str) -> list[dict[str, str | int]]:
    if not file.exists():
        return []
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        known = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        if known is None:  # a ledger of before there was such a thing
            return []
        rows = connection.execute(
            f"SELECT {columns} FROM {table} WHERE declined IS NULL"
        ).fetchall()
    finally:
        connection.close()
    return [dict(row) for row in rows]


Providers = Mapping[str, PaymentProvider]


def configured(*, fake_file: Path | None, fake_faults: str) -> dict[str, PaymentProvider]:
    """The providers an order may name: ``manual`` always, ``fake`` where it has a ledger file."""
    providers: dict[str, PaymentProvider] = {MANUAL: ManualProvider()}
    if fake_file is not None:
        providers[FAKE] = FakeProvider(fake_file, Faults.parse(fake_faults))
    return providers
