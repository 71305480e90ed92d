"""The message door: every message several times, late, and in any order, to the same end."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chassis.messaging import Envelope
from contracts import MESSAGES
from contracts.inventory import ReceiveReceiptStock
from contracts.orders import PlaceReturnHold, ReturnHoldPlaced, ReturnReceiptSettled
from contracts.returns import CheckClaimReturn
from services.returns import consumers, queries
from services.returns.domain import Item
from tests.returns.conftest import World
from tests.returns.test_operations import a_claim_return


async def everything(world: World) -> dict[str, Any]:
    """What is left of everything that happened, without ids and times."""
    page = await world.look(queries.returns_page)
    shown = []
    for found in page["returns"]:
        came = [item["received_quantity"] for item in found["items"]]
        events = await world.events(found["id"])
        shown.append((found["status"], found["refund_amount"], came, events))
    return {
        "returns": sorted(shown),
        "sagas": sorted(
            (row["kind"], row["direction"])
            for row in await world.rows("SELECT kind, direction FROM sagas")
        ),
        "holds": sorted(world.others.holds.values()),
        "stock": sorted(world.others.stock.values()),
        "paid": sorted(world.others.paid.values()),
    }


async def live(world: World, pump: Any) -> None:
    """One of each: received in two parcels, received at once, canceled, refused by orders, refused
    by inventory, and the return of a claim."""
    parcels = await world.request()
    at_once = await world.request(receive_now=True)
    off = await world.request()
    await world.tell(a_claim_return())
    await pump()
    world.others.refuse = {PlaceReturnHold, ReceiveReceiptStock}
    await world.request()
    elsewhere = await world.receive(parcels, Item("item_mug", 1), location_id="sloc_wrong")
    await pump()
    world.others.refuse = set()
    await world.receive(parcels, Item("item_mug", 1), refund=700)
    await world.cancel(off)
    await world.receive("ret_of_claim", Item("item_mug", 2))
    await pump()
    await world.receive(parcels, Item("item_mug", 1))
    await pump()
    assert elsewhere
    assert (await world.shown(at_once))["status"] == "received"


class TestRepeats:
    @pytest.mark.parametrize("times", [2, 3])
    async def test_every_message_may_come_several_times(self, world: World, times: int) -> None:
        await live(world, lambda: world.pump(times=times))
        found = await everything(world)
        assert [status for status, *_ in found["returns"]] == [
            "canceled",
            "received",
            "received",
            "received",
        ]
        assert found["paid"] == [0, 700, 1000, 2000]
        assert found["holds"] == ["held", "held", "released"]
        assert [kind for kind, direction in found["sagas"] if direction == "undone"] == [
            "return-receipt",
            "return-request",
        ]

    @pytest.mark.parametrize("seed", range(8))
    async def test_replies_may_come_in_any_order_and_again_much_later(
        self, world: World, seed: int
    ) -> None:
        dice = random.Random(seed)
        old: list[Envelope] = []

        async def shuffled() -> None:
            pending: list[Envelope] = []
            while True:
                pending += [e for e in await world.unsent() if not e.key.startswith("returns.")]
                if not pending:
                    return
                command = pending.pop(dice.randrange(len(pending)))
                old.append(await world.answer(command))
                for _ in range(dice.randrange(3)):
                    await world.deliver(dice.choice(old))

        await live(world, shuffled)
        for envelope in old:
            await world.deliver(envelope)
        found = await everything(world)
        assert found["paid"] == [0, 700, 1000, 2000]
        assert found["holds"] == ["held", "held", "released"]

    async def test_a_reply_under_a_new_id_is_stale(self, world: World) -> None:
        return_id = await world.request()
        (hold,) = await world.unsent()
        await world.answer(hold)
        before = await world.shown(return_id)
        await world.answer(hold)
        after = await world.shown(return_id)
        assert after["return"] == before["return"]
        history = after["inside"]["sagas"][0]["history"]
        assert history[-1]["what"] == "ignored stale done"

    async def test_a_reply_to_a_saga_nobody_knows_is_dropped(self, world: World) -> None:
        return_id = await world.requested()
        hold = ReturnHoldPlaced(
            return_id=return_id, order_id="order_1", currency_code="gbp", amount=1
        )
        await world.tell(hold, saga_id="saga_none", causation_id="command_none")
        settled = ReturnReceiptSettled(receipt_id="rcpt_none", return_id=return_id)
        await world.tell(settled)
        assert (await world.shown(return_id))["status"] == "requested"


class TestSubscriptions:
    def test_every_reply_and_command_for_returns_has_a_handler(self) -> None:
        handled = {model for s in consumers.SUBSCRIPTIONS for model in s.handlers}
        replies = ("orders.return-", "inventory.receipt-stock.")
        assert handled == {
            model
            for key, model in MESSAGES.items()
            if (key.startswith(replies) and key.endswith(".v1"))
            or (key.startswith("returns.claim-return.") and not key.endswith(".v1"))
        }

    async def test_a_check_changes_nothing_however_often_it_comes(self, world: World) -> None:
        await world.tell(a_claim_return())
        await world.pump()
        before = await everything(world)
        for _ in range(3):
            envelope = await world.tell(CheckClaimReturn(claim_id="claim_1"))
            await world.deliver(envelope)
        assert len(await world.unsent()) == 3
        assert await everything(world) == before
