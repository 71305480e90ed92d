"""The loop that sends webhooks: at least once, never two of one webhook's slots too many.

A try is written down before it is made, with the time at which it counts as lost: whoever dies in
between leaves a delivery that comes due again. Whether it arrived or not, it has the same id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import structlog
from aiohttp.resolver import ThreadedResolver
from prometheus_client import Gauge
from yarl import URL

from chassis import audit, clock, context
from chassis.db import Database, Row, Tx
from chassis.errors import Unavailable
from chassis.failpoints import failpoint
from chassis.values import jitter, uuid7
from gateway import queries, store, targets, webhooks
from gateway.webhooks import Webhooks

log = structlog.get_logger(__name__)

TIMEOUT_S = 15.0
# Longer than a try takes: until then nobody else makes it again.
LEASE_S = 20.0
# Standard Webhooks' schedule: over three days, so a weekend's outage loses nothing.
RETRY_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
TRIES_MAX = 1 + len(RETRY_AFTER_S)
RETRY_AFTER_MAX_S = 86_400
# A receiver that takes nothing for so long is not coming back by itself.
GIVE_UP = timedelta(days=5)
AT_ONCE = 32
AT_ONCE_EACH = 4
TRIES_KEPT = 20
KEEP = {"delivered": timedelta(days=30), "failed": timedelta(days=90)}
FORGET_EVERY_S = 600.0
FORGET_ROWS = 1000
COUNT_FAILED = timedelta(days=1)
GONE = 410

PENDING = Gauge("reclamo_webhook_deliveries_pending", "Webhooks still to be sent", ("service",))
FAILED = Gauge(
    "reclamo_webhook_deliveries_failed", "Webhooks given up within the last day", ("service",)
)
FAILING = Gauge(
    "reclamo_webhooks_failing", "Webhooks whose receiver does not answer well", ("service",)
)
DISABLED = Gauge(
    "reclamo_webhooks_disabled", "Webhooks that were disabled for failing", ("service",)
)


async def measure(tx: Tx) -> dict[Gauge, float]:
    """The gauges of webhooks, for a scrape."""
    counts = await queries.outward(tx, failed_since=clock.now() - COUNT_FAILED)
    named = {"pending": PENDING, "failed": FAILED, "failing": FAILING, "disabled": DISABLED}
    return {gauge: float(counts[name]) for name, gauge in named.items()}


class Deliverer:
    """Sends what is due. ``step`` is for a Loop; ``woken`` is called when there may be more."""

    def __init__(self, database: Database, own: Webhooks) -> None:
        self._database = database
        self._own = own
        self._running: dict[asyncio.Task[None], str] = {}
        self._session: aiohttp.ClientSession | None = None
        self._forget_at_s = 0.0

    async def step(self) -> bool:
        """Begin as many tries as there are slots for; what ends wakes the loop again."""
        context.begin(context.Context(correlation_id=uuid7(), actor_kind=audit.SYSTEM))
        if clock.monotonic_s() >= self._forget_at_s:
            self._forget_at_s = clock.monotonic_s() + FORGET_EVERY_S
            await self._forget()
        for row in await self._take():
            task = asyncio.create_task(self._deliver(row), name=f"webhook {row['id']}")
            self._running[task] = row["webhook_id"]
            task.add_done_callback(self._ended)
        return False

    async def stop(self) -> None:
        """End every try under way: each comes due again. Close connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("webhook_failed", name=task.get_name(), error=repr(error))
        self._database.notify(webhooks.WAKE)

    async def _take(self) -> list[Row]:
        free = AT_ONCE - len(self._running)
        if free <= 0:
            return []
        busy = Counter(self._running.values())
        full = [webhook_id for webhook_id, many in busy.items() if many >= AT_ONCE_EACH]
        now = clock.now()
        async with self._database.glance() as tx:
            due = await store.due_deliveries(tx, now=now, passed_over=full, limit=4 * AT_ONCE)
        chosen: list[str] = []
        for row in due:
            if len(chosen) < free and busy[row["webhook_id"]] < AT_ONCE_EACH:
                busy[row["webhook_id"]] += 1
                chosen.append(row["id"])
        if not chosen:
            return []
        until = now + timedelta(seconds=LEASE_S)
        async with self._database.transaction() as tx:
            return await store.take_deliveries(tx, ids=chosen, now=now, until=until)

    async def _deliver(self, row: Row) -> None:
        await failpoint("gateway.webhook.w1")
        began = clock.monotonic_s()
        status, error, pause_s = await self._post(row)
        took_ms = int((clock.monotonic_s() - began) * 1000)
        await failpoint("gateway.webhook.w2")
        try:
            async with self._database.transaction() as tx:
                await self._note(tx, row, status, error, pause_s, took_ms)
        except Unavailable as trouble:
            # It comes due again after its lease.
            log.warning("webhook_not_noted", delivery=row["id"], error=trouble.message)
        await failpoint("gateway.webhook.w3")

    async def _post(self, row: Row) -> tuple[int | None, str | None, float]:
        """Status, what went wrong, and after how many seconds the receiver wants to be asked."""
        now = clock.now()
        stamp = int(now.timestamp())
        signed = {
            "webhook-id": row["event_id"],
            "webhook-timestamp": str(stamp),
            "webhook-signature": webhooks.signature(
                self._own.secrets({**row, "id": row["webhook_id"]}, now),
                message_id=row["event_id"],
                timestamp=stamp,
                body=row["body"],
            ),
        }
        try:
            targets.parsed(row["url"], anywhere=self._own.anywhere)
            targets.refuse_literal(row["url"], anywhere=self._own.anywhere)
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._opened().post(
                    URL(row["url"]),
                    data=row["body"].encode(),
                    headers={"content-type": "application/json", **signed},
                    allow_redirects=False,
                ) as answer,
            ):
                if 200 <= answer.status < 300:
                    return answer.status, None, 0.0
                pause_s = _asked_pause_s(answer.headers.get("retry-after"), now)
                return answer.status, f"answered {answer.status}", pause_s
        except TimeoutError:
            return None, f"no answer in {TIMEOUT_S:.0f} s", 0.0
        except Exception as error:
            # Whatever the other side does to us is its failure, not ours.
            return None, _told(error), 0.0

    async def _note(
        self,
        tx: Tx,
        row: Row,
        status: int | None,
        error: str | None,
        pause_s: float,
        took_ms: int,
    ) -> None:
        """How a try went: done, due again, or given up."""
        webhook = await store.lock_webhook(tx, webhook_id=row["webhook_id"])
        delivery = await store.lock_delivery(tx, delivery_id=row["id"])
        if webhook is None or delivery is None or delivery["state"] != "pending":
            return
        now = clock.now()
        tried = {"at": now, "status": status, "error": error, "took_ms": took_ms}
        state, next_at = "delivered", None
        if error is not None:
            state = "failed"
            if status != GONE and delivery["attempts"] < TRIES_MAX:
                state, next_at = "pending", now + _pause(delivery["attempts"], pause_s)
        await store.save_delivery(
            tx,
            delivery_id=row["id"],
            state=state,
            attempts=delivery["attempts"],
            next_at=next_at,
            tries=[*delivery["tries"], tried][-TRIES_KEPT:],
            ended_at=now if next_at is None else None,
        )
        if error is None:
            await store.webhook_works(tx, webhook_id=webhook["id"])
        else:
            await _note_failing(tx, webhook, status, now)

    async def _forget(self) -> None:
        for state, age in KEEP.items():
            async with self._database.transaction() as tx:
                before = clock.now() - age
                await store.forget_deliveries(tx, state=state, before=before, limit=FORGET_ROWS)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=AT_ONCE,
                    use_dns_cache=False,
                    resolver=targets.Resolver(ThreadedResolver(), anywhere=self._own.anywhere),
                ),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": "Reclamo-Webhooks"},
            )
        return self._session


async def _note_failing(tx: Tx, webhook: Row, status: int | None, now: datetime) -> None:
    """It fails: since when, and whether that is long enough to stop."""
    since = webhook["failing_since"] or now
    row = {**webhook, "failing_since": since, "updated_at": now}
    reason = None
    if status == GONE:
        reason = "The receiver answered 410 Gone."
    elif now - since >= GIVE_UP:
        reason = f"Nothing could be delivered for {GIVE_UP.days} days."
    if reason is not None and webhook["disabled_at"] is None:
        row |= {"disabled_at": now, "disabled_reason": reason}
        about = f"webhook/{webhook['id']}"
        await audit.record(tx, action="webhook.disabled", about=about, note=reason)
        log.error("webhook_disabled", webhook=webhook["id"], reason=reason)
    if row["failing_since"] != webhook["failing_since"] or reason is not None:
        await store.save_webhook(tx, row=row)


def _pause(attempts: int, asked_s: float) -> timedelta:
    planned_s = jitter(RETRY_AFTER_S[min(attempts, len(RETRY_AFTER_S)) - 1], 0.1)
    return timedelta(seconds=max(planned_s, asked_s))


def _asked_pause_s(header: str | None, now: datetime) -> float:
    """Retry-After in seconds, as seconds or as a date; nothing sensible is 0, a day the most."""
    if header is None:
        return 0.0
    try:
        asked_s = (
            float(header)
            if header.isascii() and header.isdigit() and len(header) < 10
            else (parsedate_to_datetime(header) - now).total_seconds()
        )
    except (ValueError, TypeError):
        return 0.0
    return min(max(asked_s, 0.0), RETRY_AFTER_MAX_S)


def _told(error: Exception) -> str:
    inner = error.__cause__ if isinstance(error, aiohttp.ClientConnectorError) else None
    found = inner if isinstance(inner, targets.Refused) else error
    return f"{type(found).__name__}: {found}"[:500]
