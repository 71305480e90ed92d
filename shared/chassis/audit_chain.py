"""The audit chain: every record gets a number and a hash that depends on all records before it.

It is forged behind the business transactions, in the order in which records become visible. Two
processes may try: numbers are unique, so one of them wins and the other looks again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis import clock
from chassis.db import Database, DuplicateRow, Row, Tx
from chassis.failpoints import failpoint

BATCH_ROWS = 500
IDLE_S = 5.0
FIRST = "0" * 64
# A transaction that took its number is over by then: committed, or there will be no such record.
LATE = timedelta(minutes=10)
# How far back a process that starts looks for numbers that others have taken but not committed.
_LOOK_BACK = 5000
_COLUMNS = "seq, at, actor_kind, actor_id, action, about, before, after, note, correlation_id"
_NOT_SEALED = "NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.seq = a.seq)"
# Not one condition with OR: for that SQLite reads the whole table, every few seconds.
_UNSEALED = f"""
SELECT {_COLUMNS} FROM audit a WHERE a.seq > :seen AND {_NOT_SEALED}
UNION ALL
SELECT {_COLUMNS} FROM audit a WHERE a.seq IN :holes AND a.seq <= :seen AND {_NOT_SEALED}
ORDER BY seq LIMIT :batch
"""


def hash_of(number: int, previous: str, record: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a record, its number and the hash before it."""
    content = {name: record[name] for name in _COLUMNS.split(", ")}
    content["at"] = record["at"].astimezone(UTC).isoformat(timespec="microseconds")
    content |= {"number": number, "previous": previous}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Sealer:
    """Lengthens the chain of one database; ``step`` is for a Loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = 0
        # Numbers that were taken but not visible, and when that was noticed: records commit in
        # another order than they are numbered, and a transaction rolled back leaves a hole.
        self._holes: dict[int, float] = {}

    async def step(self) -> bool:
        """Seal what is there; True when there may be more."""
        async with self._database.reading() as tx:
            rows = await tx.fetch(
                _UNSEALED, seen=self._seen, holes=list(self._holes), batch=BATCH_ROWS
            )
            # A process that has just started looks at all there is, but only once.
            top = rows[-1]["seq"] if rows else self._seen or await _last(tx)
            holes = await self._holes_below(tx, top)
        if rows:
            try:
                async with self._database.transaction() as tx:
                    last = await head(tx)
                    await tx.insert(tx.database.tables["audit_seals"], _chained(last, rows))
                    await failpoint(f"{self._database.service}.audit.k3")
            except DuplicateRow:
                return True
            await failpoint(f"{self._database.service}.audit.k4")
        now = clock.monotonic_s()
        self._seen = max(self._seen, top)
        self._holes |= {hole: now for hole in holes if hole not in self._holes}
        for seq in [row["seq"] for row in rows]:
            self._holes.pop(seq, None)
        oldest = now - LATE.total_seconds()
        self._holes = {seq: since for seq, since in self._holes.items() if since > oldest}
        return len(rows) == BATCH_ROWS

    async def _holes_below(self, tx: Tx, top: int) -> list[int]:
        """Numbers below ``top`` that are new and not visible, in the view of this reading."""
        low = max(self._seen, top - _LOOK_BACK)
        if top <= low:
            return []
        rows = await tx.fetch(
            "SELECT seq FROM audit WHERE seq > :low AND seq <= :top", low=low, top=top
        )
        there = {row["seq"] for row in rows}
        return [seq for seq in range(low + 1, top) if seq not in there]


async def _last(tx: Tx) -> int:
    return int(await tx.fetch_value("SELECT COALESCE(MAX(seq), 0) FROM audit"))


def _chained(last: Row, rows: list[Row]) -> list[Row]:
    number, previous, seals = last["number"], last["hash"], []
    for row in rows:
        number += 1
        hashed = hash_of(number, previous, row)
        seals.append({"number": number, "seq": row["seq"], "previous": previous, "hash": hashed})
        previous = hashed
    return seals


async def head(tx: Tx) -> Row:
    """The end of the chain: {number, hash}. Whoever keeps it elsewhere notices a cut."""
    row = await tx.fetch_one("SELECT number, hash FROM audit_seals ORDER BY number DESC LIMIT 1")
    return row or {"number": 0, "hash": FIRST}


@dataclass
class Walk:
    """Where a check of the chain stands; begin with ``Walk()``."""

    number: int = 0
    hash: str = FIRST
    at: datetime | None = None
    findings: list[Row] = field(default_factory=list)


async def walk(tx: Tx, so_far: Walk, *, limit: int) -> bool:
    """Check the next ``limit`` records, the first broken one first; False at the end of the chain.

    Findings are {invariant, id, message}.
    """
    rows = await tx.fetch(
        "SELECT s.number, s.seq AS sealed, s.previous, s.hash,"
        f" a.{_COLUMNS.replace(', ', ', a.')} FROM audit_seals s"
        " LEFT JOIN audit a ON a.seq = s.seq"
        " WHERE s.number > :after ORDER BY s.number LIMIT :limit",
        after=so_far.number,
        limit=limit,
    )
    for row in rows:
        so_far.findings += [_finding(row["sealed"], text) for text in _wrong(so_far, row)]
        so_far.number, so_far.hash = row["number"], row["hash"]
        if row["at"] is not None:
            so_far.at = max(so_far.at or row["at"], row["at"])
    return len(rows) == limit


def _wrong(so_far: Walk, row: Row) -> list[str]:
    found = []
    if row["number"] != so_far.number + 1:
        found.append(f"the chain has a gap: {so_far.number} is followed by {row['number']}")
    elif row["previous"] != so_far.hash:
        found.append(f"link {row['number']} does not follow from the one before it")
    if row["seq"] is None:
        found.append(f"the record under link {row['number']} was deleted")
    elif hash_of(row["number"], row["previous"], row) != row["hash"]:
        found.append(f"the record under link {row['number']} was changed ({row['action']})")
    elif so_far.at is not None and row["at"] < so_far.at - LATE:
        found.append(f"the record under link {row['number']} was inserted later ({row['action']})")
    return found


def _finding(seq: int, message: str) -> Row:
    return {"invariant": "I14", "id": f"audit/{seq}", "message": message}


async def unsealed(tx: Tx, *, limit: int = 100) -> list[Row]:
    """Records much older than the newest sealed one that were never sealed: somebody put them
    there behind the sealer's back."""
    newest = await tx.fetch_one(
        "SELECT a.at FROM audit_seals s JOIN audit a ON a.seq = s.seq"
        " ORDER BY s.number DESC LIMIT 1"
    )
    if newest is None:
        return []
    rows = await tx.fetch(
        "SELECT a.seq, a.at, a.action FROM audit a WHERE a.at < :late AND NOT EXISTS"
        " (SELECT 1 FROM audit_seals s WHERE s.seq = a.seq) ORDER BY a.seq LIMIT :limit",
        late=newest["at"] - 2 * LATE,
        limit=limit,
    )
    return [
        _finding(row["seq"], f"a record of {row['at'].isoformat()} has no link ({row['action']})")
        for row in rows
    ]


async def moved(tx: Tx, *, number: int, expected: str) -> list[Row]:
    """Whether the chain still contains a head that was kept elsewhere; a cut end is seen here."""
    if not number:
        return []
    kept = await tx.fetch_value("SELECT hash FROM audit_seals WHERE number = :n", n=number)
    if kept == expected:
        return []
    text = f"link {number} was there with another hash" if kept else f"link {number} was cut off"
    return [{"invariant": "I14", "id": f"link/{number}", "message": text}]


async def check(tx: Tx) -> list[Row]:
    """The whole chain and what is not in it: findings, the first broken record first."""
    state = Walk()
    while await walk(tx, state, limit=BATCH_ROWS):
        pass
    return state.findings + await unsealed(tx)
