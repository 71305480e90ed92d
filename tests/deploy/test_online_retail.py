"""The Online Retail file: every published figure of the real file, and the rules row by row."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path
from typing import Any

import pytest

from deploy import online_retail, online_retail_document
from deploy.online_retail import Book, NotOnlineRetail

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
DATA = Path(__file__).parents[1] / "data" / "online-retail" / "2010-12_2011-05.csv.xz"
SLICE = Path(online_retail.__file__).parent / "demo" / "online_retail_slice.csv"


def a_book(*rows: str) -> Book:
    """Rows of ``invoice,code,quantity,price`` or ``invoice,code,quantity,price,customer``."""
    lines = [HEADER]
    for row in rows:
        invoice, code, quantity, price, *customer = row.split(",")
        name = customer[0] if customer else "17850"
        lines.append(
            f"{invoice},{code},MUG,{quantity},2010-12-01T08:26:00,{price},{name},United Kingdom"
        )
    return online_retail.parse(lines)


def credits_of(book: Book) -> list[tuple[str, str, dict[str, int], int]]:
    return [
        (credit.invoice, credit.order_id, credit.items, credit.refund)
        for credit in book.credits.values()
    ]


def document_of(book: Book) -> dict[str, list[dict[str, Any]]]:
    return {item.key: list(item.records) for item in online_retail_document.listings(book)}


@pytest.fixture(scope="module")
def first_half() -> Book:
    return online_retail.read(DATA)


class TestTheRealFile:
    def test_its_orders_lines_and_variants_are_the_published_ones(self, first_half: Book) -> None:
        assert len(first_half.orders) == 7_364
        assert first_half.services_only == 45
        assert first_half.lines == 144_860
        assert len(first_half.titles) == 3_108
        assert first_half.bad_rows == []

    def test_its_credit_lines_match_as_published(self, first_half: Book) -> None:
        assert first_half.credit_lines == 3_447
        assert first_half.lines_matched == 2_553
        assert first_half.lines_partly == 17
        assert first_half.lines_unmatched == 877
        assert first_half.units_matched == 102_515
        assert first_half.units_unmatched == 16_823

    def test_its_claims_and_their_money_are_the_published_ones(self, first_half: Book) -> None:
        assert len(first_half.credits) == 1_365
        assert len({credit.order_id for credit in first_half.credits.values()}) == 1_201
        assert first_half.expected_refund == 14_923_521

    def test_every_row_is_accounted_for(self, first_half: Book) -> None:
        with lzma.open(DATA, "rt", encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        shipping = [
            row
            for row in rows
            if row["StockCode"] in ("POST", "DOT", "C2")
            and row["CustomerID"]
            and not row["InvoiceNo"].startswith("C")
            and float(row["UnitPrice"]) > 0
        ]
        taken = first_half.lines + first_half.credit_lines + sum(first_half.skipped.values())
        assert len(rows) == 209_029
        assert taken + len(shipping) == len(rows)

    def test_no_credit_takes_more_units_than_its_line_sold(self, first_half: Book) -> None:
        sold = {
            line.id: line.quantity for order in first_half.orders.values() for line in order.lines
        }
        taken: dict[str, int] = {}
        for credit in first_half.credits.values():
            for line_id, units in credit.items.items():
                assert units > 0
                assert line_id.startswith(f"{credit.order_id}_")
                taken[line_id] = taken.get(line_id, 0) + units
        assert all(units <= sold[line_id] for line_id, units in taken.items())

    def test_the_import_document_points_only_at_what_it_holds(self, first_half: Book) -> None:
        document = document_of(first_half)
        ids = {key: {row.get("id") for row in rows} for key, rows in document.items()}
        assert all(None not in ids[key] for key in ids if key != "inventory_levels")
        assert all(len(ids[key]) == len(document[key]) for key in ids if key != "inventory_levels")
        assert {level["variant_id"] for level in document["inventory_levels"]} == ids["variants"]
        line_ids: set[str] = set()
        for order in document["orders"]:
            assert order["customer_id"] in ids["customers"]
            assert {m["shipping_option_id"] for m in order["shipping_methods"]} <= ids[
                "shipping_options"
            ]
            assert {item["variant_id"] for item in order["items"]} <= ids["variants"]
            line_ids.update(item["id"] for item in order["items"])
            goods = sum(item["unit_price"] * item["quantity"] for item in order["items"])
            shipping = sum(method["price"] for method in order["shipping_methods"])
            assert [payment["amount"] for payment in order["payments"]] == [goods + shipping]
        assert len(line_ids) == 144_860


def test_every_matched_credit_of_the_slice_is_one_of_the_whole_file(first_half: Book) -> None:
    book = online_retail.read(SLICE)
    assert (len(book.orders), book.lines, book.credit_lines) == (120, 372, 42)
    assert (book.lines_matched, book.lines_partly, book.lines_unmatched) == (38, 2, 2)
    assert book.credits == {place: first_half.credits[place] for place in book.credits}


class TestPrices:
    @pytest.mark.parametrize(
        ("text", "pence"),
        [
            ("2.55", 255),
            ("2.5", 250),
            ("2", 200),
            ("0.005", 1),
            ("0.0049", 0),
            ("1.005", 101),  # 1.005 is 1.00499... as a float
            ("2.675", 268),
            ("8142.75", 814_275),
            ("-11062.06", -1_106_206),
            ("0", 0),
            ("007.10", 710),
        ],
    )
    def test_a_price_is_rounded_half_up_on_its_text(self, text: str, pence: int) -> None:
        assert online_retail.price_of(text)[0] == pence

    @pytest.mark.parametrize("text", ["", "abc", "1e3", "1,5", ".5", "1.2.3", "nan", "١"])
    def test_what_is_no_decimal_number_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="not a decimal number"):
            online_retail.price_of(text)

    def test_equal_prices_are_equal_however_they_are_written(self) -> None:
        assert online_retail.price_of("2.50") == online_retail.price_of("02.5")
        assert online_retail.price_of("2.501") != online_retail.price_of("2.50")


class TestOrders:
    def test_the_same_code_twice_on_an_invoice_stays_two_lines(self) -> None:
        book = a_book("1,22692,2,1.00", "1,22692,3,1.00")
        assert [line.quantity for line in book.orders["1"].lines] == [2, 3]
        assert [line.id for line in book.orders["1"].lines] == ["uci_1_1", "uci_1_2"]

    def test_an_invoice_that_comes_back_later_is_still_one_order(self) -> None:
        book = a_book("1,22692,2,1.00", "2,22692,2,1.00", "1,22693,3,1.00")
        assert {key: len(order.lines) for key, order in book.orders.items()} == {"1": 2, "2": 1}

    def test_postage_becomes_shipping_and_other_services_are_counted(self) -> None:
        book = a_book("1,22692,2,1.00", "1,POST,3,18.00", "1,C2,1,50", "1,M,1,9.99", "1,S,1,1")
        assert book.orders["1"].shipping == [("POST", 5_400), ("C2", 5_000)]
        assert book.orders["1"].total == 200 + 5_400 + 5_000
        assert book.skipped == {"service or correction": 2}

    def test_an_invoice_with_services_only_makes_no_order(self) -> None:
        book = a_book("1,POST,1,18.00", "2,M,1,18.00", "3,22692,1,1.00")
        assert list(book.orders) == ["3"]
        assert book.services_only == 2

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("1,22692,2,1.00,", "unknown customer"),
            ("1,22692,-2,1.00", "no units sold"),
            ("1,22692,0,1.00", "no units sold"),
            ("1,22692,2,0.0", "no price"),
            ("1,22692,2,-5.00", "no price"),
            ("C1,M,-1,5.00", "credit for a service"),
            ("C1,22692,1,5.00", "credit without units"),
        ],
    )
    def test_a_row_that_is_no_sale_of_goods_is_counted(self, row: str, reason: str) -> None:
        book = a_book(row)
        assert book.orders == {}
        assert book.skipped == {reason: 1}

    def test_a_price_below_half_a_penny_is_still_a_sale(self) -> None:
        book = a_book("1,22692,2,0.001")
        assert [line.unit_price for line in book.orders["1"].lines] == [0]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("1,22692,two,1.00", "Quantity 'two' is not a whole number"),
            ("1,22692,2,cheap", "UnitPrice 'cheap' is not a decimal number"),
            ("1,22692,2,1.00,17850,more", "9 columns instead of 8"),
        ],
    )
    def test_an_unreadable_row_is_named_and_the_rest_is_read(self, row: str, reason: str) -> None:
        text = [HEADER, "1,1,MUG,1,2010-12-01T08:26:00,1,1,EIRE"]
        invoice, code, quantity, price, *rest = row.split(",")
        name = ",".join(rest) or "17850"
        text.append(f"{invoice},{code},MUG,{quantity},2010-12-01T08:26:00,{price},{name},EIRE")
        text.append("2,1,MUG,1,2010-12-01T08:26:00,1,1,EIRE")
        book = online_retail.parse(text)
        assert [(bad.row, bad.reason) for bad in book.bad_rows] == [(3, reason)]
        assert list(book.orders) == ["1", "2"]

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotOnlineRetail, match="first line"):
            online_retail.parse(["id,name", "1,mug"])
        broken = tmp_path / "broken.csv.xz"
        broken.write_bytes(b"this is not xz")
        with pytest.raises(NotOnlineRetail, match="cannot be read"):
            online_retail.read(broken)


class TestCredits:
    def test_the_newest_earlier_line_goes_first_and_the_rest_is_split(self) -> None:
        book = a_book("1,22692,5,1.00", "2,22692,3,1.00", "C3,22692,-4,1.00")
        assert credits_of(book) == [
            ("C3", "uci_2", {"uci_2_1": 3}, 300),
            ("C3", "uci_1", {"uci_1_1": 1}, 100),
        ]
        assert (book.lines_matched, book.units_matched) == (1, 4)

    def test_a_line_that_comes_later_in_the_file_is_not_taken(self) -> None:
        book = a_book("C1,22692,-1,1.00", "2,22692,1,1.00")
        assert credits_of(book) == []
        assert book.lines_unmatched == 1

    @pytest.mark.parametrize(
        "credit", ["C2,22692,-1,1,999", "C2,22693,-1,1.00", "C2,22692,-1,1.001", "C2,22692a,-1,1"]
    )
    def test_another_customer_code_or_price_is_unmatched(self, credit: str) -> None:
        book = a_book("1,22692,5,1.00", credit)
        assert credits_of(book) == []
        assert [(lost.row, lost.units) for lost in book.unmatched] == [(3, 1)]

    def test_units_are_taken_once(self) -> None:
        book = a_book("1,22692,5,1.00", "C2,22692,-4,1.00", "C3,22692,-4,1.00", "C4,22692,-1,1.00")
        assert credits_of(book) == [
            ("C2", "uci_1", {"uci_1_1": 4}, 400),
            ("C3", "uci_1", {"uci_1_1": 1}, 100),
        ]
        assert (book.lines_matched, book.lines_partly, book.lines_unmatched) == (1, 1, 1)
        assert (book.units_matched, book.units_unmatched) == (5, 4)

    def test_credit_lines_of_one_invoice_on_one_order_are_one_claim(self) -> None:
        book = a_book(
            "1,22692,5,1.00", "1,22693,5,2.00", "C2,22692,-1,1.00", "C2,22693,-2,2", "C2,22692,-1,1"
        )
        assert credits_of(book) == [("C2", "uci_1", {"uci_1_1": 2, "uci_1_2": 2}, 600)]

    def test_the_number_after_the_letter_tells_odd_from_even(self) -> None:
        book = a_book("1,22692,5,1.00", "C20,22692,-1,1.00", "C21,22692,-1,1.00")
        assert [credit.number % 2 for credit in book.credits.values()] == [0, 1]


class TestDocument:
    def test_an_order_is_paid_shipped_and_delivered_on_its_invoice_date(self) -> None:
        document = document_of(a_book("536365,85123A,6,2.55", "536365,POST,1,18.00"))
        (order,) = document["orders"]
        at = "2010-12-01T08:26:00Z"
        assert (order["id"], order["display_id"]) == ("uci_536365", 536_365)
        assert (order["email"], order["customer_id"]) == (
            "customer-17850@example.com",
            "uci_customer_17850",
        )
        assert order["shipping_address"]["country_code"] == "gb"
        (item,) = order["items"]
        assert item == {
            "id": "uci_536365_1",
            "variant_id": "uci_85123A",
            "title": "MUG",
            "unit_price": 255,
            "quantity": 6,
            "fulfilled_quantity": 6,
            "shipped_quantity": 6,
            "returned_quantity": 0,
            "delivered_at": at,
        }
        assert order["payments"] == [
            {
                "id": "uci_536365_pay",
                "amount": 6 * 255 + 1_800,
                "provider_id": "manual",
                "captured_at": at,
            }
        ]
        assert [m["price"] for m in order["shipping_methods"]] == [1_800]
        assert order["created_at"] == at

    def test_a_variant_has_the_last_title_and_price_it_was_sold_under(self) -> None:
        rows = [
            "1,22692,MAT,1,2010-12-01T08:26:00,1.00,1,EIRE",
            "2,22692,DOOR MAT,1,2010-12-01T08:27:00,1.25,1,EIRE",
            "3,22692,,1,2010-12-01T08:28:00,1.30,1,EIRE",
            "4,22693,,1,2010-12-01T08:28:00,1.30,1,EIRE",
        ]
        variants = document_of(online_retail.parse([HEADER, *rows]))["variants"]
        assert [(v["title"], v["sku"], v["prices"][0]["amount"]) for v in variants] == [
            ("DOOR MAT", "22692", 130),
            ("22693", "22693", 130),
        ]

    def test_a_place_that_is_no_country_leaves_the_country_out(self) -> None:
        rows = ["1,22692,MAT,1,2010-12-01T08:26:00,1.00,1,Unspecified"]
        document = document_of(online_retail.parse([HEADER, *rows]))
        assert "country_code" not in document["orders"][0]["shipping_address"]
        assert document["regions"][0]["countries"] == []
