"""The rules of stock, as sentences: no database, milliseconds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Invalid, NotAllowed, NotFound, Refusal
from services.inventory import domain, planning
from services.inventory.domain import (
    Arrived,
    Level,
    Movement,
    Price,
    PricedLine,
    Variant,
    Wanted,
    Where,
)
from services.inventory.planning import Document, Known

GBP = (Price("gbp", 1000),)


def a_variant(name: str = "mug", **changes: Any) -> Variant:
    return Variant(
        **{"id": name, "title": name, "prices": GBP, "item_id": f"iitem_{name}"} | changes
    )


def a_line(line_id: str, quantity: int = 1, variant: Variant | None = None) -> PricedLine:
    return PricedLine(line_id, variant or a_variant(), quantity, 1000)


def a_level(
    location: str, on_hand: int, reserved: int = 0, item: str = "mug", **more: Any
) -> Level:
    return Level(f"iitem_{item}", location, on_hand, reserved, **more)


def choose(lines: list[PricedLine], levels: list[Level], **where: Any) -> dict[str, str]:
    return domain.choose_locations(lines=lines, levels=levels, where=Where(**where))


class TestUnitPrice:
    def price(self, *prices: Price, region: str | None = "reg_uk", currency: str = "gbp") -> int:
        return domain.unit_price(
            variant=a_variant(prices=prices), currency_code=currency, region_id=region
        )

    def test_the_regions_own_price_wins_over_the_currencys(self) -> None:
        assert self.price(Price("gbp", 900), Price("gbp", 1100, "reg_uk")) == 1100

    def test_without_a_price_of_the_region_the_currencys_is_taken(self) -> None:
        assert self.price(Price("eur", 1), Price("gbp", 900)) == 900

    def test_a_price_of_another_region_never_applies(self) -> None:
        with pytest.raises(Invalid):
            self.price(Price("gbp", 900, "reg_us"))

    def test_of_two_equal_prices_the_lower_is_taken(self) -> None:
        assert self.price(Price("gbp", 900), Price("gbp", 800)) == 800

    def test_the_currency_is_compared_without_case(self) -> None:
        assert self.price(Price("GBP", 900), currency="gbp") == 900

    def test_a_price_of_nothing_is_a_price(self) -> None:
        assert self.price(Price("gbp", 0)) == 0

    def test_without_a_price_the_line_is_refused_in_medusas_words(self) -> None:
        with pytest.raises(Invalid) as refused:
            self.price(Price("eur", 900))
        assert refused.value.message == (
            'Cannot generate line item for variant "mug" without a price'
        )


class TestPricedLines:
    def priced(self, *wanted: Wanted) -> list[PricedLine]:
        return domain.priced_lines(
            wanted=wanted, variants={"mug": a_variant()}, currency_code="gbp", region_id=None
        )

    def test_every_unknown_variant_is_named_once(self) -> None:
        with pytest.raises(Invalid) as refused:
            self.priced(Wanted("a", "x", 1), Wanted("b", "mug", 1), Wanted("c", "y", 1))
        assert refused.value.message == (
            "Unable to generate the line items, some variant has not been found: x, y"
        )

    def test_a_quantity_below_one_is_refused(self) -> None:
        with pytest.raises(Invalid):
            self.priced(Wanted("a", "mug", 0))

    def test_a_known_variant_gets_its_price(self) -> None:
        assert self.priced(Wanted("a", "mug", 2)) == [a_line("a", 2)]


class TestChooseLocations:
    def test_the_given_location_wins_over_the_channels(self) -> None:
        levels = [a_level("a", 5, in_channel=True), a_level("b", 5)]
        assert choose([a_line("l")], levels, location_id="b", channel_is_mapped=True) == {"l": "b"}

    def test_a_given_location_without_the_item_is_refused_and_every_item_named(self) -> None:
        lines = [a_line("l"), a_line("k", variant=a_variant("cup"))]
        with pytest.raises(NotFound) as refused:
            choose(lines, [a_level("a", 5)], location_id="b")
        assert refused.value.message == (
            "Item iitem_mug is not stocked at location b,"
            " Item iitem_cup is not stocked at location b"
        )

    def test_a_mapped_channel_is_served_by_its_own_locations_only(self) -> None:
        levels = [a_level("a", 5), a_level("b", 5, in_channel=True)]
        assert choose([a_line("l")], levels, channel_is_mapped=True) == {"l": "b"}

    def test_a_mapped_channel_whose_locations_do_not_stock_the_item_is_refused(self) -> None:
        with pytest.raises(Invalid) as refused:
            choose([a_line("l")], [a_level("a", 5)], channel_is_mapped=True)
        assert refused.value.message == domain.NO_STOCKED_LOCATION

    def test_an_unmapped_channel_is_served_by_any_location_in_the_order_of_ids(self) -> None:
        assert choose([a_line("l")], [a_level("b", 5), a_level("a", 5)]) == {"l": "a"}

    def test_without_any_stock_location_a_location_must_be_provided(self) -> None:
        with pytest.raises(Invalid) as refused:
            choose([a_line("l")], [], any_location=False)
        assert refused.value.message == domain.NO_LOCATION

    def test_an_item_stocked_nowhere_is_short(self) -> None:
        with pytest.raises(NotAllowed) as refused:
            choose([a_line("l", 2)], [])
        assert refused.value.facts["short"] == [
            {"variant_id": "mug", "requested": 2, "available": 0}
        ]

    def test_one_location_for_everything_is_preferred_to_a_smaller_id(self) -> None:
        lines = [a_line("l"), a_line("k", variant=a_variant("cup"))]
        levels = [a_level("a", 5), a_level("b", 5), a_level("b", 5, item="cup")]
        assert choose(lines, levels) == {"l": "b", "k": "b"}

    def test_without_such_a_location_each_line_gets_one(self) -> None:
        lines = [a_line("l"), a_line("k", variant=a_variant("cup"))]
        levels = [a_level("a", 5), a_level("b", 5, item="cup")]
        assert choose(lines, levels) == {"l": "a", "k": "b"}

    def test_a_line_is_never_split_over_two_locations(self) -> None:
        with pytest.raises(NotAllowed) as refused:
            choose([a_line("l", 3)], [a_level("a", 2), a_level("b", 2)])
        assert refused.value.facts["short"] == [
            {"variant_id": "mug", "requested": 3, "available": 2}
        ]

    def test_lines_of_one_variant_share_its_stock(self) -> None:
        with pytest.raises(NotAllowed) as refused:
            choose([a_line("l", 2), a_line("k", 2)], [a_level("a", 3)])
        assert refused.value.facts["short"] == [
            {"variant_id": "mug", "requested": 4, "available": 3}
        ]

    def test_a_small_line_does_not_break_up_what_only_a_large_one_needs(self) -> None:
        assert choose([a_line("l", 2), a_line("k", 3)], [a_level("a", 3), a_level("b", 2)]) == {
            "k": "a",
            "l": "b",
        }

    def test_what_is_reserved_is_not_available(self) -> None:
        with pytest.raises(NotAllowed) as refused:
            choose([a_line("l", 2)], [a_level("a", 3, reserved=2)])
        assert refused.value.code == "insufficient_stock"
        assert refused.value.message == "Variant with id: mug does not have the required inventory"

    def test_exactly_what_is_available_may_be_reserved(self) -> None:
        assert choose([a_line("l", 2)], [a_level("a", 4, reserved=2)]) == {"l": "a"}

    def test_with_backorders_more_than_there_is_may_be_reserved(self) -> None:
        level = a_level("a", 0, reserved=3, allow_backorder=True)
        assert choose([a_line("l", 9)], [level]) == {"l": "a"}

    def test_real_stock_is_preferred_to_a_backorder(self) -> None:
        levels = [a_level("a", 0, allow_backorder=True), a_level("b", 1, allow_backorder=True)]
        assert choose([a_line("l")], levels) == {"l": "b"}

    def test_a_variant_whose_stock_is_not_managed_needs_no_location(self) -> None:
        assert choose([a_line("l", variant=a_variant(manage_inventory=False))], []) == {}

    def test_a_variant_without_an_item_needs_no_location(self) -> None:
        assert choose([a_line("l", variant=a_variant(item_id=None))], []) == {}

    @given(
        st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 4)), min_size=1, max_size=5),
        st.dictionaries(
            st.tuples(st.sampled_from("xy"), st.sampled_from("abc")),
            st.tuples(st.integers(0, 8), st.integers(0, 4)),
        ),
    )
    def test_no_choice_ever_promises_more_than_a_level_has(
        self,
        wanted: list[tuple[str, int]],
        stock: dict[tuple[str, str], tuple[int, int]],
    ) -> None:
        levels = [
            a_level(place, on_hand, reserved=min(reserved, on_hand), item=item)
            for (item, place), (on_hand, reserved) in stock.items()
        ]
        lines = [
            a_line(f"line{n}", quantity, a_variant(item))
            for n, (item, quantity) in enumerate(wanted)
        ]
        try:
            chosen = choose(lines, levels)
        except Refusal as refused:
            for short in refused.facts["short"]:
                assert 0 <= short["available"] < short["requested"]
            return
        assert chosen.keys() == {line.line_id for line in lines}
        for level in levels:
            promised = sum(
                line.quantity
                for line in lines
                if chosen[line.line_id] == level.location_id
                and line.variant.item_id == level.item_id
            )
            assert promised <= level.available


class TestReceiptMovements:
    def moves(self, *lines: Arrived, location: str | None = None) -> list[Movement]:
        return domain.receipt_movements(
            lines=lines,
            items={"mug": "iitem_mug", "cup": "iitem_cup"},
            levels=[("iitem_mug", "b"), ("iitem_mug", "a")],
            location_id=location,
        )

    def test_each_line_is_one_movement_at_the_given_location(self) -> None:
        assert self.moves(Arrived(1, "mug", 2), Arrived(2, "mug", 1), location="b") == [
            Movement(1, "iitem_mug", "b", 2),
            Movement(2, "iitem_mug", "b", 1),
        ]

    def test_without_a_location_the_items_first_level_takes_the_goods(self) -> None:
        assert self.moves(Arrived(1, "mug", 2)) == [Movement(1, "iitem_mug", "a", 2)]

    def test_what_is_not_counted_or_stocked_nowhere_or_did_not_come_is_passed_over(self) -> None:
        lines = (Arrived(1, None, 1), Arrived(2, "other", 1), Arrived(3, "cup", 1))
        assert self.moves(*lines, Arrived(4, "mug", 0)) == []

    def test_a_given_location_that_does_not_stock_the_item_refuses_the_receipt(self) -> None:
        with pytest.raises(NotFound) as refused:
            self.moves(Arrived(1, "mug", 1), Arrived(2, "cup", 1), location="a")
        assert refused.value.message == (
            "Inventory level for inventory item iitem_cup and location a not found"
        )

    def test_negative_units_are_refused(self) -> None:
        with pytest.raises(Invalid):
            self.moves(Arrived(1, "mug", -1))


class TestWithinReserved:
    @pytest.mark.parametrize(
        ("on_hand", "backorder", "allowed"),
        [(3, False, True), (2, False, False), (2, True, True), (0, True, True)],
    )
    def test_a_count_covers_what_is_reserved_or_backorders_are_allowed(
        self, on_hand: int, backorder: bool, allowed: bool
    ) -> None:
        level = a_level("a", 5, reserved=3, allow_backorder=backorder)
        assert (domain.within_reserved(level=level, on_hand=on_hand) is None) is allowed


def a_location_record(location_id: str = "sloc_a") -> dict[str, Any]:
    return {"id": location_id, "name": location_id, "address": None, "metadata": None}


def a_variant_record(variant_id: str = "mug", **changes: Any) -> dict[str, Any]:
    return {
        "id": variant_id,
        "title": variant_id,
        "product_title": None,
        "sku": f"sku-{variant_id}",
        "manage_inventory": True,
        "allow_backorder": False,
        "prices": [],
        "tax_rate": None,
        "metadata": None,
        "categories": None,
        "final_sale": None,
        "inventory_item_id": None,
    } | changes


def a_level_record(stocked: int = 5, **changes: Any) -> dict[str, Any]:
    return {
        "inventory_item_id": None,
        "variant_id": None,
        "sku": None,
        "location_id": "sloc_a",
        "stocked_quantity": stocked,
        "incoming_quantity": None,
    } | changes


def plan(known: Known | None = None, **records: list[dict[str, Any]]) -> planning.ImportPlan:
    document = {
        kind: [(f"{kind}[{n}]", record) for n, record in enumerate(given)]
        for kind, given in records.items()
    }
    return planning.plan_import(document=Document(**document), known=known or Known())


def known_after(earlier: planning.ImportPlan) -> Known:
    return Known(
        earlier.locations, earlier.channels, earlier.variants, earlier.items, earlier.levels
    )


class TestPlanImport:
    def test_a_managed_variant_gets_one_item_derived_from_its_id_with_its_sku(self) -> None:
        wanted = plan(variants=[a_variant_record()])
        assert wanted.items == {
            "iitem_mug": {"id": "iitem_mug", "variant_id": "mug", "sku": "sku-mug", "title": "mug"}
        }

    def test_a_variant_that_is_not_managed_gets_none(self) -> None:
        assert plan(variants=[a_variant_record(manage_inventory=False)]).items == {}

    @pytest.mark.parametrize("name", ["inventory_item_id", "variant_id", "sku"])
    def test_a_level_may_name_its_item_variant_or_sku(self, name: str) -> None:
        value = {"inventory_item_id": "iitem_mug", "variant_id": "mug", "sku": "sku-mug"}[name]
        wanted = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record()],
            inventory_levels=[a_level_record(7, **{name: value})],
        )
        assert wanted.levels["iitem_mug", "sloc_a"]["on_hand"] == 7
        assert wanted.outcome.as_answer() == {
            "created": 3,
            "updated": 0,
            "unchanged": 0,
            "refused": 0,
            "refusals": [],
        }

    def test_a_level_that_names_variant_and_item_names_the_item_of_the_variant(self) -> None:
        wanted = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record()],
            inventory_levels=[a_level_record(variant_id="mug", inventory_item_id="iitem_own")],
        )
        assert list(wanted.items) == ["iitem_own"]
        assert list(wanted.levels) == [("iitem_own", "sloc_a")]

    def test_names_that_mean_different_items_are_refused(self) -> None:
        wanted = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record(), a_variant_record("cup")],
            inventory_levels=[a_level_record(variant_id="mug", sku="sku-cup")],
        )
        assert [each["code"] for each in wanted.outcome.refusals] == ["item_ambiguous"]

    def test_a_sku_of_two_items_is_refused_because_it_is_not_clear_which(self) -> None:
        wanted = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record(sku="s"), a_variant_record("cup", sku="s")],
            inventory_levels=[a_level_record(sku="s")],
        )
        assert [each["code"] for each in wanted.outcome.refusals] == ["item_ambiguous"]

    @pytest.mark.parametrize(
        ("level", "code"),
        [
            ({}, "item_unnamed"),
            ({"variant_id": "nobody"}, "variant_not_found"),
            ({"inventory_item_id": "nobody"}, "inventory_item_not_found"),
            ({"sku": "nobody"}, "inventory_item_not_found"),
            ({"variant_id": "free"}, "stock_not_managed"),
            ({"variant_id": "mug", "location_id": "nowhere"}, "stock_location_not_found"),
        ],
    )
    def test_a_level_of_nothing_is_refused_and_the_others_are_loaded(
        self, level: dict[str, Any], code: str
    ) -> None:
        wanted = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record(), a_variant_record("free", manage_inventory=False)],
            inventory_levels=[a_level_record(**level), a_level_record(3, variant_id="mug")],
        )
        assert [(each["path"], each["code"]) for each in wanted.outcome.refusals] == [
            ("inventory_levels[0]", code)
        ]
        assert wanted.levels["iitem_mug", "sloc_a"]["on_hand"] == 3

    def test_the_same_document_twice_is_unchanged(self) -> None:
        records: dict[str, list[dict[str, Any]]] = {
            "stock_locations": [a_location_record()],
            "sales_channels": [{"id": "sc", "stock_location_ids": ["sloc_a"]}],
            "variants": [a_variant_record()],
            "inventory_levels": [a_level_record(variant_id="mug")],
        }
        again = plan(known_after(plan(**records)), **records)
        assert (again.outcome.created, again.outcome.updated) == (0, 0)
        assert again.outcome.unchanged == 4

    def test_a_count_below_what_is_reserved_is_refused_and_changes_nothing(self) -> None:
        before = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record()],
            inventory_levels=[a_level_record(variant_id="mug")],
        )
        level = before.levels["iitem_mug", "sloc_a"]
        known = Known(
            before.locations,
            {},
            before.variants,
            before.items,
            {("iitem_mug", "sloc_a"): {**level, "reserved": 4}},
        )
        wanted = plan(known, inventory_levels=[a_level_record(3, variant_id="mug")])
        assert [each["code"] for each in wanted.outcome.refusals] == ["below_reserved"]
        assert wanted.levels == known.levels
        enough = plan(known, inventory_levels=[a_level_record(4, variant_id="mug")])
        assert enough.levels["iitem_mug", "sloc_a"]["on_hand"] == 4

    def test_backorders_stay_allowed_while_some_are_reserved(self) -> None:
        before = plan(
            stock_locations=[a_location_record()],
            variants=[a_variant_record(allow_backorder=True)],
            inventory_levels=[a_level_record(1, variant_id="mug")],
        )
        level = {**before.levels["iitem_mug", "sloc_a"], "reserved": 2}
        known = Known(
            before.locations, {}, before.variants, before.items, {("iitem_mug", "sloc_a"): level}
        )
        refused = plan(known, variants=[a_variant_record()])
        assert [each["code"] for each in refused.outcome.refusals] == ["backorders_reserved"]
        level["reserved"] = 1
        allowed = plan(known, variants=[a_variant_record()])
        assert allowed.levels["iitem_mug", "sloc_a"]["allow_backorder"] is False

    def test_a_channel_with_an_unknown_location_is_refused(self) -> None:
        wanted = plan(sales_channels=[{"id": "sc", "stock_location_ids": ["nowhere"]}])
        assert [each["code"] for each in wanted.outcome.refusals] == ["stock_location_not_found"]

    def test_a_channel_that_says_nothing_of_locations_keeps_them(self) -> None:
        known = Known(locations={"a": a_location_record("a")}, channels={"sc": ["a"]})
        wanted = plan(known, sales_channels=[{"id": "sc", "stock_location_ids": None}])
        assert wanted.channels == {"sc": ["a"]}
        assert wanted.outcome.unchanged == 1

    def test_records_without_an_id_get_one_that_a_repeat_finds_again(self) -> None:
        first = plan(
            stock_locations=[{**a_location_record(), "id": None}],
            variants=[a_variant_record(id=None)],
        )
        again = plan(
            known_after(first),
            stock_locations=[{**a_location_record(), "id": None}],
            variants=[a_variant_record(id=None)],
        )
        assert again.outcome.unchanged == 2
