"""Reservations that people make, move and end, through the door; and many people at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from chassis import clock, db
from chassis.errors import Invalid, NotAllowed, NotFound
from chassis.idempotency import Caller
from chassis.testing import DatabaseUrl
from contracts.inventory import PlaceReservation
from services.inventory import invariants, operations, store
from tests.inventory.builders import Warehouse, place, release
from tests.inventory.door import AGENT, CUSTOMER, Door, problem

OVER_LINE = "The reservation quantity cannot be greater than the unfulfilled line item quantity"
SOMEBODY = Caller("user_1")


def a_reservation(quantity: int = 2, **more: Any) -> dict[str, Any]:
    """Two mugs at sloc_a for item_1, of which three are still to be sent."""
    body = {
        "inventory_item_id": "iitem_mug",
        "location_id": "sloc_a",
        "quantity": quantity,
        "line_item_id": "item_1",
        "line_unfulfilled": 3,
        **more,
    }
    return {name: value for name, value in body.items() if value is not None}


async def stocked(door: Door, **more: Any) -> None:
    """Five mugs at sloc_a, two at sloc_b."""
    await door.warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 2}}, **more)


async def reserve(door: Door, quantity: int = 2, **more: Any) -> dict[str, Any]:
    answer = await door.post("/reservations", a_reservation(quantity, **more))
    made: dict[str, Any] = answer["reservation"]
    return made


async def audited(door: Door) -> list[tuple[str, str]]:
    async with door.warehouse.database.reading() as tx:
        rows = await tx.fetch("SELECT action, about FROM audit ORDER BY seq")
    return [(row["action"], row["about"]) for row in rows if row["action"] != "document.imported"]


class TestMaking:
    async def test_units_are_promised_to_a_line_by_somebody(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, description="for Ana", metadata={"shelf": 3})
        assert (made["quantity"], made["line_item_id"]) == (2, "item_1")
        assert (made["created_by"], made["external_id"]) == ("user_1", None)
        assert (made["description"], made["metadata"]) == ("for Ana", {"shelf": 3})
        assert await door.get(f"/reservations/{made['id']}") == {"reservation": made}
        levels = await door.warehouse.levels()
        assert levels == {("mug", "sloc_a"): (5, 2), ("mug", "sloc_b"): (2, 0)}
        assert await audited(door) == [("reservation.created", f"reservation/{made['id']}")]
        assert await door.warehouse.events() == [
            {
                "name": "reservation-item.created",
                "ids": [made["id"]],
                "line_item_id": "item_1",
                "inventory_item_id": "iitem_mug",
                "location_id": "sloc_a",
                "quantity": 2,
            }
        ]

    async def test_a_second_reservation_of_a_line_at_a_place_adds_to_the_first(
        self, door: Door
    ) -> None:
        await stocked(door)
        first = await reserve(door, 1, description="for Ana")
        second = await reserve(door, 1)
        assert (second["id"], second["quantity"]) == (first["id"], 2)
        assert second["description"] == "for Ana"
        assert await door.warehouse.held() == [("item_1", "sloc_a", 2)]

    async def test_reservations_without_a_line_stand_beside_each_other(self, door: Door) -> None:
        await stocked(door)
        nobody = {"line_item_id": None, "line_unfulfilled": None}
        first, second = await reserve(door, 1, **nobody), await reserve(door, 1, **nobody)
        assert first["id"] != second["id"]
        assert (await door.warehouse.levels())["mug", "sloc_a"] == (5, 2)

    async def test_a_line_is_never_promised_more_than_it_needs_wherever_that_is(
        self, door: Door
    ) -> None:
        await stocked(door)
        await reserve(door, 2)
        for location in ("sloc_a", "sloc_b"):
            answer = await door.call(
                "POST", "/reservations", a_reservation(2, location_id=location)
            )
            assert problem(answer) == ("invalid", "over_line", OVER_LINE)
        await reserve(door, 1, location_id="sloc_b")
        assert await door.warehouse.held() == [("item_1", "sloc_a", 2), ("item_1", "sloc_b", 1)]

    async def test_nobody_promises_to_a_line_without_having_looked_at_it(self, door: Door) -> None:
        await stocked(door)
        body = a_reservation(line_unfulfilled=None)
        answer = await door.call("POST", "/reservations", body)
        assert problem(answer)[:2] == ("invalid", "line_unfulfilled_missing")

    @pytest.mark.parametrize(
        ("changes", "kind", "message"),
        [
            (
                {"location_id": "sloc_x"},
                "not_found",
                "Item iitem_mug is not stocked at location sloc_x",
            ),
            (
                {"inventory_item_id": "iitem_x"},
                "not_found",
                "Item iitem_x is not stocked at location sloc_a",
            ),
            (
                {"quantity": 6, "line_unfulfilled": 9},
                "not_allowed",
                "Not enough stock available for item iitem_mug at location sloc_a",
            ),
        ],
    )
    async def test_what_is_not_there_is_not_promised(
        self, door: Door, changes: dict[str, Any], kind: str, message: str
    ) -> None:
        await stocked(door)
        answer = await door.call("POST", "/reservations", {**a_reservation(), **changes})
        assert (problem(answer)[0], problem(answer)[2]) == (kind, message)
        assert await door.warehouse.held() == []
        assert await door.warehouse.events() == []

    async def test_what_may_be_ordered_before_it_is_there_may_be_promised(self, door: Door) -> None:
        await stocked(door, mug={"allow_backorder": True})
        await reserve(door, 9, line_unfulfilled=9)
        assert (await door.warehouse.levels())["mug", "sloc_a"] == (5, 9)

    async def test_the_same_attempt_promises_once(self, door: Door) -> None:
        await stocked(door)
        keys = {"idempotency-key": "key-1", "reclamo-fingerprint": "print-1"}
        first = await door.post("/reservations", a_reservation(1), headers=keys)
        assert await door.post("/reservations", a_reservation(1), headers=keys) == first
        added = {"idempotency-key": "key-2", "reclamo-fingerprint": "print-1"}
        second = await door.post("/reservations", a_reservation(1), headers=added)
        assert await door.post("/reservations", a_reservation(1), headers=added) == second
        assert second["reservation"]["id"] == first["reservation"]["id"]
        assert await door.warehouse.held() == [("item_1", "sloc_a", 2)]
        headers = {**keys, "reclamo-fingerprint": "print-2"}
        other = await door.call("POST", "/reservations", a_reservation(2), headers=headers)
        assert problem(other)[0] == "key_reused"


class TestLookingAgain:
    async def recheck(self, door: Door, made: dict[str, Any], units: int, needs: int) -> Any:
        body = {"quantity": units, "line_unfulfilled": needs}
        return await door.call("POST", f"/reservations/{made['id']}/recheck", body)

    async def test_a_promise_that_the_line_needs_stays(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 2)
        assert (await self.recheck(door, made, 2, 2)).status_code == 200
        assert await door.warehouse.held() == [("item_1", "sloc_a", 2)]

    async def test_a_line_that_was_sent_meanwhile_gets_no_promise(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 2)
        assert problem(await self.recheck(door, made, 2, 1))[2] == OVER_LINE
        assert await door.warehouse.held() == []
        assert (await door.warehouse.levels())["mug", "sloc_a"] == (5, 0)

    async def test_only_the_units_in_question_are_given_back(self, door: Door) -> None:
        await stocked(door)
        await reserve(door, 1)
        made = await reserve(door, 2)
        assert problem(await self.recheck(door, made, 2, 1))[2] == OVER_LINE
        assert await door.warehouse.held() == [("item_1", "sloc_a", 1)]

    async def test_what_has_been_used_up_meanwhile_is_well(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 2)
        await door.call("DELETE", f"/reservations/{made['id']}")
        assert (await self.recheck(door, made, 2, 0)).status_code == 200


class TestChanging:
    async def test_a_quantity_goes_up_and_down(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 1)
        path = f"/reservations/{made['id']}"
        more = await door.post(path, {"quantity": 3, "line_unfulfilled": 3})
        assert more["reservation"]["quantity"] == 3
        less = await door.post(path, {"quantity": 2, "description": "two will do"})
        assert (less["reservation"]["quantity"], less["reservation"]["id"]) == (2, made["id"])
        assert (await door.warehouse.levels())["mug", "sloc_a"] == (5, 2)
        events = [event["name"] for event in await door.warehouse.events()]
        assert events == ["reservation-item.created", *["reservation-item.updated"] * 2]
        answer = await door.call("POST", path, {"quantity": 4, "line_unfulfilled": 3})
        assert problem(answer) == ("invalid", "over_line", OVER_LINE)
        answer = await door.call("POST", path, {"quantity": 6, "line_unfulfilled": 9})
        assert problem(answer)[1] == "insufficient_stock"

    async def test_a_move_takes_the_units_along_or_leaves_all_as_it_was(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 3)
        path = f"/reservations/{made['id']}"
        answer = await door.call("POST", path, {"location_id": "sloc_b"})
        assert problem(answer)[2] == (
            "Not enough stock available for item iitem_mug at location sloc_b"
        )
        assert await door.warehouse.held() == [("item_1", "sloc_a", 3)]
        moved = await door.post(path, {"location_id": "sloc_b", "quantity": 2})
        assert moved["reservation"]["location_id"] == "sloc_b"
        levels = await door.warehouse.levels()
        assert levels == {("mug", "sloc_a"): (5, 0), ("mug", "sloc_b"): (2, 2)}
        answer = await door.call("POST", path, {"location_id": "sloc_x"})
        assert problem(answer)[0] == "not_found"

    async def test_a_move_to_where_the_line_has_a_reservation_is_refused(self, door: Door) -> None:
        await stocked(door)
        first = await reserve(door, 1)
        await reserve(door, 1, location_id="sloc_b")
        answer = await door.call("POST", f"/reservations/{first['id']}", {"location_id": "sloc_b"})
        assert problem(answer) == (
            "not_allowed",
            "reservation_exists",
            "Line item item_1 already has a reservation at location sloc_b",
        )

    async def test_words_can_be_taken_away_a_quantity_and_a_place_cannot(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 1, description="for Ana", metadata={"a": 1})
        nothing = dict.fromkeys(("description", "metadata", "quantity", "location_id"))
        changed = (await door.post(f"/reservations/{made['id']}", nothing))["reservation"]
        assert (changed["description"], changed["metadata"]) == (None, None)
        assert (changed["quantity"], changed["location_id"]) == (1, "sloc_a")

    async def test_the_same_attempt_changes_once(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door, 1)
        path = f"/reservations/{made['id']}"
        keys = {"idempotency-key": "key-1", "reclamo-fingerprint": "print-1"}
        body = {"quantity": 2, "line_unfulfilled": 3}
        await door.post(path, body, headers=keys)
        await door.post(path, {"quantity": 1})
        assert (await door.post(path, body, headers=keys))["reservation"]["quantity"] == 1

    async def test_what_has_ended_is_neither_changed_nor_ended_again(self, door: Door) -> None:
        await stocked(door)
        made = await reserve(door)
        path = f"/reservations/{made['id']}"
        gone = await door.call("DELETE", path)
        assert gone.json() == {"id": made["id"], "object": "reservation", "deleted": True}
        for method, body in (("POST", {"description": "x"}), ("DELETE", None)):
            answer = await door.call(method, path, body)
            assert problem(answer)[2] == f"ReservationItem with id {made['id']} was not found"
        assert (await door.warehouse.levels())["mug", "sloc_a"] == (5, 0)
        assert (await door.warehouse.events())[-1] == {
            "name": "reservation-item.deleted",
            "ids": [made["id"]],
            "line_item_id": "item_1",
            "location_id": None,
        }
        assert (await audited(door))[-1] == ("reservation.deleted", f"reservation/{made['id']}")


class TestOfAClaim:
    """The replacement of claim_1 is line_1: two mugs at sloc_a."""

    async def promised(self, door: Door) -> str:
        await stocked(door)
        await door.warehouse.ask(place(("mug", 2)))
        (held,) = (await door.get("/reservations"))["reservations"]
        reservation_id: str = held["id"]
        return reservation_id

    async def remedy(self, door: Door) -> dict[str, Any]:
        async with door.warehouse.database.reading() as tx:
            (row,) = await invariants.remedies(tx, ["claim_1"])
        return row

    async def test_ending_it_is_a_release_by_hand(self, door: Door) -> None:
        reservation_id = await self.promised(door)
        await door.call("DELETE", f"/reservations/{reservation_id}")
        row = await self.remedy(door)
        assert (row["held_units"], row["released_units"], row["manual_units"]) == (0, 2, 2)
        assert (await audited(door))[-1] == ("reservation.deleted", "claim/claim_1")
        assert (await door.warehouse.ask(release()))["said"] == "reservation.released"

    async def test_lowering_it_is_a_release_by_hand_of_the_difference(self, door: Door) -> None:
        reservation_id = await self.promised(door)
        await door.post(f"/reservations/{reservation_id}", {"quantity": 1})
        row = await self.remedy(door)
        assert (row["held_units"], row["released_units"], row["manual_units"]) == (1, 1, 1)

    async def test_what_is_moved_is_still_released_with_the_claim(self, door: Door) -> None:
        reservation_id = await self.promised(door)
        await door.post(f"/reservations/{reservation_id}", {"location_id": "sloc_b"})
        assert await door.warehouse.held() == [("line_1", "sloc_b", 2)]
        await door.warehouse.ask(release())
        levels = await door.warehouse.levels()
        assert levels == {("mug", "sloc_a"): (5, 0), ("mug", "sloc_b"): (2, 0)}

    async def test_what_is_promised_anew_by_hand_is_released_with_the_claim(
        self, door: Door
    ) -> None:
        reservation_id = await self.promised(door)
        await door.call("DELETE", f"/reservations/{reservation_id}")
        made = await reserve(door, 1, line_item_id="line_1", line_unfulfilled=2)
        assert made["external_id"] == "claim_1"
        await door.warehouse.ask(release())
        assert await door.warehouse.held() == []
        answer = await door.call(
            "POST", "/reservations", a_reservation(1, line_item_id="line_1", line_unfulfilled=2)
        )
        assert problem(answer)[:2] == ("not_allowed", "remedy_released")


class TestWhoMay:
    async def test_agents_promise_stock_and_customers_see_none(self, door: Door) -> None:
        await stocked(door)
        answer = await door.call("POST", "/reservations", a_reservation(), who=AGENT)
        assert answer.status_code == 200
        path = f"/reservations/{answer.json()['reservation']['id']}"
        recheck = {"quantity": 1, "line_unfulfilled": 1}
        for method, at, body in (
            ("POST", "/reservations", a_reservation()),
            ("POST", path, {"quantity": 1}),
            ("POST", f"{path}/recheck", recheck),
            ("DELETE", path, None),
        ):
            refused = await door.call(method, at, body, who=CUSTOMER)
            assert refused.status_code == 403
        assert (await door.call("DELETE", path, who=AGENT)).status_code == 200


# Many at once


def a_claims(number: int) -> PlaceReservation:
    """One mug for a line of its own."""
    line = {"line_id": f"line_{number}", "variant_id": "mug", "quantity": 1}
    return place(remedy=f"claim_{number}", lines=[line])


async def at_once(warehouse: Warehouse, location: str, line: str = "item_1") -> str:
    """One unit for a line that needs three; the code of the refusal, or that it was made."""
    try:
        async with warehouse.database.transaction() as tx:
            await operations.create_reservation(
                tx,
                item_id="iitem_mug",
                location_id=location,
                quantity=1,
                line_id=line,
                line_unfulfilled=3,
                description=None,
                metadata=None,
                caller=SOMEBODY,
                now=clock.now(),
            )
    except (Invalid, NotAllowed) as refusal:
        return refusal.code
    return "made"


@pytest.fixture
async def replicas(postgres_url_factory: DatabaseUrl) -> Any:
    """Two processes' worth of connections to one PostgreSQL database."""
    url = await postgres_url_factory("inventory")
    both = []
    for _ in range(2):
        database = db.connect(url).serve("inventory", store.METADATA)
        await database.open()
        both.append(Warehouse(database))
    yield both
    assert await both[0].findings() == []
    for each in both:
        await each.database.close()


async def test_many_who_reserve_for_one_line_at_two_places_never_exceed_what_it_needs(
    replicas: list[Warehouse],
) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 50, "sloc_b": 50}})
    outcomes = await asyncio.gather(
        *(at_once(replicas[n % 2], f"sloc_{'ab'[n // 2 % 2]}") for n in range(20))
    )
    assert Counter(outcomes) == {"made": 3, "over_line": 17}
    held = await replicas[0].held()
    assert sum(units for _, _, units in held) == 3
    assert len({(line, location) for line, location, _ in held}) == len(held)


async def test_many_lines_never_get_more_than_there_is(replicas: list[Warehouse]) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 5}})
    outcomes = await asyncio.gather(
        *(at_once(replicas[n % 2], "sloc_a", f"item_{n}") for n in range(20))
    )
    assert Counter(outcomes) == {"made": 5, "insufficient_stock": 15}


async def test_moves_claims_and_releases_at_once_keep_the_books(replicas: list[Warehouse]) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 20, "sloc_b": 20}})
    await asyncio.gather(*(replicas[0].send(a_claims(n)) for n in range(8)))
    async with replicas[0].database.reading() as tx:
        ids = [row["id"] for row in await tx.fetch("SELECT id FROM reservations ORDER BY id")]

    async def move(n: int, reservation_id: str) -> None:
        for location in ("sloc_b", "sloc_a", "sloc_b"):
            try:
                async with replicas[n % 2].database.transaction() as tx:
                    await operations.update_reservation(
                        tx,
                        reservation_id=reservation_id,
                        changes={"location_id": location},
                        line_unfulfilled=None,
                        caller=SOMEBODY,
                        now=clock.now(),
                    )
            except (NotFound, db.Transient):
                pass

    await asyncio.gather(
        *(move(n, reservation_id) for n, reservation_id in enumerate(ids)),
        *(replicas[n % 2].send(release(f"claim_{n}")) for n in range(0, 8, 2)),
        *(replicas[n % 2].send(a_claims(n)) for n in range(8, 16)),
    )
    assert await replicas[0].parked() == []
    levels = await replicas[0].levels()
    assert sum(reserved for _, reserved in levels.values()) == 12
