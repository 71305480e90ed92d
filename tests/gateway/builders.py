"""A client of the gateway, and a small shop in the import format."""

from __future__ import annotations

from typing import Any

import httpx2

from chassis import clock
from deploy.embedded import Embedded

ADMIN_TOKEN = "test_token"
SECRET_KEY = "a-key-for-tests-" * 3
PASSWORD = "correct horse battery"
ORIGIN = "http://gateway.test"
Json = dict[str, Any]


class Door:
    """Somebody at the gateway's door. ``credentials`` are the headers that say who."""

    def __init__(
        self,
        app: Any,
        *,
        embedded: Embedded,
        credentials: dict[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.app = app
        self.embedded = embedded
        who = {"x-medusa-access-token": ADMIN_TOKEN} if credentials is None else credentials
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(
                app=app, client=(address, 4000), raise_app_exceptions=False
            ),
            base_url=ORIGIN,
            headers={"accept": "application/json", "content-type": "application/json", **who},
            timeout=30,
        )

    def as_(self, address: str = "127.0.0.1", **credentials: str) -> Door:
        """The same door, somebody else: ``as_()`` is nobody."""
        named = {name.replace("_", "-"): value for name, value in credentials.items()}
        return Door(self.app, embedded=self.embedded, credentials=named, address=address)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.client.get(path, **more)

    async def post(
        self, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> httpx2.Response:
        """POST as the stock client does: without a payload the body is ``{}``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named["idempotency-key"] = key
        return await self.client.post(path, json={} if body is None else body, headers=named)

    async def delete(self, path: str, **headers: str) -> httpx2.Response:
        """DELETE as the stock client does: with the body ``{}``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request("DELETE", path, json={}, headers=named)

    # ---- people ----------------------------------------------------------------------------

    async def with_role(self, role: str) -> Door:
        """A user of this role, by an API token."""
        answer = await self.post("/admin/tokens", {"name": f"a {role}", "role": role})
        assert answer.status_code == 200, answer.text
        return self.as_(x_medusa_access_token=answer.json()["secret"])

    async def customer(self, name: str) -> Door:
        """The customer ``ana`` or ``ben``, signed in."""
        login = {"email": f"{name}@shop.example", "password": PASSWORD}
        answer = await self.as_().post("/store/auth/token", login)
        assert answer.status_code == 200, answer.text
        return self.as_(authorization=f"Bearer {answer.json()['access_token']}")

    async def user(self, role: str) -> Json:
        """A new user with ``PASSWORD``: what /admin/auth wants."""
        login = {"email": f"{role}@shop.example", "password": PASSWORD}
        answer = await self.post("/admin/users", {**login, "role": role})
        assert answer.status_code == 200, answer.text
        return login

    # ---- doing -----------------------------------------------------------------------------

    async def order(self, order_id: str = "order_ana") -> Json:
        """An order whole."""
        answer = await self.get(f"/admin/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()["order"]
        return found

    async def load(self, document: Json) -> None:
        """Import a document of which nothing is refused."""
        answer = await self.post("/admin/import", document)
        assert answer.status_code == 200, answer.text
        assert answer.json()["refusals"] == []

    async def claim(
        self, *, order_id: str = "order_ana", key: str | None = None, **more: Any
    ) -> httpx2.Response:
        """A claim, by default for one mug's money."""
        return await self.post(f"/admin/orders/{order_id}/claims", a_claim(**more), key=key)


def a_claim(**more: Any) -> Json:
    """The body of a claim for one mug."""
    item = {"item_id": "item_ana_mug", "quantity": 1, "reason": "wrong_item"}
    return {"type": "refund", "claim_items": [item], **more}


def an_order(name: str, **more: Any) -> Json:
    """Four mugs of 1000 at 20 % and one lamp of 5000 untaxed, paid and shipped."""
    now = clock.now().isoformat()
    line = {"fulfilled_quantity": 4, "shipped_quantity": 4, "returned_quantity": 0}
    return {
        "id": f"order_{name}",
        "email": f"{name}@shop.example",
        "customer_id": f"cus_{name}",
        "region_id": "reg_1",
        "currency_code": "eur",
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured",
        "fulfillment_status": "shipped",
        "sales_channel_id": "sc_1",
        "created_at": now,
        "shipping_address": {"first_name": name.capitalize(), "city": "Ljubljana"},
        "billing_address": {"first_name": name.capitalize(), "city": "Ljubljana"},
        "items": [
            {
                **line,
                "id": f"item_{name}_mug",
                "variant_id": "variant_mug",
                "title": "Mug",
                "unit_price": 1000,
                "quantity": 4,
                "delivered_at": now,
                "tax_lines": [{"rate": 20, "code": "VAT", "name": "VAT"}],
                "adjustments": [],
            },
            {
                "id": f"item_{name}_lamp",
                "variant_id": "variant_lamp",
                "title": "Lamp",
                "unit_price": 5000,
                "quantity": 1,
                "fulfilled_quantity": 1,
                "shipped_quantity": 1,
                "returned_quantity": 0,
                "delivered_at": now,
                "tax_lines": [],
                "adjustments": [],
            },
        ],
        "shipping_methods": [
            {
                "id": f"sm_{name}",
                "shipping_option_id": "so_1",
                "price": 500,
                "tax_lines": [],
            }
        ],
        "payments": [
            {
                "id": f"pay_{name}",
                "amount": 10_300,
                "provider_id": "manual",
                "captured_at": now,
            }
        ],
        **more,
    }


def a_shop(**more: Any) -> Json:
    """Two customers with an order each, mugs and lamps in stock, and a way back."""
    return {
        "regions": [
            {
                "id": "reg_1",
                "name": "Home",
                "currency_code": "eur",
                "tax_rate": 20,
                "countries": ["si"],
            }
        ],
        "stock_locations": [{"id": "sloc_1", "name": "Warehouse"}],
        "sales_channels": [{"id": "sc_1", "name": "Web", "stock_location_ids": ["sloc_1"]}],
        "shipping_options": [
            {"id": "so_1", "name": "Parcel", "region_id": "reg_1", "amount": 500}
            | {"is_return": False},
            {"id": "so_back", "name": "Return parcel", "region_id": "reg_1", "amount": 300}
            | {"is_return": True},
        ],
        "variants": [
            {
                "id": f"variant_{name}",
                "title": name.capitalize(),
                "product_title": name.capitalize(),
                "sku": name.upper(),
                "manage_inventory": True,
                "allow_backorder": False,
                "prices": [{"currency_code": "eur", "amount": price}],
            }
            for name, price in (("mug", 1000), ("lamp", 5000))
        ],
        "inventory_levels": [
            {"variant_id": "variant_mug", "location_id": "sloc_1", "stocked_quantity": 10},
            {"variant_id": "variant_lamp", "location_id": "sloc_1", "stocked_quantity": 1},
        ],
        "return_reasons": [{"id": "rr_1", "value": "wrong_size", "label": "Wrong size"}],
        "customers": [
            {"id": f"cus_{name}", "email": f"{name}@shop.example", "password": PASSWORD}
            for name in ("ana", "ben")
        ],
        "orders": [an_order("ana"), an_order("ben")],
        **more,
    }
