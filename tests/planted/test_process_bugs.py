"""Bugs planted into real processes; what the crash runs do must catch each.

A net that was never seen to catch anything proves nothing. Each net is cast with a bug and without
one: without it, all is well. A run of the suite casts the first; the others are ``long``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import pytest

from chassis import clock
from chassis.bus_rabbit import declare_topology
from deploy.assembly import topology
from tests.crash import matrix
from tests.crash.clients import Wrong
from tests.crash.kinds import GROSS, UNITS
from tests.crash.matrix import Scenario, trial
from tests.crash.nursery import Nursery
from tests.crash.points import points
from tests.crash.rounds import Load
from tests.crash.shop import Shop, end_abandoned
from tests.crash.stock import LINES
from tests.crash.storm import Inside
from tests.journeys.conftest import needs_engines
from tests.planted import process_bugs

pytestmark = pytest.mark.timeout(600)

POINTS = {point.name: point for point in points()}
# Before the first timer of a saga (30 s) could heal it.
REST_WITHIN_S = 12.0
SEED = 7


async def killed_at(shop: Shop, point: str, kind: str, variant: str = "once") -> None:
    """One scenario of the matrix."""
    passed = await trial(shop, kind)
    await matrix.play(shop, Scenario(POINTS[point], kind, variant), passed)


async def killed_while_a_message_is_handled(shop: Shop) -> None:
    await killed_at(shop, "orders.orders.claim-hold.place.k3", "refund")


async def killed_before_a_message_is_sent(shop: Shop) -> None:
    await killed_at(shop, "claims.relay.r1", "replace")


async def killed_when_a_request_was_accepted(shop: Shop) -> None:
    # Whether the answer is out before the end of the process is a race.
    for _ in range(3):
        await killed_at(shop, "claims.accept.k3", "refund, not waited for")


async def many_at_once(shop: Shop) -> None:
    """Nothing is killed; clients share orders and variants, and a transaction here and there
    takes its time. Nobody may have to try twice."""
    since = clock.now()
    load = Load(shop, random.Random(SEED), clients=16)
    try:
        for _ in range(6):
            slow = ("orders.orders.claim-hold.place", "orders.orders.return-hold.place")
            await shop.arm("orders", ",".join(f"{name}.k3@2:sleep" for name in slow))
            await load.done(len(load.errands) + 12)
        await load.finish()
    finally:
        await load.leave()
    await shop.all_is_well(clock.now())
    await shop.nobody_tried_twice(load.errands, since)


async def many_who_want_the_same_two(shop: Shop) -> None:
    """Replacements by the same two variants, asked for in either order, all at once."""
    since = clock.now()
    for _ in range(3):
        errands = [shop.errand("replace with return") for _ in range(12)]
        await asyncio.gather(*(shop.run(errand) for errand in errands))
        await shop.all_is_well(clock.now(), errands=errands)
        await shop.nobody_tried_twice(errands, since)


async def two_who_want_all(shop: Shop) -> None:
    """Two refunds at once of all that was paid: one is made, the other is refused in words."""
    for number in range(5):
        order_id = shop.errand("refund by hand").order_id
        await shop.arm("orders", "orders.accept.k3@1:sleep")
        answers = await asyncio.gather(
            *(
                shop.post(
                    f"/admin/orders/{order_id}/refund",
                    {"amount": GROSS * UNITS * LINES, "reason": "other"},
                    f"all-{number}-{client}",
                )
                for client in range(2)
            )
        )
        if sorted(status for status, _ in answers) != [200, 400]:
            raise Wrong(f"{order_id}: {answers}")
        # The lines of one order come one after the other.
        for _ in range(LINES - 1):
            shop.errand("refund by hand")


async def a_queue_that_is_not_there_for_a_moment(shop: Shop) -> None:
    """A command reaches no queue: it must not count as sent."""
    connection = await aio_pika.connect(shop.system.rabbit.url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete("inventory.commands.v1")
    asked = asyncio.create_task(shop.run(shop.errand("replace")))
    await asyncio.sleep(1)
    await declare_topology(shop.system.rabbit.url, topology())
    # The consumer finds its queue again by its watchdog; that is not what is asked about here.
    await shop.kill("inventory")
    since = clock.now()
    await shop.rest(since)
    await asked
    await shop.all_is_well(since)
    lost = await shop.asked_again_late(since)
    if lost:
        raise Wrong("\n".join(lost))


async def publishes_that_are_given_up(shop: Shop) -> None:
    """Clients at work while one publish in ten is given up: none of them may count as sent, and
    no other may be kept waiting for long."""
    load = Load(shop, random.Random(SEED))
    try:
        await load.done(120)
        await load.finish()
    finally:
        await load.leave()
    since = clock.now()
    await shop.all_is_well(since)
    lost = await shop.asked_again_late(since)
    if lost:
        raise Wrong("\n".join(lost))


@dataclass(frozen=True)
class Bug:
    """A planted bug: its number in the list of all, its function, what must catch it; and what it
    is compared with, where that is not the product as it is."""

    number: int
    plant: str
    net: Callable[[Shop], Awaitable[None]]
    healthy: str = ""


BUGS = (
    Bug(1, "ack_before_commit", killed_while_a_message_is_handled),
    Bug(4, "relay_marks_before_confirm", killed_before_a_message_is_sent),
    Bug(5, "cursor_relay", many_at_once),
    Bug(6, "channel_reused_after_timeout", publishes_that_are_given_up, "miscounting_library"),
    Bug(7, "returned_messages_count_as_sent", a_queue_that_is_not_there_for_a_moment),
    Bug(14, "unsorted_locks", many_who_want_the_same_two),
    Bug(16, "answer_before_commit", killed_when_a_request_was_accepted),
    # The last: nobody keeps a history of what these two get.
    Bug(13, "no_lock_on_the_order", two_who_want_all),
)
NETS = {
    healthy: list(dict.fromkeys(bug.net for bug in BUGS if bug.healthy == healthy))
    for healthy in {bug.healthy for bug in BUGS}
}


@asynccontextmanager
async def a_shop(bug: str = "") -> AsyncIterator[Shop]:
    """An installation whose processes have this bug."""
    needs_engines()
    end_abandoned()
    nursery = Nursery(bug)
    await nursery.ready()
    shop = Shop(nursery, orders=120)
    shop.rest_within_s = shop.patience_s = REST_WITHIN_S
    try:
        await shop.open()
        yield shop
    finally:
        await shop.close()
        nursery.close()


@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=() if bug is BUGS[0] else pytest.mark.long) for bug in BUGS],
    ids=lambda bug: f"{bug.number}_{bug.plant}",
)
async def test_a_planted_bug_is_caught(bug: Bug) -> None:
    async with a_shop(bug.plant) as shop:
        with pytest.raises((Wrong, AssertionError, TimeoutError)) as caught:
            async with asyncio.timeout(240):
                await bug.net(shop)
    print(f"{bug.number} {bug.plant}: {caught.value}")


async def undisturbed_in_one_process(folder: Path) -> None:
    """The embedded mode on SQLite, many clients, nothing goes wrong: nobody may try twice."""
    async with Inside(folder, {}, "") as shop:
        await shop.stock_up(60)
        await shop.work(60, random.Random(SEED))
        wrong = [asked.key for e in shop.errands for asked in e.calls if asked.tries > 1]
        if wrong:
            raise Wrong(f"asked twice: {wrong[:20]}")
        await shop.all_is_well()
        for database in shop.databases.values():
            async with database.reading() as tx:
                wrong += [
                    row["error"]
                    for row in await tx.fetch("SELECT error FROM inbox WHERE attempts > 0")
                ]
        if wrong:
            raise Wrong(f"tried twice: {wrong[:20]}")


@pytest.mark.long
async def test_a_deferred_begin_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await undisturbed_in_one_process(tmp_path / "without")
    process_bugs.deferred_begin(monkeypatch)
    with pytest.raises((Wrong, AssertionError)) as caught:
        await undisturbed_in_one_process(tmp_path / "with")
    print(f"15 deferred_begin: {caught.value}")


@pytest.mark.long
@pytest.mark.parametrize("healthy", sorted(NETS), ids=lambda healthy: healthy or "as_it_is")
async def test_without_a_bug_nothing_is_caught(healthy: str) -> None:
    async with a_shop(healthy) as shop:
        for net in NETS[healthy]:
            await net(shop)
