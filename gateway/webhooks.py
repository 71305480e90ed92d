"""Outgoing webhooks by Standard Webhooks 1.0: who wants to hear what, and how it is signed.

A payload is thin: type, ids, version. Whoever needs more asks the API, with its own rights.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from chassis import audit, auth, clock
from chassis.db import Database, DuplicateRow, Row, Tx
from chassis.errors import Duplicate, Invalid, NotAllowed, NotFound
from chassis.messaging import Envelope
from chassis.values import new_id, uuid7
from contracts import catalogue
from gateway import queries, store, targets

EVERYTHING = "*"
TEST = "webhook.test"
WEBHOOKS_MAX = 100
# How long a receiver may take to learn the new secret.
BOTH_SECRETS = timedelta(hours=24)
WAKE = "webhooks"
# How soon every replica of the gateway notes events for the first webhook that there is.
HEARS_WITHIN_S = 1.0

Listen = Callable[[], Awaitable[None]]

# What a webhook may ask for: Medusa's names and the types of our own.
EVENTS: tuple[str, ...] = (
    EVERYTHING,
    *sorted({name for entry in catalogue.public_events() for name in entry.names}),
    *(entry.type for entry in catalogue.public_events()),
)


def selects(events: Iterable[str], *, type_: str, name: str) -> bool:
    """Whether a choice of events takes this one."""
    return not {EVERYTHING, type_, name}.isdisjoint(events)


def signature(secrets: Iterable[bytes], *, message_id: str, timestamp: int, body: str) -> str:
    """The header ``webhook-signature``: one signature per secret, the newest first."""
    content = f"{message_id}.{timestamp}.{body}".encode()
    return " ".join(
        f"v1,{base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()}"
        for secret in secrets
    )


def body_of(envelope: Envelope) -> str:
    """What is sent about an event: {type, timestamp, data, event}."""
    return _body(
        str(envelope.data.get("name") or envelope.type),
        envelope.time,
        envelope.data,
        {
            "id": envelope.id,
            "type": envelope.type,
            "source": envelope.source,
            "subject": envelope.subject,
            "version": envelope.sequence,
        },
    )


def _body(type_: str, timestamp: str, data: Any, event: Row) -> str:
    whole = {"type": type_, "timestamp": timestamp, "data": data, "event": event}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


async def take(tx: Tx, envelope: Envelope, *, now: datetime) -> None:
    """Note an event for every webhook that wants it; a repeat notes nothing new."""
    name = str(envelope.data.get("name") or envelope.type)
    rows = [
        _delivery(
            webhook["id"],
            event_id=envelope.id,
            type_=envelope.type,
            name=name,
            subject=envelope.subject,
            body=body_of(envelope),
            now=now,
        )
        for webhook in await store.listeners(tx)
        if selects(webhook["events"], type_=envelope.type, name=name)
    ]
    if rows:
        await store.add_deliveries(tx, rows=rows)
        tx.wake(WAKE)


def _delivery(
    webhook_id: str,
    *,
    event_id: str,
    type_: str,
    name: str,
    subject: str,
    body: str,
    now: datetime,
) -> Row:
    return {
        "id": new_id("whdel"),
        "webhook_id": webhook_id,
        "event_id": event_id,
        "type": type_,
        "name": name,
        "subject": subject,
        "body": body,
        "state": "pending",
        "next_at": now,
        "tries": [],
        "created_at": now,
    }


class Webhooks:
    """What people do with webhooks. ``anywhere``: private addresses are allowed. ``listen`` lets
    the bus deliver events; it raises Unavailable."""

    def __init__(
        self, database: Database, secret_key: str, listen: Listen, *, anywhere: bool
    ) -> None:
        self._database = database
        self._secret_key = secret_key
        self._listen = listen
        self.anywhere = anywhere

    def secret(self, webhook_id: str, number: int) -> bytes:
        """The secret of a webhook. It is derived and not stored, so no backup gives it away."""
        return auth.derived_key(self._secret_key, f"webhook {webhook_id} {number}")

    def secrets(self, webhook: Row, now: datetime) -> list[bytes]:
        """What a message is signed with: during a rotation also the secret before."""
        number = webhook["secret_number"]
        found = [self.secret(webhook["id"], number)]
        if webhook["previous_until"] is not None and now < webhook["previous_until"]:
            found.append(self.secret(webhook["id"], number - 1))
        return found

    def _told(self, webhook: Row) -> str:
        secret = self.secret(webhook["id"], webhook["secret_number"])
        return f"whsec_{base64.b64encode(secret).decode()}"

    async def add(
        self, *, url: str, events: list[str], description: str | None, user_id: str
    ) -> tuple[Row, str]:
        """A new webhook and its secret. Raises Invalid, Duplicate, NotAllowed, Unavailable."""
        _check_events(events)
        await targets.check(url, anywhere=self.anywhere)
        # Before it is there: no event of after may be missed. It stays so, because whoever took it
        # back could meet somebody who adds the next.
        await self._listen()
        now = clock.now()
        row: Row = {
            "id": new_id("wh"),
            "url": url,
            "description": description,
            "events": list(dict.fromkeys(events)),
            "secret_number": 1,
            "previous_until": None,
            "enabled_since": now,
            "disabled_at": None,
            "disabled_reason": None,
            "failing_since": None,
            "created_by": user_id,
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.transaction() as tx:
                if len(await store.webhooks(tx)) >= WEBHOOKS_MAX:
                    message = f"There are {WEBHOOKS_MAX} webhooks already: remove one first."
                    raise NotAllowed("too_many_webhooks", message)
                await store.add_webhook(tx, row=row)
                await _record(tx, "webhook.added", row["id"], after=_traced(row))
                tx.wake(WAKE)
        except DuplicateRow:
            raise _taken(url) from None
        return row, self._told(row)

    async def change(self, webhook_id: str, changes: Row) -> Row:
        """Change url, events, description or enabled; the webhook. Raises as ``add``, NotFound."""
        if "events" in changes:
            _check_events(changes["events"])
        if "url" in changes:
            await targets.check(changes["url"], anywhere=self.anywhere)
        now = clock.now()
        try:
            async with self._database.transaction() as tx:
                row = await _locked(tx, webhook_id)
                after = {**row, **changes, "updated_at": now}
                enabled = after.pop("enabled", None)
                if enabled is False and row["disabled_at"] is None:
                    after |= {"disabled_at": now}
                elif enabled and row["disabled_at"] is not None:
                    after |= {"disabled_at": None, "disabled_reason": None, "failing_since": None}
                    after |= {"enabled_since": now}
                if after["events"] != row["events"]:
                    after |= {"enabled_since": now}
                if after["url"] != row["url"]:
                    after |= {"failing_since": None}
                await store.save_webhook(tx, row=after)
                if after["disabled_at"] is None and after["failing_since"] != row["failing_since"]:
                    # Somebody mended it: what waits for the next try waits no longer.
                    await store.hasten_deliveries(tx, webhook_id=webhook_id, now=now)
                told = audit.changes(_traced(row), _traced(after))
                await _record(tx, "webhook.changed", webhook_id, before=told[0], after=told[1])
                tx.wake(WAKE)
        except DuplicateRow:
            raise _taken(changes["url"]) from None
        return after

    async def remove(self, webhook_id: str) -> None:
        """Forget a webhook and what was to be sent. Raises NotFound."""
        async with self._database.transaction() as tx:
            row = await _locked(tx, webhook_id)
            await store.remove_webhook(tx, webhook_id=webhook_id)
            await _record(tx, "webhook.removed", webhook_id, before=_traced(row))

    async def rotate(self, webhook_id: str) -> tuple[Row, str]:
        """A new secret; the old one signs too for a day. Raises NotFound."""
        now = clock.now()
        async with self._database.transaction() as tx:
            row = await _locked(tx, webhook_id)
            row |= {
                "secret_number": row["secret_number"] + 1,
                "previous_until": now + BOTH_SECRETS,
                "updated_at": now,
            }
            await store.save_webhook(tx, row=row)
            await _record(tx, "webhook.rotated", webhook_id)
        return row, self._told(row)

    async def send_test(self, webhook_id: str) -> Row:
        """Send a message that means nothing; its delivery. Raises NotFound, NotAllowed."""
        now, event_id = clock.now(), uuid7()
        event: Row = {"id": event_id, "type": TEST, "source": "/reclamo/gateway"}
        event |= {"subject": f"webhook/{webhook_id}", "version": None}
        stamp = now.isoformat(timespec="milliseconds")
        row = _delivery(
            webhook_id,
            event_id=event_id,
            type_=TEST,
            name=TEST,
            subject=event["subject"],
            body=_body(TEST, stamp, {"id": webhook_id}, event),
            now=now,
        )
        async with self._database.transaction() as tx:
            _must_be_enabled(await _locked(tx, webhook_id))
            await store.add_deliveries(tx, rows=[row])
            tx.wake(WAKE)
            return await _delivery_of(tx, webhook_id, row["id"])

    async def resend(self, webhook_id: str, delivery_id: str) -> Row:
        """Send a delivery again, now and with all its tries; it. Raises NotFound, NotAllowed."""
        async with self._database.transaction() as tx:
            webhook = await _locked(tx, webhook_id)
            await _delivery_of(tx, webhook_id, delivery_id)
            _must_be_enabled(webhook)
            row = await store.lock_delivery(tx, delivery_id=delivery_id)
            assert row is not None
            await store.save_delivery(
                tx,
                delivery_id=delivery_id,
                state="pending",
                attempts=0,
                next_at=clock.now(),
                tries=row["tries"],
                ended_at=None,
            )
            note = f"delivery {delivery_id}, which was {row['state']}"
            await _record(tx, "webhook.resent", webhook_id, note=note)
            tx.wake(WAKE)
            return await _delivery_of(tx, webhook_id, delivery_id)


async def known(tx: Tx, webhook_id: str) -> Row:
    """A webhook. Raises NotFound."""
    row = await store.webhook(tx, webhook_id=webhook_id)
    if row is None:
        raise _unknown(webhook_id)
    return row


async def _locked(tx: Tx, webhook_id: str) -> Row:
    row = await store.lock_webhook(tx, webhook_id=webhook_id)
    if row is None:
        raise _unknown(webhook_id)
    return row


async def _delivery_of(tx: Tx, webhook_id: str, delivery_id: str) -> Row:
    row = await queries.delivery(tx, webhook_id=webhook_id, delivery_id=delivery_id)
    if row is None:
        raise unknown_delivery(delivery_id)
    return row


def unknown_delivery(delivery_id: str) -> NotFound:
    """No such delivery of this webhook."""
    return NotFound("delivery_unknown", f"Delivery with id {delivery_id} was not found")


def _unknown(webhook_id: str) -> NotFound:
    return NotFound("webhook_unknown", f"Webhook with id {webhook_id} was not found")


def _taken(url: str) -> Duplicate:
    return Duplicate("webhook_url_taken", f"Webhook with url {url} already exists.")


def _must_be_enabled(webhook: Row) -> None:
    if webhook["disabled_at"] is not None:
        raise NotAllowed("webhook_disabled", "The webhook is disabled: enable it first.")


def _check_events(events: list[str]) -> None:
    if not events:
        raise Invalid("invalid_data", "events should not be empty")


def _traced(webhook: Row) -> Row:
    """What the audit trail tells of it; not the path, for some receivers keep a secret there."""
    host = targets.parsed(webhook["url"], anywhere=True).hostname
    enabled = webhook["disabled_at"] is None
    return {"host": host, "events": webhook["events"], "enabled": enabled}


async def _record(tx: Tx, action: str, webhook_id: str, **more: Any) -> None:
    await audit.record(tx, action=action, about=f"webhook/{webhook_id}", **more)
