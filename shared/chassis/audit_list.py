"""Reading the audit trail: filters, newest first."""

from __future__ import annotations

from datetime import datetime

from chassis.db import Row, Tx


async def page(
    tx: Tx,
    *,
    about: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: int,
    offset: int = 0,
) -> tuple[list[Row], int]:
    """Records with their link in the chain (None: not sealed yet), and how many there are.

    ``action`` also takes a family: ``claim.`` finds every action of claims.
    """
    wanted = {
        "a.about = :about": about,
        "(a.actor_id = :actor OR a.actor_kind = :actor)": actor,
        "substr(a.action, 1, length(CAST(:action AS TEXT))) = :action": action,
        "a.at >= :since": since,
    }
    where = " AND ".join(sql for sql, value in wanted.items() if value is not None) or "1 = 1"
    given = {"about": about, "actor": actor, "action": action, "since": since}
    params = {name: value for name, value in given.items() if value is not None}
    rows = await tx.fetch(
        "SELECT a.seq, a.at, a.actor_kind, a.actor_id, a.action, a.about, a.before, a.after,"
        " a.note, a.correlation_id, s.number, s.hash FROM audit a"
        " LEFT JOIN audit_seals s ON s.seq = a.seq"
        f" WHERE {where} ORDER BY a.seq DESC LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **params,
    )
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM audit a WHERE {where}", **params)
    return [{**row, "service": tx.database.service} for row in rows], int(count)
