"""Every refund gets one numbered document, whatever it was for."""

from __future__ import annotations

import asyncio
from typing import Any

from chassis.testing import eventually
from deploy.verify import verify
from tests.gateway.builders import Door

Json = dict[str, Any]
MUG = {"item_id": "item_ana_mug", "quantity": 1}


async def _memos(door: Door, many: int, query: str = "") -> list[Json]:
    """So many documents, once they are written; the newest first."""

    async def there() -> list[Json]:
        page = (await door.get(f"/admin/credit-memos?{query}")).json()
        assert set(page) == {"credit_memos", "count", "offset", "limit"}
        assert page["count"] == many
        found: list[Json] = page["credit_memos"]
        return found

    return await eventually(there)


async def test_a_refund_of_any_cause_has_one_and_it_tells_line_by_line(shop: Door) -> None:
    order = (await shop.claim()).json()["order"]
    body = {"items": [MUG], "receive_now": True}
    order = (await shop.post("/admin/orders/order_ana/return", body)).json()["order"]
    by_hand = {"amount": 300, "reason": "discount", "note": "sorry for the wait"}
    order = (await shop.post("/admin/orders/order_ana/refund", by_hand)).json()["order"]
    found = await _memos(shop, 3)
    year = found[0]["issued_at"][:4]
    assert [memo["number"] for memo in found] == [f"CM-{year}-00000{n}" for n in (3, 2, 1)]
    assert {memo["refund_id"] for memo in found} == {row["id"] for row in order["refunds"]}
    by_cause = {memo["cause_kind"]: memo for memo in found}
    assert {kind: memo["amount"] for kind, memo in by_cause.items()} == {
        "claim": 1200,
        "receipt": 1200,
        "manual": 300,
    }
    assert by_cause["claim"]["cause_id"] == order["claims"][0]["id"]
    for memo in found:
        assert sum(line["amount"] for line in memo["lines"]) == memo["amount"]
        assert sum(share["amount"] for share in memo["payments"]) == memo["amount"]
        assert (memo["order_id"], memo["currency_code"]) == ("order_ana", "eur")
        assert (memo["display_id"], memo["customer_id"]) == (order["display_id"], "cus_ana")
    assert [line["part"] for line in by_cause["claim"]["lines"]] == ["goods", "tax"]
    assert by_cause["manual"]["lines"][0]["rule"] == "sorry for the wait"
    first = found[-1]
    for key in (first["id"], first["number"]):
        answer = await shop.get(f"/admin/credit-memos/{key}")
        assert answer.json() == {"credit_memo": first}
    report = await verify(shop.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


async def test_numbers_have_no_gap_when_many_refund_at_once_and_some_are_refused(
    shop: Door,
) -> None:
    async def refund(amount: int) -> int:
        body = {"amount": amount, "reason": "other"}
        return (await shop.post("/admin/orders/order_ben/refund", body)).status_code

    statuses = await asyncio.gather(*(refund(amount) for amount in (1, 2, 10**9, 3, 4, 10**9)))
    assert sorted(statuses) == [200, 200, 200, 200, 400, 400]
    found = await _memos(shop, 4, "order_id=order_ben")
    assert [int(memo["number"][-6:]) for memo in found] == [4, 3, 2, 1]
    assert sorted(memo["amount"] for memo in found) == [1, 2, 3, 4]
    (only,) = await _memos(shop, 1, f"refund_id={found[0]['refund_id']}")
    assert only == found[0]
    assert await _memos_or_none(shop, "year=1999") == 0


async def _memos_or_none(door: Door, query: str) -> int:
    return int((await door.get(f"/admin/credit-memos?{query}")).json()["count"])


async def test_what_is_not_there_is_told(shop: Door) -> None:
    answer = await shop.get("/admin/credit-memos/CM-1999-000001")
    message = "Credit memo with id CM-1999-000001 was not found"
    assert (answer.status_code, answer.json()) == (404, {"type": "not_found", "message": message})
    wrong = await shop.get("/admin/credit-memos?year=last")
    assert (wrong.status_code, wrong.json()["message"]) == (400, "year must be an integer number")
