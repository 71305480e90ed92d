"""What can be done to stock, on each database; and what happens when many do it at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis import clock, db
from chassis.errors import KeyReused, NotAllowed, NotFound
from chassis.idempotency import Caller
from chassis.testing import DatabaseUrl
from services.inventory import operations_levels, store
from tests.inventory.builders import Warehouse, a_document, place, receive, release

SOMEBODY = Caller("user_1")


async def do(
    warehouse: Warehouse, operation: Callable[..., Awaitable[Any]], **arguments: Any
) -> Any:
    """One operation in one transaction."""
    async with warehouse.database.transaction() as tx:
        return await operation(tx, **arguments, now=clock.now())


async def count(
    warehouse: Warehouse, stocked: int | None, incoming: int | None = None, **more: Any
) -> None:
    arguments = {"item_id": "iitem_mug", "location_id": "sloc_a", "caller": SOMEBODY} | more
    await do(
        warehouse,
        operations_levels.update_level,
        stocked_quantity=stocked,
        incoming_quantity=incoming,
        **arguments,
    )


async def open_level(warehouse: Warehouse, location: str, stocked: int, **more: Any) -> None:
    arguments = {"item_id": "iitem_mug", "caller": SOMEBODY} | more
    await do(
        warehouse,
        operations_levels.create_level,
        location_id=location,
        stocked_quantity=stocked,
        incoming_quantity=0,
        **arguments,
    )


class TestLevels:
    async def test_setting_a_level_is_a_movement_of_the_difference(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await count(warehouse, 3)
        await count(warehouse, 3)
        await count(warehouse, 10)
        assert await warehouse.levels() == {("mug", "sloc_a"): (10, 0)}
        assert await warehouse.movements() == [
            ("import", "sloc_a", 5),
            ("count", "sloc_a", -2),
            ("count", "sloc_a", 7),
        ]

    async def test_a_count_of_less_than_is_reserved_is_refused(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await warehouse.ask(place(("mug", 3)))
        with pytest.raises(NotAllowed) as refused:
            await count(warehouse, 2)
        assert refused.value.code == "below_reserved"
        await count(warehouse, 3)
        assert await warehouse.levels() == {("mug", "sloc_a"): (3, 3)}

    async def test_with_backorders_the_count_may_be_below_what_is_reserved(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}}, mug={"allow_backorder": True})
        await warehouse.ask(place(("mug", 4)))
        await count(warehouse, 0)
        assert await warehouse.levels() == {("mug", "sloc_a"): (0, 4)}

    async def test_a_level_that_is_not_there_cannot_be_counted(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        with pytest.raises(NotFound) as refused:
            await count(warehouse, 1, location_id="nowhere")
        assert refused.value.message == (
            "Inventory level for inventory item iitem_mug and location nowhere not found"
        )

    async def test_a_new_level_starts_with_what_was_counted(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {}, "cup": {"sloc_b": 1}})
        await open_level(warehouse, "sloc_b", 17)
        assert await warehouse.levels() == {("mug", "sloc_b"): (17, 0), ("cup", "sloc_b"): (1, 0)}
        with pytest.raises(NotAllowed) as refused:
            await open_level(warehouse, "sloc_b", 1)
        assert refused.value.code == "level_exists"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"item_id": "iitem_x"}, "InventoryItem with id iitem_x was not found"),
            ({"location": "sloc_x"}, "StockLocation with id sloc_x was not found"),
        ],
    )
    async def test_a_level_of_nothing_is_refused(
        self, warehouse: Warehouse, changes: dict[str, Any], message: str
    ) -> None:
        await warehouse.stock({"mug": {}})
        with pytest.raises(NotFound) as refused:
            await open_level(warehouse, **{"location": "sloc_a", "stocked": 1, **changes})
        assert refused.value.message == message

    async def test_a_level_can_be_removed_only_when_nothing_is_reserved_there(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await warehouse.ask(place(("mug", 1)))
        level = {"item_id": "iitem_mug", "location_id": "sloc_a"}
        with pytest.raises(NotAllowed) as refused:
            await do(warehouse, operations_levels.delete_level, **level)
        assert refused.value.message == (
            "Cannot remove Inventory Level iitem_mug at Location sloc_a"
            " because there are reserved items."
        )
        await warehouse.ask(release())
        await do(warehouse, operations_levels.delete_level, **level)
        assert await warehouse.levels() == {}
        assert (await warehouse.movements())[-1] == ("removal", "sloc_a", -5)
        with pytest.raises(NotFound):
            await do(warehouse, operations_levels.delete_level, **level)

    async def test_a_removed_level_can_be_opened_again(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await do(
            warehouse, operations_levels.delete_level, item_id="iitem_mug", location_id="sloc_a"
        )
        await open_level(warehouse, "sloc_a", 2)
        assert await warehouse.levels() == {("mug", "sloc_a"): (2, 0)}

    async def test_the_same_attempt_counts_once_even_after_a_later_count(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        attempt = Caller("user_1", "key-1", "print-1")
        await count(warehouse, 8, caller=attempt)
        await count(warehouse, 2)
        await count(warehouse, 8, caller=attempt)
        assert await warehouse.levels() == {("mug", "sloc_a"): (2, 0)}
        with pytest.raises(KeyReused):
            await count(warehouse, 9, caller=Caller("user_1", "key-1", "print-2"))


class TestItems:
    async def create(self, warehouse: Warehouse, variant_id: str | None) -> str:
        item_id: str = await do(
            warehouse,
            operations_levels.create_inventory_item,
            variant_id=variant_id,
            fields={"material": "clay"},
            caller=SOMEBODY,
        )
        return item_id

    async def test_a_variant_has_one_item(self, warehouse: Warehouse) -> None:
        await warehouse.stock({}, mug={"manage_inventory": False})
        assert await self.create(warehouse, "mug") == "iitem_mug"
        with pytest.raises(NotAllowed) as refused:
            await self.create(warehouse, "mug")
        assert refused.value.message == "Inventory Item already exists for this variant"

    async def test_an_item_needs_a_variant(self, warehouse: Warehouse) -> None:
        with pytest.raises(NotAllowed) as refused:
            await self.create(warehouse, None)
        assert refused.value.message == "variant_id is required"
        with pytest.raises(NotFound):
            await self.create(warehouse, "nobody")

    async def test_a_variant_that_gets_an_item_is_counted_from_then_on(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({}, mug={"manage_inventory": False})
        assert (await warehouse.ask(place(("mug", 1))))["said"] == "reservation.placed"
        await self.create(warehouse, "mug")
        reply = await warehouse.ask(place(("mug", 1), remedy="claim_2"))
        assert reply["code"] == "insufficient_stock"

    async def test_an_item_is_not_removed_while_something_is_reserved(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await warehouse.ask(place(("mug", 1)))
        with pytest.raises(NotAllowed):
            await do(warehouse, operations_levels.delete_inventory_item, item_id="iitem_mug")
        await warehouse.ask(release())
        await do(warehouse, operations_levels.delete_inventory_item, item_id="iitem_mug")
        assert await warehouse.levels() == {}
        with pytest.raises(NotFound):
            await do(warehouse, operations_levels.delete_inventory_item, item_id="iitem_mug")


class TestLocations:
    async def test_a_removed_location_takes_its_levels_and_reservations_with_it(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock(
            {"mug": {"sloc_a": 5, "sloc_b": 5}, "cup": {"sloc_b": 1}}, channels={"sc": ["sloc_a"]}
        )
        await warehouse.ask(place(("mug", 2)))
        await warehouse.ask(place(("cup", 1), remedy="claim_2"))
        await do(warehouse, operations_levels.delete_stock_location, location_id="sloc_a")
        assert await warehouse.levels() == {("mug", "sloc_b"): (5, 0), ("cup", "sloc_b"): (1, 1)}
        assert await warehouse.held() == [("line_1", "sloc_b", 1)]
        assert (await warehouse.ask(release()))["said"] == "reservation.released"
        with pytest.raises(NotFound):
            await do(warehouse, operations_levels.delete_stock_location, location_id="sloc_a")

    async def test_the_same_attempt_opens_one_location(self, warehouse: Warehouse) -> None:
        attempt = Caller("user_1", "key-1", "print-1")
        arguments = {"name": "North", "address": None, "metadata": None, "caller": attempt}
        first = await do(warehouse, operations_levels.create_stock_location, **arguments)
        assert await do(warehouse, operations_levels.create_stock_location, **arguments) == first


class TestImport:
    async def test_the_same_document_twice_changes_nothing(self, warehouse: Warehouse) -> None:
        document = a_document({"mug": {"sloc_a": 5}}, channels={"sc": ["sloc_a"]})
        first = await warehouse.load(document)
        again = await warehouse.load(document)
        assert (first["created"], first["refused"]) == (4, 0)
        assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 4)
        assert await warehouse.movements() == [("import", "sloc_a", 5)]

    async def test_a_level_is_set_absolutely_whatever_was_reserved_or_received(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await warehouse.ask(place(("mug", 2)))
        await warehouse.ask(receive(("mug", 4)))
        await warehouse.stock({"mug": {"sloc_a": 6}})
        assert await warehouse.levels() == {("mug", "sloc_a"): (6, 2)}
        assert (await warehouse.movements())[-1] == ("import", "sloc_a", -3)

    async def test_a_bad_record_is_refused_with_its_path_and_the_others_are_loaded(
        self, warehouse: Warehouse
    ) -> None:
        document = a_document({"mug": {"sloc_a": 5}})
        document["variants"].append({"id": "cup", "title": "c", "colour": "red"})
        document["variants"].append({"id": "jar", "title": "j", "prices": [{"amount": 1.5}]})
        document["inventory_levels"].append(
            {"variant_id": "cup", "location_id": "sloc_a", "stocked_quantity": 1}
        )
        answer = await warehouse.load(document)
        assert (answer["created"], answer["refused"]) == (3, 3)
        assert answer["refusals"] == [
            {
                "path": "variants[1].colour",
                "id": "cup",
                "code": "unknown_key",
                "message": "property colour should not exist",
            },
            {
                "path": "variants[2].prices[0].currency_code",
                "id": "jar",
                "code": "malformed",
                "message": "currency_code should not be empty",
            },
            {
                "path": "inventory_levels[1]",
                "id": "cup",
                "code": "variant_not_found",
                "message": "Variant with id: cup was not found",
            },
        ]

    async def test_a_changed_variant_is_updated_and_its_item_takes_the_sku(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        document = a_document({}, mug={"sku": "new", "prices": [], "metadata": {"a": [1]}})
        answer = await warehouse.load({"variants": document["variants"]})
        assert answer["updated"] == 1
        level = {"sku": "new", "location_id": "sloc_a", "stocked_quantity": 1}
        assert (await warehouse.load({"inventory_levels": [level]}))["updated"] == 1
        assert (await warehouse.ask(place(("mug", 1))))["code"] == "variant_without_price"

    async def test_backorders_are_switched_with_the_variant(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}}, mug={"allow_backorder": True})
        await warehouse.ask(place(("mug", 2)))
        refused = await warehouse.load(a_document({"mug": {}}))
        assert [each["code"] for each in refused["refusals"]] == ["backorders_reserved"]
        await warehouse.ask(release())
        assert (await warehouse.load(a_document({"mug": {}})))["updated"] == 1
        reply = await warehouse.ask(place(("mug", 2), remedy="claim_2"))
        assert reply["code"] == "insufficient_stock"

    async def test_a_channel_is_mapped_and_mapped_anew(self, warehouse: Warehouse) -> None:
        stock = {"mug": {"sloc_a": 1, "sloc_b": 1}}
        await warehouse.stock(stock, channels={"sc": ["sloc_b"]})
        await warehouse.stock(stock, channels={"sc": ["sloc_a"]})
        reply = await warehouse.ask(place(("mug", 1), sales_channel_id="sc"))
        assert reply["lines"][0]["location_id"] == "sloc_a"


async def test_the_journal_cannot_be_edited(warehouse: Warehouse) -> None:
    await warehouse.stock({"mug": {"sloc_a": 5}})
    for edit in ("UPDATE movements SET quantity = 9", "DELETE FROM movements"):
        with pytest.raises(Exception, match="append-only"):
            async with warehouse.database.transaction() as tx:
                await tx.execute(edit)
    assert await warehouse.movements() == [("import", "sloc_a", 5)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE levels SET reserved = 6",
        "UPDATE levels SET reserved = -1",
        "UPDATE levels SET on_hand = -1",
        "UPDATE levels SET incoming = -1",
    ],
)
async def test_the_last_net_refuses_impossible_figures(warehouse: Warehouse, change: str) -> None:
    await warehouse.stock({"mug": {"sloc_a": 5}})
    with pytest.raises(db.CheckFailed):
        async with warehouse.database.transaction() as tx:
            await tx.execute(change)


# Many at once, on real connections of two replicas


@pytest.fixture
async def replicas(postgres_url_factory: DatabaseUrl) -> AsyncIterator[tuple[Warehouse, Warehouse]]:
    """Two processes' worth of connections to one PostgreSQL database."""
    url = await postgres_url_factory("inventory")
    both = []
    for _ in range(2):
        database = db.connect(url).serve("inventory", store.METADATA)
        await database.open()
        both.append(Warehouse(database))
    yield both[0], both[1]
    assert await both[0].findings() == []
    for each in both:
        await each.database.close()


async def said(warehouse: Warehouse) -> Counter[str]:
    return Counter(reply["said"] for reply in await warehouse.replies())


async def test_of_fifty_claims_for_ten_units_exactly_ten_are_placed(
    replicas: tuple[Warehouse, Warehouse],
) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 10}})
    await asyncio.gather(
        *(replicas[n % 2].send(place(("mug", 1), remedy=f"claim_{n}")) for n in range(50))
    )
    assert await said(replicas[0]) == {"reservation.placed": 10, "reservation.rejected": 40}
    assert await replicas[0].levels() == {("mug", "sloc_a"): (10, 10)}
    assert await replicas[0].parked() == []


async def test_claims_for_several_variants_in_any_order_do_not_lock_each_other_out(
    replicas: tuple[Warehouse, Warehouse],
) -> None:
    names = ["cup", "jar", "mug", "pot"]
    await replicas[0].stock({name: {"sloc_a": 10, "sloc_b": 10} for name in names})
    orders = [names[n % 4 :] + names[: n % 4] for n in range(40)]
    orders = [list(reversed(order)) if n % 2 else order for n, order in enumerate(orders)]
    await asyncio.gather(
        *(
            replicas[n % 2].send(place(*((name, 1) for name in order), remedy=f"claim_{n}"))
            for n, order in enumerate(orders)
        )
    )
    # Four lines each, one location if it has all: twenty claims empty both locations.
    assert await said(replicas[0]) == {"reservation.placed": 20, "reservation.rejected": 20}
    assert set((await replicas[0].levels()).values()) == {(10, 10)}
    assert await replicas[0].parked() == []


async def test_placing_and_releasing_the_same_remedies_at_once_leaks_nothing(
    replicas: tuple[Warehouse, Warehouse],
) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 10}, "cup": {"sloc_a": 10}})
    await asyncio.gather(
        *(
            replicas[side].send(message)
            for n in range(20)
            for side, message in enumerate(
                (place(("mug", 1), ("cup", 1), remedy=f"claim_{n}"), release(f"claim_{n}"))
            )
        )
    )
    assert await replicas[0].levels() == {("mug", "sloc_a"): (10, 0), ("cup", "sloc_a"): (10, 0)}
    assert await replicas[0].parked() == []


async def test_the_same_remedy_and_receipt_told_many_times_at_once_count_once(
    replicas: tuple[Warehouse, Warehouse],
) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 10}})
    await asyncio.gather(
        *(replicas[n % 2].send(place(("mug", 2))) for n in range(6)),
        *(replicas[n % 2].send(receive(("mug", 3))) for n in range(6)),
    )
    # Who met the first in the middle tries again, and is answered the same.
    assert await said(replicas[0]) == {"reservation.placed": 6, "receipt-stock.received": 6}
    assert await replicas[0].levels() == {("mug", "sloc_a"): (13, 2)}


async def test_receipts_counts_and_claims_at_once_keep_the_books(
    replicas: tuple[Warehouse, Warehouse],
) -> None:
    await replicas[0].stock({"mug": {"sloc_a": 30}, "cup": {"sloc_a": 30}})
    await asyncio.gather(
        *(replicas[0].send(place(("mug", 1), ("cup", 1), remedy=f"claim_{n}")) for n in range(15)),
        *(
            replicas[1].send(receive(("cup", 1), ("mug", 1), receipt=f"rcpt_{n}"))
            for n in range(15)
        ),
        *(count(replicas[n % 2], None, incoming=n) for n in range(5)),
    )
    assert await replicas[0].levels() == {("mug", "sloc_a"): (45, 15), ("cup", "sloc_a"): (45, 15)}


# Random lives of a warehouse

_VARIANTS = st.sampled_from(["mug", "cup"])
_PLACES = st.sampled_from(["sloc_a", "sloc_b"])
_LINES = st.lists(st.tuples(_VARIANTS, st.integers(1, 4)), min_size=1, max_size=3)
_STEPS = st.one_of(
    st.tuples(st.just("place"), st.integers(1, 4), _LINES),
    st.tuples(st.just("release"), st.integers(1, 4), st.none()),
    st.tuples(st.just("receive"), st.integers(1, 4), st.tuples(_LINES, st.none() | _PLACES)),
    st.tuples(st.just("count"), st.integers(0, 6), st.tuples(_VARIANTS, _PLACES)),
    st.tuples(st.just("import"), st.integers(0, 6), st.tuples(_VARIANTS, _PLACES)),
    st.tuples(st.just("remove"), st.just(0), st.tuples(_VARIANTS, _PLACES)),
)


async def live(warehouse: Warehouse, step: tuple[str, int, Any]) -> None:
    """Do one step; a refusal is an answer too."""
    kind, number, what = step
    if kind == "place":
        await warehouse.ask(place(*what, remedy=f"claim_{number}"))
    elif kind == "release":
        await warehouse.ask(release(f"claim_{number}"))
    elif kind == "receive":
        await warehouse.ask(receive(*what[0], receipt=f"rcpt_{number}", location=what[1]))
    elif kind == "import":
        variant, location = what
        level = {"variant_id": variant, "location_id": location, "stocked_quantity": number}
        await warehouse.load({"inventory_levels": [level]})
    else:
        level = {"item_id": f"iitem_{what[0]}", "location_id": what[1]}
        try:
            if kind == "count":
                await count(warehouse, number, **level)
            else:
                await do(warehouse, operations_levels.delete_level, **level)
        except (NotFound, NotAllowed):
            pass


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(backorder=st.booleans(), steps=st.lists(_STEPS, max_size=25))
async def test_after_any_life_levels_are_their_movements_and_reserved_is_what_is_held(
    database_url: DatabaseUrl, backorder: bool, steps: list[tuple[str, int, Any]]
) -> None:
    database = db.connect(await database_url("inventory")).serve("inventory", store.METADATA)
    await database.open()
    warehouse = Warehouse(database)
    try:
        await warehouse.stock(
            {"mug": {"sloc_a": 3, "sloc_b": 2}, "cup": {"sloc_b": 4}},
            mug={"allow_backorder": backorder},
        )
        for step in steps:
            await live(warehouse, step)
        assert await warehouse.findings() == []
        assert await warehouse.parked() == []
        placed = {
            reply["remedy_id"]: reply["lines"]
            for reply in await warehouse.replies()
            if reply["said"] == "reservation.placed"
        }
        released = {
            reply["remedy_id"]
            for reply in await warehouse.replies()
            if reply["said"] == "reservation.released"
        }
        promised: Counter[tuple[str, str]] = Counter()
        for remedy_id, lines in placed.items():
            for line in lines if remedy_id not in released else ():
                promised[line["variant_id"], line["location_id"]] += line["quantity"]
        reserved = {key: figures[1] for key, figures in (await warehouse.levels()).items()}
        assert {key: units for key, units in reserved.items() if units} == dict(promised)
    finally:
        await database.close()
