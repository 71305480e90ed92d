"""What can be done with returns, on a migrated database, the others answering through the inbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chassis import saga_log
from chassis.errors import Conflict, Forbidden, Invalid, KeyReused, NotAllowed, NotFound, Refusal
from contracts.base import LineSnapshot, ShippingQuote
from contracts.inventory import ReceiveReceiptStock
from contracts.orders import CheckReturnReceipt, PlaceReturnHold
from contracts.returns import CheckClaimReturn, ClaimReturnItem, OpenClaimReturn
from services.returns import operations, queries
from services.returns.booking import Caller
from services.returns.domain import Item
from tests.returns.conftest import CLERK, NOW, World
from tests.returns.others import NO, recently

MUGS = Item("item_mug", 2)
POT = Item("item_pot", 1)
CUSTOMER = Caller("cus_ana", customer_id="cus_ana", is_customer=True)


def keyed(key: str, fingerprint: str = "print", caller: Caller = CLERK) -> Caller:
    return replace(caller, key=key, fingerprint=fingerprint)


def a_claim_return(**changes: Any) -> OpenClaimReturn:
    """Claims asks for the goods of a claim on two mugs."""
    line = LineSnapshot(
        line_id="item_mug",
        variant_id="variant_mug",
        title="Red mug",
        quantity=2,
        unit_price=1000,
        fulfilled_quantity=2,
        shipped_quantity=2,
        returned_quantity=0,
    )
    fields: dict[str, Any] = {
        "return_id": "ret_of_claim",
        "claim_id": "claim_1",
        "order_id": "order_1",
        "items": [ClaimReturnItem(line_id="item_mug", quantity=2, note="broken")],
        "lines": [line],
        "refund_amount": 2400,
        "shipping": ShippingQuote(option_id="so_1", name="Parcel", price=0),
    }
    return OpenClaimReturn(**{**fields, **changes})


class TestRequest:
    async def test_a_held_return_is_requested_and_shows_what_to_expect(self, world: World) -> None:
        return_id = await world.request(
            Item("item_mug", 1, note="too small"),
            Item("item_mug", 1),
            return_shipping={"option_id": "so_1", "price": None},
        )
        assert await world.outcome(return_id) is None
        assert await world.pump() == ["orders.return-hold.place", "returns.return.requested.v1"]
        shown = (await world.outcome(return_id))["return"]
        assert (shown["status"], shown["refund_amount"]) == ("requested", 2000 - 125)
        (item,) = shown["items"]
        assert (item["quantity"], item["requested_quantity"], item["note"]) == (2, 2, "too small")
        assert (item["received_quantity"], item["is_requested"]) == (None, True)
        assert shown["shipping_method"]["price"] == 125
        assert shown["shipping_method"]["shipping_option"]["id"] == "so_1"
        assert shown["shipping_data"]["number"].startswith("R-")
        assert await world.events(return_id) == [(1, "order.return_requested", "requested")]
        assert world.others.holds == {return_id: "held"}

    async def test_nobody_sees_a_return_before_its_units_are_held(self, world: World) -> None:
        return_id = await world.request()
        with pytest.raises(NotFound):
            await world.look(queries.return_by_id, return_id=return_id)
        assert (await world.look(queries.returns_page))["returns"] == []
        assert (await world.look(queries.returns_of_order, order_id="order_1"))["returns"] == []
        for doing in (world.receive(return_id), world.cancel(return_id)):
            with pytest.raises(NotFound):
                await doing
        page = await world.look(queries.sagas_page)
        assert [saga["subject_id"] for saga in page["sagas"]] == [return_id]

    async def test_a_refused_hold_leaves_no_return_and_tells_why(self, world: World) -> None:
        world.others.refuse = {PlaceReturnHold}
        return_id = await world.requested()
        refusal = await world.outcome(return_id)
        assert isinstance(refusal, NotAllowed)
        assert (refusal.code, refusal.message) == (NO["code"], NO["message"])
        with pytest.raises(NotFound):
            await world.look(queries.return_by_id, return_id=return_id)
        assert await world.events(return_id) == []
        assert world.others.clean

    @pytest.mark.parametrize(
        ("items", "error", "message"),
        [
            ([], Invalid, "items should not be empty"),
            ([Item("item_mug", 0)], Invalid, "quantity must not be less than 1"),
            (
                [Item("item_mug", 1, "rr_none")],
                NotFound,
                "Return_reason with reason_id rr_none does not exist.",
            ),
        ],
        ids=["no items", "no units", "unknown reason"],
    )
    async def test_what_makes_no_sense_is_refused_before_anything_is_stored(
        self, world: World, items: list[Item], error: type[Refusal], message: str
    ) -> None:
        with pytest.raises(error) as caught:
            await world.do(
                operations.request_return,
                caller=keyed("key"),
                order_id="order_1",
                items=items,
                now=NOW,
            )
        assert caught.value.message == message
        for table in ("returns", "sagas", "outbox", "idempotency_keys"):
            assert await world.rows(f"SELECT 1 FROM {table}") == []

    async def test_a_reason_with_children_cannot_be_given(self, world: World) -> None:
        parent = await world.do(
            operations.create_reason,
            caller=CLERK,
            fields={"value": "size", "label": "Size"},
            now=NOW,
        )
        child = await world.do(
            operations.create_reason,
            caller=CLERK,
            fields={"value": "big", "label": "Too big", "parent_return_reason_id": parent},
            now=NOW,
        )
        with pytest.raises(Invalid) as caught:
            await world.request(Item("item_mug", 1, parent))
        assert caught.value.message == "Cannot apply return reason category"
        return_id = await world.requested(Item("item_mug", 1, child, "really"))
        await world.do(operations.delete_reason, reason_id=parent, now=NOW)
        (item,) = (await world.shown(return_id))["items"]
        assert (item["reason_id"], item["reason"]["label"]) == (child, "Too big")
        with pytest.raises(NotFound):
            await world.request(Item("item_mug", 1, child))

    @pytest.mark.parametrize(("refund", "shown"), [(None, 2000), (0, 2000), (-1, 0), (700, 700)])
    async def test_a_given_refund_is_shown_and_sent_to_orders(
        self, world: World, refund: int | None, shown: int
    ) -> None:
        return_id = await world.request(refund=refund)
        (hold,) = await world.unsent()
        assert hold.data["refund"] == (None if shown == 2000 else shown)
        await world.answer(hold)
        assert (await world.shown(return_id))["refund_amount"] == shown

    @pytest.mark.parametrize(
        ("own", "of_order", "told"),
        [(None, True, True), (False, True, False), (None, False, False)],
    )
    async def test_the_wish_for_silence_of_the_order_is_inherited(
        self, world: World, own: bool | None, of_order: bool, told: bool
    ) -> None:
        world.others.no_notification = of_order
        return_id = await world.requested(no_notification=own)
        assert (await world.shown(return_id))["no_notification"] is told

    @pytest.mark.parametrize(
        "fields", [{"refund": 0}, {"receive_now": True}, {"location_id": "sloc_1"}]
    )
    async def test_a_customer_cannot_fix_a_refund_or_receive_goods(
        self, world: World, fields: dict[str, Any]
    ) -> None:
        with pytest.raises(Forbidden):
            await world.request(caller=CUSTOMER, **fields)

    async def test_a_customer_sees_only_own_returns(self, world: World) -> None:
        own = await world.requested(caller=CUSTOMER, customer_id="cus_bob")
        await world.requested(customer_id="cus_bob")
        page = await world.look(queries.returns_page, owner="cus_ana")
        assert ([found["id"] for found in page["returns"]], page["count"]) == ([own], 1)
        of_order = await world.look(queries.returns_of_order, order_id="order_1", owner="cus_ana")
        assert [found["id"] for found in of_order["returns"]] == [own]
        with pytest.raises(NotFound):
            await world.look(queries.return_by_id, return_id=own, owner="cus_bob")


class TestKeys:
    async def test_the_same_key_and_request_give_the_same_return(self, world: World) -> None:
        first = await world.request(caller=keyed("key"))
        assert await world.request(caller=keyed("key")) == first
        await world.pump()
        assert await world.request(caller=keyed("key")) == first
        assert (await world.look(queries.returns_page))["count"] == 1
        assert (await world.shown(first))["idempotency_key"] == "key"

    async def test_the_same_key_with_another_request_is_refused(self, world: World) -> None:
        await world.requested(caller=keyed("key"))
        with pytest.raises(KeyReused):
            await world.request(caller=keyed("key", "another"))

    async def test_a_key_of_another_caller_is_another_key(self, world: World) -> None:
        first = await world.requested(caller=keyed("key"))
        assert await world.requested(caller=keyed("key", caller=CUSTOMER)) != first

    async def test_ten_requests_at_once_under_one_key_are_one_return(self, world: World) -> None:
        ids = await asyncio.gather(*(world.request(caller=keyed("key")) for _ in range(10)))
        assert len(set(ids)) == 1
        assert (await world.rows("SELECT COUNT(*) AS n FROM returns"))[0]["n"] == 1
        await world.pump()

    async def test_a_receipt_under_the_same_key_is_booked_once(self, world: World) -> None:
        return_id = await world.requested()
        first = await world.receive(return_id, Item("item_mug", 1), caller=keyed("key"))
        await world.pump()
        again = await world.receive(return_id, Item("item_mug", 1), caller=keyed("key"))
        await world.pump()
        assert again == first
        assert (await world.shown(return_id))["items"][0]["received_quantity"] == 1

    async def test_a_refused_receipt_leaves_its_key_unused(self, world: World) -> None:
        return_id = await world.requested()
        with pytest.raises(Invalid):
            await world.receive(return_id, Item("item_mug", -3), caller=keyed("key"))
        await world.receive(return_id, Item("item_mug", 2), caller=keyed("key", "another"))
        await world.pump()


class TestPolicy:
    async def test_a_binding_policy_refuses_and_the_units_are_released(self, world: World) -> None:
        world.others.delivered_at = NOW - timedelta(days=31)
        return_id = await world.requested(caller=CUSTOMER, policy_binds=True)
        refusal = await world.outcome(return_id)
        assert isinstance(refusal, NotAllowed)
        assert refusal.code == "return_window_closed"
        assert refusal.facts["line_id"] == "item_mug"
        assert world.others.holds == {return_id: "released"}
        assert await world.events(return_id) == []

    async def test_the_caller_does_not_wait_for_the_release(self, world: World) -> None:
        return_id = await world.request(policy_binds=True)
        (hold,) = await world.unsent()
        await world.answer(hold)
        refusal = await world.outcome(return_id)
        assert isinstance(refusal, NotAllowed)
        assert refusal.code == "not_delivered"
        assert world.others.holds == {return_id: "held"}
        assert await world.pump() == ["orders.return-hold.release"]

    async def test_a_policy_that_advises_is_recorded_with_who_overrode_it(
        self, world: World
    ) -> None:
        return_id = await world.requested()
        shown = await world.shown(return_id)
        assert shown["status"] == "requested"
        (finding,) = shown["inside"]["policy_findings"]
        assert (finding["code"], finding["line_id"]) == ("not_delivered", "item_mug")
        assert shown["inside"]["requested_by"] == "usr_clerk"

    async def test_what_was_delivered_lately_may_come_back(self, world: World) -> None:
        world.others.delivered_at = recently(NOW)
        return_id = await world.requested(caller=CUSTOMER, policy_binds=True)
        assert (await world.shown(return_id))["inside"]["policy_findings"] == []


class TestReceive:
    async def test_everything_received_ends_the_return(self, world: World) -> None:
        return_id = await world.requested(MUGS, Item("item_fee", 1), location_id="sloc_1")
        receipt_id = await world.receive(return_id, MUGS, Item("item_fee", 1))
        assert (await world.shown(return_id))["status"] == "requested"
        assert (await world.shown(return_id))["inside"]["state"] == "receiving"
        assert await world.pump() == [
            "inventory.receipt-stock.receive",
            "orders.return-receipt.settle",
            "returns.return.received.v1",
        ]
        shown = await world.shown(return_id)
        assert (shown["status"], shown["refund_amount"]) == ("received", 3000)
        assert [item["received_quantity"] for item in shown["items"]] == [2, 1]
        assert world.others.stock == {receipt_id: [("variant_mug", 2)]}
        assert world.others.paid == {receipt_id: 3000}
        (receipt,) = shown["inside"]["receipts"]
        assert (receipt["state"], receipt["location_id"]) == ("settled", "sloc_1")
        assert (receipt["refund_amount"], receipt["received_by"]) == (3000, "usr_clerk")
        assert await world.events(return_id) == [
            (1, "order.return_requested", "requested"),
            (2, "return.received", "received"),
        ]
        assert [saga["direction"] for saga in shown["inside"]["sagas"]] == ["finished"] * 2

    async def test_a_short_receipt_waits_for_the_rest(self, world: World) -> None:
        return_id = await world.requested(MUGS, POT)
        await world.receive(return_id, Item("item_mug", 1))
        await world.pump()
        short = await world.shown(return_id)
        assert (short["status"], short["refund_amount"]) == ("requires_action", 3000)
        assert [item["received_quantity"] for item in short["items"]] == [1, None]
        await world.receive(return_id, Item("item_mug", 1), POT)
        await world.pump()
        done = await world.shown(return_id)
        assert (done["status"], done["refund_amount"]) == ("received", 3000)
        assert sorted(world.others.paid.values()) == [1000, 2000]
        assert [version for version, _, _ in await world.events(return_id)] == [1, 2, 3]

    async def test_without_an_amount_at_the_receipt_orders_counts_it(self, world: World) -> None:
        return_id = await world.requested(Item("item_mug", 2), refund=100)
        for refund in (None, 30):
            await world.receive(return_id, Item("item_mug", 1), refund=refund)
            await world.pump()
        assert list(world.others.paid.values()) == [50, 30]
        assert (await world.shown(return_id))["refund_amount"] == 80

    async def test_a_refund_of_0_is_honored_at_the_receipt(self, world: World) -> None:
        return_id = await world.requested()
        await world.receive(return_id, refund=0)
        await world.pump()
        assert list(world.others.paid.values()) == [0]
        assert (await world.shown(return_id))["refund_amount"] == 0

    async def test_goods_without_a_variant_touch_no_stock(self, world: World) -> None:
        return_id = await world.requested(Item("item_fee", 1))
        await world.receive(return_id, Item("item_fee", 1))
        assert await world.pump() == [
            "orders.return-receipt.settle",
            "returns.return.received.v1",
        ]
        assert world.others.stock == {}

    async def test_nothing_received_changes_nothing(self, world: World) -> None:
        return_id = await world.requested()
        before = await world.shown(return_id)
        receipt_id = await world.receive(return_id, items=[])
        outcome = await world.look(
            queries.outcome_of_receipt, return_id=return_id, receipt_id=receipt_id
        )
        assert outcome["return"] == before["return"]
        assert await world.pump() == []

    async def test_a_location_without_the_item_leaves_the_return_as_it_was(
        self, world: World
    ) -> None:
        return_id = await world.requested()
        before = await world.shown(return_id)
        world.others.refuse = {ReceiveReceiptStock}
        receipt_id = await world.receive(return_id, location_id="sloc_wrong")
        await world.pump()
        outcome = await world.look(
            queries.outcome_of_receipt, return_id=return_id, receipt_id=receipt_id
        )
        assert isinstance(outcome, NotFound)
        after = await world.shown(return_id)
        assert (after["status"], after["items"]) == (before["status"], before["items"])
        assert world.others.paid == {}
        world.others.refuse = set()
        await world.receive(return_id, location_id="sloc_right")
        await world.pump()
        assert (await world.shown(return_id))["status"] == "received"

    async def test_blocked_money_books_the_goods_and_asks_for_a_look(self, world: World) -> None:
        world.others.blocked = True
        return_id = await world.requested()
        await world.receive(return_id)
        await world.pump()
        shown = await world.shown(return_id)
        assert (shown["status"], shown["refund_amount"]) == ("requires_action", 2000)
        assert shown["items"][0]["received_quantity"] == 2
        (receipt,) = shown["inside"]["receipts"]
        assert (receipt["action_required"], receipt["refusal"]["message"]) == (True, "No money.")
        assert shown["inside"]["refunded_amount"] == 0

    async def test_less_than_nothing_is_refused(self, world: World) -> None:
        return_id = await world.requested()
        with pytest.raises(Invalid) as caught:
            await world.receive(return_id, Item("item_mug", -1))
        assert caught.value.message == "quantity must not be less than 1"
        assert (await world.shown(return_id))["inside"]["receipts"] == []

    @pytest.mark.parametrize("item", [Item("item_pot", 1), Item("item_mug", 3)])
    async def test_what_was_not_announced_and_orders_does_not_know_is_not_booked(
        self, world: World, item: Item
    ) -> None:
        return_id = await world.requested()
        world.others.refuse = {CheckReturnReceipt}
        receipt_id = await world.receive(return_id, item)
        assert await world.pump() == ["orders.return-receipt.check"]
        outcome = await world.look(
            queries.outcome_of_receipt, return_id=return_id, receipt_id=receipt_id
        )
        assert isinstance(outcome, NotAllowed)
        shown = await world.shown(return_id)
        assert (shown["status"], len(shown["items"])) == ("requested", 1)
        assert (world.others.stock, world.others.paid) == ({}, {})

    async def test_what_was_not_announced_is_booked_and_somebody_looks(self, world: World) -> None:
        return_id = await world.requested()
        receipt_id = await world.receive(return_id, MUGS, POT)
        assert await world.pump() == [
            "orders.return-receipt.check",
            "inventory.receipt-stock.receive",
            "orders.return-receipt.settle",
            "returns.return.received.v1",
        ]
        shown = await world.shown(return_id)
        assert shown["status"] == "requires_action"
        assert [(item["item_id"], item["is_requested"]) for item in shown["items"]] == [
            ("item_mug", True),
            ("item_pot", False),
        ]
        assert world.others.stock == {receipt_id: [("variant_mug", 2), ("variant_pot", 1)]}
        await world.do(operations.close_return, return_id=return_id, now=NOW)
        assert await world.pump() == ["returns.return.received.v1"]
        assert (await world.shown(return_id))["status"] == "received"

    async def test_owed_money_is_settled_once(self, world: World) -> None:
        world.others.blocked = True
        return_id = await world.requested()
        await world.receive(return_id)
        await world.pump()
        with pytest.raises(NotAllowed):
            await world.do(operations.close_return, return_id=return_id, now=NOW)
        settle = {"caller": keyed("key"), "return_id": return_id, "refund": None, "now": NOW}
        receipt_id = await world.do(operations.settle_owed, **settle)
        await world.pump()
        outcome = await world.look(
            queries.outcome_of_receipt, return_id=return_id, receipt_id=receipt_id
        )
        assert isinstance(outcome, NotAllowed)
        assert (await world.shown(return_id))["inside"]["owed_amount"] == 2000
        world.others.blocked = False
        assert await world.do(operations.settle_owed, **settle) == receipt_id
        again = await world.do(operations.settle_owed, **{**settle, "caller": keyed("other")})
        await world.pump()
        shown = await world.shown(return_id)
        assert (shown["status"], shown["refund_amount"]) == ("received", 2000)
        assert shown["inside"]["owed_amount"] == 0
        assert world.others.paid[again] == 2000

    async def test_closing_a_short_return_waits_until_its_units_are_free(
        self, world: World
    ) -> None:
        return_id = await world.requested()
        await world.receive(return_id, Item("item_mug", 1))
        await world.pump()
        await world.do(operations.close_return, return_id=return_id, now=NOW)
        assert await world.look(queries.outcome_of_close, return_id=return_id) is None
        assert await world.pump() == ["orders.return-hold.release", "returns.return.received.v1"]
        outcome = await world.look(queries.outcome_of_close, return_id=return_id)
        assert outcome["return"]["status"] == "received"
        await world.do(operations.close_return, return_id=return_id, now=NOW)
        assert await world.pump() == []

    async def test_a_received_return_cannot_be_received_again(self, world: World) -> None:
        return_id = await world.requested()
        await world.receive(return_id)
        await world.pump()
        with pytest.raises(NotAllowed) as caught:
            await world.receive(return_id)
        message = f"Return with id {return_id} has already been received"
        assert caught.value.message == message

    async def test_two_receipts_at_once_are_one_receipt_and_one_conflict(
        self, world: World
    ) -> None:
        return_id = await world.requested()
        outcomes = await asyncio.gather(
            *(world.receive(return_id, Item("item_mug", 1)) for _ in range(2)),
            return_exceptions=True,
        )
        assert sorted(isinstance(outcome, Conflict) for outcome in outcomes) == [False, True]
        await world.pump()
        assert (await world.shown(return_id))["items"][0]["received_quantity"] == 1


class TestReceiveNow:
    async def test_a_return_is_requested_and_received_in_one_go(self, world: World) -> None:
        return_id = await world.request(receive_now=True, location_id="sloc_1", refund=700)
        assert await world.outcome(return_id) is None
        await world.pump()
        outcome = await world.outcome(return_id)
        assert (outcome["return"]["status"], outcome["return"]["refund_amount"]) == (
            "received",
            700,
        )
        assert [name for _, name, _ in await world.events(return_id)] == [
            "order.return_requested",
            "return.received",
        ]
        assert len(world.others.stock) == 1

    async def test_the_caller_waits_for_the_receipt_too(self, world: World) -> None:
        return_id = await world.request(receive_now=True)
        (hold,) = await world.unsent()
        await world.answer(hold)
        assert (await world.shown(return_id))["status"] == "requested"
        assert await world.outcome(return_id) is None

    async def test_a_refused_receipt_is_told_and_leaves_a_requested_return(
        self, world: World
    ) -> None:
        world.others.refuse = {ReceiveReceiptStock}
        return_id = await world.requested(receive_now=True)
        assert isinstance(await world.outcome(return_id), NotFound)
        shown = await world.shown(return_id)
        assert (shown["status"], shown["items"][0]["received_quantity"]) == ("requested", None)

    async def test_a_refused_hold_receives_nothing(self, world: World) -> None:
        world.others.refuse = {PlaceReturnHold}
        return_id = await world.requested(receive_now=True)
        assert isinstance(await world.outcome(return_id), NotAllowed)
        assert world.others.clean


class TestCancel:
    async def test_a_canceled_return_has_released_its_units(self, world: World) -> None:
        return_id = await world.requested()
        await world.cancel(return_id)
        assert await world.look(queries.outcome_of_cancel, return_id=return_id) is None
        assert (await world.shown(return_id))["status"] == "requested"
        assert await world.pump() == [
            "orders.return-hold.release",
            "returns.return.canceled.v1",
        ]
        outcome = await world.look(queries.outcome_of_cancel, return_id=return_id)
        assert outcome["return"]["status"] == "canceled"
        assert world.others.clean

    async def test_canceling_again_is_no_change_and_no_event(self, world: World) -> None:
        return_id = await world.requested()
        await world.cancel(return_id)
        await world.cancel(return_id)
        await world.pump()
        await world.cancel(return_id)
        assert await world.pump() == []
        assert len(await world.events(return_id)) == 2

    async def test_what_has_come_cannot_be_canceled(self, world: World) -> None:
        return_id = await world.requested()
        for _ in range(2):
            await world.receive(return_id, Item("item_mug", 1))
            await world.pump()
            with pytest.raises(NotAllowed) as caught:
                await world.cancel(return_id)
            assert caught.value.message == "Can't cancel a return which has been returned"

    async def test_a_receipt_under_way_and_a_cancellation_exclude_each_other(
        self, world: World
    ) -> None:
        first, second = await world.requested(), await world.requested()
        await world.receive(first)
        with pytest.raises(Conflict):
            await world.cancel(first)
        await world.cancel(second)
        with pytest.raises(Conflict):
            await world.receive(second)
        await world.pump()
        with pytest.raises(NotAllowed) as caught:
            await world.receive(second)
        assert caught.value.message == "Cannot receive a canceled return"

    @pytest.mark.parametrize("doing", ["receive", "cancel"])
    async def test_an_unknown_return_is_not_found(self, world: World, doing: str) -> None:
        with pytest.raises(NotFound) as caught:
            await getattr(world, doing)("ret_none")
        assert caught.value.message == "Return with id: ret_none was not found"


class TestReturnOfAClaim:
    async def test_it_stands_at_once_and_mirrors_the_claim(self, world: World) -> None:
        await world.tell(a_claim_return())
        assert await world.pump() == [
            "returns.return.requested.v1",
            "returns.claim-return.opened.v1",
        ]
        shown = await world.shown("ret_of_claim")
        assert (shown["status"], shown["claim_order_id"]) == ("requested", "claim_1")
        assert (shown["refund_amount"], shown["items"][0]["note"]) == (2400, "broken")
        assert shown["shipping_method"]["shipping_option_id"] == "so_1"
        assert world.others.holds == {}

    async def test_a_claim_has_one_return_and_a_repeat_answers_the_same(self, world: World) -> None:
        await world.tell(a_claim_return())
        await world.tell(a_claim_return())
        await world.tell(a_claim_return(return_id="ret_other"))
        replies = [e for e in await world.unsent() if e.key == "returns.claim-return.opened.v1"]
        assert [reply.data["return_id"] for reply in replies] == ["ret_of_claim"] * 3
        assert (await world.look(queries.returns_page))["count"] == 1

    async def test_the_answer_names_the_command_it_answers(self, world: World) -> None:
        command = await world.tell(a_claim_return(), saga_id="saga_1", correlation_id="call_1")
        reply = (await world.unsent())[-1]
        assert (reply.causation_id, reply.saga_id) == (command.id, "saga_1")
        assert reply.correlation_id == "call_1"

    async def test_its_receipt_pays_nothing_unless_told(self, world: World) -> None:
        await world.tell(a_claim_return())
        await world.receive("ret_of_claim", Item("item_mug", 1))
        await world.pump()
        await world.receive("ret_of_claim", Item("item_mug", 1), refund=50)
        settles = []
        while batch := await world.unsent():
            for envelope in batch:
                if envelope.key == "orders.return-receipt.settle":
                    settles.append((envelope.data["claim_id"], envelope.data["refund"]))
                if not envelope.key.startswith("returns."):
                    await world.answer(envelope)
        assert settles == [("claim_1", 50)]
        assert sorted(world.others.paid.values()) == [0, 50]
        shown = await world.shown("ret_of_claim")
        assert (shown["status"], shown["refund_amount"]) == ("received", 50)

    async def test_canceling_it_asks_nobody_because_the_claim_holds_the_units(
        self, world: World
    ) -> None:
        await world.tell(a_claim_return())
        await world.unsent()
        await world.cancel("ret_of_claim")
        assert await world.pump() == [
            "returns.return.canceled.v1",
            "returns.claim-return.moved.v1",
        ]
        assert (await world.shown("ret_of_claim"))["status"] == "canceled"

    @pytest.mark.parametrize(
        ("before", "status"),
        [
            ("nothing", None),
            ("open", "requested"),
            ("cancel", "canceled"),
            ("part", "requires_action"),
        ],
    )
    async def test_claims_is_told_how_it_stands(
        self, world: World, before: str, status: str | None
    ) -> None:
        if before != "nothing":
            await world.tell(a_claim_return())
        if before == "cancel":
            await world.cancel("ret_of_claim")
        if before == "part":
            await world.receive("ret_of_claim", Item("item_mug", 1))
        await world.pump()
        await world.tell(CheckClaimReturn(claim_id="claim_1"))
        (reply,) = await world.unsent()
        assert reply.data["status"] == status
        assert reply.data["return_id"] == (None if before == "nothing" else "ret_of_claim")


class TestTimers:
    async def expire(self, world: World, minutes: float) -> None:
        """Everything whose time has come at that many minutes after the start."""
        now = NOW + timedelta(minutes=minutes)
        due = await world.rows("SELECT id FROM sagas WHERE next_at <= :now", now=now)
        for row in due:
            await world.do(operations.expire_saga, saga_id=row["id"], now=now)

    async def test_an_unanswered_hold_is_asked_again_under_its_id(self, world: World) -> None:
        await world.request()
        (lost,) = await world.unsent()
        await self.expire(world, 0.4)
        assert await world.unsent() == []
        await self.expire(world, 1)
        (again,) = await world.unsent()
        assert again == lost
        await world.answer(again)

    async def test_a_hold_that_is_never_answered_is_given_up_and_released(
        self, world: World
    ) -> None:
        return_id = await world.request()
        (lost,) = await world.unsent()
        await self.expire(world, 15)
        refusal = await world.outcome(return_id)
        assert isinstance(refusal, NotAllowed)
        assert refusal.code == "timeout"
        (release,) = await world.unsent()
        assert release.key == "orders.return-hold.release"
        await self.expire(world, 30)
        await world.answer(release)
        await world.answer(lost)
        after = await world.outcome(return_id)
        assert (after.code, after.message) == (refusal.code, refusal.message)
        assert world.others.clean
        assert (await world.look(queries.sagas_page))["sagas"] == []

    @pytest.mark.parametrize("doing", ["receive", "cancel"])
    async def test_goods_and_releases_are_asked_for_ever(self, world: World, doing: str) -> None:
        return_id = await world.requested()
        await getattr(world, doing)(return_id)
        (lost,) = await world.unsent()
        for days in (1, 2, 30):
            await self.expire(world, days * 24 * 60)
            assert await world.unsent() == [lost]
        await world.answer(lost)
        await world.pump()
        assert (await world.shown(return_id))["status"] in ("received", "canceled")

    async def test_the_service_finds_what_is_due_by_itself(self, world: World) -> None:
        long_ago = NOW - timedelta(days=300)
        return_id = await world.request(now=long_ago)
        await world.unsent()

        async def expire_one(tx: Any, saga_id: str, now: Any) -> None:
            await operations.expire_saga(tx, saga_id=saga_id, now=now)

        assert await saga_log.wake_due(world.database, expire_one) is False
        assert isinstance(await world.outcome(return_id), NotAllowed)
