"""What a customer reports, what the shop makes of it, and that nobody sees what is not theirs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.builders import Door, Json
from tests.gateway.conftest import OpenGateway
from tests.gateway.test_claim_work import LAMP, ORDER, told


def a_report(units: int = 1, **more: Any) -> Json:
    """One broken mug of order_ana."""
    item = {
        "item_id": "item_ana_mug",
        "quantity": units,
        "reason": "production_failure",
        "note": "the handle is off",
    }
    return {"order_id": "order_ana", "claim_items": [item], **more}


async def reported(shop: Door, units: int = 1, **more: Any) -> Json:
    """What Ana reported, as she sees it."""
    ana = await shop.customer("ana")
    answer = await ana.post("/store/claims", a_report(units, **more))
    assert answer.status_code == 200, answer.text
    claim: Json = answer.json()["claim"]
    return claim


async def in_review(shop: Door, units: int = 1) -> str:
    """The id of an inquiry that somebody looks at."""
    inquiry_id: str = (await reported(shop, units))["id"]
    assert (await shop.post(f"/admin/inquiries/{inquiry_id}/review")).status_code == 200
    return inquiry_id


async def shown(shop: Door, inquiry_id: str) -> Json:
    """The inquiry as the shop sees it now."""
    inquiry: Json = (await shop.get(f"/admin/inquiries/{inquiry_id}")).json()["inquiry"]
    return inquiry


class TestReport:
    async def test_it_is_pending_and_touches_neither_units_nor_money(self, shop: Door) -> None:
        seen = await reported(shop, message="both mugs came like that")
        assert (seen["status"], seen["order_id"]) == ("pending", "order_ana")
        assert seen["claim_items"] == a_report()["claim_items"]
        assert [message["text"] for message in seen["messages"]] == ["both mugs came like that"]
        order = await shop.order()
        assert (order["claims"], order["refunds"], order["returns"]) == ([], [], [])
        lines = (await shop.get(f"{ORDER}/claimable")).json()["lines"]
        assert {line["item_id"]: line["claimable_quantity"] for line in lines}["item_ana_mug"] == 4

    async def test_the_same_key_reports_once(self, shop: Door) -> None:
        ana = await shop.customer("ana")
        first = await ana.post("/store/claims", a_report(), key="k")
        again = await ana.post("/store/claims", a_report(), key="k")
        assert first.content == again.content
        assert (await ana.get("/store/claims")).json()["count"] == 1
        other = await ana.post("/store/claims", a_report(2), key="k")
        assert other.status_code == 422

    async def test_units_that_are_reported_or_have_a_remedy_are_not_reported_again(
        self, shop: Door
    ) -> None:
        await reported(shop, 2)
        assert (await shop.claim()).status_code == 200
        ana = await shop.customer("ana")
        answer = await ana.post("/store/claims", a_report(2))
        assert told(answer) == (
            400,
            "2 of item_ana_mug cannot be reported: 1 of its units were sent and are in no other"
            " inquiry, claim or return",
        )
        assert (await ana.post("/store/claims", a_report(1))).status_code == 200

    async def test_what_was_taken_back_can_be_reported_again(self, shop: Door) -> None:
        first = await reported(shop, 4)
        ana = await shop.customer("ana")
        answer = await ana.post(f"/store/claims/{first['id']}/cancel")
        assert answer.json()["claim"]["status"] == "canceled"
        assert (await ana.post(f"/store/claims/{first['id']}/cancel")).status_code == 200
        assert (await ana.post("/store/claims", a_report(4))).status_code == 200

    async def test_what_makes_no_sense_reports_nothing(self, shop: Door) -> None:
        ana = await shop.customer("ana")
        mug = {"item_id": "item_ana_mug", "quantity": 1, "reason": "other"}
        for change, status, message in (
            ({"claim_items": []}, 400, "claim_items should not be empty"),
            ({"order_id": "order_none"}, 404, "Order with id order_none was not found"),
            ({"order_id": "order_ben"}, 404, "Order with id order_ben was not found"),
            (
                {"claim_items": [{**mug, "item_id": "item_ben_mug"}]},
                404,
                "Line item with id: item_ben_mug was not found",
            ),
            (
                {"claim_items": [{**mug, "quantity": 0}]},
                400,
                "quantity must not be less than 1",
            ),
            (
                {"claim_items": [{**mug, "reason": "cold"}]},
                400,
                "reason must be one of the following values: missing_item, wrong_item,"
                " production_failure, other",
            ),
            ({"status": "approved"}, 400, "property status should not exist"),
        ):
            answer = await ana.post("/store/claims", a_report(**change))  # type: ignore[arg-type]
            assert told(answer) == (status, message)
        assert (await shop.get("/admin/inquiries")).json()["count"] == 0

    async def test_a_day_has_its_limit_and_the_shop_has_none(
        self, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.gateway.builders import a_shop

        monkeypatch.setenv("RECLAMO_INQUIRIES_PER_DAY", "2")
        shop = await open_gateway()
        await shop.load(a_shop())
        await reported(shop)
        await reported(shop)
        ana = await shop.customer("ana")
        answer = await ana.post("/store/claims", a_report())
        assert told(answer) == (
            400,
            "At most 2 problems can be reported in a day. Try again tomorrow.",
        )
        body = {"claim_items": a_report()["claim_items"]}
        assert (await shop.post(f"{ORDER}/inquiries", body)).status_code == 200

    async def test_the_shop_reports_for_a_customer_who_then_sees_it(self, shop: Door) -> None:
        body = {"claim_items": a_report()["claim_items"], "message": "she called"}
        inquiry = (await shop.post(f"{ORDER}/inquiries", body)).json()["inquiry"]
        assert (inquiry["customer_id"], inquiry["status"]) == ("cus_ana", "pending")
        ana = await shop.customer("ana")
        assert (await ana.get(f"/store/claims/{inquiry['id']}")).status_code == 200


class TestWhoSees:
    async def test_another_customer_meets_nothing_of_it(self, shop: Door) -> None:
        inquiry_id = (await reported(shop))["id"]
        ben = await shop.customer("ben")
        missing = await ben.get("/store/claims/inq_none")
        for method, path, body in (
            ("GET", "", None),
            ("POST", "/cancel", {}),
            ("POST", "/messages", {"text": "x"}),
        ):
            url = f"/store/claims/{inquiry_id}{path}"
            answer = await ben.client.request(method, url, json=body)
            assert answer.status_code == 404, (path, answer.text)
            assert answer.text == missing.text.replace("inq_none", inquiry_id)
        page = (await ben.get("/store/claims?order_id=order_ana")).json()
        assert page == {"claims": [], "count": 0, "offset": 0, "limit": 50}
        assert (await shop.as_().get("/store/claims")).status_code == 401
        assert (await shown(shop, inquiry_id))["status"] == "pending"

    async def test_what_is_the_shops_never_reaches_the_customer(self, shop: Door) -> None:
        inquiry_id = await in_review(shop)
        note = {"resource_type": "inquiry", "resource_id": inquiry_id, "value": "calls every day"}
        assert (await shop.post("/admin/notes", note)).status_code == 200
        answer = await shop.post(
            f"/admin/inquiries/{inquiry_id}/approve", {"type": "refund", "refund_amount": 10**9}
        )
        assert answer.status_code == 400
        inner = await shown(shop, inquiry_id)
        assert [each["value"] for each in inner["notes"]] == ["calls every day"]
        ana = await shop.customer("ana")
        answer = await ana.get(f"/store/claims/{inquiry_id}")
        assert set(answer.json()["claim"]) == {
            *("id", "order_id", "status", "reason", "claim_items", "created_at", "updated_at"),
            *("history", "messages", "evidence"),
        }
        assert answer.json()["claim"]["status"] == "in_review"
        assert [each["status"] for each in answer.json()["claim"]["history"]] == [
            "pending",
            "in_review",
        ]
        for secret in ("calls every day", inner["refusal"]["message"], "admin_user"):
            assert secret not in answer.text

    async def test_both_sides_write_and_the_customer_sees_no_clerk(self, shop: Door) -> None:
        inquiry_id = (await reported(shop))["id"]
        ana = await shop.customer("ana")
        await ana.post(f"/store/claims/{inquiry_id}/messages", {"text": "hello?"}, key="m")
        await ana.post(f"/store/claims/{inquiry_id}/messages", {"text": "hello?"}, key="m")
        answer = await shop.post(f"/admin/inquiries/{inquiry_id}/messages", {"text": "we look"})
        assert answer.status_code == 200, answer.text
        seen = (await ana.get(f"/store/claims/{inquiry_id}")).json()["claim"]["messages"]
        assert [(each["by"], each["text"]) for each in seen] == [
            ("customer", "hello?"),
            ("shop", "we look"),
        ]
        assert {"by_id"} & set(seen[1]) == set()
        assert (await shown(shop, inquiry_id))["messages"][1]["by_id"] == "admin_user"


class TestList:
    async def test_it_is_narrowed_by_state_order_customer_and_searched(self, shop: Door) -> None:
        first = await in_review(shop)
        second = (await reported(shop))["id"]
        number = (await shop.order())["display_id"]
        for query, ids in (
            ("", [second, first]),
            ("?status=pending", [second]),
            ("?status[]=pending&status[]=in_review", [second, first]),
            ("?assigned_to=admin_user", [first]),
            ("?customer_id=cus_ana&order_id=order_ana", [second, first]),
            ("?customer_id=cus_ben", []),
            ("?q=ana%40shop.example", [second, first]),
            (f"?q={number}&status=pending", [second]),
            ("?q=nobody", []),
        ):
            page = (await shop.get(f"/admin/inquiries{query}")).json()
            assert [each["id"] for each in page["inquiries"]] == ids, query
            assert page["count"] == len(ids)
        answer = await shop.get("/admin/inquiries?status=lost")
        assert answer.status_code == 400


class TestDecide:
    async def test_approved_it_is_a_claim_and_both_know_each_other(self, shop: Door) -> None:
        inquiry_id = await in_review(shop, 2)
        answer = await shop.post(f"/admin/inquiries/{inquiry_id}/approve", {"type": "refund"})
        assert answer.status_code == 200, answer.text
        inquiry = answer.json()["inquiry"]
        assert inquiry["status"] == "approved"
        assert [each["status"] for each in inquiry["history"]] == [
            *("pending", "in_review", "approving", "approved"),
        ]
        claim = (await shop.get(f"/admin/claims/{inquiry['claim_id']}")).json()["claim"]
        assert (claim["inquiry_id"], claim["refund_amount"]) == (inquiry_id, 2400)
        (item,) = claim["claim_items"]
        assert (item["quantity"], item["note"]) == (2, "the handle is off")
        order = await shop.order()
        assert [each["id"] for each in order["claims"]] == [claim["id"]]
        assert order["refunded_total"] == 2400
        ana = await shop.customer("ana")
        assert (await ana.get("/store/claims?status=approved")).json()["count"] == 1

    async def test_the_clerk_decides_what_the_claim_is(self, shop: Door) -> None:
        inquiry_id = await in_review(shop, 2)
        item = {"item_id": "item_ana_mug", "quantity": 1, "reason": "wrong_item"}
        body = {"type": "replace", "claim_items": [item], "additional_items": LAMP}
        answer = await shop.post(f"/admin/inquiries/{inquiry_id}/approve", body)
        assert answer.status_code == 200, answer.text
        (claim,) = (await shop.order())["claims"]
        assert (claim["type"], claim["claim_items"][0]["quantity"]) == ("replace", 1)

    async def test_whatever_is_repeated_there_is_one_claim(self, shop: Door) -> None:
        inquiry_id = await in_review(shop)
        path = f"/admin/inquiries/{inquiry_id}/approve"
        first = await shop.post(path, {"type": "refund"}, key="a")
        again = await shop.post(path, {"type": "refund"}, key="a")
        assert first.content == again.content
        other = await shop.post(path, {"type": "refund"}, key="b")
        assert told(other) == (
            400,
            "An inquiry that is approved cannot be approved: only one that is in_review can",
        )
        assert len((await shop.order())["claims"]) == 1

    async def test_a_claim_that_is_refused_leaves_it_in_review_with_the_reason(
        self, shop: Door
    ) -> None:
        inquiry_id = await in_review(shop, 3)
        assert (await shop.claim()).status_code == 200
        assert (await shop.claim()).status_code == 200
        path = f"/admin/inquiries/{inquiry_id}/approve"
        first = await shop.post(path, {"type": "refund"}, key="a")
        assert first.status_code == 400
        again = await shop.post(path, {"type": "refund"}, key="a")
        assert first.content == again.content
        inquiry = await shown(shop, inquiry_id)
        assert (inquiry["status"], inquiry["claim_id"]) == ("in_review", None)
        assert inquiry["refusal"]["message"] == first.json()["message"]
        item = {"item_id": "item_ana_mug", "quantity": 2, "reason": "other"}
        answer = await shop.post(path, {"type": "refund", "claim_items": [item]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["inquiry"]["refusal"] is None
        assert len((await shop.order())["claims"]) == 3

    async def test_a_body_that_makes_no_sense_does_not_begin_anything(self, shop: Door) -> None:
        inquiry_id = await in_review(shop)
        answer = await shop.post(f"/admin/inquiries/{inquiry_id}/approve", {"type": "replace"})
        assert answer.status_code == 400
        assert [each["status"] for each in (await shown(shop, inquiry_id))["history"]] == [
            *("pending", "in_review"),
        ]

    async def test_rejected_it_tells_the_customer_why(self, shop: Door) -> None:
        inquiry_id = await in_review(shop)
        path = f"/admin/inquiries/{inquiry_id}/reject"
        assert (await shop.post(path, {})).status_code == 400
        answer = await shop.post(path, {"reason": "worn, not broken"}, key="r")
        assert answer.json()["inquiry"]["status"] == "rejected"
        ana = await shop.customer("ana")
        seen = (await ana.get(f"/store/claims/{inquiry_id}")).json()["claim"]
        assert (seen["status"], seen["reason"]) == ("rejected", "worn, not broken")
        # Its units can be claimed, and reported, again.
        assert (await ana.post("/store/claims", a_report(4))).status_code == 200

    async def test_what_nobody_looked_at_is_not_decided(self, shop: Door) -> None:
        inquiry_id = (await reported(shop))["id"]
        for act, body in (("approve", {"type": "refund"}), ("reject", {"reason": "no"})):
            answer = await shop.post(f"/admin/inquiries/{inquiry_id}/{act}", body)
            assert answer.status_code == 400
            assert "only one that is in_review can" in answer.json()["message"]

    async def test_what_is_in_review_cannot_be_taken_back(self, shop: Door) -> None:
        inquiry_id = await in_review(shop)
        ana = await shop.customer("ana")
        answer = await ana.post(f"/store/claims/{inquiry_id}/cancel")
        assert told(answer) == (
            400,
            "An inquiry that is in_review cannot be canceled: only one that is pending can",
        )

    async def test_every_act_is_in_the_audit_trail_and_the_books_agree(self, shop: Door) -> None:
        inquiry_id = await in_review(shop)
        await shop.post(f"/admin/inquiries/{inquiry_id}/approve", {"type": "refund"})
        trail = (await shop.get(f"/admin/audit?about=inquiry/{inquiry_id}")).json()["audit"]
        assert [each["action"] for each in reversed(trail)] == [
            "inquiry.created",
            "inquiry.review_started",
            "inquiry.approval_begun",
            "inquiry.approved",
        ]
