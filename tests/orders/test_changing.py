"""An order is completed, archived, canceled, corrected: what may be, and what is said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis import clock
from chassis.db import Row
from chassis.errors import Conflict, Invalid, NotAllowed, NotFound, Refusal
from chassis.idempotency import Caller
from contracts.inventory import OrderReservationReleased
from services.orders import invariants, operations, operations_money, queries
from tests.orders.builders import (
    Desk,
    a_claim,
    a_release,
    a_return,
    a_return_release,
    an_item,
    an_order,
    keys,
)
from tests.orders.conftest import OpenShop

ORDER = {"order_id": "order_01"}
FRESH = {
    "status": "pending",
    "payment_status": "awaiting",
    "fulfillment_status": "not_fulfilled",
    "payments": [{"id": "pay_01", "amount": 2400, "provider_id": "manual"}],
}


def an_open_order(**changes: Any) -> Row:
    """Two mugs that nobody has paid or packed."""
    item = an_item(fulfilled_quantity=0, shipped_quantity=0)
    return an_order(item, **{**FRESH, **changes})


async def statuses(desk: Desk) -> tuple[str, str, str]:
    order = await desk.order()
    return order["status"], order["payment_status"], order["fulfillment_status"]


class TestComplete:
    async def test_says_so_once(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        for _ in range(2):
            await desk.do(operations.complete_order, **ORDER)
        said = await desk.heard()
        assert keys(said) == ["order.completed"]
        assert said[0]["data"]["name"] == "order.completed"
        assert (await desk.order())["status"] == "completed"

    async def test_is_not_for_canceled_orders(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(status="canceled"))
        with pytest.raises(NotAllowed, match="A canceled order cannot be completed"):
            await desk.do(operations.complete_order, **ORDER)


class TestArchive:
    async def test_takes_completed_orders(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(status="completed"))
        caller = Caller("usr_1", "k1", "print")
        for _ in range(2):
            await desk.do(operations.archive_order, **ORDER, caller=caller)
        assert keys(await desk.heard()) == ["order.archived"]
        assert (await desk.order())["status"] == "archived"

    @pytest.mark.parametrize("status", ["pending", "canceled", "archived", "requires_action"])
    async def test_takes_no_others(self, open_shop: OpenShop, status: str) -> None:
        desk = await open_shop(an_order(status=status))
        with pytest.raises(NotAllowed, match="Can't archive an unprocessed order"):
            await desk.do(operations.archive_order, **ORDER)


class TestCancel:
    async def test_ends_everything_and_has_reservations_released(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_open_order())
        accepted = await desk.do(operations.cancel_order, **ORDER)
        assert not accepted.done
        event, command = sorted(await desk.heard(), key=lambda row: row["key"], reverse=True)
        assert (event["key"], event["data"]["status"]) == ("orders.order.canceled.v1", "canceled")
        assert command["key"] == "inventory.order-reservation.release"
        assert command["data"] == {"order_id": "order_01", "line_ids": ["item_01"]}
        assert await statuses(desk) == ("canceled", "canceled", "canceled")
        assert (await desk.order())["canceled_at"] is not None
        (payment,) = await desk.rows("SELECT canceled_at FROM payments")
        assert payment["canceled_at"] is not None
        assert await self.outcome(desk, accepted.wait_for) is None
        assert not (await desk.do(operations.cancel_order, **ORDER)).done
        assert await desk.answer(OrderReservationReleased(order_id="order_01"), to=command) == []
        assert await self.outcome(desk, accepted.wait_for) == {"order_id": "order_01"}
        async with desk.database.reading() as tx:
            assert await invariants.findings(tx) == []
            assert await invariants.canceled_orders(tx) == [{"order_id": "order_01"}]

    async def outcome(self, desk: Desk, saga_id: str) -> Any:
        async with desk.database.reading() as tx:
            return await queries.cancel_outcome(tx, order_id="order_01", saga_id=saga_id)

    async def test_keeps_money_that_was_captured(self, open_shop: OpenShop) -> None:
        """A payment that gave its money is not canceled by that: somebody has to give it back."""
        desk = await open_shop(an_order(captured=2400))
        await desk.do(operations.cancel_order, **ORDER)
        (payment,) = await desk.rows("SELECT captured_at, canceled_at FROM payments")
        assert payment["captured_at"] is not None
        assert payment["canceled_at"] is None
        refund = {"payment_id": "pay_01", "amount": 2400, "reason": "other", "note": None}
        await desk.do(operations_money.refund_payment, **refund)
        order = await desk.order()
        assert (order["refunded"], order["payment_status"]) == (2400, "canceled")

    async def test_an_order_that_came_canceled_is_left_alone(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(status="canceled"))
        assert (await desk.do(operations.cancel_order, **ORDER)).done
        assert await desk.heard() == []

    async def test_an_order_without_variants_asks_nobody(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(an_item(variant_id=None)))
        assert (await desk.do(operations.cancel_order, **ORDER)).done
        assert keys(await desk.heard()) == ["order.canceled"]

    @pytest.mark.parametrize(
        ("prepare", "kind", "message"),
        [
            ("refund", NotAllowed, "Order with refund(s) cannot be canceled"),
            ("fulfillment", NotAllowed, "All fulfillments must be canceled before"),
            ("return", NotAllowed, "All returns must be canceled before canceling an order"),
            ("claim", NotAllowed, "All claims must be canceled before canceling an order"),
            ("held money", Conflict, "A refund of the order is under way"),
        ],
    )
    async def test_what_lives_on_it_goes_first(
        self, open_shop: OpenShop, prepare: str, kind: type[Refusal], message: str
    ) -> None:
        packed = {"id": "ful_1", "items": [{"item_id": "item_01", "quantity": 2}]}
        more = {"fulfillments": [packed]} if prepare == "fulfillment" else {}
        desk = await open_shop(an_order(an_item(shipped_quantity=0), **more))
        if prepare == "refund":
            refund = {"amount": 1, "reason": "other", "note": None, "no_notification": None}
            async with desk.database.transaction() as tx:
                await operations_money.refund_order(
                    tx, **ORDER, **refund, caller=Caller("usr_1"), now=clock.now()
                )
        if prepare == "return":
            await desk.say(a_return())
        if prepare == "claim":
            await desk.say(a_claim(type="replace", execute_refund=False))
        if prepare == "held money":
            await desk.say(a_claim(refund_amount=100, execute_refund=False))
        before = await desk.everything()
        with pytest.raises(kind) as no:
            await desk.do(operations.cancel_order, **ORDER)
        assert no.value.message.startswith(message)
        assert await desk.everything() == before

    async def test_what_was_taken_back_stands_in_no_way(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim(type="replace", execute_refund=False))
        await desk.say(a_release())
        await desk.say(a_return())
        await desk.say(a_return_release())
        await desk.do(operations.cancel_order, **ORDER)
        assert (await desk.order())["status"] == "canceled"

    async def test_nothing_is_claimed_on_it_afterwards(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.do(operations.cancel_order, **ORDER)
        await desk.heard()
        said = await desk.say(a_claim())
        assert said[0]["data"]["code"] == "order_canceled"


class TestCorrect:
    async def correct(self, desk: Desk, **changes: Any) -> None:
        await desk.do(operations.update_order, **ORDER, changes=changes)

    async def test_changes_what_people_get_wrong(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(shipping_address={"first_name": "Ana", "city": "Here"}))
        await self.correct(
            desk,
            email="new@reclamo.example",
            shipping_address={"city": "There"},
            billing_address={"first_name": "Anna"},
            customer_id="cus_ana",
            no_notification=True,
        )
        order = await desk.order()
        assert order["email"] == "new@reclamo.example"
        assert order["shipping_address"] == {
            **order["shipping_address"],
            "first_name": "Ana",
            "city": "There",
        }
        assert order["billing_address"]["first_name"] == "Anna"
        assert (order["customer_id"], order["no_notification"]) == ("cus_ana", True)
        assert "new@reclamo.example" in order["search"].split("\n")
        said = await desk.heard()
        assert keys(said) == ["order.updated"]
        assert "new@reclamo.example" not in str(said)
        (record,) = await desk.rows("SELECT after FROM audit WHERE action = 'order.updated'")
        assert record["after"]["changed"] == [
            *("billing_address", "customer_id", "email", "no_notification", "shipping_address"),
        ]
        assert "new@reclamo.example" not in str(record)

    async def test_nothing_to_change_says_nothing(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await self.correct(desk)
        assert await desk.heard() == []

    @pytest.mark.parametrize(
        ("order", "changes", "kind", "message"),
        [
            (
                an_order(status="canceled"),
                {"email": "new@reclamo.example"},
                NotAllowed,
                "A canceled order cannot be updated",
            ),
            (
                an_order(),
                {"items": [{}]},
                NotAllowed,
                "Can't update shipping, billing, items and payment method when order is processed",
            ),
            (
                an_order(),
                {"payment_method": {"provider_id": "manual"}},
                NotAllowed,
                "Can't update shipping, billing, items and payment method when order is processed",
            ),
            (
                an_open_order(),
                {"items": [{}]},
                NotAllowed,
                "items of an order cannot be changed here: load the order anew",
            ),
            (
                an_order(),
                {"customer_id": "cus_9"},
                NotFound,
                "Customer with id: cus_9 was not found",
            ),
        ],
    )
    async def test_what_may_not_be_changed_is_refused(
        self,
        open_shop: OpenShop,
        order: Row,
        changes: Row,
        kind: type[Refusal],
        message: str,
    ) -> None:
        desk = await open_shop(order)
        before = await desk.everything()
        with pytest.raises(kind) as no:
            await self.correct(desk, **changes)
        assert no.value.message == message
        assert await desk.everything() == before

    @pytest.mark.parametrize(("country", "fits"), [("GB", True), ("fr", False)])
    async def test_it_is_sent_within_its_region(
        self, open_shop: OpenShop, country: str, fits: bool
    ) -> None:
        desk = await open_shop()
        async with desk.database.transaction() as tx:
            await tx.execute("UPDATE regions SET countries = :known", known=["gb", "ie"])
        if fits:
            await self.correct(desk, shipping_address={"country_code": country})
            assert (await desk.order())["shipping_address"]["country_code"] == country
        else:
            with pytest.raises(Invalid, match="Shipping country must be in the order region"):
                await self.correct(desk, shipping_address={"country_code": country})
            await self.correct(desk, billing_address={"country_code": country})


class TestShippingMethod:
    async def add(self, desk: Desk, **changes: Any) -> None:
        given = {"option_id": "so_back", "price": 700, "data": None}
        await desk.do(operations.add_shipping_method, **{**ORDER, **given, **changes})

    async def test_stands_beside_the_others_with_the_regions_tax(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(shipping_methods=[{"id": "sm_1", "price": 500}]))
        await self.add(desk, data={"door": 3})
        async with desk.database.reading() as tx:
            found = await queries.order_by_id(tx, order_id="order_01", customer_id=None)
        first, second = found["order"]["shipping_methods"]
        assert first["id"] == "sm_1"
        assert (second["price"], second["data"]) == (700, {"door": 3})
        assert second["shipping_option"]["name"] == "Parcel back"
        assert [tax["rate"] for tax in second["tax_lines"]] == [12.5]
        assert keys(await desk.heard()) == ["order.updated"]

    @pytest.mark.parametrize(
        ("order", "changes", "kind", "message"),
        [
            (
                an_order(status="canceled"),
                {},
                NotAllowed,
                "A shipping method cannot be added to a canceled order",
            ),
            (
                an_order(),
                {"option_id": "so_9"},
                NotFound,
                "Shipping Option with id: so_9 was not found",
            ),
        ],
    )
    async def test_needs_a_living_order_and_an_option(
        self,
        open_shop: OpenShop,
        order: Row,
        changes: Row,
        kind: type[Refusal],
        message: str,
    ) -> None:
        desk = await open_shop(order)
        with pytest.raises(kind) as no:
            await self.add(desk, **changes)
        assert no.value.message == message


@pytest.mark.parametrize(
    ("work", "more"),
    [
        (operations.complete_order, {}),
        (operations.archive_order, {}),
        (operations.cancel_order, {}),
        (operations_money.capture_order, {}),
        (operations.update_order, {"changes": {}}),
        (operations.add_shipping_method, {"option_id": "so_back", "price": 1, "data": None}),
    ],
)
async def test_an_order_that_is_not_there_is_not_found(
    open_shop: OpenShop, work: Callable[..., Awaitable[Any]], more: Row
) -> None:
    desk = await open_shop()
    with pytest.raises(NotFound, match="Order with id order_9 was not found"):
        await desk.do(work, order_id="order_9", **more)
