"""Files that show what is wrong. A row is written after its file and removed before it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis import audit, clock, outbox
from chassis.db import Database, Row, Tx
from chassis.errors import NotAllowed, NotFound
from chassis.files import SHARDS, Files
from chassis.values import derived_id, new_id
from contracts.claims import EvidenceAdded, EvidenceRemoved
from services.claims import domain, inquiries, inquiry, inquiry_store, store
from services.claims.domain import ClaimNotFound
from services.claims.inquiry import By
from services.claims.pictures import Content, safe_name

# Nobody takes that long between the file and its row.
STALE_AFTER = timedelta(hours=1)


class EvidenceNotFound(NotFound):
    """There is no such file, or not for this caller."""

    def __init__(self, *, evidence_id: str) -> None:
        super().__init__("evidence_not_found", f"Evidence with id: {evidence_id} was not found")


@dataclass(frozen=True)
class Kept:
    """A file that is there already: its key, what it is, and its name as it was given."""

    file_key: str
    content: Content
    name: str


async def add_to_inquiry(
    tx: Tx,
    *,
    inquiry_id: str,
    owner: str | None,
    kept: Kept,
    by: By,
    key: str | None,
    now: datetime,
) -> Row:
    """Add a file to an inquiry; its row, also for a known key.

    ``owner`` restricts to that customer's. Raises InquiryNotFound, NotAllowed once it is decided
    or has enough files.
    """
    about = await inquiries.found(tx, inquiry_id=inquiry_id, owner=owner)
    inquiry.check_takes_evidence(inquiry=about)
    return await _add(tx, {"order_id": about.order_id, "inquiry_id": about.id}, kept, by, key, now)


async def add_to_claim(
    tx: Tx, *, claim_id: str, kept: Kept, by: By, key: str | None, now: datetime
) -> Row:
    """Add a file to a claim. Raises ClaimNotFound, and as ``domain.check_workable``."""
    claim = await _workable(tx, claim_id)
    return await _add(tx, {"order_id": claim.order_id, "claim_id": claim.id}, kept, by, key, now)


async def _add(
    tx: Tx, about: dict[str, str], kept: Kept, by: By, key: str | None, now: datetime
) -> Row:
    assert by.id is not None
    evidence_id = new_id("evid") if key is None else derived_id("evid", by.id, key)
    known = await inquiry_store.evidence(tx, evidence_id=evidence_id)
    if known is not None:
        return known
    both = {"inquiry_id": about.get("inquiry_id"), "claim_id": about.get("claim_id")}
    if await inquiry_store.count_evidence(tx, **both) >= inquiry.EVIDENCE_MAX:
        raise NotAllowed(
            "too_much_evidence", f"At most {inquiry.EVIDENCE_MAX} files can be added to one case"
        )
    content_type = kept.content.content_type
    row = {
        "id": evidence_id,
        "order_id": about["order_id"],
        **both,
        "file_key": kept.file_key,
        "name": safe_name(given=kept.name, content_type=content_type),
        "content_type": content_type,
        "size_bytes": len(kept.content.data),
        "sha256": hashlib.sha256(kept.content.data).hexdigest(),
        "author_kind": by.kind,
        "author_id": by.id,
        "created_at": now,
    }
    await inquiry_store.add_evidence(tx, row=row)
    told = {**both, "id": evidence_id, "order_id": row["order_id"], "content_type": content_type}
    await outbox.put(tx, EvidenceAdded(**told), about=f"evidence/{evidence_id}", version=1)
    # The name is left out: people call files after people.
    after = {name: row[name] for name in ("order_id", *both, "content_type", "size_bytes")}
    after |= {"content": row["sha256"]}
    await audit.record(tx, action="evidence.added", about=f"evidence/{evidence_id}", after=after)
    return row


async def remove_evidence(
    tx: Tx, *, evidence_id: str, inquiry_id: str | None, owner: str | None
) -> str:
    """Forget a file; the key of what can go from the store after the commit.

    A customer (``owner``) removes from an own inquiry what customers added. Raises
    EvidenceNotFound, InquiryNotFound, NotAllowed once the inquiry is decided or the claim is over.
    """
    if owner is not None:
        # First: whose inquiry it is not, learns nothing of its files.
        await inquiries.found(tx, inquiry_id=inquiry_id or "", owner=owner)
    row = await inquiry_store.evidence(tx, evidence_id=evidence_id)
    if row is None or (owner is not None and row["inquiry_id"] != inquiry_id):
        raise EvidenceNotFound(evidence_id=evidence_id)
    if row["inquiry_id"] is None:
        await _workable(tx, row["claim_id"])
    else:
        about = await inquiries.found(tx, inquiry_id=row["inquiry_id"], owner=owner)
        if owner is not None and row["author_kind"] != "customer":
            raise EvidenceNotFound(evidence_id=evidence_id)
        inquiry.check_takes_evidence(inquiry=about)
    if not await inquiry_store.remove_evidence(tx, evidence_id=evidence_id):
        # Somebody was quicker while this one waited for the lock of the case.
        raise EvidenceNotFound(evidence_id=evidence_id)
    told = {name: row[name] for name in ("id", "order_id", "inquiry_id", "claim_id")}
    event = EvidenceRemoved(**told, content_type=row["content_type"])
    await outbox.put(tx, event, about=f"evidence/{evidence_id}", version=2)
    before = {"content_type": row["content_type"], "content": row["sha256"]}
    about_it = f"evidence/{evidence_id}"
    await audit.record(tx, action="evidence.removed", about=about_it, before=before)
    key: str = row["file_key"]
    return key


async def _workable(tx: Tx, claim_id: str) -> domain.Claim:
    claim = await store.load(tx, claim_id=claim_id)
    hidden = claim is None or claim.recovery_point == "started" or claim.status == "refused"
    if claim is None or hidden or claim.is_exchange:
        raise ClaimNotFound(claim_id=claim_id, order_id=None)
    domain.check_workable(claim=claim)
    return claim


class Sweeper:
    """Removes files that no row speaks of: what a crash left between a file and its row."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files
        self._shard = 0

    async def step(self) -> bool:
        """One part of the files after the other; whether the round goes on."""
        before = clock.now() - STALE_AFTER
        keys = await self._files.stale(self._shard, before=before)
        if keys:
            async with self._database.glance() as tx:
                known = await inquiry_store.known_files(tx, keys=keys)
            for key in keys:
                if key not in known:
                    await self._files.remove(key)
        self._shard = (self._shard + 1) % SHARDS
        return self._shard != 0
