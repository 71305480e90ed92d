"""Who asks over HTTP, and whether this attempt has been carried out before."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.db import Tx
from chassis.idempotency import claim_key


@dataclass(frozen=True)
class Caller:
    """Who asks over HTTP, and the idempotency key of the attempt, if it has one."""

    principal: str
    key: str | None = None
    fingerprint: str = ""


async def done_before(tx: Tx, caller: Caller, subject_id: str) -> bool:
    """Whether this attempt has already been carried out. Raises KeyReused for another request."""
    return await made_before(tx, caller, subject_id) is not None


async def made_before(tx: Tx, caller: Caller, subject_id: str) -> str | None:
    """What this attempt made or changed before, None if it is the first. Raises as above."""
    if caller.key is None:
        return None
    return await claim_key(
        tx,
        principal=caller.principal,
        key=caller.key,
        fingerprint=caller.fingerprint,
        subject_id=subject_id,
    )
