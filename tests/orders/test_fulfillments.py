"""Goods are packed, sent, unpacked: what is asked of inventory, and what stays behind."""

from __future__ import annotations

from typing import Any

import pytest

from chassis import clock
from chassis.db import Row
from chassis.errors import Conflict, Invalid, NotAllowed, NotFound, Refusal
from chassis.idempotency import Caller
from contracts.inventory import (
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    FulfillmentStockRestored,
)
from services.orders import invariants, operations, queries
from tests.orders.builders import Desk, a_claim, a_receipt, a_return, an_item, an_order, keys
from tests.orders.conftest import OpenShop

METHOD = {"id": "sm_01", "price": 500}
PLACE = "sloc_a"


def unpacked(*items: Row, **changes: Any) -> Row:
    """An order whose goods lie in the warehouse yet; without items: three mugs."""
    fresh = {"fulfilled_quantity": 0, "shipped_quantity": 0}
    lines = [{**item, **fresh} for item in items or (an_item(quantity=3),)]
    status = {"fulfillment_status": "not_fulfilled", "shipping_methods": [METHOD]}
    return an_order(*lines, **{**status, **changes})


async def pack(desk: Desk, units: int = 2, *, line: str = "item_01", **given: Any) -> Any:
    """Pack units of a line: what was accepted."""
    asked = {"items": [(line, units)], "location_id": None, "no_notification": None}
    return await desk.do(
        operations.create_fulfillment,
        **{"order_id": "order_01", "metadata": None, **asked, **given},
    )


async def unpack(desk: Desk, fulfillment_id: str, **given: Any) -> Any:
    return await desk.do(
        operations.cancel_fulfillment,
        **{"order_id": "order_01", "fulfillment_id": fulfillment_id, **given},
    )


async def ship(desk: Desk, fulfillment_id: str, **given: Any) -> None:
    asked = {"order_id": "order_01", "fulfillment_id": fulfillment_id, "tracking_numbers": ["T1"]}
    await desk.do(operations.create_shipment, **{**asked, "no_notification": None, **given})


def consumed(command: Row) -> FulfillmentStockConsumed:
    return FulfillmentStockConsumed(
        fulfillment_id=command["data"]["fulfillment_id"], order_id="order_01"
    )


def rejected(command: Row) -> FulfillmentStockRejected:
    return FulfillmentStockRejected(
        fulfillment_id=command["data"]["fulfillment_id"],
        order_id="order_01",
        code="insufficient_stock",
        kind="not_allowed",
        message="Insufficient stock for item: Red mug",
    )


def restored(command: Row) -> FulfillmentStockRestored:
    return FulfillmentStockRestored(
        fulfillment_id=command["data"]["fulfillment_id"], order_id="order_01"
    )


async def units_of(desk: Desk, line_id: str = "item_01") -> tuple[int, int]:
    line = await desk.line(line_id)
    return line["fulfilled_quantity"], line["shipped_quantity"]


async def outcome(desk: Desk, fulfillment_id: str) -> Any:
    async with desk.database.reading() as tx:
        return await queries.fulfillment_outcome(tx, fulfillment_id=fulfillment_id)


async def shown(desk: Desk) -> list[Row]:
    async with desk.database.reading() as tx:
        found = await queries.order_by_id(tx, order_id="order_01", customer_id=None)
    fulfillments: list[Row] = found["order"]["fulfillments"]
    return fulfillments


async def sound(desk: Desk) -> None:
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []


class TestWithoutALocation:
    async def test_packs_at_once_and_says_so(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, metadata={"box": 1}, no_notification=True)
        assert accepted.done
        said = await desk.heard()
        assert keys(said) == ["order.fulfillment-created"]
        assert said[0]["version"] == 1
        assert said[0]["data"] == {
            "name": "order.fulfillment_created",
            "id": "order_01",
            "fulfillment_id": accepted.id,
            "no_notification": True,
            "location_id": None,
            "items": [{"line_id": "item_01", "quantity": 2}],
            "fulfillment_status": "partially_fulfilled",
        }
        assert (await desk.order())["fulfillment_status"] == "partially_fulfilled"
        assert await units_of(desk) == (2, 0)
        (fulfillment,) = await shown(desk)
        assert fulfillment["items"] == [
            {"item_id": "item_01", "quantity": 2, "fulfillment_id": accepted.id}
        ]
        assert (fulfillment["metadata"], fulfillment["no_notification"]) == ({"box": 1}, True)
        await pack(desk, 1)
        assert (await desk.order())["fulfillment_status"] == "fulfilled"
        await sound(desk)

    async def test_unpacks_at_once_and_frees_the_units(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk)
        assert (await unpack(desk, accepted.id)).done
        said = await desk.heard()
        assert keys(said) == ["order.fulfillment-created", "order.fulfillment-canceled"]
        assert [row["version"] for row in said] == [1, 2]
        assert (await desk.order())["fulfillment_status"] == "canceled"
        assert await units_of(desk) == (0, 0)
        assert (await shown(desk))[0]["canceled_at"] is not None
        before = await desk.everything()
        assert (await unpack(desk, accepted.id)).done
        assert await desk.everything() == before
        await sound(desk)

    async def test_a_line_named_twice_counts_summed(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        await pack(desk, items=[("item_01", 1), ("item_01", 2)])
        assert await units_of(desk) == (3, 0)

    @pytest.mark.parametrize(
        ("order", "items", "kind", "message"),
        [
            (
                unpacked(status="canceled"),
                [("item_01", 1)],
                NotAllowed,
                "A canceled order cannot be fulfilled",
            ),
            (
                unpacked(shipping_methods=[]),
                [("item_01", 1)],
                NotAllowed,
                "Cannot fulfill an order that lacks shipping methods",
            ),
            (
                unpacked(),
                [("item_01", 4)],
                NotAllowed,
                "Cannot fulfill more items than have been purchased",
            ),
            (
                unpacked(),
                [("item_01", 2), ("item_01", 2)],
                NotAllowed,
                "Cannot fulfill more items than have been purchased",
            ),
            (unpacked(), [("item_9", 1)], Invalid, "Line item with item_9 was not found"),
            (unpacked(), [("item_01", 0)], Invalid, "quantity must not be less than 1"),
            (unpacked(), [], Invalid, "items should not be empty"),
        ],
    )
    async def test_what_cannot_be_packed_is_refused_and_changes_nothing(
        self,
        open_shop: OpenShop,
        order: Row,
        items: list[tuple[str, int]],
        kind: type[Refusal],
        message: str,
    ) -> None:
        desk = await open_shop(order)
        before = await desk.everything()
        with pytest.raises(kind) as no:
            await pack(desk, items=items)
        assert no.value.message == message
        assert await desk.everything() == before
        assert await desk.heard() == []

    async def test_an_order_that_is_not_there_is_not_found(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        with pytest.raises(NotFound, match="Order with id order_9 was not found"):
            await pack(desk, order_id="order_9")


class TestFromALocation:
    async def test_asks_inventory_and_is_there_once_it_has_agreed(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, location_id=PLACE)
        assert not accepted.done
        (command,) = await desk.heard()
        assert command["key"] == "inventory.fulfillment-stock.consume"
        assert command["data"]["location_id"] == PLACE
        assert command["data"]["lines"] == [
            {
                "line_no": 1,
                "line_id": "item_01",
                "variant_id": "variant_01",
                "title": "Red mug",
                "quantity": 2,
            }
        ]
        assert await outcome(desk, accepted.id) is None
        assert await shown(desk) == []
        assert await units_of(desk) == (0, 0)
        said = await desk.answer(consumed(command), to=command)
        assert keys(said) == ["order.fulfillment-created"]
        assert await outcome(desk, accepted.id) == {
            "fulfillment_id": accepted.id,
            "order_id": "order_01",
        }
        assert await units_of(desk) == (2, 0)
        assert (await shown(desk))[0]["location_id"] == PLACE
        again = await desk.answer(consumed(command), to=command)
        assert again == []
        assert await units_of(desk) == (2, 0)
        await sound(desk)

    async def test_units_under_way_are_not_packed_twice(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        await pack(desk, location_id=PLACE)
        with pytest.raises(NotAllowed, match="Cannot fulfill more items"):
            await pack(desk)
        await pack(desk, 1)

    async def test_what_inventory_refuses_was_never_there(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, location_id=PLACE)
        (command,) = await desk.heard()
        assert await desk.answer(rejected(command), to=command) == []
        no = await outcome(desk, accepted.id)
        assert (no.code, no.message) == (
            "insufficient_stock",
            "Insufficient stock for item: Red mug",
        )
        assert await shown(desk) == []
        assert (await desk.order())["fulfillment_status"] == "not_fulfilled"
        assert await units_of(desk) == (0, 0)
        with pytest.raises(NotFound, match="no fulfillment was found with the id"):
            await unpack(desk, accepted.id)
        await sound(desk)

    async def test_a_line_without_a_variant_asks_nobody(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked(an_item(variant_id=None)))
        assert (await pack(desk, location_id=PLACE)).done

    async def test_unpacking_waits_until_the_goods_are_back(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, location_id=PLACE)
        (command,) = await desk.heard()
        await desk.answer(consumed(command), to=command)
        undone = await unpack(desk, accepted.id)
        assert not undone.done
        (back,) = await desk.heard()
        assert back["key"] == "inventory.fulfillment-stock.restore"
        # It cannot be refused, so its units are free; but it is not canceled before it is done.
        assert await units_of(desk) == (0, 0)
        assert (await shown(desk))[0]["canceled_at"] is None
        assert not (await unpack(desk, accepted.id)).done
        assert await desk.heard() == []
        said = await desk.answer(restored(back), to=back)
        assert keys(said) == ["order.fulfillment-canceled"]
        assert (await shown(desk))[0]["canceled_at"] is not None
        assert (await unpack(desk, accepted.id)).done
        await sound(desk)

    async def test_one_that_inventory_never_answers_is_given_up_and_put_back(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, location_id=PLACE)
        (command,) = await desk.heard()
        async with desk.database.transaction() as tx:
            await tx.execute("UPDATE sagas SET next_at = created_at, deadline_at = created_at")
            await operations.expire_saga(tx, saga_id=accepted.id, now=clock.now())
        (undo,) = await desk.heard()
        assert undo["key"] == "inventory.fulfillment-stock.restore"
        no = await outcome(desk, accepted.id)
        assert no.code == "timeout"
        assert await desk.answer(consumed(command), to=command) == []
        assert await desk.answer(restored(undo), to=undo) == []
        assert await shown(desk) == []
        assert await units_of(desk) == (0, 0)
        await sound(desk)

    async def test_an_operator_may_give_it_up(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, location_id=PLACE)
        async with desk.database.transaction() as tx:
            await operations.give_up(
                tx, saga_id=accepted.id, reason="the warehouse burned", now=clock.now()
            )
        assert (await outcome(desk, accepted.id)).code == "given_up"


class TestUnpacking:
    async def test_shipped_goods_stay_shipped(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk)
        await ship(desk, accepted.id)
        with pytest.raises(NotAllowed) as no:
            await unpack(desk, accepted.id)
        assert no.value.message == (
            "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled"
        )

    async def test_goods_of_another_order_are_not_found(self, open_shop: OpenShop) -> None:
        other = unpacked(an_item(id="item_02"), id="order_02", payments=[])
        desk = await open_shop(unpacked(), other)
        accepted = await pack(desk)
        with pytest.raises(NotFound) as no:
            await unpack(desk, accepted.id, order_id="order_02")
        assert no.value.message == (
            f"no fulfillment was found with the id: {accepted.id} related to order: order_02"
        )

    async def test_claimed_goods_were_sent(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, 3)
        await desk.say(a_claim())
        with pytest.raises(NotAllowed, match="have been claimed or returned"):
            await unpack(desk, accepted.id)
        await sound(desk)

    async def test_goods_that_came_back_were_sent(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, 3)
        await desk.say(a_return())
        await desk.say(a_receipt())
        with pytest.raises(NotAllowed, match="have been claimed or returned"):
            await unpack(desk, accepted.id)

    async def test_others_of_the_line_may_be_unpacked(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        await pack(desk, 1)
        second = await pack(desk, 2)
        await desk.say(a_claim())
        assert (await unpack(desk, second.id)).done
        await sound(desk)

    async def test_one_that_is_being_made_is_a_conflict(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        accepted = await pack(desk, location_id=PLACE)
        for work in (unpack, ship):
            with pytest.raises(Conflict):
                await work(desk, accepted.id)

    async def test_an_imported_one_puts_nothing_back(self, open_shop: OpenShop) -> None:
        packed = {"id": "ful_old", "items": [{"item_id": "item_01", "quantity": 2}]}
        desk = await open_shop(
            an_order(an_item(shipped_quantity=0), fulfillments=[{**packed, "location_id": PLACE}])
        )
        assert (await unpack(desk, "ful_old")).done
        assert keys(await desk.heard()) == ["order.fulfillment-canceled"]
        assert await units_of(desk) == (0, 0)
        await sound(desk)


class TestShipment:
    async def test_sends_goods_with_their_numbers(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        first, second = await pack(desk, 1), await pack(desk, 2)
        await ship(desk, first.id)
        assert (await desk.order())["fulfillment_status"] == "partially_shipped"
        await ship(desk, second.id, tracking_numbers=["T2", "T3"], no_notification=True)
        said = [row for row in await desk.heard() if "shipment" in row["key"]]
        assert said[1]["data"] == {
            "name": "order.shipment_created",
            "id": "order_01",
            "fulfillment_id": second.id,
            "no_notification": True,
            "tracking_numbers": ["T2", "T3"],
            "items": [{"line_id": "item_01", "quantity": 2}],
            "fulfillment_status": "shipped",
        }
        assert await units_of(desk) == (3, 3)
        links = [link for each in await shown(desk) for link in each["tracking_links"]]
        assert [link["tracking_number"] for link in links] == ["T1", "T2", "T3"]
        await sound(desk)

    @pytest.mark.parametrize(
        ("prepare", "kind", "message"),
        [
            ("unknown", NotFound, "Could not find fulfillment"),
            ("canceled", NotAllowed, "Fulfillment has been canceled"),
            ("shipped", NotAllowed, "The fulfillment has already been shipped"),
        ],
    )
    async def test_what_cannot_be_sent_is_refused(
        self, open_shop: OpenShop, prepare: str, kind: type[Refusal], message: str
    ) -> None:
        desk = await open_shop(unpacked())
        fulfillment_id = (await pack(desk)).id
        if prepare == "canceled":
            await unpack(desk, fulfillment_id)
        if prepare == "shipped":
            await ship(desk, fulfillment_id)
        before = await desk.everything()
        with pytest.raises(kind) as no:
            await ship(desk, "ful_9" if prepare == "unknown" else fulfillment_id)
        assert no.value.message == message
        assert await desk.everything() == before


class TestKeys:
    async def test_the_same_key_packs_once(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        caller = Caller("usr_1", "k1", "print")
        first = await pack(desk, 1, caller=caller)
        again = await pack(desk, 1, caller=caller)
        assert first.id == again.id
        assert await units_of(desk) == (1, 0)

    async def test_the_same_key_ships_and_unpacks_once(self, open_shop: OpenShop) -> None:
        desk = await open_shop(unpacked())
        one, two = await pack(desk, 1), await pack(desk, 1)
        for _ in range(2):
            await ship(desk, one.id, caller=Caller("usr_1", "k1", "print"))
            await unpack(desk, two.id, caller=Caller("usr_1", "k2", "print"))
        assert await units_of(desk) == (1, 1)
        assert len(await desk.heard()) == 4


async def test_everything_leaves_its_record(open_shop: OpenShop) -> None:
    desk = await open_shop(unpacked())
    accepted = await pack(desk, location_id=PLACE)
    (command,) = await desk.heard()
    await desk.answer(consumed(command), to=command)
    await unpack(desk, accepted.id)
    (back,) = await desk.heard()
    await desk.answer(restored(back), to=back)
    rows = await desk.rows(
        "SELECT action, after FROM audit WHERE about = :about ORDER BY seq",
        about=f"fulfillment/{accepted.id}",
    )
    assert [row["action"] for row in rows] == [
        "fulfillment.asked",
        "fulfillment.created",
        "fulfillment.cancel_asked",
        "fulfillment.canceled",
    ]
    assert {row["after"]["order_id"] for row in rows} == {"order_01"}
    assert rows[0]["after"]["units"] == {"item_01": 2}


async def test_a_line_with_less_than_its_fulfillments_is_found(open_shop: OpenShop) -> None:
    desk = await open_shop(unpacked())
    await pack(desk)
    async with desk.database.transaction() as tx:
        await tx.execute("UPDATE order_lines SET fulfilled_quantity = 1")
    async with desk.database.reading() as tx:
        found = await invariants.findings(tx)
    assert [(row["invariant"], row["id"]) for row in found] == [("I5", "item_01")]


async def test_what_was_packed_here_is_not_loaded_over(open_shop: OpenShop) -> None:
    desk = await open_shop(unpacked())
    await pack(desk, location_id=PLACE)
    again = await open_again(desk, unpacked(email="else@reclamo.example"))
    assert [row["code"] for row in again["refusals"]] == ["order_in_use"]


async def open_again(desk: Desk, order: Row) -> Row:
    async with desk.database.transaction() as tx:
        return await operations.import_document(
            tx, lists={"orders": [order]}, providers={"manual"}, now=clock.now()
        )
