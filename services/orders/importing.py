"""Loading a document: every record an upsert by its id, every order whole or not at all.

Records are checked completely before anything is written, so that a refused one leaves no trace
and stops no other. A record equal to what is there is *unchanged*: equal means the same canonical
content, whatever the order of its keys. Statements are per list, not per record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from chassis.db import Row, Tx
from chassis.values import derived_id
from services.orders import domain, refunds, schemas, store_imports, store_units

_TYPE_WORDS = {
    "string_type": "must be a string",
    "int_type": "must be an integer number",
    "int_from_float": "must be an integer number",
    "float_type": "must be a number conforming to the specified constraints",
    "bool_type": "must be a boolean value",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "missing": "should not be empty",
    "string_too_short": "should not be empty",
}
_PREFIXES = {
    "regions": "reg",
    "sales_channels": "sc",
    "shipping_options": "so",
    "customers": "cus",
    "orders": "order",
}


@dataclass
class Outcome:
    """What became of the records; ``refusals`` are {path, id, code, message}."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refusals: list[Row] = field(default_factory=list)

    def as_answer(self) -> Row:
        """The answer of the import."""
        return {
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "refused": len(self.refusals),
            "refusals": self.refusals,
        }

    def refuse(self, record: Record, code: str, message: str, where: str = "") -> None:
        """Note a refusal."""
        self.refusals.append(
            {"path": record.path + where, "id": record.id, "code": code, "message": message}
        )


@dataclass(frozen=True)
class Record:
    """A well-formed record: where it stood, its id, its canonical content and the hash of that."""

    path: str
    id: str
    content: Row
    hash: str
    model: Any


async def load(
    tx: Tx, lists: Mapping[str, Sequence[Any]], *, providers: Collection[str], now: datetime
) -> Outcome:
    """Load the lists of a document that orders owns; ``providers`` may be named by payments."""
    outcome = Outcome()
    for name in ("regions", "sales_channels", "shipping_options", "customers"):
        records = _checked(name, lists.get(name) or (), outcome)
        await _load_reference(tx, name, records, outcome, now)
    orders = _checked("orders", lists.get("orders") or (), outcome)
    if orders:
        await _load_orders(tx, orders, providers, outcome, now)
    return outcome


# ---------------------------------------------------------------------------------- checking


def _checked(name: str, raw: Sequence[Any], outcome: Outcome) -> list[Record]:
    """The well-formed records of a list, the later of two with one id refused."""
    model = schemas.IMPORT_LISTS[name]
    records: dict[str, Record] = {}
    for index, item in enumerate(raw):
        path = f"{name}[{index}]"
        given_id = item.get("id") if isinstance(item, dict) else None
        refused: Row = {"path": path, "id": given_id if isinstance(given_id, str) else None}
        try:
            parsed = model.model_validate(item)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            code, message = _words(first)
            refused["path"] += _where(first["loc"])
            outcome.refusals.append({**refused, "code": code, "message": message})
            continue
        record = _record(name, path, parsed)
        if "\\u0000" in record.content.pop("_text"):
            no = {"code": "invalid", "message": "a text contains the character NUL"}
            outcome.refusals.append({**refused, **no})
        elif record.id in records:
            message = f"{record.id} stands already at {records[record.id].path}"
            outcome.refusals.append({**refused, "code": "duplicate_id", "message": message})
        else:
            records[record.id] = record
    return list(records.values())


def _record(name: str, path: str, parsed: Any) -> Record:
    content: Row = parsed.model_dump(mode="json", exclude={"password"})
    if content.get("claim_id", "") is None:
        # Few orders follow from a claim, and what all others are known by stays the same.
        del content["claim_id"]
    if content["id"] is None:
        # The same record without an id is the same record: its content names it.
        content["id"] = derived_id(_PREFIXES[name], _canonical(content))
    if name == "orders":
        for part, prefix in (("items", "item"), ("payments", "pay"), ("fulfillments", "ful")):
            for index, child in enumerate(content[part] or ()):
                child["id"] = child["id"] or derived_id(prefix, content["id"], str(index))
    text = _canonical(content)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Record(path, content["id"], {**content, "_text": text}, digest, parsed)


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _words(error: ErrorDetails) -> tuple[str, str]:
    """(code, message) of a validation error, in Medusa's words where it has them."""
    name = next((str(part) for part in reversed(error["loc"]) if isinstance(part, str)), "record")
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown_key", f"property {name} should not exist"
    if kind == "greater_than_equal":
        return "invalid", f"{name} must not be less than {context['ge']}"
    if kind == "less_than_equal":
        return "invalid", f"{name} must not be greater than {context['le']}"
    if kind == "value_error":
        return "invalid", f"{name} {context['error']}"
    return "invalid", f"{name} {_TYPE_WORDS.get(kind, error['msg'])}"


def _where(loc: Iterable[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)


# ---------------------------------------------------------------------------------- reference data


async def _load_reference(
    tx: Tx, name: str, records: Sequence[Record], outcome: Outcome, now: datetime
) -> None:
    if not records:
        return
    if name == "shipping_options":
        records = await _with_region(tx, records, outcome)
    known = await store_imports.hashes(tx, table=name, ids=[record.id for record in records])
    fresh = [record for record in records if record.id not in known]
    changed = [record for record in records if known.get(record.id, record.hash) != record.hash]
    rows = [_reference_row(name, record, now) for record in fresh]
    await store_imports.add_rows(tx, table=name, rows=rows)
    for record in changed:
        row = _reference_row(name, record, now)
        del row["created_at"]
        await store_imports.update_row(tx, table=name, row=row)
    outcome.created += len(fresh)
    outcome.updated += len(changed)
    outcome.unchanged += len(records) - len(fresh) - len(changed)


async def _with_region(tx: Tx, records: Sequence[Record], outcome: Outcome) -> list[Record]:
    asked = {record.content["region_id"] for record in records}
    known = await store_imports.existing(tx, table="regions", ids=asked)
    for record in records:
        region_id = record.content["region_id"]
        if region_id not in known:
            outcome.refuse(record, "region_unknown", _unknown("Region", region_id), ".region_id")
    return [record for record in records if record.content["region_id"] in known]


def _reference_row(name: str, record: Record, now: datetime) -> Row:
    row = {**record.content, "content_hash": record.hash, "created_at": now, "updated_at": now}
    if "includes_tax" in row:
        row["includes_tax"] = bool(row["includes_tax"])
    if name == "customers":
        row["search"] = _search(row["email"], row["first_name"], row["last_name"], row["phone"])
    return row


def _search(*words: Any) -> str:
    return domain.search_text(words=words)


def _unknown(what: str, id: str) -> str:
    return f"{what} with id {id} was not found"


# ---------------------------------------------------------------------------------- orders


async def _load_orders(
    tx: Tx,
    records: list[Record],
    providers: Collection[str],
    outcome: Outcome,
    now: datetime,
) -> None:
    records = [record for record in records if _consistent(record, providers, outcome)]
    records = await _with_references(tx, records, outcome)
    records = await _with_own_children(tx, records, outcome)
    known = await store_imports.locked_orders(tx, ids=sorted(record.id for record in records))
    fresh = [record for record in records if record.id not in known]
    changed = [
        record
        for record in records
        if record.id in known and known[record.id]["content_hash"] != record.hash
    ]
    outcome.unchanged += len(records) - len(fresh) - len(changed)
    used = await store_imports.orders_in_use(tx, ids=[record.id for record in changed])
    for record in changed:
        if record.id in used:
            outcome.refuse(
                record,
                "order_in_use",
                f"Order {record.id} has been worked on here and cannot be replaced",
            )
    changed = [record for record in changed if record.id not in used]
    await store_imports.forget_orders(tx, ids=[record.id for record in changed])
    await _write_orders(tx, fresh + changed, known, now)
    outcome.created += len(fresh)
    outcome.updated += len(changed)


def _consistent(record: Record, providers: Collection[str], outcome: Outcome) -> bool:
    """Whether the order's own figures agree; refuses with the path of what does not."""
    order: schemas.ImportOrder = record.model
    problem = _quantity_problem(order) or _payment_problem(order, providers)
    if problem is None:
        problem = _child_problem(record.content)
    if problem is not None:
        where, code, message = problem
        outcome.refuse(record, code, message, where)
    return problem is None


def _quantity_problem(order: schemas.ImportOrder) -> tuple[str, str, str] | None:
    if not order.items:
        return ".items", "invalid", "items should not be empty"
    for index, item in enumerate(order.items):
        bounds = (
            ("fulfilled_quantity", item.fulfilled_quantity, "quantity", item.quantity),
            (
                "shipped_quantity",
                item.shipped_quantity,
                "fulfilled_quantity",
                item.fulfilled_quantity or 0,
            ),
            ("returned_quantity", item.returned_quantity, "quantity", item.quantity),
        )
        for name, value, bound, most in bounds:
            if (value or 0) > most:
                message = f"{name} must not be greater than {bound}"
                return f".items[{index}].{name}", "quantity_inconsistent", message
    return None


def _payment_problem(
    order: schemas.ImportOrder, providers: Collection[str]
) -> tuple[str, str, str] | None:
    for index, payment in enumerate(order.payments or ()):
        path = f".payments[{index}]"
        if payment.provider_id not in providers:
            message = _unknown("Payment provider", payment.provider_id)
            return f"{path}.provider_id", "provider_unknown", message
        refunded = payment.amount_refunded or 0
        if refunded > payment.amount:
            message = "amount_refunded must not be greater than amount"
            return f"{path}.amount_refunded", "amount_inconsistent", message
        if refunded and payment.captured_at is None:
            message = "amount_refunded needs a captured_at: only captured money can go back"
            return f"{path}.amount_refunded", "amount_inconsistent", message
    return None


def _child_problem(content: Row) -> tuple[str, str, str] | None:
    for part in ("items", "payments", "fulfillments"):
        seen: set[str] = set()
        for index, child in enumerate(content[part] or ()):
            if child["id"] in seen:
                path = f".{part}[{index}].id"
                return path, "duplicate_id", f"{child['id']} stands twice in this order"
            seen.add(child["id"])
    lines = {item["id"] for item in content["items"]}
    for number, fulfillment in enumerate(content["fulfillments"] or ()):
        for index, item in enumerate(fulfillment["items"]):
            if item["item_id"] not in lines:
                path = f".fulfillments[{number}].items[{index}].item_id"
                return path, "line_unknown", f"Line item with {item['item_id']} was not found"
    return None


async def _with_references(tx: Tx, records: Sequence[Record], outcome: Outcome) -> list[Record]:
    """Those whose region, sales channel and customer exist."""
    good = list(records)
    for name, table, what, code in (
        ("region_id", "regions", "Region", "region_unknown"),
        ("sales_channel_id", "sales_channels", "Sales channel", "sales_channel_unknown"),
        ("customer_id", "customers", "Customer", "customer_unknown"),
    ):
        asked = {record.content[name] for record in good} - {None}
        known = await store_imports.existing(tx, table=table, ids=asked)
        for record in good:
            value = record.content[name]
            if value is not None and value not in known:
                outcome.refuse(record, code, _unknown(what, value), f".{name}")
        good = [
            record
            for record in good
            if record.content[name] is None or record.content[name] in known
        ]
    return good


async def _with_own_children(tx: Tx, records: Sequence[Record], outcome: Outcome) -> list[Record]:
    """Those whose lines, payments and fulfillments belong to no other order."""
    good = list(records)
    for part, table in (
        ("items", "order_lines"),
        ("payments", "payments"),
        ("fulfillments", "fulfillments"),
    ):
        ids = [child["id"] for record in good for child in record.content[part] or ()]
        owners = await store_imports.owners(tx, table=table, ids=ids)
        kept = []
        for record in good:
            problem = _foreign_child(record, part, owners)
            if problem is None:
                kept.append(record)
            else:
                where, owner = problem
                outcome.refuse(record, "duplicate_id", f"belongs to order {owner}", where)
        good = kept
    return good


def _foreign_child(record: Record, part: str, owners: dict[str, str]) -> tuple[str, str] | None:
    for index, child in enumerate(record.content[part] or ()):
        owner = owners.setdefault(child["id"], record.id)
        if owner != record.id:
            return f".{part}[{index}].id", owner
    return None


async def _write_orders(
    tx: Tx, records: Sequence[Record], known: Mapping[str, Row], now: datetime
) -> None:
    if not records:
        return
    options = await store_imports.options_by_id(
        tx,
        ids={
            method["shipping_option_id"]
            for record in records
            for method in record.content["shipping_methods"] or ()
            if method["shipping_option_id"]
        },
    )
    number = await store_imports.last_display_id(tx)
    orders, lines, payments, fulfillments, transfers = [], [], [], [], []
    for record in records:
        order: schemas.ImportOrder = record.model
        display_id = order.display_id
        if display_id is None and record.id in known:
            display_id = known[record.id]["display_id"]
        if display_id is None:
            number += 1
            display_id = number
        row = _order_row(record, display_id, options, now)
        orders.append(row)
        lines += _line_rows(record)
        paid = _payment_rows(record, row["created_at"])
        payments += paid
        transfers += [entry for payment in paid for entry in _opening(record.id, payment)]
        fulfillments += _fulfillment_rows(record, row["created_at"])
    await store_imports.add_orders(
        tx,
        orders=orders,
        lines=lines,
        payments=payments,
        fulfillments=fulfillments,
        transfers=transfers,
    )


def _order_row(record: Record, display_id: int, options: Mapping[str, Row], now: datetime) -> Row:
    order: schemas.ImportOrder = record.model
    content = record.content
    payments = order.payments or ()
    captured = [payment for payment in payments if payment.captured_at is not None]
    first_name = (content["shipping_address"] or {}).get("first_name")
    created_at = order.created_at or now
    return {
        "id": record.id,
        "display_id": display_id,
        "status": order.status,
        "payment_status": order.payment_status,
        "fulfillment_status": order.fulfillment_status,
        "email": order.email,
        "customer_id": order.customer_id,
        "region_id": order.region_id,
        "sales_channel_id": order.sales_channel_id,
        "currency_code": order.currency_code,
        "tax_rate": order.tax_rate,
        "paid": sum(payment.amount for payment in payments),
        "captured": sum(payment.amount for payment in captured),
        "refunded": sum(payment.amount_refunded or 0 for payment in captured),
        "no_notification": order.no_notification,
        "metadata": order.metadata,
        "shipping_address": content["shipping_address"],
        "billing_address": content["billing_address"],
        "shipping_methods": [
            _method(record.id, index, method, options.get(method["shipping_option_id"]))
            for index, method in enumerate(content["shipping_methods"] or ())
        ],
        "discounts": content["discounts"] or [],
        "extra": _extra(content, schemas.ORDER_EXTRA),
        "search": _search(order.email, display_id, first_name),
        "content_hash": record.hash,
        "claim_id": order.claim_id,
        "canceled_at": created_at if order.status == "canceled" else None,
        "created_at": created_at,
        "updated_at": created_at,
    }


def _method(order_id: str, index: int, method: Row, option: Row | None) -> Row:
    """A shipping method keeps its option as it was: options change, what was bought does not."""
    return {
        **method,
        "id": method["id"] or derived_id("sm", order_id, str(index)),
        "includes_tax": bool(option and option["includes_tax"]),
        "shipping_option": option,
    }


def _extra(content: Row, names: Sequence[str]) -> Row | None:
    return {name: content[name] for name in names if content[name] is not None} or None


def _line_rows(record: Record) -> list[Row]:
    order: schemas.ImportOrder = record.model
    rows = []
    for position, (item, content) in enumerate(
        zip(order.items, record.content["items"], strict=True)
    ):
        returned = item.returned_quantity or 0
        row = {
            "id": content["id"],
            "order_id": record.id,
            "position": position,
            "variant_id": item.variant_id,
            "title": item.title,
            "description": item.description,
            "thumbnail": item.thumbnail,
            "unit_price": item.unit_price,
            "quantity": item.quantity,
            "fulfilled_quantity": item.fulfilled_quantity or 0,
            "shipped_quantity": item.shipped_quantity or 0,
            "returned_quantity": returned,
            "returned_before": returned,
            "returned_amount": 0,
            "delivered_at": item.delivered_at,
            "includes_tax": bool(item.includes_tax),
            "allow_discounts": item.allow_discounts is not False,
            "is_giftcard": bool(item.is_giftcard),
            "tax_lines": content["tax_lines"] or [],
            "adjustments": content["adjustments"] or [],
            "metadata": item.metadata,
            "extra": _extra(content, schemas.ITEM_EXTRA),
        }
        if returned:
            whole = store_units.priced(row=row, order_tax_rate=order.tax_rate)
            before = refunds.share_of(line=whole, remaining=whole.paid, quantity=returned)
            row["returned_amount"] = before.amount
        rows.append(row)
    return rows


def _payment_rows(record: Record, created_at: datetime) -> list[Row]:
    order: schemas.ImportOrder = record.model
    return [
        {
            "id": content["id"],
            "order_id": record.id,
            "position": position,
            "provider_id": payment.provider_id,
            "amount": payment.amount,
            "currency_code": order.currency_code,
            "amount_refunded": payment.amount_refunded or 0,
            "refunded_before": payment.amount_refunded or 0,
            "captured_at": payment.captured_at,
            "created_at": created_at,
        }
        for position, (payment, content) in enumerate(
            zip(order.payments or (), record.content["payments"] or (), strict=True)
        )
    ]


def _opening(order_id: str, payment: Row) -> list[Row]:
    """The ledger begins with what was captured, and what had gone back already."""
    if payment["captured_at"] is None:
        return []
    customer, provider = f"customer:{order_id}", f"provider:{payment['provider_id']}"
    moves = (
        ("capture", provider, customer, payment["amount"]),
        ("refund_before", customer, provider, payment["amount_refunded"]),
    )
    return [
        {
            "id": derived_id("tr", payment["id"], kind),
            "order_id": order_id,
            "kind": kind,
            "debit_account": debit,
            "credit_account": credit,
            "amount": amount,
            "currency_code": payment["currency_code"],
            "state": "posted",
            "payment_id": payment["id"],
            "created_at": payment["captured_at"],
        }
        for kind, debit, credit, amount in moves
        if amount
    ]


def _fulfillment_rows(record: Record, created_at: datetime) -> list[Row]:
    order: schemas.ImportOrder = record.model
    return [
        {
            "id": content["id"],
            "order_id": record.id,
            "position": position,
            "items": content["items"],
            "location_id": fulfillment.location_id,
            "tracking_numbers": fulfillment.tracking_numbers or [],
            "shipped_at": fulfillment.shipped_at,
            "canceled_at": fulfillment.canceled_at,
            "state": "live" if fulfillment.canceled_at is None else "canceled",
            "created_at": fulfillment.shipped_at or created_at,
        }
        for position, (fulfillment, content) in enumerate(
            zip(order.fulfillments or (), record.content["fulfillments"] or (), strict=True)
        )
    ]
