"""The Online Retail file: sale invoices become orders, credit notes become planned claims.

Pure: rows of text in, plain records out. Money is integer pence, rounded half up on the text of
the price, so that no float ever touches an amount. Source and licence: ``deploy/demo/README.md``.
"""

from __future__ import annotations

import csv
import functools
import lzma
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
# Lines that become the order's shipping.
SHIPPING = {"POST": "Postage", "DOT": "Dotcom postage", "C2": "Carriage"}
# Every other code without a digit is no goods either; only C2 needs to be named for its digit.
NOT_GOODS_WITH_A_DIGIT = frozenset({"C2"})
_PRICE = re.compile(r"(-?)(\d+)(?:\.(\d*))?", re.ASCII)
_FREE = "."  # how `price_of` writes an exact zero
_QUANTITY = re.compile(r"-?\d+", re.ASCII)


class NotOnlineRetail(ValueError):
    """The file has other columns than the Online Retail data set."""


@dataclass(slots=True)
class Line:
    """One goods line of an order. ``left`` counts the units that no credit line has taken yet."""

    id: str
    order_id: str
    code: str
    title: str
    quantity: int
    unit_price: int
    left: int


@dataclass(slots=True)
class Order:
    """One sale invoice. ``shipping`` holds (stock code, pence) of its postage lines."""

    invoice: str
    customer: str
    country: str
    created_at: str
    lines: list[Line] = field(default_factory=list)
    shipping: list[tuple[str, int]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The order's id in the system."""
        return f"uci_{self.invoice}"

    @property
    def total(self) -> int:
        """Goods and shipping in pence."""
        goods = sum(line.quantity * line.unit_price for line in self.lines)
        return goods + sum(price for _code, price in self.shipping)


@dataclass(slots=True)
class Credit:
    """What one credit invoice takes back from one order: units per line id, refund in pence."""

    invoice: str
    order_id: str
    items: dict[str, int] = field(default_factory=dict)
    refund: int = 0

    @property
    def number(self) -> int:
        """The number after the ``C``; ``--as both`` splits by its parity."""
        return int(re.sub(r"\D", "", self.invoice) or 0)


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A credit line, or the rest of one, for which the file holds no earlier order line."""

    row: int
    invoice: str
    customer: str
    code: str
    units: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, with the file's line number and the reason."""

    row: int
    invoice: str
    reason: str


@dataclass(slots=True)
class Book:
    """Everything the file says: orders by invoice, planned credits in file order, and counts."""

    orders: dict[str, Order] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)
    credits: dict[tuple[str, str], Credit] = field(default_factory=dict)
    unmatched: list[Unmatched] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    services_only: int = 0
    lines_matched: int = 0
    lines_partly: int = 0
    lines_unmatched: int = 0
    units_matched: int = 0
    units_unmatched: int = 0

    @property
    def lines(self) -> int:
        """Goods lines over all orders."""
        return sum(len(order.lines) for order in self.orders.values())

    @property
    def credit_lines(self) -> int:
        """Credit lines of known customers for goods."""
        return self.lines_matched + self.lines_partly + self.lines_unmatched

    @property
    def expected_refund(self) -> int:
        """What all planned credits together pay back, in pence, from the file alone."""
        return sum(credit.refund for credit in self.credits.values())


@functools.cache
def price_of(text: str) -> tuple[int, str]:
    """A price in pence, rounded half up, and the text that is equal for equal prices.

    Two prices that differ by less than a penny round to the same pence but stay different prices,
    which is why a credit line is matched by the second value. Raises ValueError.
    """
    found = _PRICE.fullmatch(text)
    if found is None:
        raise ValueError(f"UnitPrice {text!r} is not a decimal number")
    sign, whole, places = found[1], found[2].lstrip("0"), (found[3] or "").rstrip("0")
    digits = places.ljust(3, "0")
    pence = int(whole or "0") * 100 + int(digits[:2]) + (digits[2] >= "5")
    return (-pence if sign else pence), f"{sign}{whole}.{places}"


def is_goods(code: str) -> bool:
    """Whether a stock code names goods, not a service or a correction."""
    return code not in NOT_GOODS_WITH_A_DIGIT and any(letter.isdigit() for letter in code)


def read(path: Path) -> Book:
    """Read a ``.csv`` or ``.csv.xz`` file. Raises NotOnlineRetail, OSError."""
    opened = lzma.open if path.suffix == ".xz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as text:
            return parse(text)
    except (lzma.LZMAError, EOFError, UnicodeDecodeError, csv.Error) as broken:
        raise NotOnlineRetail(f"{path.name} cannot be read: {broken}") from broken


def parse(text: Iterable[str]) -> Book:
    """Read the lines of a csv text, header first. Raises NotOnlineRetail."""
    rows = csv.reader(text)
    header = tuple(next(rows, ()))
    if header != COLUMNS:
        raise NotOnlineRetail(f"The first line must be {','.join(COLUMNS)}")
    reader = _Reader()
    for row in rows:
        if not row:
            continue
        try:
            reader.take(row, rows.line_num)
        except ValueError as reason:
            reader.book.bad_rows.append(BadRow(rows.line_num, row[0], str(reason)))
    return reader.close()


class _Reader:
    """Reads rows one after the other; what a row may be matched with is what came before it."""

    def __init__(self) -> None:
        self.book = Book()
        # Order lines with units left, oldest first, by customer, stock code and exact price.
        self._open_lines: defaultdict[tuple[str, str, str], list[Line]] = defaultdict(list)

    def take(self, row: list[str], number: int) -> None:
        """Sort one row into orders, credits or skipped. Raises ValueError for an unreadable one."""
        if len(row) != len(COLUMNS):
            raise ValueError(f"{len(row)} columns instead of {len(COLUMNS)}")
        invoice, code, title, units, date, price_text, customer, country = row
        if _QUANTITY.fullmatch(units) is None:
            raise ValueError(f"Quantity {units!r} is not a whole number")
        quantity = int(units)
        price, exact = price_of(price_text)
        if not customer:
            self.book.skipped["unknown customer"] += 1
        elif invoice[:1] == "C":
            if not is_goods(code):
                self.book.skipped["credit for a service"] += 1
            elif quantity >= 0:
                self.book.skipped["credit without units"] += 1
            else:
                self._credit(invoice, customer, code, exact, price, -quantity, number)
        elif quantity <= 0:
            self.book.skipped["no units sold"] += 1
        elif exact == _FREE or exact[0] == "-":
            self.book.skipped["no price"] += 1
        else:
            order = self._order(invoice, customer, country, date)
            if is_goods(code):
                self._goods(order, code, title.strip() or code, quantity, price, exact)
            elif code in SHIPPING:
                order.shipping.append((code, quantity * price))
            else:
                self.book.skipped["service or correction"] += 1

    def _order(self, invoice: str, customer: str, country: str, date: str) -> Order:
        order = self.book.orders.get(invoice)
        if order is None:
            # The file's times carry no zone; they are kept as they are and read as UTC.
            created_at = datetime.fromisoformat(date).replace(tzinfo=None).isoformat() + "Z"
            order = Order(invoice, customer, country, created_at)
            self.book.orders[invoice] = order
        return order

    def _goods(
        self, order: Order, code: str, title: str, quantity: int, price: int, exact: str
    ) -> None:
        line_id = f"{order.id}_{len(order.lines) + 1}"
        line = Line(line_id, order.id, code, title, quantity, price, quantity)
        order.lines.append(line)
        self._open_lines[order.customer, code, exact].append(line)
        if title != code or code not in self.book.titles:
            self.book.titles[code] = title
        self.book.prices[code] = price

    def _credit(
        self,
        invoice: str,
        customer: str,
        code: str,
        exact: str,
        price: int,
        units: int,
        number: int,
    ) -> None:
        open_lines = self._open_lines.get((customer, code, exact), [])
        missing = units
        while missing and open_lines:
            line = open_lines[-1]
            taken = min(missing, line.left)
            line.left -= taken
            missing -= taken
            if not line.left:
                open_lines.pop()
            place = (invoice, line.order_id)
            credit = self.book.credits.setdefault(place, Credit(*place))
            credit.items[line.id] = credit.items.get(line.id, 0) + taken
            credit.refund += taken * price
        self.book.units_matched += units - missing
        self.book.units_unmatched += missing
        self.book.lines_matched += not missing
        self.book.lines_partly += 0 < missing < units
        self.book.lines_unmatched += missing == units
        if missing:
            self.book.unmatched.append(Unmatched(number, invoice, customer, code, missing))

    def close(self) -> Book:
        """Set aside the invoices that hold services only."""
        invoices = self.book.orders
        self.book.orders = {key: order for key, order in invoices.items() if order.lines}
        self.book.services_only = len(invoices) - len(self.book.orders)
        return self.book
