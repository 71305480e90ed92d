"""A claim's refund as store credit: given, read, spent, taken back when the claim is canceled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.verify import verify
from tests.gateway.builders import Door, a_shop
from tests.gateway.conftest import OpenGateway

Json = dict[str, Any]
MUG = "item_ana_mug"


async def credits(door: Door, customer_id: str = "cus_ana") -> Json:
    answer = await door.get(f"/admin/customers/{customer_id}/store-credits")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def balances(door: Door) -> dict[str, int]:
    found = await credits(door)
    return {each["currency_code"]: each["balance"] for each in found["store_credits"]}


async def adjust(door: Door, amount: int, **more: Any) -> Any:
    body = {"amount": amount, "currency_code": "EUR", "note": "order 1002"}
    return await door.post("/admin/customers/cus_ana/store-credits", body, **more)


async def claimed(door: Door, **more: Any) -> Json:
    answer = await door.claim(refund_to="store_credit", **more)
    assert answer.status_code == 200, answer.text
    claim: Json = answer.json()["order"]["claims"][-1]
    return claim


async def cancel(door: Door, claim: Json) -> Any:
    return await door.post(f"/admin/orders/order_ana/claims/{claim['id']}/cancel")


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["message"]


async def sound(door: Door) -> None:
    assert (await verify(door.embedded.settings, look_again_after_s=0.1)).findings == []


async def test_a_claim_gives_store_credit_once_and_its_customer_sees_it(shop: Door) -> None:
    answer = await shop.claim(refund_to="store_credit", key="c-1")
    assert answer.status_code == 200, answer.text
    assert (await shop.claim(refund_to="store_credit", key="c-1")).json() == answer.json()
    order = answer.json()["order"]
    (claim,) = order["claims"]
    assert (claim["payment_status"], claim["refund_amount"]) == ("refunded", 1200)
    assert order["refunded_total"] == 1200
    shown = (await shop.get(f"/admin/claims/{claim['id']}")).json()["claim"]
    assert shown["refund_to"] == "store_credit"

    found = await credits(shop)
    assert await balances(shop) == {"eur": 1200}
    (entry,) = found["entries"]
    assert (entry["kind"], entry["amount"], entry["claim_id"]) == ("granted", 1200, claim["id"])
    ledger = (await shop.get("/admin/orders/order_ana/ledger")).json()
    assert ledger["transfers"][-1]["credit_account"] == "store_credit:cus_ana"

    ana, ben = await shop.customer("ana"), await shop.customer("ben")
    mine = (await ana.get("/store/customers/me/store-credits")).json()
    assert [each["balance"] for each in mine["store_credits"]] == [1200]
    assert "created_by" not in mine["entries"][0]
    assert (await ben.get("/store/customers/me/store-credits")).json()["entries"] == []
    assert (await shop.as_().get("/store/customers/me/store-credits")).status_code == 401
    await sound(shop)


async def test_a_cancel_takes_it_back_unless_it_is_spent(shop: Door) -> None:
    first, second = await claimed(shop), await claimed(shop)
    assert await balances(shop) == {"eur": 2400}
    answer = await cancel(shop, first)
    assert answer.status_code == 200, answer.text
    order = answer.json()["order"]
    assert order["refunded_total"] == 1200
    canceled = next(each for each in order["claims"] if each["id"] == first["id"])
    assert (canceled["payment_status"], canceled["fulfillment_status"]) == (
        "not_refunded",
        "canceled",
    )
    assert await balances(shop) == {"eur": 1200}
    assert (await cancel(shop, first)).status_code == 200
    assert await balances(shop) == {"eur": 1200}
    await sound(shop)

    spent = await adjust(shop, -300, key="s-1")
    assert spent.status_code == 200, spent.text
    assert (await adjust(shop, -300, key="s-1")).json() == spent.json()
    assert await balances(shop) == {"eur": 900}
    assert refused(await cancel(shop, second)) == (400, "Claim with a refund cannot be canceled")
    shown = (await shop.get(f"/admin/claims/{second['id']}")).json()["claim"]
    assert (shown["status"], shown["payment_status"]) == ("open", "refunded")
    await sound(shop)

    # The unit of the first claim is free again, and its money goes back to the payment.
    again = (await shop.claim()).json()["order"]
    assert again["refunded_total"] == 2400
    assert await balances(shop) == {"eur": 900}
    await sound(shop)


async def test_money_that_waits_for_goods_to_be_reserved_becomes_credit_too(shop: Door) -> None:
    claim = await claimed(shop, additional_items=[{"variant_id": "variant_mug", "quantity": 1}])
    assert (claim["payment_status"], claim["refund_amount"]) == ("refunded", 1200)
    assert await balances(shop) == {"eur": 1200}
    refusal = await shop.claim(
        refund_to="store_credit",
        refund_amount=700,
        additional_items=[{"variant_id": "variant_lamp", "quantity": 99}],
    )
    assert refusal.status_code == 400
    assert await balances(shop) == {"eur": 1200}
    assert (await cancel(shop, claim)).status_code == 200
    assert await balances(shop) == {"eur": 0}
    await sound(shop)


async def test_a_replacement_can_become_store_credit(shop: Door) -> None:
    spare = {
        "additional_items": [{"variant_id": "variant_mug", "quantity": 1}],
        "shipping_methods": [{"option_id": "so_1", "price": 0}],
    }
    assert refused(await shop.claim(type="replace", refund_to="store_credit", **spare)) == (
        400,
        'Claim has type "replace" but must be type "refund" to have a refund_to.',
    )
    (claim,) = (await shop.claim(type="replace", **spare)).json()["order"]["claims"]
    body = {"type": "refund", "refund_to": "store_credit"}
    answer = await shop.post(f"/admin/claims/{claim['id']}/convert", body)
    assert answer.status_code == 200, answer.text
    converted = answer.json()["claim"]
    assert (converted["refund_to"], converted["refund_amount"]) == ("store_credit", 1200)
    assert await balances(shop) == {"eur": 1200}
    await sound(shop)


async def test_what_a_provider_declines_can_become_store_credit(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECLAMO_FAKE_PROVIDER_FILE", str(tmp_path / "fake.sqlite"))
    door = await open_gateway()
    document = a_shop()
    document["orders"][0]["payments"][0]["provider_id"] = "fake"
    await door.load(document)
    (claim,) = (await door.claim(refund_amount=0)).json()["order"]["claims"]
    path = f"/admin/claims/{claim['id']}/refund"
    declined = await door.post(path, {"refund_amount": 602})
    assert refused(declined) == (400, "The payment provider declined the refund: card closed")
    answer = await door.post(path, {"refund_to": "store_credit"}, key="r-1")
    assert answer.status_code == 200, answer.text
    shown = answer.json()["claim"]
    assert (shown["payment_status"], shown["refund_amount"]) == ("refunded", 602)
    assert shown["refund_to"] == "store_credit"
    assert (await door.post(path, {"refund_to": "store_credit"}, key="r-1")).json() == answer.json()
    assert await balances(door) == {"eur": 602}
    assert (await door.order())["refunded_total"] == 602
    await sound(door)
    assert (await cancel(door, claim)).status_code == 200
    assert await balances(door) == {"eur": 0}
    await sound(door)


async def test_what_makes_no_credit_changes_nothing(shop: Door) -> None:
    assert (await shop.claim(refund_to="cash")).status_code == 400
    assert refused(await adjust(shop, 0)) == (400, "amount must not be 0")
    assert refused(await adjust(shop, -1)) == (400, "Only 0 is left of the store credit")
    assert (await adjust(await shop.with_role("warehouse"), 5)).status_code == 403
    nobody = await shop.post(
        "/admin/customers/cus_x/store-credits", {"amount": 5, "currency_code": "eur"}
    )
    assert refused(nobody) == (404, "Customer with id: cus_x was not found")
    assert await balances(shop) == {}
    assert (await adjust(shop, 500)).status_code == 200
    assert await balances(shop) == {"eur": 500}
    await sound(shop)


async def test_a_return_gives_store_credit_for_what_came(shop: Door) -> None:
    body = {"items": [{"item_id": MUG, "quantity": 2}], "refund_to": "store_credit"}
    answer = await shop.post("/admin/orders/order_ana/return", body, key="r-1")
    assert answer.status_code == 200, answer.text
    (made,) = answer.json()["order"]["returns"]
    assert await balances(shop) == {}
    path = f"/admin/returns/{made['id']}"
    one = {"items": [{"item_id": MUG, "quantity": 1}]}
    for _ in range(2):
        received = await shop.post(f"{path}/receive", one, key="r-2")
        assert received.status_code == 200, received.text
        assert await balances(shop) == {"eur": 1200}
    to_payment = one | {"refund_to": "payment"}
    assert (await shop.post(f"{path}/receipts", to_payment)).status_code == 200
    assert await balances(shop) == {"eur": 1200}
    order = await shop.order()
    assert order["refunded_total"] == 2400
    (entry,) = (await credits(shop))["entries"]
    assert (entry["order_id"], entry["claim_id"]) == ("order_ana", None)
    await sound(shop)


async def test_a_return_that_is_received_at_once_and_money_that_was_owed_become_credit(
    shop: Door,
) -> None:
    body = {"items": [{"item_id": MUG, "quantity": 1}], "receive_now": True}
    asked = body | {"refund_to": "store_credit"}
    assert (await shop.post("/admin/orders/order_ana/return", asked)).status_code == 200
    assert await balances(shop) == {"eur": 1200}
    captured = (await shop.order())["paid_total"] - 1200
    all_of_it = {"amount": captured, "reason": "other"}
    assert (await shop.post("/admin/orders/order_ana/refund", all_of_it)).status_code == 200
    returned = (await shop.post("/admin/orders/order_ana/return", body)).json()["order"]
    (owing,) = [each for each in returned["returns"] if each["status"] == "requires_action"]
    path = f"/admin/returns/{owing['id']}/settle"
    refusal = await shop.post(path, {"refund": 0, "refund_to": "gold"})
    assert refused(refusal) == (
        400,
        "refund_to must be one of the following values: payment, store_credit",
    )
    assert (await shop.post(path, {"refund": 0, "refund_to": "store_credit"})).status_code == 200
    assert await balances(shop) == {"eur": 1200}
    await sound(shop)
