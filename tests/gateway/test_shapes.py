"""Bodies are refused in the exact words that clients of Medusa compare with."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Invalid
from gateway import bodies
from gateway.shapes import (
    INTEGER_MAX,
    Boolean,
    Email,
    Integer,
    ListOf,
    Nested,
    Number,
    Object,
    OneOf,
    Shape,
    Text,
    check,
    json_schema,
)

CLAIM: dict[str, Any] = {
    "type": "refund",
    "claim_items": [{"item_id": "item_1", "quantity": 1, "reason": "other"}],
}
RETURN: dict[str, Any] = {"items": [{"item_id": "item_1", "quantity": 1}]}
RECEIPT: dict[str, Any] = {"items": [{"item_id": "item_1", "quantity": 1}]}
STORE: dict[str, Any] = {"order_id": "order_1", **RETURN}


def told(shape: Shape, body: Any) -> list[str]:
    """The messages, split: no message of ours has a comma but enums."""
    with pytest.raises(Invalid) as caught:
        check(shape, body)
    assert caught.value.code == "invalid_data"
    return caught.value.message.split(", ")


def claim_item(**changed: Any) -> dict[str, Any]:
    """A claim whose only item is changed."""
    return {**CLAIM, "claim_items": [{**CLAIM["claim_items"][0], **changed}]}


@pytest.mark.parametrize(
    ("shape", "body", "message"),
    [
        (
            bodies.CREATE_CLAIM,
            {},
            "type should not be empty, type must be one of the following values: refund, replace, "
            "claim_items should not be empty, claim_items must be an array",
        ),
        (
            bodies.CREATE_CLAIM,
            {**CLAIM, "claim_items": "x"},
            "claim_items must be an array, "
            "each value in nested property claim_items must be either object or array",
        ),
        (
            bodies.CREATE_CLAIM,
            {**CLAIM, "claim_items": [{}]},
            "item_id should not be empty, item_id must be a string, "
            "quantity should not be empty, quantity must be an integer number",
        ),
        (bodies.CREATE_CLAIM, claim_item(quantity="1"), "quantity must be an integer number"),
        (bodies.CREATE_CLAIM, claim_item(quantity=1.5), "quantity must be an integer number"),
        (
            bodies.CREATE_CLAIM,
            {**CLAIM, "shipping_address": "x"},
            "shipping_address must be an object, "
            "nested property shipping_address must be either object or array",
        ),
        (
            bodies.CREATE_CLAIM,
            claim_item(tags=[1], images="u"),
            "each value in tags must be a string, images must be an array",
        ),
        (bodies.REQUEST_RETURN, {}, "items must be an array"),
        (bodies.RECEIVE_RETURN, {}, "items must be an array"),
        (
            bodies.RECEIVE_RETURN,
            {"items": [{"item_id": "item_1", "quantity": "1"}]},
            "quantity must be a number conforming to the specified constraints",
        ),
        (
            bodies.RECEIVE_RETURN,
            {"items": [{"item_id": "item_1", "quantity": 1, "note": "x"}]},
            "property note should not exist",
        ),
        (
            bodies.STORE_RETURN,
            {},
            "order_id should not be empty, order_id must be a string, items must be an array",
        ),
        (
            bodies.STORE_RETURN,
            {**STORE, "items": [{"item_id": "item_1", "quantity": 0}]},
            "quantity must not be less than 1",
        ),
        (
            bodies.REFUND_ORDER,
            {},
            "amount should not be empty, amount must be an integer number, "
            "reason should not be empty, reason must be a string",
        ),
    ],
)
def test_a_refused_body_is_told_in_the_words_of_the_contract(
    shape: Shape, body: Any, message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        check(shape, body)
    assert set(caught.value.message.split(", ")) == set(message.split(", "))


def test_messages_stand_in_the_order_in_which_the_contract_shows_them() -> None:
    assert told(bodies.CREATE_CLAIM, {})[0] == "type should not be empty"
    assert told(bodies.CREATE_CLAIM, {**CLAIM, "x": 1, "refund_amount": "1"}) == [
        "property x should not exist",
        "refund_amount must be an integer number",
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**CLAIM, "status": "refunded"}, "property status should not exist"),
        (claim_item(canceled_at=None), "property canceled_at should not exist"),
        (
            {**CLAIM, "return_shipping": {"option_id": "so_1", "tax": 1}},
            "property tax should not exist",
        ),
        (
            {**CLAIM, "shipping_address": {"planet": "x"}},
            "property planet should not exist",
        ),
    ],
)
def test_an_unknown_property_is_refused_on_any_level(body: Any, message: str) -> None:
    assert told(bodies.CREATE_CLAIM, body) == [message]


def test_null_passes_every_optional_property_and_counts_as_absent() -> None:
    optional = [name for name, each in bodies.CREATE_CLAIM.fields.items() if not each.required]
    cleaned = check(bodies.CREATE_CLAIM, {**CLAIM, **dict.fromkeys(optional)})
    assert cleaned == check(bodies.CREATE_CLAIM, CLAIM)
    assert cleaned["refund_amount"] is None


def test_null_does_not_pass_a_required_property() -> None:
    assert told(bodies.CREATE_CLAIM, {**CLAIM, "claim_items": None}) == [
        "claim_items should not be empty",
        "claim_items must be an array",
    ]


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_quantity_below_one_is_refused_wherever_units_are_named(quantity: int) -> None:
    line = {"item_id": "item_1", "quantity": quantity}
    for shape, body in [
        (bodies.CREATE_CLAIM, claim_item(quantity=quantity)),
        (bodies.REQUEST_RETURN, {"items": [line]}),
        (bodies.RECEIVE_RETURN, {"items": [line]}),
        (bodies.STORE_RETURN, {**STORE, "items": [line]}),
    ]:
        assert told(shape, body) == ["quantity must not be less than 1"]


@pytest.mark.parametrize("quantity", [True, [1], {"a": 1}, "1", "", None])
def test_what_only_looks_like_a_number_is_not_one(quantity: Any) -> None:
    assert "quantity must be an integer number" in told(
        bodies.CREATE_CLAIM, claim_item(quantity=quantity)
    )


def test_a_whole_float_is_an_integer_as_in_javascript() -> None:
    cleaned = check(bodies.CREATE_CLAIM, claim_item(quantity=2.0))
    assert cleaned["claim_items"][0]["quantity"] == 2
    assert isinstance(cleaned["claim_items"][0]["quantity"], int)


@pytest.mark.parametrize("quantity", [2**53, 2**63, 1e300])
def test_a_number_that_javascript_cannot_count_is_refused(quantity: float) -> None:
    assert told(bodies.CREATE_CLAIM, claim_item(quantity=quantity)) == [
        "quantity must not be greater than 9007199254740991"
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [("2", 2), (" 2 ", 2), ("2.0", 2), ("+2", 2), (2, 2)]
)
def test_a_return_request_takes_a_numeric_string_as_a_quantity(written: Any, meant: int) -> None:
    cleaned = check(bodies.REQUEST_RETURN, {"items": [{"item_id": "i", "quantity": written}]})
    assert cleaned["items"][0]["quantity"] == meant


@pytest.mark.parametrize("written", ["x", "1.5", "1e3", "0x10", "1 2", "9" * 400, True, "١"])
def test_a_return_request_takes_no_other_string_as_a_quantity(written: Any) -> None:
    said = told(bodies.REQUEST_RETURN, {"items": [{"item_id": "i", "quantity": written}]})
    assert said == ["quantity must be an integer number"]


def test_negative_refunds_of_returns_are_kept_for_the_handler_to_clamp() -> None:
    assert check(bodies.REQUEST_RETURN, {**RETURN, "refund": -5})["refund"] == -5
    assert check(bodies.RECEIVE_RETURN, {**RECEIPT, "refund": -5})["refund"] == -5


def test_negative_amounts_of_claims_and_manual_refunds_are_refused() -> None:
    assert told(bodies.CREATE_CLAIM, {**CLAIM, "refund_amount": -1}) == [
        "refund_amount must not be less than 0"
    ]
    assert told(bodies.REFUND_ORDER, {"amount": -1, "reason": "other"}) == [
        "amount must not be less than 0"
    ]


def test_zero_is_not_absent() -> None:
    assert check(bodies.CREATE_CLAIM, {**CLAIM, "refund_amount": 0})["refund_amount"] == 0
    assert check(bodies.RECEIVE_RETURN, {**RECEIPT, "refund": 0})["refund"] == 0


def test_the_mere_presence_of_return_shipping_survives_cleaning() -> None:
    empty = check(bodies.CREATE_CLAIM, {**CLAIM, "return_shipping": {}})
    assert empty["return_shipping"] == {"option_id": None, "price": None}
    assert check(bodies.CREATE_CLAIM, CLAIM)["return_shipping"] is None


def test_unknown_values_of_enums_are_told_with_all_known_ones() -> None:
    with pytest.raises(Invalid) as caught:
        check(bodies.CREATE_CLAIM, claim_item(reason="bad"))
    assert caught.value.message == (
        "reason must be one of the following values: "
        "missing_item, wrong_item, production_failure, other"
    )
    with pytest.raises(Invalid) as caught:
        check(bodies.REFUND_ORDER, {"amount": 1, "reason": "bad"})
    assert caught.value.message == (
        "reason must be one of the following values: discount, return, swap, claim, other"
    )


def test_an_element_that_is_no_object_is_told_as_such() -> None:
    message = "each value in nested property claim_items must be either object or array"
    for element in (1, "x", None, []):
        assert told(bodies.CREATE_CLAIM, {**CLAIM, "claim_items": [element]}) == [message]


def test_an_array_where_one_object_belongs_is_refused() -> None:
    assert told(bodies.CREATE_CLAIM, {**CLAIM, "return_shipping": [{}]}) == [
        "return_shipping must be an object"
    ]
    assert told(bodies.CREATE_CLAIM, {**CLAIM, "return_shipping": "x"}) == [
        "nested property return_shipping must be either object or array"
    ]


def test_a_rule_for_plain_elements_is_told_once_for_all_of_them() -> None:
    assert told(bodies.CREATE_CLAIM, claim_item(tags=[1, 2, 3])) == [
        "each value in tags must be a string"
    ]


def test_a_hundred_lines_are_taken_and_one_more_is_refused() -> None:
    lines = [{"item_id": f"i{n}", "quantity": 1} for n in range(100)]
    assert len(check(bodies.CREATE_CLAIM, {**CLAIM, "claim_items": lines})["claim_items"]) == 100
    assert told(bodies.CREATE_CLAIM, {**CLAIM, "claim_items": [*lines, lines[0]]}) == [
        "claim_items must contain no more than 100 elements"
    ]


def test_an_empty_list_of_items_is_for_the_service_to_refuse() -> None:
    assert check(bodies.CREATE_CLAIM, {**CLAIM, "claim_items": []})["claim_items"] == []


def test_a_body_full_of_junk_gets_an_answer_of_bounded_size() -> None:
    with pytest.raises(Invalid) as caught:
        check(bodies.EMPTY, {f"{n}{'x' * 1000}": n for n in range(2000)})
    assert len(caught.value.message) < 50_000


def test_levels_name_both_figures_that_are_below_zero() -> None:
    said = told(bodies.UPDATE_LEVEL, {"stocked_quantity": -1, "incoming_quantity": -1})
    assert set(said) == {
        "incoming_quantity must not be less than 0",
        "stocked_quantity must not be less than 0",
    }


@pytest.mark.parametrize("email", ["", "x", "a@b", "a b@c.de", "a@b.c", "a@-.", None, 1])
def test_what_is_no_address_is_refused_as_an_email(email: Any) -> None:
    assert "email must be an email" in told(bodies.LOGIN, {"email": email, "password": "x"})


def test_an_ordinary_address_is_an_email() -> None:
    given_ = {"email": "ana.b+c@shop.example", "password": "x"}
    assert check(bodies.LOGIN, given_) == given_


def test_the_cleaned_object_is_a_copy_in_the_order_of_the_shape() -> None:
    body = {"quantity": 1, "item_id": "i"}
    shape = Shape({"item_id": Text(required=True), "quantity": Integer()})
    cleaned = check(shape, body)
    assert list(cleaned) == ["item_id", "quantity"]
    assert cleaned is not body


def test_a_default_fills_what_is_absent() -> None:
    assert check(bodies.REQUEST_RETURN, RETURN)["receive_now"] is False
    assert check(bodies.REQUEST_RETURN, {**RETURN, "receive_now": True})["receive_now"] is True


def test_a_body_that_is_no_object_is_refused() -> None:
    assert told(bodies.EMPTY, [1]) == ["the body must be an object"]


EVERY = Shape(
    {
        "text": Text(required=True),
        "email": Email(),
        "integer": Integer(least=0),
        "number": Number(),
        "coerced": Integer(coerced=True),
        "boolean": Boolean(default=False),
        "object": Object(),
        "one": OneOf(("a", "b")),
        "nested": Nested(Shape({"x": Integer(required=True)}), is_object=True),
        "list": ListOf(Shape({"x": Integer()}), most=3),
        "texts": ListOf(Text(), most=3),
    }
)
SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 2.0, 0.5, 2**53, 1e300, "", "a", "7"])
LISTS = st.lists(SCALARS | st.dictionaries(st.sampled_from("xy"), SCALARS), max_size=4)
ANYTHING = SCALARS | LISTS | st.dictionaries(st.sampled_from("xy"), SCALARS | LISTS)


@given(st.dictionaries(st.sampled_from([*EVERY.fields, "other"]), ANYTHING))
def test_any_json_is_either_cleaned_or_refused_with_a_reason(body: dict[str, Any]) -> None:
    with suppress(Invalid):
        cleaned = check(EVERY, body)
        assert list(cleaned) == list(EVERY.fields)
        assert check(EVERY, cleaned) == cleaned


@given(st.integers(-INTEGER_MAX, INTEGER_MAX))
def test_every_integer_within_bounds_is_kept_as_it_is(number: int) -> None:
    assert check(Shape({"n": Integer()}), {"n": number}) == {"n": number}


def test_a_shape_is_described_as_json_schema() -> None:
    schema = json_schema(EVERY)
    assert schema["required"] == ["text"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["text"]["type"] == "string"
    assert schema["properties"]["integer"] == {
        "type": ["integer", "null"],
        "maximum": INTEGER_MAX,
        "minimum": 0,
    }
    assert schema["properties"]["one"]["enum"] == ["a", "b", None]
    assert schema["properties"]["list"]["items"]["properties"]["x"]["type"] == ["integer", "null"]
    assert json.loads(json.dumps(schema)) == schema


def test_every_body_is_described_and_refuses_unknown_properties() -> None:
    shapes = {name: each for name, each in vars(bodies).items() if isinstance(each, Shape)}
    public = {name: each for name, each in shapes.items() if re.fullmatch(r"[A-Z][A-Z_]*", name)}
    assert len(public) > 12
    for each in public.values():
        assert json_schema(each)["additionalProperties"] is False
        assert "property surprise should not exist" in told(each, {"surprise": 1})
