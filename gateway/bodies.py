"""The body of every call, as Medusa's contract has it; what is ours says so."""

from __future__ import annotations

from dataclasses import replace

from gateway import sheets, webhooks
from gateway.shapes import (
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
)

LINES_MAX = 100
_ID_MAX = 255
_ID = Text(most=_ID_MAX)
_ID_NEEDED = Text(required=True, most=_ID_MAX)
_ID_TYPED = Text(required=True, say_empty=False, most=_ID_MAX)
_UNITS = Integer(required=True, least=1)
# Ours: where money goes, back over the payments or to the customer's account.
_REFUND_TO = OneOf(("payment", "store_credit"))

EMPTY = Shape()

ADDRESS = Shape(
    {
        **{
            name: Text(most=_ID_MAX)
            for name in (
                *("first_name", "last_name", "phone", "company", "address_1", "address_2"),
                *("city", "country_code", "province", "postal_code"),
            )
        },
        "metadata": Object(),
    }
)

CLAIM_REASONS = ("missing_item", "wrong_item", "production_failure", "other")
REFUND_REASONS = ("discount", "return", "swap", "claim", "other")
ROLES = ("admin", "agent", "finance", "warehouse", "ops")

_RETURN_SHIPPING = Shape({"option_id": _ID, "price": Integer(least=0)})

_SHIPPING_METHODS = ListOf(
    Shape(
        {
            "id": _ID,
            "option_id": _ID,
            "price": Integer(least=0),
            "data": Object(),
        }
    ),
    most=LINES_MAX,
)

CREATE_CLAIM = Shape(
    {
        "type": OneOf(("refund", "replace"), required=True),
        "claim_items": ListOf(
            Shape(
                {
                    "item_id": _ID_NEEDED,
                    "quantity": _UNITS,
                    "note": Text(),
                    "reason": OneOf(CLAIM_REASONS),
                    "tags": ListOf(_ID, most=LINES_MAX),
                    "images": ListOf(Text(most=2048), most=LINES_MAX),
                }
            ),
            required=True,
            most=LINES_MAX,
        ),
        "return_shipping": Nested(_RETURN_SHIPPING),
        "additional_items": ListOf(
            Shape({"variant_id": _ID_NEEDED, "quantity": _UNITS}), most=LINES_MAX
        ),
        "shipping_methods": _SHIPPING_METHODS,
        "refund_amount": Integer(least=0),
        "refund_to": _REFUND_TO,
        "shipping_address": Nested(ADDRESS, is_object=True),
        "no_notification": Boolean(),
        "return_location_id": _ID,
        "metadata": Object(),
    }
)

UPDATE_CLAIM = Shape(
    {
        "claim_items": ListOf(
            Shape(
                {
                    "id": _ID_NEEDED,
                    "note": Text(),
                    "reason": OneOf(CLAIM_REASONS),
                    "images": ListOf(
                        Shape({"id": _ID, "url": Text(most=2048)}), required=True, most=LINES_MAX
                    ),
                    "tags": ListOf(Shape({"id": _ID, "value": _ID}), required=True, most=LINES_MAX),
                    "metadata": Object(),
                }
            ),
            most=LINES_MAX,
        ),
        "shipping_methods": _SHIPPING_METHODS,
        "no_notification": Boolean(),
        "metadata": Object(),
    }
)
# Ours.
ASSIGN_CLAIM = Shape({"user_id": _ID})

REQUEST_RETURN = Shape(
    {
        "items": ListOf(
            Shape(
                {
                    "item_id": _ID_NEEDED,
                    "quantity": Integer(required=True, least=1, coerced=True),
                    "reason_id": _ID,
                    "note": Text(),
                }
            ),
            required=True,
            say_empty=False,
            most=LINES_MAX,
        ),
        "return_shipping": Nested(_RETURN_SHIPPING),
        "note": Text(),
        "receive_now": Boolean(default=False),
        "no_notification": Boolean(),
        # Negative counts as 0, which here means "not given".
        "refund": Integer(),
        "refund_to": _REFUND_TO,
        "location_id": _ID,
    }
)

# Ours: Medusa's own body knows no damaged units.
ADD_RECEIPT = Shape(
    {
        "items": ListOf(
            Shape(
                {
                    "item_id": _ID_NEEDED,
                    "quantity": _UNITS,
                    "damaged_quantity": Integer(least=0, default=0),
                }
            ),
            required=True,
            most=LINES_MAX,
        ),
        "refund": Integer(least=0),
        "refund_to": _REFUND_TO,
        "location_id": _ID,
        "note": Text(),
    }
)
SETTLE_RETURN = Shape({"refund": Integer(least=0), "refund_to": _REFUND_TO})

RECEIVE_RETURN = Shape(
    {
        "items": ListOf(
            Shape(
                {
                    "item_id": _ID_TYPED,
                    "quantity": Number(required=True, say_empty=False, least=1),
                }
            ),
            required=True,
            say_empty=False,
            most=LINES_MAX,
        ),
        # Negative counts as 0, and 0 means: no money.
        "refund": Number(),
        "refund_to": _REFUND_TO,
        "location_id": _ID,
    }
)

STORE_RETURN = Shape(
    {
        "order_id": _ID_NEEDED,
        "items": ListOf(
            Shape(
                {
                    "item_id": _ID_NEEDED,
                    "quantity": Number(required=True, least=1),
                    "reason_id": _ID,
                    "note": Text(),
                }
            ),
            required=True,
            say_empty=False,
            most=LINES_MAX,
        ),
        "return_shipping": Nested(Shape({"option_id": _ID_NEEDED})),
    }
)

REFUND_ORDER = Shape(
    {
        "amount": Integer(required=True, least=0),
        "reason": OneOf(REFUND_REASONS, required=True, is_string=True),
        "note": Text(),
        "no_notification": Boolean(),
        # Ours: of what the amount is a part, while its units stay with the customer.
        "items": ListOf(
            Shape({"item_id": _ID_NEEDED, "amount": Integer(required=True, least=1)}),
            most=LINES_MAX,
        ),
    }
)

REFUND_PAYMENT = Shape(
    {
        "amount": Integer(required=True, least=0),
        "reason": OneOf(REFUND_REASONS, required=True),
        "note": Text(),
    }
)

CREATE_FULFILLMENT = Shape(
    {
        "items": ListOf(
            Shape({"item_id": _ID_NEEDED, "quantity": _UNITS}),
            required=True,
            say_empty=False,
            most=LINES_MAX,
        ),
        "location_id": _ID,
        "no_notification": Boolean(),
        "metadata": Object(),
    }
)

CREATE_SHIPMENT = Shape(
    {
        "fulfillment_id": _ID_NEEDED,
        "tracking_numbers": ListOf(_ID, most=LINES_MAX),
        "no_notification": Boolean(),
    }
)

CREATE_SWAP = Shape(
    {
        "return_items": ListOf(
            Shape(
                {
                    "item_id": _ID_NEEDED,
                    "quantity": _UNITS,
                    "reason_id": _ID,
                    "note": Text(),
                }
            ),
            required=True,
            most=LINES_MAX,
        ),
        "return_shipping": Nested(Shape({"option_id": _ID_NEEDED, "price": Integer(least=0)})),
        "sales_channel_id": _ID,
        "additional_items": ListOf(
            Shape({"variant_id": _ID_NEEDED, "quantity": _UNITS}), most=LINES_MAX
        ),
        "custom_shipping_options": ListOf(
            Shape({"option_id": _ID_NEEDED, "price": Integer(required=True, least=0)}),
            most=LINES_MAX,
        ),
        "no_notification": Boolean(),
        "return_location_id": _ID,
        "allow_backorder": Boolean(default=True),
    }
)

SHIP_SWAP = CREATE_SHIPMENT

# Ours: what a claim gives, changed.
RETRY_CLAIM_REFUND = Shape(
    {name: CREATE_CLAIM.fields[name] for name in ("refund_amount", "refund_to")}
)
CONVERT_CLAIM = Shape(
    {
        name: CREATE_CLAIM.fields[name]
        for name in (
            *("type", "additional_items", "shipping_methods", "refund_amount", "refund_to"),
        )
    }
)

ADJUST_STORE_CREDIT = Shape(
    {
        "amount": Integer(required=True),
        "currency_code": Text(required=True, most=3),
        "note": Text(),
    }
)

FULFILL_CLAIM = Shape({"location_id": _ID, "no_notification": Boolean(), "metadata": Object()})

SHIP_CLAIM = Shape({"fulfillment_id": _ID_NEEDED, "tracking_numbers": ListOf(_ID, most=LINES_MAX)})

ADD_SHIPPING_METHOD = Shape(
    {"price": Integer(required=True, least=0), "option_id": _ID_NEEDED, "data": Object()}
)

UPDATE_ORDER = Shape(
    {
        "email": Email(),
        "billing_address": Nested(ADDRESS),
        "shipping_address": Nested(ADDRESS),
        "items": ListOf(Object(), most=LINES_MAX),
        "region": _ID,
        "discounts": ListOf(Object(), most=LINES_MAX),
        "customer_id": _ID,
        "payment_method": Nested(Shape({"provider_id": _ID, "data": Object()})),
        "shipping_method": ListOf(
            Shape(
                {
                    **dict.fromkeys(("id", "profile_id"), _ID),
                    "price": Integer(least=0),
                    "data": Object(),
                    "items": ListOf(Object(), most=LINES_MAX),
                }
            ),
            most=LINES_MAX,
        ),
        "no_notification": Boolean(),
    }
)

UPDATE_CUSTOMER = Shape(
    {"email": Email(), **dict.fromkeys(("first_name", "last_name", "phone"), _ID)}
)

LOGIN = Shape({"email": Email(required=True), "password": Text(required=True, most=1024)})

# Ours: Medusa's users have no role of this kind, and no API tokens of this kind.
CREATE_USER = Shape(
    {
        "email": Email(required=True),
        "password": Text(required=True, most=1024),
        "role": OneOf(ROLES, required=True),
    }
)
CHANGE_USER = Shape({"password": Text(most=1024), "role": OneOf(ROLES)})
CREATE_TOKEN = Shape({"name": _ID_NEEDED, "role": OneOf(ROLES, required=True)})

DISMISS_FINDING = Shape({"note": Text()})

CREATE_REASON = Shape(
    {
        "value": _ID_NEEDED,
        "label": _ID_NEEDED,
        "parent_return_reason_id": _ID,
        "description": Text(),
        "metadata": Object(),
    }
)
UPDATE_REASON = Shape({"label": _ID, "value": _ID, "description": Text(), "metadata": Object()})

_DESCRIBED = {
    **{
        name: Text(most=_ID_MAX)
        for name in ("sku", "origin_country", "hs_code", "mid_code", "material", "title")
    },
    **{name: Integer(least=0) for name in ("weight", "length", "height", "width")},
    "requires_shipping": Boolean(),
    "description": Text(),
    "thumbnail": Text(most=2048),
    "metadata": Object(),
}
# variant_id is checked by inventory, which refuses its absence in Medusa's own words.
CREATE_INVENTORY_ITEM = Shape({"variant_id": _ID, **_DESCRIBED})
UPDATE_INVENTORY_ITEM = Shape(_DESCRIBED)

CREATE_LEVEL = Shape(
    {
        "location_id": _ID_TYPED,
        "stocked_quantity": Number(required=True, say_empty=False, least=0),
        "incoming_quantity": Number(least=0),
    }
)
UPDATE_LEVEL = Shape(
    {
        "incoming_quantity": Number(least=0),
        "stocked_quantity": Number(least=0),
    }
)

CREATE_RESERVATION = Shape(
    {
        "location_id": _ID_TYPED,
        "inventory_item_id": _ID_TYPED,
        "quantity": Number(required=True, say_empty=False, least=1),
        "line_item_id": _ID,
        "description": Text(most=2000),
        "metadata": Object(),
    }
)
UPDATE_RESERVATION = Shape(
    {
        "location_id": _ID,
        "quantity": Number(least=1),
        "description": Text(most=2000),
        "metadata": Object(),
    }
)

STOCK_LOCATION = Shape(
    {
        "name": Text(required=True, most=_ID_MAX, trimmed=True),
        "address": Nested(
            Shape(
                {
                    "address_1": _ID_NEEDED,
                    "country_code": _ID_NEEDED,
                    **{
                        name: Text(most=_ID_MAX)
                        for name in (
                            *("address_2", "company", "city"),
                            *("phone", "postal_code", "province"),
                        )
                    },
                }
            )
        ),
        "address_id": _ID,
        "metadata": Object(),
    }
)
# What is left out stays as it is.
CHANGE_LOCATION = Shape({**STOCK_LOCATION.fields, "name": Text(most=_ID_MAX, trimmed=True)})

WRITE_NOTE = Shape(
    {
        "resource_id": _ID_NEEDED,
        "resource_type": _ID_NEEDED,
        "value": Text(required=True),
    }
)
CHANGE_NOTE = Shape({"value": Text(required=True)})

# Ours. What a webhook may hear of is read from the catalogue of messages.
_EVENTS = OneOf(webhooks.EVENTS)
_URL = Text(required=True, most=2048, trimmed=True)
CREATE_WEBHOOK = Shape(
    {
        "url": _URL,
        "events": ListOf(_EVENTS, required=True, most=LINES_MAX),
        "description": Text(most=1000),
    }
)
CHANGE_WEBHOOK = Shape(
    {
        "url": Text(most=2048, trimmed=True),
        "events": ListOf(_EVENTS, most=LINES_MAX),
        "description": Text(most=1000),
        "enabled": Boolean(),
    }
)

CREATE_JOB = Shape(
    {
        "type": OneOf(tuple(sheets.SHEETS), required=True),
        "context": Object(required=True),
        "dry_run": Boolean(default=False),
    }
)

# What customers report, and what becomes of it (ours).
_REPORTED = ListOf(
    Shape(
        {
            "item_id": _ID_NEEDED,
            "quantity": _UNITS,
            "reason": OneOf(CLAIM_REASONS, required=True),
            "note": Text(most=2000),
        }
    ),
    required=True,
    most=LINES_MAX,
)
_SAID = Text(required=True, most=4000, trimmed=True)
REPORT = Shape({"claim_items": _REPORTED, "message": Text(most=4000, trimmed=True)})
STORE_CLAIM = Shape({"order_id": _ID_NEEDED, **REPORT.fields})
APPROVE_INQUIRY = Shape(
    {
        **CREATE_CLAIM.fields,
        "claim_items": replace(CREATE_CLAIM.fields["claim_items"], required=False),
    }
)
REJECT_INQUIRY = Shape({"reason": Text(required=True, most=2000, trimmed=True)})
LINKED_ORDER = Shape(
    {
        "items": ListOf(
            Shape({"variant_id": _ID_NEEDED, "quantity": _UNITS, "unit_price": Integer(least=0)}),
            required=True,
            most=LINES_MAX,
        )
    }
)
WRITE_MESSAGE = Shape({"text": _SAID})

# What operators send.
REPLAY = Shape({"data": Object()})
REASON = Shape({"reason": Text(required=True, most=1000, trimmed=True)})
