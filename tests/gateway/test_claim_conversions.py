"""What a claim gives is changed over HTTP: refunds retried, remedies converted."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.verify import verify
from tests.gateway import medusa
from tests.gateway.builders import Door
from tests.gateway.conftest import OpenGateway

Json = dict[str, Any]
HERE = medusa.LOCATION
ITEM = {"item_id": "test-item", "quantity": 1, "reason": "wrong_item"}
METHODS = [{"option_id": "test-option", "price": 0}]
SPARE = [{"variant_id": "variant-2", "quantity": 1}]
MUG = "iitem_variant-2"


def a_document(*, shipped: int = 0, provider: str = "manual", price: int = 1000) -> Json:
    """Two pieces, fulfilled and paid; ``shipped`` of them are on their way. Untaxed."""
    document = medusa.a_base(medusa.a_variant("test-variant", 1000), _second())
    item = medusa.an_item("test-item", price, 2, shipped_quantity=shipped)
    order = medusa.an_order("test-order", item, paid=2 * price)
    order["payments"][0]["provider_id"] = provider
    order["shipping_methods"] = [{"id": "m", "shipping_option_id": "test-option", "price": 0}]
    document["orders"] = [order]
    document["shipping_options"] = [medusa.an_option("test-option", 0, is_return=False)]
    return document


def _second() -> Json:
    return medusa.a_variant("variant-2", 2500)


async def claimed(door: Door, **body: Any) -> Json:
    given = {"type": "refund", "claim_items": [ITEM], **body}
    answer = await door.post("/admin/orders/test-order/claims", given)
    assert answer.status_code == 200, answer.text
    claim: Json = answer.json()["order"]["claims"][-1]
    return claim


async def replacing(door: Door, **body: Any) -> Json:
    spare = {"additional_items": SPARE, "shipping_methods": METHODS}
    return await claimed(door, type="replace", **spare, **body)


async def act(door: Door, claim: Json, what: str, body: Json, **more: Any) -> Any:
    return await door.post(f"/admin/claims/{claim['id']}/{what}", body, **more)


def the_claim(answer: Any) -> Json:
    assert answer.status_code == 200, answer.text
    claim: Json = answer.json()["claim"]
    return claim


def refused(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["type"], body["message"]


def no(message: str) -> tuple[int, str, str]:
    return 400, "not_allowed", message


async def level(door: Door) -> tuple[int, int]:
    answer = await door.get(f"/admin/inventory-items/{MUG}/location-levels")
    (found,) = answer.json()["inventory_item"]["location_levels"]
    return found["stocked_quantity"], found["reserved_quantity"]


async def sound(door: Door) -> None:
    report = await verify(door.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


async def send_all(door: Door) -> None:
    """What was fulfilled of the order is on its way."""
    async with door.embedded.services["orders"].database.transaction() as tx:
        await tx.execute("UPDATE order_lines SET shipped_quantity = fulfilled_quantity")


# ---- a refund that did not go out ---------------------------------------------------------------


async def test_goods_that_were_sent_meanwhile_are_refunded_once(door: Door) -> None:
    """D7, D8, D9."""
    await door.load(a_document())
    claim = await claimed(door)
    assert (claim["payment_status"], claim["refund_amount"]) == ("not_refunded", 0)
    still = the_claim(await act(door, claim, "refund", {}))
    assert (still["payment_status"], still["refund_amount"]) == ("not_refunded", 0)
    await send_all(door)
    done = the_claim(await act(door, claim, "refund", {}, key="pay-1"))
    assert (done["payment_status"], done["refund_amount"]) == ("refunded", 1000)
    assert [part["amount"] for part in done["explanation"]] == [1000]
    assert the_claim(await act(door, claim, "refund", {}, key="pay-1")) == done
    assert refused(await act(door, claim, "refund", {})) == no(
        "The claim has already been refunded."
    )
    order = await door.order("test-order")
    assert (order["refunded_total"], len(order["refunds"])) == (1000, 1)
    answer = await door.post(f"/admin/orders/test-order/claims/{claim['id']}/cancel")
    assert refused(answer) == no("Claim with a refund cannot be canceled")
    await sound(door)


async def test_a_named_amount_is_refunded_if_the_money_is_there(door: Door) -> None:
    await door.load(a_document())
    claim = await claimed(door)
    assert refused(await act(door, claim, "refund", {"refund_amount": 2001})) == no(
        "Refund amount is greater that the refundable amount"
    )
    assert (await door.order("test-order"))["claims"][0]["payment_status"] == "not_refunded"
    done = the_claim(await act(door, claim, "refund", {"refund_amount": 700}))
    assert (done["payment_status"], done["refund_amount"]) == ("refunded", 700)
    await sound(door)


async def test_a_refund_that_the_provider_declines_can_be_asked_for_again(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """One key per claim, whatever is tried; the claim keeps its units, and can be canceled."""
    monkeypatch.setenv("RECLAMO_FAKE_PROVIDER_FILE", str(tmp_path / "fake.sqlite"))
    door = await open_gateway()
    await door.load(a_document(provider="fake"))
    claim = await claimed(door)
    declined = no("The payment provider declined the refund: card closed")
    for _ in range(2):
        assert refused(await act(door, claim, "refund", {"refund_amount": 602})) == declined
    ledger = (await door.get("/admin/orders/test-order/ledger")).json()
    (attempt,) = ledger["attempts"]
    assert attempt["state"] == "declined"
    (refund,) = ledger["refunds"]
    assert refund["state"] == "declined"
    assert (await door.order("test-order"))["claims"][0]["payment_status"] == "not_refunded"
    await sound(door)
    answer = await door.post(f"/admin/orders/test-order/claims/{claim['id']}/cancel")
    assert answer.status_code == 200, answer.text
    await sound(door)


async def test_a_canceled_claim_and_a_replacement_are_not_refunded(door: Door) -> None:
    """M46."""
    await door.load(a_document())
    claim = await replacing(door)
    assert refused(await act(door, claim, "refund", {})) == no(
        'Claims with the type "replace" are not refunded: convert the claim first.'
    )
    await door.post(f"/admin/orders/test-order/claims/{claim['id']}/cancel")
    assert refused(await act(door, claim, "refund", {})) == no("Canceled claim cannot be processed")
    assert refused(await act(door, claim, "convert", {"type": "refund"})) == no(
        "Canceled claim cannot be converted"
    )
    other = {"id": "claim_x"}
    assert (await act(door, other, "refund", {})).status_code == 404


# ---- conversions --------------------------------------------------------------------------------


async def test_money_instead_of_goods(door: Door) -> None:
    await door.load(a_document(shipped=2))
    claim = await replacing(door)
    assert await level(door) == (10, 1)
    shown = (await act(door, claim, "convert/preview", {"type": "refund"})).json()["preview"]
    assert shown["refund_amount"] == 1000
    assert await level(door) == (10, 1)
    done = the_claim(await act(door, claim, "convert", {"type": "refund"}, key="c-1"))
    assert (done["type"], done["payment_status"]) == ("refund", "refunded")
    assert (done["refund_amount"], done["additional_items"]) == (1000, [])
    assert done["explanation"] == shown["explanation"]
    assert await level(door) == (10, 0)
    assert the_claim(await act(door, claim, "convert", {"type": "refund"}, key="c-1")) == done
    assert refused(await act(door, claim, "convert", {"type": "replace"})) == no(
        "Claim with a refund cannot be converted"
    )
    assert (await door.order("test-order"))["refunded_total"] == 1000
    await sound(door)


async def test_goods_instead_of_money(door: Door) -> None:
    await door.load(a_document())
    claim = await claimed(door)
    body = {"type": "replace", "additional_items": SPARE, "shipping_methods": METHODS}
    shown = (await act(door, claim, "convert/preview", body)).json()["preview"]
    assert [line["unit_price"] for line in shown["additional_items"]] == [2500]
    assert await level(door) == (10, 0)
    done = the_claim(await act(door, claim, "convert", body))
    assert (done["type"], done["payment_status"], done["refund_amount"]) == ("replace", "na", None)
    assert await level(door) == (10, 1)
    await sound(door)
    order = await door.post(f"/admin/orders/test-order/claims/{claim['id']}/fulfillments")
    packed = order.json()["order"]["claims"][0]
    assert packed["fulfillment_status"] == "fulfilled"
    assert await level(door) == (9, 0)
    live = "All fulfillments must be canceled before the claim can be converted"
    assert refused(await act(door, claim, "convert", {"type": "refund"})) == no(live)
    path = f"/admin/orders/test-order/claims/{claim['id']}"
    await door.post(f"{path}/fulfillments/{packed['fulfillments'][0]['id']}/cancel")
    # And back again: nothing is worth a refund yet, so it waits for a decision.
    done = the_claim(await act(door, claim, "convert", {"type": "refund"}))
    assert (done["type"], done["payment_status"]) == ("refund", "not_refunded")
    assert await level(door) == (10, 0)
    done = the_claim(await act(door, claim, "convert", body))
    assert await level(door) == (10, 1)
    assert (await door.post(f"{path}/cancel")).status_code == 200
    assert await level(door) == (10, 0)
    await sound(door)


async def test_a_refund_that_sends_something_already_needs_no_more(door: Door) -> None:
    await door.load(a_document())
    claim = await claimed(door, additional_items=SPARE)
    done = the_claim(
        await act(door, claim, "convert", {"type": "replace", "shipping_methods": METHODS})
    )
    assert (done["type"], len(done["additional_items"])) == ("replace", 1)
    assert await level(door) == (10, 1)
    answer = await door.post(f"/admin/orders/test-order/claims/{claim['id']}/fulfillments")
    assert answer.status_code == 200, answer.text
    await sound(door)


async def test_a_conversion_that_somebody_refuses_changes_nothing(door: Door) -> None:
    await door.load(a_document())
    claim = await claimed(door)
    many = [{"variant_id": "variant-2", "quantity": 11}]
    body = {"type": "replace", "additional_items": many}
    short = no("Variant with id: variant-2 does not have the required inventory")
    assert refused(await act(door, claim, "convert/preview", body)) == short
    assert refused(await act(door, claim, "convert", body)) == short
    order = await door.order("test-order")
    assert order["claims"][0]["type"] == "refund"
    # What was refused once can be there the next time.
    done = the_claim(
        await act(door, claim, "convert", {"type": "replace", "additional_items": SPARE})
    )
    assert done["type"] == "replace"
    assert refused(
        await act(door, claim, "convert", {"type": "refund", "refund_amount": 2001})
    ) == no("Refund amount is greater that the refundable amount")
    claim = (await door.get(f"/admin/claims/{claim['id']}")).json()["claim"]
    assert (claim["type"], claim["payment_status"]) == ("replace", "na")
    assert await level(door) == (10, 1)
    await sound(door)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"type": "refund"}, 400, 'The claim has the type "refund" already.'),
        (
            {"type": "replace"},
            400,
            'Claims with type "replace" must have at least one additional item.',
        ),
        (
            {"type": "replace", "additional_items": SPARE, "refund_amount": 1},
            400,
            'Claim has type "replace" but must be type "refund" to have a refund_amount.',
        ),
        ({"type": "gift"}, 400, "type must be one of the following values: refund, replace"),
        ({"type": "refund", "note": "x"}, 400, "property note should not exist"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    door: Door, body: Json, status: int, message: str
) -> None:
    await door.load(a_document())
    claim = await claimed(door)
    answer = await act(door, claim, "convert", body)
    assert (answer.status_code, answer.json()["message"]) == (status, message)
    assert (await act(door, claim, "convert/preview", body)).status_code == status
