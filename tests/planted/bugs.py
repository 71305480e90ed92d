"""Known ways to get it wrong, and how each is planted into the code for the length of a test.

``NOT_PLANTED`` says which of the list are not here, and why.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from chassis import clock, idempotency, sagas
from chassis.bus_local import LocalBus
from chassis.db import Row, Tx
from chassis.idempotency import Caller
from chassis.inbox import Inbox
from chassis.messaging import Envelope, Parcel
from chassis.outbox import Relay, put
from chassis.values import new_id
from contracts.inventory import (
    FulfillmentStockRestored,
    ReleaseReservation,
    ReservationReleased,
    RestoreFulfillmentStock,
)
from contracts.orders import ClaimHoldReleased, ReleaseClaimHold
from services.claims import operations as claims_operations
from services.inventory import dispatching, store_fulfillments, store_reservations
from services.inventory import operations as inventory_operations
from services.inventory import store as inventory_store
from services.orders import (
    crediting,
    goodwill,
    holding,
    operations_claims,
    operations_money,
    paying,
    remedies,
    settling,
    store_exchanges,
    store_money,
    store_units,
)
from services.orders.providers import FAKE, CaptureCall, FakeProvider, RefundCall
from services.orders.worker import RefundWorker
from services.returns import saga as returns_saga

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Bug:
    """One breakage: its number in the list, what it is, how it is planted, and what must show.

    ``seeds`` are the simulation's; by the last of them it must have been caught. ``told`` is a
    word that the finding contains.
    """

    number: str
    breakage: str
    plant: Callable[[Patch], None]
    seeds: range
    told: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.breakage}"


def _commit_here(tx: Tx) -> None:
    """End the transaction in the middle and go on in another."""
    tx._connection.execute("COMMIT")  # type: ignore[attr-defined]
    tx._connection.execute("BEGIN IMMEDIATE")  # type: ignore[attr-defined]


# ---- messages -----------------------------------------------------------------------------------


def ack_before_commit(patch: Patch) -> None:
    """1: the bus hands a message over and does not wait until it is handled."""
    original = LocalBus._one
    running: set[Any] = set()

    async def one(self: LocalBus, queue: str, parcel: Parcel, redelivered: bool) -> None:
        task = asyncio.ensure_future(original(self, queue, parcel, redelivered))
        running.add(task)
        task.add_done_callback(running.discard)

    patch.setattr(LocalBus, "_one", one)


def inbox_row_in_another_transaction(patch: Patch) -> None:
    """2: a message is remembered first, and handled afterwards."""
    run_handler = Inbox._run_handler

    async def handler(self: Inbox, tx: Tx, envelope: Envelope) -> None:
        _commit_here(tx)
        await run_handler(self, tx, envelope)

    patch.setattr(Inbox, "_run_handler", handler)


def inbox_off(patch: Patch) -> None:
    """3: a message that was seen before is handled again. The natural keys must hold alone."""
    original = Inbox._handle_once

    async def handle(self: Inbox, envelope: Envelope) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                "DELETE FROM inbox WHERE consumer = :queue AND message_id = :id AND state = 'done'",
                queue=self._queue,
                id=envelope.id,
            )
        await original(self, envelope)

    patch.setattr(Inbox, "_handle_once", handle)


def marked_before_confirm(patch: Patch) -> None:
    """4: the relay marks a row as sent, and sends it then."""
    original = Relay._in_order

    async def in_order(self: Relay, group: list[Row]) -> Any:
        async with self._database.transaction() as tx:
            await tx.execute(
                "UPDATE outbox SET sent_at = :now WHERE seq IN :seqs",
                now=clock.now(),
                seqs=[row["seq"] for row in group],
            )
        return await original(self, group)

    patch.setattr(Relay, "_in_order", in_order)


def cursor_relay(patch: Patch) -> None:
    """5: the relay goes on behind the last row it read, whatever became of the rows before."""
    original = Relay._batch

    async def batch(self: Relay, session: Any) -> bool:
        rows = await session.fetch("SELECT seq FROM outbox WHERE sent_at IS NULL")
        more = await original(self, session)
        if rows:
            await session.execute(
                "UPDATE outbox SET sent_at = :now WHERE sent_at IS NULL AND seq <= :last",
                now=clock.now(),
                last=max(row["seq"] for row in rows),
            )
        return more

    patch.setattr(Relay, "_batch", batch)


def inbox_forgets_too_early(patch: Patch) -> None:
    """19: the inbox keeps what it saw for two seconds."""
    original = Inbox._handle_once

    async def handle(self: Inbox, envelope: Envelope) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                "DELETE FROM inbox WHERE state = 'done' AND done_at < :then",
                then=datetime.fromtimestamp(clock.now().timestamp() - 2, clock.now().tzinfo),
            )
        await original(self, envelope)

    patch.setattr(Inbox, "_handle_once", handle)


# ---- sagas --------------------------------------------------------------------------------------


def no_tombstone(patch: Patch) -> None:
    """8: an undo that comes before its do leaves nothing behind."""
    release = inventory_operations.release_reservation

    async def release_reservation(tx: Tx, *, command: ReleaseReservation, now: datetime) -> None:
        if await store_reservations.reservation_group(tx, command.remedy_id) is None:
            reply = ReservationReleased(remedy_id=command.remedy_id)
            await put(tx, reply, about=f"remedy/{command.remedy_id}")
            return
        await release(tx, command=command, now=now)

    async def remedy(tx: Tx, kind: str, remedy_id: str, order_id: str, now: datetime) -> Row | None:
        return await store_units.remedy(tx, remedy_id=remedy_id)

    patch.setattr(inventory_operations, "release_reservation", release_reservation)
    patch.setattr(holding, "remedy_or_tombstone", remedy)


def no_step_guard(patch: Patch) -> None:
    """9: a reply counts, whatever was asked and whenever."""
    original = sagas.advance

    def advance(table: Any, saga: Any, *, reply: Any, answers: Any, now: datetime) -> Any:
        step, role = table.hears()[type(reply)]
        mark = "undoing" if role == "undone" else "asked"
        saga = replace(saga, marks={**saga.marks, step.name: mark})
        if saga.over:
            saga = replace(saga, direction="back" if role == "undone" else "forward")
        expected = sagas._do_id(saga, step)
        if role == "undone":
            expected = sagas._undo_id(saga, step.name)
        return original(table, saga, reply=reply, answers=expected, now=now)

    patch.setattr(sagas, "advance", advance)


def inbox_and_step_guard_off(patch: Patch) -> None:
    """3: neither the message's id nor the step it answers is looked at."""
    inbox_off(patch)
    no_step_guard(patch)


def key_before_its_claim(patch: Patch) -> None:
    """22: what a repeat is answered from is committed before the thing itself."""
    original = idempotency.take_key

    async def take_key(tx: Tx, caller: Caller, *, subject_id: str) -> str | None:
        held = await original(tx, caller, subject_id=subject_id)
        if caller.key is not None:
            _commit_here(tx)
        return held

    patch.setattr(idempotency, "take_key", take_key)


# ---- money --------------------------------------------------------------------------------------


def unknown_is_declined(patch: Patch) -> None:
    """10: a refund without an answer is taken back, as if the provider had said no."""

    async def record(self: RefundWorker, attempt: Row, error: str) -> None:
        async with self._database.transaction() as tx:
            await operations_money.record_answer(
                tx,
                attempt=attempt,
                posted=False,
                provider_ref=None,
                message=error,
                now=clock.now(),
            )

    patch.setattr(RefundWorker, "_record_unknown", record)


def key_per_attempt(patch: Patch) -> None:
    """11: every try has a provider key of its own."""
    original = RefundWorker._ask

    async def ask(self: RefundWorker, provider: Any, attempt: Row) -> Any:
        key = f"{attempt['provider_key']}_{attempt['tries']}" if attempt["tries"] else None
        return await original(
            self, provider, {**attempt, "provider_key": key or attempt["provider_key"]}
        )

    patch.setattr(RefundWorker, "_ask", ask)


def failed_refund_is_deleted(patch: Patch) -> None:
    """24: the row of a failed call goes, and the next try is a new refund."""
    original = operations_money.record_unknown

    async def record_unknown(tx: Tx, *, attempt: Row, error: str, now: datetime) -> None:
        await original(tx, attempt=attempt, error=error, now=now)
        await tx.execute(
            "UPDATE refund_attempts SET tries = 0, provider_key = :key"
            " WHERE refund_id = :refund_id AND payment_id = :payment_id",
            key=new_id("rf"),
            refund_id=attempt["refund_id"],
            payment_id=attempt["payment_id"],
        )

    patch.setattr(operations_money, "record_unknown", record_unknown)


def provider_before_any_row(patch: Patch) -> None:
    """25: the provider is called first, and what it did is written down then."""
    providers: list[FakeProvider] = []
    build = FakeProvider.__init__

    def init(self: FakeProvider, *given: Any) -> None:
        build(self, *given)
        providers.append(self)

    original = store_money.add_attempts

    async def add_attempts(tx: Tx, *, rows: Sequence[Mapping[str, Any]]) -> None:
        called = []
        for row in rows:
            key = new_id("rf")
            if row["provider_id"] == FAKE:
                providers[-1]._book(
                    RefundCall(
                        key=key,
                        payment_id=row["payment_id"],
                        amount=row["amount"],
                        currency_code=row["currency_code"],
                        cause_id=row["cause_id"],
                    )
                )
            called.append({**row, "provider_key": key})
        await original(tx, rows=called)

    patch.setattr(FakeProvider, "__init__", init)
    patch.setattr(store_money, "add_attempts", add_attempts)


def recomputed_after_a_crash(patch: Patch) -> None:
    """26: a second try refunds what is left of the payment."""
    original = RefundWorker._ask

    async def ask(self: RefundWorker, provider: Any, attempt: Row) -> Any:
        if attempt["tries"]:
            async with self._database.reading() as tx:
                left = await tx.fetch_value(
                    "SELECT amount - amount_refunded FROM payments WHERE id = :id",
                    id=attempt["payment_id"],
                )
            attempt = {**attempt, "amount": left}
        return await original(self, provider, attempt)

    patch.setattr(RefundWorker, "_ask", ask)


def announced_units_are_refunded(patch: Patch) -> None:
    """27: a receipt pays for what was announced, not for what came."""
    original = remedies.due

    def due(*, held: Mapping[str, Any], given: int | None, shipping_cost: int) -> int:
        if any(line.received for line in held.values()):
            held = {
                name: replace(line, received=line.share.quantity) for name, line in held.items()
            }
        return original(held=held, given=given, shipping_cost=shipping_cost)

    patch.setattr(remedies, "due", due)


def release_while_in_flight(patch: Patch) -> None:
    """28: a hold is released though its refund is on the way."""

    async def release(tx: Tx, *, command: ReleaseClaimHold, now: datetime) -> None:
        order = await paying.open_order(tx, command.order_id)
        remedy = await holding.remedy_or_tombstone(
            tx, "claim", command.claim_id, command.order_id, now
        )
        if order is not None and remedy is not None and remedy["state"] != "released":
            refund = await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
            if refund is not None and refund["state"] == "held":
                await paying.void_refund(tx, order, refund, now=now)
            await holding.release_units(tx, order, "claim", command.claim_id, now)
            await paying.close_order(tx, order, now)
        released = ClaimHoldReleased(claim_id=command.claim_id, pivot_passed=False)
        await put(tx, released, about=f"claim/{command.claim_id}")

    patch.setattr(operations_claims, "release_claim_hold", release)


# ---- units and stock ----------------------------------------------------------------------------


def stock_is_checked_then_changed(patch: Patch) -> None:
    """12: the decision is made on figures that were read earlier, and the change has no guard."""
    original = inventory_store.lock_levels
    known: dict[Any, Any] = {}

    async def lock_levels(tx: Tx, items: Any, **given: Any) -> Any:
        asked = tuple(sorted(items))
        if asked not in known:
            known[asked] = await original(tx, asked, **given)
        return known[asked]

    async def add_reservations(tx: Tx, rows: Any, *, now: datetime) -> None:
        for row in rows:
            await tx.execute(
                "UPDATE levels SET reserved = reserved + :units WHERE item_id = :item"
                " AND location_id = :location",
                units=row["quantity"],
                item=row["item_id"],
                location=row["location_id"],
            )
        stamps = {"state": "held", "created_at": now, "updated_at": now}
        await tx.insert(inventory_store.reservations, [{**row, **stamps} for row in rows])

    patch.setattr(inventory_store, "lock_levels", lock_levels)
    patch.setattr(store_reservations, "add_reservations", add_reservations)


def units_by_a_projection(patch: Patch) -> None:
    """23: what is free of a line is looked up in a copy, not in the ledger."""
    original = holding.lines_of
    copy: dict[Any, Any] = {}

    async def lines_of(tx: Tx, order: Any, asked: Mapping[str, int]) -> Any:
        wanted = (order.id, tuple(sorted(asked)))
        if wanted not in copy:
            copy[wanted] = await original(tx, order, asked)
        return copy[wanted]

    async def hold_units(tx: Tx, *, quantities: Mapping[str, int], limit: str) -> bool:
        for line_id, units in quantities.items():
            await tx.execute(
                "UPDATE order_lines SET remedied_quantity = remedied_quantity + :units"
                " WHERE id = :id",
                units=units,
                id=line_id,
            )
        return True

    patch.setattr(holding, "lines_of", lines_of)
    patch.setattr(store_units, "hold_units", hold_units)


# ---- goods that are sent, and what came later ---------------------------------------------------


def no_tombstone_of_a_fulfillment(patch: Patch) -> None:
    """29: goods are put back that were never taken, and are taken afterwards."""

    async def restore(tx: Tx, command: RestoreFulfillmentStock, now: datetime) -> None:
        use = await store_fulfillments.stock_use(tx, command.fulfillment_id, lock=True)
        if use is not None and use["state"] == "consumed":
            await dispatching._put_back(tx, command, now)
        answer = FulfillmentStockRestored(
            fulfillment_id=command.fulfillment_id, order_id=command.order_id
        )
        await put(tx, answer, about=f"fulfillment/{command.fulfillment_id}")

    patch.setattr(dispatching, "restore", restore)


def key_of_a_close_is_forgotten(patch: Patch) -> None:
    """30: a claim is closed, and who repeats the call is told that it is closed already."""
    original = claims_operations.close_claim

    async def close_claim(tx: Tx, *, caller: Caller, **given: Any) -> None:
        await original(tx, caller=replace(caller, key=None), **given)

    patch.setattr(claims_operations, "close_claim", close_claim)


def damaged_goods_go_into_stock(patch: Patch) -> None:
    """31: what came broken is sold again."""
    original = returns_saga._stocked

    def stocked(facts: Any) -> Any:
        lines = [{**line, "damaged_quantity": 0} for line in facts["lines"]]
        return original({**facts, "lines": lines})

    patch.setattr(returns_saga, "_stocked", stocked)


def spent_credit_is_taken_back(patch: Patch) -> None:
    """32: a claim is canceled and its credit stays, because nobody looks whether it is spent."""

    async def take_back(tx: Tx, **given: Any) -> bool:
        return True

    patch.setattr(crediting, "take_back", take_back)


def declined_goodwill_stays_given(patch: Patch) -> None:
    """33: a price stays lowered though the provider did not pay the part that was given back."""

    async def settle(tx: Tx, *, refund_id: str, amount: int) -> None:
        pass

    patch.setattr(goodwill, "settle", settle)


def capture_key_per_try(patch: Patch) -> None:
    """34: every try to take a payment has a key of its own."""
    original = FakeProvider.capture
    tries: Counter[str] = Counter()

    async def capture(self: FakeProvider, call: CaptureCall) -> Any:
        tries[call.key] += 1
        return await original(self, replace(call, key=f"{call.key}_{tries[call.key]}"))

    patch.setattr(FakeProvider, "capture", capture)


def difference_is_booked_on_a_repeat(patch: Patch) -> None:
    """35: whoever is told once more that a difference came books it once more."""
    inbox_off(patch)
    original = settling._process

    async def process(
        tx: Tx, order: Any, exchange: Row, remedy: Row, request_id: str, now: datetime
    ) -> None:
        if exchange["difference_due"] > 0:
            await settling._take(tx, order, exchange, now)
            return
        await original(tx, order, exchange, remedy, request_id, now)

    patch.setattr(settling, "derived_id", lambda kind, *_: new_id(kind))
    patch.setattr(settling, "_process", process)


def unpaid_difference_is_paid_back(patch: Patch) -> None:
    """36: a cancel pays the difference back, and nobody looks whether it was paid."""

    async def pay_back(tx: Tx, order: Any, exchange_id: str, now: datetime) -> int:
        exchange = await store_exchanges.exchange(tx, exchange_id=exchange_id)
        due: int = exchange["difference_due"] if exchange is not None else 0
        shares = await settling._shares(tx, order, due)
        if shares:
            cause = settling.cause_of(order, exchange_id)
            await paying.begin_refund(tx, order, cause, shares, hold=False, reply_to=None, now=now)
        return max(due, 0)

    patch.setattr(settling, "pay_back", pay_back)


def units_do_not_wait_for_a_refund(patch: Patch) -> None:
    """37: units are taken though nobody knows what they are worth: their share is frozen with a
    part of what the provider then declines."""
    patch.setattr(holding, "wait_until_settled", lambda lines, line_ids: None)


# Bugs are found within a few seeds from here; which are the first depends on what clients do.
SEEDS_MOST = 200


def _from(seed: int) -> range:
    return range(seed, seed + SEEDS_MOST)


BUGS = (
    Bug("1", "ack before commit", ack_before_commit, _from(28), "I7"),
    Bug(
        "2",
        "inbox row in another transaction",
        inbox_row_in_another_transaction,
        _from(1),
        "saga under way",
    ),
    Bug("3", "inbox and step guard off", inbox_and_step_guard_off, _from(1), "(dead)"),
    Bug("4", "relay marks before the confirm", marked_before_confirm, _from(1), "never saw it"),
    Bug("5", "cursor relay", cursor_relay, _from(1), "never saw it"),
    Bug("8", "no tombstone", no_tombstone, _from(50), "still"),
    Bug("9", "no step guard", no_step_guard, _from(23), "I"),
    Bug("10", "unknown refund is compensated", unknown_is_declined, _from(6), "booked as declined"),
    Bug("11", "provider key per attempt", key_per_attempt, _from(3), "nobody asked for it"),
    Bug("12", "stock check, then update", stock_is_checked_then_changed, _from(12), "oversell"),
    Bug(
        "19",
        "inbox retention shorter than replay",
        inbox_forgets_too_early,
        _from(1),
        "never saw it",
    ),
    Bug("22", "key committed before its claim", key_before_its_claim, _from(3), "answered 200"),
    Bug("23", "unit check against a projection", units_by_a_projection, _from(3), "remedies"),
    Bug(
        "24",
        "refund row deleted on failure",
        failed_refund_is_deleted,
        _from(3),
        "nobody asked for it",
    ),
    Bug(
        "25",
        "provider called before any row",
        provider_before_any_row,
        _from(97),
        "nobody asked for it",
    ),
    Bug("26", "refund recomputed from the total", recomputed_after_a_crash, _from(1), "asked for"),
    Bug(
        "27",
        "receipt refunds announced units",
        announced_units_are_refunded,
        _from(5),
        "goods worth",
    ),
    Bug(
        "28",
        "release honored while a refund is in flight",
        release_while_in_flight,
        _from(49),
        "I12",
    ),
    Bug("29", "no tombstone of a fulfillment", no_tombstone_of_a_fulfillment, _from(61), "I17"),
    Bug(
        "30",
        "the key of a close is forgotten",
        key_of_a_close_is_forgotten,
        _from(258),
        "0 were told",
    ),
    Bug(
        "31",
        "damaged goods go into stock",
        damaged_goods_go_into_stock,
        _from(10),
        "went into stock",
    ),
    Bug(
        "32", "spent credit is taken back", spent_credit_is_taken_back, _from(49), "in the account"
    ),
    Bug(
        "33",
        "declined goodwill stays given",
        declined_goodwill_stays_given,
        _from(18),
        "were given",
    ),
    Bug("34", "capture key per try", capture_key_per_try, _from(26), "captured, but nobody asked"),
    Bug(
        "35",
        "a difference is booked on every repeat",
        difference_is_booked_on_a_repeat,
        _from(1),
        "nobody owed payment",
    ),
    Bug(
        "36",
        "a difference that nobody paid is paid back",
        unpaid_difference_is_paid_back,
        _from(1),
        "went back",
    ),
    Bug(
        "37",
        "units do not wait for a refund of their line",
        units_do_not_wait_for_a_refund,
        _from(32),
        "worth more than was paid",
    ),
)

# By processes: tests/planted/test_process_bugs.py.
_PROCESSES = "needs real drivers, locks of PostgreSQL or threads: caught by killed processes"
NOT_PLANTED = {
    "6": _PROCESSES,
    "7": _PROCESSES,
    "13": _PROCESSES,
    "14": _PROCESSES,
    "15": _PROCESSES,
    "16": _PROCESSES,
    "17": "sqlite3 offers no file system of our own to cut the power of; the pragma is tested",
    "18": "no message goes to two queues of one database (tested): the breakage changes nothing",
    "20": "there are no projections (DECISIONS 7)",
    "21": "durable timers are dates of the database's host on purpose (DECISIONS 5): a clock that"
    " leaps delays what was dated meanwhile, and the simulation bounds by how much",
}
