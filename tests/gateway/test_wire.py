"""Queries, bodies and slashes as the stock client writes them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from chassis.errors import Invalid
from chassis.strict_json import UnreadableJson
from gateway import wire


def a_request(query: str = "", body: bytes = b"") -> Request:
    """A request with this query and body."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/admin/orders",
        "query_string": query.encode("latin-1"),
        "headers": [],
        "server": ("gateway.test", 80),
        "scheme": "http",
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def read(query: str) -> dict[str, Any]:
    """What a query means."""
    return wire.query(a_request(query))


def refused(query: str) -> str:
    """Why a query is refused."""
    with pytest.raises(Invalid) as caught:
        read(query)
    assert caught.value.code == "invalid_data"
    return caught.value.message


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("", {}),
        ("limit=2&offset=0", {"limit": "2", "offset": "0"}),
        ("q=a%20b+c", {"q": "a b c"}),
        ("q=", {"q": ""}),
        ("q", {"q": ""}),
        ("&&q=1&", {"q": "1"}),
        ("q=a=b", {"q": "a=b"}),
        ("q=a,b", {"q": "a,b"}),
        ("a[]=1", {"a": ["1"]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[0]=1&a[1]=2", {"a": ["1", "2"]}),
        ("a[1]=2&a[0]=1", {"a": ["1", "2"]}),
        ("a[]=1,2", {"a": ["1", "2"]}),
        ("a[0]=1,2", {"a": ["1", "2"]}),
        ("a[]=1,2&a[]=3", {"a": ["1,2", "3"]}),
        ("a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("status%5B0%5D=pending&status%5B1%5D=completed", {"status": ["pending", "completed"]}),
        (
            "created_at%5Bgt%5D=1970-01-01T00%3A00%3A00.000Z",
            {"created_at": {"gt": "1970-01-01T00:00:00.000Z"}},
        ),
        ("created_at[gt]=1&created_at[lt]=2", {"created_at": {"gt": "1", "lt": "2"}}),
        ("description[contains]=x", {"description": {"contains": "x"}}),
        ("a[b][c]=1", {"a": {"b": {"c": "1"}}}),
        ("a[b][]=1&a[b][]=2", {"a": {"b": ["1", "2"]}}),
    ],
)
def test_a_query_is_read_as_the_client_means_it(query: str, meant: dict[str, Any]) -> None:
    assert read(query) == meant


def test_a_list_may_have_any_number_of_elements() -> None:
    query = "&".join(f"id[{n}]=order_{n}" for n in range(200))
    assert read(query)["id"] == [f"order_{n}" for n in range(200)]


def test_a_name_cannot_be_a_value_and_an_object_at_once() -> None:
    for query in ("a=1&a[b]=2", "a[b]=2&a=1", "a=1&a[]=2"):
        assert refused(query) == "the parameter a is both a value and an object"


def test_a_query_that_is_too_large_or_too_deep_is_refused() -> None:
    assert refused("a[b][c][d][e]=1") == "the parameter a is nested too deep"
    assert refused("&".join(["a=1"] * 501)) == "the query has more than 500 parameters"


def test_the_character_nul_never_reaches_a_database() -> None:
    assert refused("q=%00") == "the query contains the character NUL"
    assert refused("a[%00]=1") == "the query contains the character NUL"


@given(st.text(alphabet="ab[]=&%0129,٣", max_size=30))
def test_any_query_is_either_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        read(quote(text, safe="[]=&%"))


@given(
    st.dictionaries(
        st.sampled_from(["q", "status", "id", "email"]),
        st.text(max_size=8).filter(lambda text: "\0" not in text and text < "\ud800"),
        max_size=4,
    )
)
def test_what_was_encoded_is_read_back_as_it_was(values: dict[str, str]) -> None:
    assert read("&".join(f"{name}={quote(value)}" for name, value in values.items())) == values


def test_thousands_of_digits_are_no_number() -> None:
    digits = "9" * 5000
    assert read(f"a[{digits}]=1") == {"a": {digits: "1"}}
    with pytest.raises(Invalid):
        wire.paging({"limit": digits}, default=50, most=200)
    with pytest.raises(Invalid):
        wire.date(digits)


# ---- names and pages ----------------------------------------------------------------------------


def test_unknown_parameters_are_named_in_the_words_of_the_contract() -> None:
    with pytest.raises(Invalid) as caught:
        wire.reject_unknown(read("limit=1&sort=x&page[size]=2"), {"limit", "offset"})
    assert caught.value.message == "property sort should not exist, property page should not exist"
    wire.reject_unknown({}, set())


def test_a_page_without_parameters_is_the_default_one() -> None:
    assert wire.paging({}, default=50, most=200) == (50, 0)


def test_a_page_is_cut_to_the_largest_that_is_served() -> None:
    assert wire.paging(read("limit=5000&offset=7"), default=50, most=200) == (200, 7)
    assert wire.paging(read("limit=0"), default=50, most=200) == (0, 0)


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "", "1e3", "٣", "2147483648", ["1"]])
def test_a_limit_that_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        wire.paging({"limit": value}, default=50, most=200)
    assert caught.value.message == (
        "limit must be a number conforming to the specified constraints"
    )


# ---- dates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1970-01-01T00:00:00.000Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1767225600", datetime(2026, 1, 1, tzinfo=UTC)),
        ("-86400", datetime(1969, 12, 31, tzinfo=UTC)),
    ],
)
def test_a_date_is_iso_or_unix_seconds(written: str, meant: datetime) -> None:
    assert wire.date(written) == meant


@pytest.mark.parametrize(
    "written",
    ["", "x", "2026-13-01", "--5", "99999999999999", "0001-01-01T00:00+14:00", ["0"], {}, None],
)
def test_what_is_no_date_is_refused(written: Any) -> None:
    with pytest.raises(Invalid) as caught:
        wire.date(written)
    assert caught.value.message.endswith("is not a date")


# ---- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}"])
async def test_no_body_at_all_is_an_empty_object(body: bytes) -> None:
    assert await wire.body(a_request(body=body)) == {}


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        await wire.body(a_request(body=body))
    assert caught.value.message == "the body must be an object"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b'{"a": ' + b"9" * 400 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
async def test_json_that_readers_could_disagree_on_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableJson):
        await wire.body(a_request(body=body))


# ---- slashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("/admin/returns/", "/admin/returns"),
        ("/admin/returns", "/admin/returns"),
        ("/admin/returns//", "/admin/returns"),
        ("/", "/"),
        ("//", "/"),
    ],
)
async def test_a_trailing_slash_is_served_without_a_redirect(asked: str, served: str) -> None:
    paths = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(message: Message) -> None:
        raise AssertionError("nobody answers")

    await wire.TrailingSlash(app)({"type": "http", "path": asked}, receive, send)
    assert paths == [served]


def test_a_parameter_that_is_one_text_is_neither_a_list_nor_an_object() -> None:
    assert wire.text({"q": "x"}, "q") == "x"
    assert wire.text({}, "q") is None
    for value in (["x"], {"gt": "x"}):
        with pytest.raises(Invalid, match="q must be a string"):
            wire.text({"q": value}, "q")


def test_a_parameter_of_several_texts_may_be_one() -> None:
    assert wire.texts({"id": "x"}, "id") == ["x"]
    assert wire.texts({"id": ["x", "y"]}, "id") == ["x", "y"]
    assert wire.texts({}, "id") is None
    for value in ({"gt": "x"}, [{"gt": "x"}], [["x"]]):
        with pytest.raises(Invalid, match="each value in id must be a string"):
            wire.texts({"id": value}, "id")
