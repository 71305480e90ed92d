"""The workers that ask payment providers, outside of any transaction, until they have answered:
for refunds and for captures; and who writes the credit memos of what went out.

What a crash leaves behind is found again: before the call (p1) the attempt is due once more, after
the call and before the record (p2) the same key brings the same answer, after it (p3) the outbox
holds the reply. No attempt is ever deleted or asked with another key.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from chassis import clock
from chassis.db import Database, Row, Tx
from chassis.failpoints import failpoint
from services.orders import operations_money, queries_money
from services.orders.providers import (
    Answer,
    CaptureCall,
    PaymentProvider,
    Providers,
    RefundCall,
)

log = structlog.get_logger(__name__)

UNKNOWN = Gauge("reclamo_refunds_unknown", "Refunds that no provider has confirmed", ("service",))
UNKNOWN_AGE = Gauge(
    "reclamo_refunds_unknown_oldest_seconds", "Age of the oldest of them", ("service",)
)
CAPTURES = Gauge(
    "reclamo_captures_unknown", "Captures that no provider has confirmed", ("service",)
)
CAPTURES_AGE = Gauge(
    "reclamo_captures_unknown_oldest_seconds", "Age of the oldest of them", ("service",)
)

CALL_S_MAX = 10
# Providers forget keys after 24 hours: later a repeat could be a second refund.
KEY_AGE_H_MAX = 23


async def measure(tx: Tx) -> dict[Gauge, float]:
    """What a scrape wants to know of refunds and captures."""
    found: dict[Gauge, float] = {}
    for table, many, age in (
        ("refund_attempts", UNKNOWN, UNKNOWN_AGE),
        ("captures", CAPTURES, CAPTURES_AGE),
    ):
        count, oldest = await queries_money.unanswered(tx, table=table)
        found[many] = count
        found[age] = (clock.now() - oldest).total_seconds() if oldest else 0.0
    return found


class RefundWorker:
    """Takes due attempts, asks their providers at once, and records each answer by itself."""

    def __init__(self, database: Database, providers: Providers) -> None:
        self._database = database
        self._providers = providers
        # Attempts may be marked as sent that nobody waits for: of a process that died, or of a
        # round that broke off. If another replica does wait, the provider is asked twice with the
        # same key, which is what keys are for.
        self._left_behind = True

    async def step(self) -> bool:
        """One round; True when there may be more."""
        left_behind, self._left_behind = self._left_behind, True
        async with self._database.transaction() as tx:
            due = await operations_money.take_attempts(tx, now=clock.now(), left_behind=left_behind)
        outcomes = await asyncio.gather(*(self._try(row) for row in due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._left_behind = False
        return len(due) == operations_money.ATTEMPTS_AT_ONCE

    async def _try(self, attempt: Row) -> None:
        provider = self._providers.get(attempt["provider_id"])
        await failpoint("orders.refund.p1")
        try:
            if provider is None:
                raise LookupError(f"payment provider {attempt['provider_id']} is not configured")
            async with asyncio.timeout(CALL_S_MAX):
                answer = await self._ask(provider, attempt)
        except Exception as error:
            await self._record_unknown(attempt, f"{type(error).__name__}: {error}")
            return
        await failpoint("orders.refund.p2")
        async with self._database.transaction() as tx:
            await operations_money.record_answer(
                tx,
                attempt=attempt,
                posted=answer.posted,
                provider_ref=answer.provider_ref,
                message=answer.message,
                now=clock.now(),
            )
        await failpoint("orders.refund.p3")

    async def _ask(self, provider: PaymentProvider, attempt: Row) -> Answer:
        """Ask for the status first where an earlier try may have arrived; then the same call."""
        call = RefundCall(
            key=attempt["provider_key"],
            payment_id=attempt["payment_id"],
            amount=attempt["amount"],
            currency_code=attempt["currency_code"],
            cause_id=attempt["cause_id"],
        )
        if attempt["tries"]:
            known = await provider.status(call)
            if known is not None:
                return known
            if clock.now() - attempt["created_at"] > timedelta(hours=KEY_AGE_H_MAX):
                raise LookupError("needs an operator: the provider may have forgotten the key")
        return await provider.refund(call)

    async def _record_unknown(self, attempt: Row, error: str) -> None:
        log.warning("refund_unknown", refund_id=attempt["refund_id"], error=error)
        async with self._database.transaction() as tx:
            await operations_money.record_unknown(tx, attempt=attempt, error=error, now=clock.now())


class MemoClerk:
    """Writes the credit memos of refunds that went out, some seconds behind them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def step(self) -> bool:
        """One round; True when there may be more."""
        async with self._database.glance() as tx:
            if not await queries_money.is_memo_due(tx):
                return False
        async with self._database.transaction() as tx:
            issued = await operations_money.issue_memos(tx, now=clock.now())
            await failpoint("orders.memo.m1")
        await failpoint("orders.memo.m2")
        return issued > 0


class CaptureWorker:
    """Takes due captures, asks their providers at once, and records each answer by itself.

    A capture that was asked before is asked again with its key: the provider gives its first
    answer, or takes the money now.
    """

    def __init__(self, database: Database, providers: Providers) -> None:
        self._database = database
        self._providers = providers
        # As of the refund worker: what is marked as sent may have nobody who waits for it.
        self._left_behind = True

    async def step(self) -> bool:
        """One round; True when there may be more."""
        left_behind = self._left_behind
        async with self._database.glance() as tx:
            # Captures are rare: an idle second costs one look, not a transaction.
            if not left_behind and not await queries_money.is_capture_due(tx, now=clock.now()):
                return False
        self._left_behind = True
        async with self._database.transaction() as tx:
            due = await operations_money.take_captures(tx, now=clock.now(), left_behind=left_behind)
        outcomes = await asyncio.gather(*(self._try(row) for row in due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._left_behind = False
        return len(due) == operations_money.ATTEMPTS_AT_ONCE

    async def _try(self, capture: Row) -> None:
        provider = self._providers.get(capture["provider_id"])
        await failpoint("orders.capture.p1")
        try:
            if provider is None:
                raise LookupError(f"payment provider {capture['provider_id']} is not configured")
            call = CaptureCall(
                key=capture["id"],
                payment_id=capture["payment_id"],
                amount=capture["amount"],
                currency_code=capture["currency_code"],
            )
            if clock.now() - capture["created_at"] > timedelta(hours=KEY_AGE_H_MAX):
                raise LookupError("needs an operator: the provider may have forgotten the key")
            async with asyncio.timeout(CALL_S_MAX):
                answer = await provider.capture(call)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            log.warning("capture_unknown", capture_id=capture["id"], error=text)
            async with self._database.transaction() as tx:
                await operations_money.record_capture_unknown(
                    tx, capture=capture, error=text, now=clock.now()
                )
            return
        await failpoint("orders.capture.p2")
        async with self._database.transaction() as tx:
            await operations_money.record_capture(
                tx,
                capture=capture,
                posted=answer.posted,
                provider_ref=answer.provider_ref,
                message=answer.message,
                now=clock.now(),
            )
        await failpoint("orders.capture.p3")
