"""The message door: every message twice, late, and in any order comes to the same end."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from chassis.db import Row
from chassis.messaging import Delivery
from contracts.inventory import PlaceReservation
from contracts.orders import ClaimHoldReleased, ExecuteClaimRefund, PlaceClaimHold
from contracts.returns import ClaimReturnMoved
from services.claims import operations, saga, store
from services.claims.consumers import SUBSCRIPTIONS
from tests.claims.builders import World
from tests.claims.test_operations import (
    DECLINED,
    NOW,
    REQUESTS,
    SHORT,
    cancel_claim,
    nothing_wrong,
    open_claim,
)

REFUSING = {
    "agreed": {},
    "no units": {PlaceClaimHold: {"code": "units_taken", "message": "No."}},
    "no stock": {PlaceReservation: SHORT},
    "no money": {ExecuteClaimRefund: DECLINED},
}
EACH = pytest.mark.parametrize(
    ("name", "refusing"),
    [
        (name, refusing)
        for name, refusing in itertools.product(REQUESTS, REFUSING)
        if not (refusing == "no stock" and name.startswith("refund") and "items" not in name)
        and not (refusing == "no money" and name.startswith("replace"))
    ],
)


async def end(world: World, claim_id: str) -> dict[str, Any]:
    """What must not depend on how messages came, without ids, which are made anew each time."""
    claim = await world.claim(claim_id)
    fields = ("status", "payment_status", "recovery_point", "refund_amount", "version", "refusal")
    (saga_row,) = await world.rows("SELECT direction, marks FROM sagas WHERE kind = 'claim'")
    lines: list[Row] = await world.rows("SELECT title, unit_price, tax_lines FROM additional_items")
    return {
        "claim": {field: claim[field] for field in fields},
        "saga": saga_row,
        "lines": lines,
        "events": await world.events(claim_id),
        "commands": sorted(key for key in await world.keys() if not key.startswith("claims.")),
    }


def again(delivery: Delivery, number: int) -> Delivery:
    """The same reply under another message id: the step guard alone must hold."""
    body = delivery.body.replace(b'"id":"', b'"id":"again %d ' % number, 1)
    return Delivery(queue=delivery.queue, body=body)


async def straight(world: World, name: str, refusing: str) -> dict[str, Any]:
    world.others.refuses = dict(REFUSING[refusing])
    accepted = await open_claim(world, REQUESTS[name])
    await world.pump()
    return await end(world, accepted.claim_id)


@EACH
async def test_every_message_twice_and_out_of_order_comes_to_the_same_end(
    world: World, make_database: Any, name: str, refusing: str
) -> None:
    expected = await straight(world, name, refusing)
    database = (await make_database("claims")).serve("claims", store.METADATA)
    mixed = World(database)
    mixed.others.refuses = dict(REFUSING[refusing])
    chance = random.Random(f"{name} {refusing}")
    accepted = await open_claim(mixed, REQUESTS[name])
    heard: list[Delivery] = []
    while fresh := await mixed.replies():
        arriving = [*fresh, *fresh, *(again(one, 1) for one in fresh), *heard]
        chance.shuffle(arriving)
        await mixed.hear(arriving)
        heard += [*fresh, *(again(one, 2 + len(heard)) for one in fresh)]
    await mixed.hear(heard)
    assert await end(mixed, accepted.claim_id) == expected
    await nothing_wrong(mixed)


async def test_late_replies_to_a_claim_that_was_given_up_change_nothing(world: World) -> None:
    accepted = await open_claim(world, REQUESTS["replace"])
    late = await world.replies()
    async with world.database.transaction() as tx:
        await operations.expire_saga(tx, saga_id=accepted.saga_id, now=NOW.replace(year=2027))
    await world.pump()
    before = await end(world, accepted.claim_id)
    assert before["claim"]["status"] == "refused"
    await world.hear(late)
    assert await end(world, accepted.claim_id) == before


async def test_a_reply_to_the_creation_does_not_move_the_cancel(world: World) -> None:
    accepted = await open_claim(world, REQUESTS["replace"])
    await world.pump()
    canceling = await cancel_claim(world, accepted.claim_id)
    assert canceling is not None
    command = next(one for one in await world.said() if one.key == "orders.claim-hold.release")
    released = ClaimHoldReleased(claim_id=accepted.claim_id)
    for changes in (
        {"id": "a", "saga_id": accepted.saga_id},
        {"id": "b", "causation_id": (await world.said())[0].id},
        {"id": "c", "saga_id": None},
        {"id": "d", "saga_id": "claim_of_somebody_else"},
    ):
        await world.hear([world.a_reply(command, released, **changes)])
    assert (await world.claim(accepted.claim_id))["status"] == "canceling"
    await world.pump()
    assert (await world.claim(accepted.claim_id))["status"] == "canceled"


async def test_a_cancel_is_the_same_when_everything_comes_twice(world: World) -> None:
    accepted = await open_claim(world, REQUESTS["replace, goods back"])
    await world.pump()
    await cancel_claim(world, accepted.claim_id)
    while fresh := await world.replies():
        await world.hear([*fresh, *fresh, *(again(one, 1) for one in fresh)])
    assert (await world.claim(accepted.claim_id))["status"] == "canceled"
    assert [name for name, _ in await world.events(accepted.claim_id)] == [
        "claim.created",
        "claim.confirmed",
        "claim.canceled",
    ]
    await nothing_wrong(world)


def test_every_reply_of_the_sagas_is_heard_and_what_becomes_of_a_return() -> None:
    (subscription,) = SUBSCRIPTIONS
    awaited = {reply for table in saga.SAGAS.values() for reply in table.hears()}
    assert set(subscription.handlers) == awaited | {ClaimReturnMoved}
