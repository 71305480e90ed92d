"""What is read of the gateway's own tables for people: pages and counts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis.db import Row, Tx
from chassis.errors import Invalid

_DELIVERY = (
    "id, webhook_id, event_id, type, name, subject, state, attempts, next_at, tries, created_at,"
    " ended_at"
)


async def deliveries(
    tx: Tx, *, webhook_id: str, state: str | None, limit: int, offset: int
) -> tuple[list[Row], int]:
    """A page of a webhook's deliveries without their bodies, the newest first, and how many."""
    where, given = "webhook_id = :webhook_id", {"webhook_id": webhook_id}
    if state is not None:
        where, given = f"{where} AND state = :state", {**given, "state": state}
    rows = await tx.fetch(
        f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE {where}"
        " ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **given,
    )
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM webhook_deliveries WHERE {where}", **given)
    return rows, int(count)


async def delivery(tx: Tx, *, webhook_id: str, delivery_id: str) -> Row | None:
    """One delivery of a webhook with the body that is sent."""
    return await tx.fetch_one(
        f"SELECT {_DELIVERY}, body FROM webhook_deliveries"
        " WHERE id = :id AND webhook_id = :webhook_id",
        id=delivery_id,
        webhook_id=webhook_id,
    )


async def outward(tx: Tx, *, failed_since: datetime) -> dict[str, int]:
    """How the webhooks are: pending and failed deliveries, failing and disabled webhooks."""
    return {
        name: int(await tx.fetch_value(sql, **given))
        for name, sql, given in (
            _counted("pending", "webhook_deliveries WHERE state = 'pending'"),
            _counted(
                "failed",
                "webhook_deliveries WHERE state = 'failed' AND ended_at >= :since",
                since=failed_since,
            ),
            _counted("failing", "webhooks WHERE disabled_at IS NULL AND failing_since IS NOT NULL"),
            _counted("disabled", "webhooks WHERE disabled_reason IS NOT NULL"),
        )
    }


def _counted(name: str, what: str, **given: Any) -> tuple[str, str, dict[str, Any]]:
    return name, f"SELECT COUNT(*) FROM {what}", given


async def told(tx: Tx, *, event_ids: list[str]) -> set[tuple[str, str]]:
    """(webhook, event) of the deliveries of these events."""
    rows = await tx.fetch(
        "SELECT webhook_id, event_id FROM webhook_deliveries WHERE event_id IN :ids", ids=event_ids
    )
    return {(row["webhook_id"], row["event_id"]) for row in rows}


_SORTABLE = ("created_at", "updated_at", "id", "type", "status")
_COMPARED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


async def jobs(
    tx: Tx,
    *,
    created_by: str,
    ids: list[str] | None,
    types: list[str] | None,
    times: dict[str, dict[str, datetime] | None],
    order: str,
    limit: int,
    offset: int,
) -> tuple[list[Row], int]:
    """A page of somebody's batch jobs, and how many there are.

    ``times``: column -> comparisons by operator, or None for "not yet". Raises Invalid for an
    ``order`` that is none.
    """
    where, given = ["created_by = :created_by"], dict[str, Any](created_by=created_by)
    for name, values in (("id", ids), ("type", types)):
        if values is not None:
            where.append(f"{name} IN :{name}")
            given[name] = values
    for column, compared in times.items():
        if compared is None:
            where.append(f"{column} IS NULL")
            continue
        for operator, value in compared.items():
            where.append(f"{column} {_COMPARED[operator]} :{column}_{operator}")
            given[f"{column}_{operator}"] = value
    column = order.removeprefix("-")
    if column not in _SORTABLE:
        raise Invalid("order_unknown_field", f"Order field {column[:100]} is not valid")
    direction = "DESC" if order.startswith("-") else "ASC"
    those = " AND ".join(where)
    rows = await tx.fetch(
        f"SELECT * FROM batch_jobs WHERE {those} ORDER BY {column} {direction}, id {direction}"
        " LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **given,
    )
    return rows, int(
        await tx.fetch_value(f"SELECT COUNT(*) FROM batch_jobs WHERE {those}", **given)
    )
