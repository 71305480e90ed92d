"""What people do with a claim after it is open: write on it, hand it on, close it, look ahead."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.testing import eventually
from tests.gateway.builders import Door, Json, a_claim

ORDER = "/admin/orders/order_ana"
BACK = {"option_id": "so_back", "price": 0}
LAMP = [{"variant_id": "variant_lamp", "quantity": 1}]


async def opened(shop: Door, **more: Any) -> Json:
    """A new claim as the list of all claims shows it."""
    answer = await shop.claim(**more)
    assert answer.status_code == 200, answer.text
    claim: Json = (await shop.get("/admin/claims?limit=1")).json()["claims"][0]
    return claim


async def shown(shop: Door, claim_id: str) -> Json:
    """The claim now."""
    claim: Json = (await shop.get(f"/admin/claims/{claim_id}")).json()["claim"]
    return claim


async def listed(shop: Door, query: str) -> list[str]:
    """The ids on a page of claims."""
    answer = await shop.get(f"/admin/claims?{query}")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["count"] == len(page["claims"])
    return [claim["id"] for claim in page["claims"]]


async def told_of_the_return(shop: Door, claim_id: str, status: str) -> None:
    """Returns tells it; the claim hears of it a moment later."""

    async def heard() -> bool:
        return (await shown(shop, claim_id))["return_status"] == status

    await eventually(heard)


def told(answer: Any) -> tuple[int, str]:
    """Status and message."""
    return answer.status_code, answer.json()["message"]


class TestUpdate:
    async def test_texts_tags_and_images_of_an_item_are_replaced(self, shop: Door) -> None:
        item = {
            "item_id": "item_ana_mug",
            "quantity": 1,
            "reason": "wrong_item",
            "tags": ["Broken", "parcel"],
            "images": ["https://shop.example/1.jpg", "https://shop.example/2.jpg"],
        }
        claim = await opened(shop, claim_items=[item])
        was = claim["claim_items"][0]
        body = {
            "claim_items": [
                {
                    "id": was["id"],
                    "note": "the handle is off",
                    "reason": "production_failure",
                    "images": [
                        {"id": was["images"][1]["id"]},
                        {"url": "https://shop.example/3.jpg"},
                    ],
                    "tags": [{"id": was["tags"][0]["id"]}, {"value": "  FLUFF "}],
                    "metadata": {"batch": 7},
                }
            ]
        }
        answer = await shop.post(f"{ORDER}/claims/{claim['id']}", body)
        assert answer.status_code == 200, answer.text
        seen = answer.json()["order"]["claims"][0]["claim_items"][0]
        assert [image["url"] for image in seen["images"]] == [
            "https://shop.example/2.jpg",
            "https://shop.example/3.jpg",
        ]
        assert seen["images"][0]["id"] == was["images"][1]["id"]
        item = (await shown(shop, claim["id"]))["claim_items"][0]
        assert [tag["value"] for tag in item["tags"]] == ["broken", "fluff"]
        assert (item["note"], item["reason"]) == ("the handle is off", "production_failure")
        assert item["metadata"] == {"batch": 7}
        assert item["quantity"] == 1

    async def test_metadata_is_merged_and_an_empty_text_takes_a_key_away(self, shop: Door) -> None:
        claim = await opened(shop, metadata={"a": "1", "b": "2"})
        await shop.post(f"{ORDER}/claims/{claim['id']}", {"metadata": {"b": "", "c": 3}})
        assert (await shown(shop, claim["id"]))["metadata"] == {"a": "1", "c": 3}

    async def test_shipping_methods_replace_the_old_ones(self, shop: Door) -> None:
        method = {"option_id": "so_1", "price": 0}
        claim = await opened(shop, type="replace", additional_items=LAMP, shipping_methods=[method])
        body = {"shipping_methods": [{"option_id": "so_1"}], "no_notification": True}
        answer = await shop.post(f"{ORDER}/claims/{claim['id']}", body)
        assert answer.status_code == 200, answer.text
        seen = await shown(shop, claim["id"])
        assert [each["price"] for each in seen["shipping_methods"]] == [500]
        assert seen["no_notification"] is True

    async def test_money_and_units_stay_what_they_were(self, shop: Door) -> None:
        claim = await opened(shop)
        await shop.post(f"{ORDER}/claims/{claim['id']}", {"metadata": {"seen": True}})
        seen = await shown(shop, claim["id"])
        for name in ("refund_amount", "payment_status", "status", "recovery_point"):
            assert seen[name] == claim[name]
        assert (await shop.order())["refunded_total"] == 1200

    @pytest.mark.parametrize(
        ("body", "status", "message"),
        [
            (
                {"claim_items": [{"id": "citm_none", "images": [], "tags": []}]},
                404,
                "Claim item with id: citm_none was not found.",
            ),
            (
                {"claim_items": [{"id": "x", "reason": "cold", "images": [], "tags": []}]},
                400,
                "reason must be one of the following values: missing_item, wrong_item,"
                " production_failure, other",
            ),
            ({"claim_items": [{"id": "x"}]}, 400, None),
            ({"type": "replace"}, 400, "property type should not exist"),
        ],
    )
    async def test_what_makes_no_sense_changes_nothing(
        self, shop: Door, body: Json, status: int, message: str | None
    ) -> None:
        claim = await opened(shop)
        answer = await shop.post(f"{ORDER}/claims/{claim['id']}", body)
        assert answer.status_code == status, answer.text
        if message:
            assert answer.json()["message"] == message
        assert (await shown(shop, claim["id"]))["updated_at"] == claim["updated_at"]

    async def test_an_image_of_another_item_is_not_found(self, shop: Door) -> None:
        claim = await opened(shop)
        item = claim["claim_items"][0]["id"]
        body = {"claim_items": [{"id": item, "images": [{"id": "cimg_none"}], "tags": []}]}
        answer = await shop.post(f"{ORDER}/claims/{claim['id']}", body)
        assert told(answer) == (404, "Claim image with id: cimg_none was not found.")

    async def test_under_another_order_there_is_no_such_claim(self, shop: Door) -> None:
        """D19."""
        claim = await opened(shop)
        path = f"/admin/orders/order_ben/claims/{claim['id']}"
        answer = await shop.post(path, {"metadata": {"a": 1}})
        assert answer.status_code == 404
        assert (await shown(shop, claim["id"]))["metadata"] is None

    async def test_a_canceled_claim_stays_as_it_is(self, shop: Door) -> None:
        """M49."""
        claim = await opened(shop, type="replace", additional_items=LAMP)
        await shop.post(f"{ORDER}/claims/{claim['id']}/cancel")
        answer = await shop.post(f"{ORDER}/claims/{claim['id']}", {"metadata": {"a": 1}})
        assert told(answer) == (400, "Canceled claim cannot be updated")

    async def test_the_change_is_in_the_audit_trail(self, shop: Door) -> None:
        claim = await opened(shop)
        await shop.post(f"{ORDER}/claims/{claim['id']}", {"metadata": {"a": 1}})
        trail = (await shop.get(f"/admin/audit?about=claim/{claim['id']}")).json()["audit"]
        record = next(each for each in trail if each["action"] == "claim.updated")
        assert (record["before"], record["after"]) == ({"metadata": None}, {"metadata": {"a": 1}})
        assert record["actor_id"] == "admin_user"


class TestDesk:
    async def test_a_claim_is_given_to_a_user_and_back_to_nobody(self, shop: Door) -> None:
        claim = await opened(shop)
        await shop.user("agent")
        users = (await shop.get("/admin/users")).json()["users"]
        agent = next(user["id"] for user in users if user["email"] == "agent@shop.example")
        answer = await shop.post(f"/admin/claims/{claim['id']}/assign", {"user_id": agent})
        assert answer.json()["claim"]["assigned_to"] == agent
        assert await listed(shop, f"assigned_to={agent}") == [claim["id"]]
        answer = await shop.post(f"/admin/claims/{claim['id']}/assign", {"user_id": None})
        assert answer.json()["claim"]["assigned_to"] is None
        assert await listed(shop, f"assigned_to={agent}") == []

    async def test_nobody_unknown_gets_a_claim(self, shop: Door) -> None:
        claim = await opened(shop)
        answer = await shop.post(f"/admin/claims/{claim['id']}/assign", {"user_id": "usr_none"})
        assert told(answer) == (404, "User with id: usr_none was not found")
        assert (await shown(shop, claim["id"]))["assigned_to"] is None

    async def test_closing_ends_the_work_and_touches_neither_money_nor_stock(
        self, shop: Door
    ) -> None:
        claim = await opened(shop, type="replace", additional_items=LAMP)
        answer = await shop.post(f"/admin/claims/{claim['id']}/close")
        assert answer.status_code == 200, answer.text
        closed = answer.json()["claim"]
        assert (closed["is_open"], closed["closed_by"]) == (False, "admin_user")
        assert (closed["status"], closed["payment_status"]) == ("open", "na")
        reserved = (await shop.get("/admin/reservations")).json()["reservations"]
        assert [row["quantity"] for row in reserved] == [1]
        assert await listed(shop, "is_open=true") == []
        assert await listed(shop, "is_open=false") == [claim["id"]]

    async def test_what_is_closed_stays_closed(self, shop: Door) -> None:
        claim = await opened(shop)
        await shop.post(f"/admin/claims/{claim['id']}/close")
        refused = (400, "Closed claim cannot be updated")
        assert told(await shop.post(f"/admin/claims/{claim['id']}/close")) == refused
        assert told(await shop.post(f"/admin/claims/{claim['id']}/assign", {})) == refused
        body = {"metadata": {"a": 1}}
        assert told(await shop.post(f"{ORDER}/claims/{claim['id']}", body)) == refused

    async def test_a_claim_that_is_not_there_cannot_be_closed(self, shop: Door) -> None:
        answer = await shop.post("/admin/claims/claim_none/close")
        assert told(answer) == (404, "Claim with claim_none was not found")

    async def test_a_closed_replacement_can_still_be_canceled(self, shop: Door) -> None:
        claim = await opened(shop, type="replace", additional_items=LAMP)
        await shop.post(f"/admin/claims/{claim['id']}/close")
        answer = await shop.post(f"{ORDER}/claims/{claim['id']}/cancel")
        assert answer.status_code == 200, answer.text
        assert (await shop.get("/admin/reservations")).json()["count"] == 0

    async def test_the_warehouse_may_look_but_not_close(self, shop: Door) -> None:
        claim = await opened(shop)
        warehouse = await shop.with_role("warehouse")
        assert (await warehouse.get(f"/admin/claims/{claim['id']}")).status_code == 200
        assert (await warehouse.post(f"/admin/claims/{claim['id']}/close")).status_code == 403
        assert (await shown(shop, claim["id"]))["is_open"] is True


class TestQueues:
    async def test_a_claim_waits_for_its_return_until_all_of_it_came(self, shop: Door) -> None:
        await opened(shop)
        item = {"item_id": "item_ana_mug", "quantity": 2, "reason": "wrong_item"}
        claim = await opened(shop, claim_items=[item], return_shipping=BACK)
        assert await listed(shop, "queue=waiting_for_return") == [claim["id"]]
        receive = f"/admin/returns/{claim['return_id']}/receive"
        body = {"items": [{"item_id": "item_ana_mug", "quantity": 2}]}
        assert (await shop.post(receive, body)).status_code == 200
        await told_of_the_return(shop, claim["id"], "received")
        assert await listed(shop, "queue=waiting_for_return") == []

    async def test_a_canceled_return_is_not_waited_for(self, shop: Door) -> None:
        claim = await opened(shop, return_shipping=BACK)
        await shop.post(f"/admin/returns/{claim['return_id']}/cancel")
        await told_of_the_return(shop, claim["id"], "canceled")
        assert await listed(shop, "queue=waiting_for_return") == []

    async def test_a_claim_without_its_money_needs_review(self, shop: Door) -> None:
        await opened(shop)
        claim = await opened(shop, refund_amount=0)
        assert await listed(shop, "queue=needs_review") == [claim["id"]]
        await shop.post(f"/admin/claims/{claim['id']}/close")
        assert await listed(shop, "queue=needs_review") == []

    async def test_nothing_is_stuck_when_all_is_done(self, shop: Door) -> None:
        await opened(shop)
        assert await listed(shop, "queue=stuck") == []

    async def test_a_page_can_be_narrowed_to_days(self, shop: Door) -> None:
        claim = await opened(shop)
        at = claim["created_at"]
        assert await listed(shop, f"created_at[gte]={at}") == [claim["id"]]
        assert await listed(shop, f"created_at[lt]={at}") == []

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("queue=lost", "queue must be one of the following values: needs_review,"),
            ("is_open=maybe", "is_open must be one of the following values: true, false"),
            ("created_at=now", "created_at must be an object"),
            ("created_at[like]=1", "property like should not exist"),
        ],
    )
    async def test_a_filter_that_is_none_is_named(
        self, shop: Door, query: str, message: str
    ) -> None:
        answer = await shop.get(f"/admin/claims?{query}")
        assert answer.status_code == 400
        assert answer.json()["message"].startswith(message)


class TestPreview:
    async def test_it_tells_what_the_claim_will_do_and_does_none_of_it(self, shop: Door) -> None:
        body = a_claim(return_shipping=BACK)
        answer = await shop.post(f"{ORDER}/claims/preview", body)
        assert answer.status_code == 200, answer.text
        preview = answer.json()["preview"]
        assert (preview["refund_amount"], preview["currency_code"]) == (1200, "eur")
        assert preview["return"]["shipping_method"]["option_id"] == "so_back"
        assert preview["events"] == ["claim.created", "claim.refund_processed", "claim.confirmed"]
        order = await shop.order()
        assert (order["claims"], order["refunds"], order["returns"]) == ([], [], [])
        claim = await opened(shop, return_shipping=BACK)
        assert preview["explanation"] == claim["explanation"]
        assert claim["refund_amount"] == preview["refund_amount"]

    async def test_it_names_the_lines_that_would_go_out_and_reserves_nothing(
        self, shop: Door
    ) -> None:
        body = a_claim(type="replace", additional_items=LAMP)
        preview = (await shop.post(f"{ORDER}/claims/preview", body)).json()["preview"]
        (line,) = preview["additional_items"]
        assert (line["variant_id"], line["unit_price"], line["quantity"]) == (
            "variant_lamp",
            5000,
            1,
        )
        assert preview["refund_amount"] is None
        assert (await shop.get("/admin/reservations")).json()["count"] == 0
        # The only lamp is still free.
        assert (await shop.claim(type="replace", additional_items=LAMP)).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            a_claim(claim_items=[{"item_id": "item_ana_mug", "quantity": 5, "reason": "other"}]),
            a_claim(claim_items=[{"item_id": "item_none", "quantity": 1, "reason": "other"}]),
            a_claim(type="replace"),
            a_claim(type="replace", additional_items=[{**LAMP[0], "quantity": 2}]),
            a_claim(
                type="replace",
                additional_items=[{**LAMP[0], "quantity": 2}],
                claim_items=[{"item_id": "item_ana_mug", "quantity": 5, "reason": "other"}],
            ),
            a_claim(refund_amount=10**9),
            a_claim(claim_items=[]),
            {},
        ],
    )
    async def test_it_refuses_in_the_words_of_the_opening(self, shop: Door, body: Json) -> None:
        before = await shop.post(f"{ORDER}/claims/preview", body)
        answer = await shop.post(f"{ORDER}/claims", body)
        assert before.status_code == answer.status_code >= 400
        assert before.json() == answer.json()

    async def test_of_an_order_that_is_not_there_nothing_is_told(self, shop: Door) -> None:
        answer = await shop.post("/admin/orders/order_none/claims/preview", a_claim())
        assert told(answer) == (404, "Order with id order_none was not found")


class TestClaimable:
    async def test_units_with_a_remedy_or_returned_are_taken_off(self, shop: Door) -> None:
        item = {"item_id": "item_ana_mug", "quantity": 1, "reason": "wrong_item"}
        await opened(shop, claim_items=[item])
        body = {"items": [{"item_id": "item_ana_mug", "quantity": 1}], "receive_now": True}
        assert (await shop.post(f"{ORDER}/return", body)).status_code == 200
        lines = (await shop.get(f"{ORDER}/claimable")).json()["lines"]
        left = {
            line["item_id"]: (line["claimable_quantity"], line["returnable_quantity"])
            for line in lines
        }
        assert left == {"item_ana_mug": (2, 2), "item_ana_lamp": (1, 1)}
        item["quantity"] = 3
        assert (await shop.claim(claim_items=[item])).status_code == 400
        item["quantity"] = 2
        assert (await shop.claim(claim_items=[item])).status_code == 200

    async def test_an_order_that_is_not_there_has_no_lines(self, shop: Door) -> None:
        answer = await shop.get("/admin/orders/order_none/claimable")
        assert told(answer) == (404, "Order with id order_none was not found")


class TestList:
    """What Spryker's list of reclamations shows: whose each is, searched by customer (RC9)."""

    async def test_it_shows_whose_each_is_and_finds_it_by_that(self, shop: Door) -> None:
        claim = await opened(shop)
        page = (await shop.get("/admin/claims?expand=order")).json()
        (order,) = [each["order"] for each in page["claims"]]
        assert (order["id"], order["email"]) == ("order_ana", "ana@shop.example")
        assert order["customer"]["id"] == "cus_ana"
        assert await listed(shop, "q=ana%40shop") == [claim["id"]]
        assert await listed(shop, f"q={order['display_id']}") == [claim["id"]]
        for nothing in ("q=nobody", "q=ben%40shop", "q=ana%40shop&order_id=order_ben"):
            assert await listed(shop, nothing) == []
        assert (await shop.get("/admin/claims?expand=customer")).status_code == 400

    async def test_it_is_sorted_as_asked(self, shop: Door) -> None:
        goods = await opened(shop, type="replace", additional_items=LAMP)
        money = await opened(shop)
        await shop.post(f"/admin/claims/{money['id']}/close")
        assert await listed(shop, "order=created_at") == [goods["id"], money["id"]]
        assert await listed(shop, "order=-is_open,created_at") == [goods["id"], money["id"]]
        assert await listed(shop, "order=-type") == [goods["id"], money["id"]]
        assert await listed(shop, "order=-refund_amount") == [money["id"], goods["id"]]
        assert await listed(shop, "order=created_at&q=ana%40shop") == [goods["id"], money["id"]]
        assert await listed(shop, "") == await listed(shop, "order=-created_at")
        fields = "id, order_id, type, status, payment_status, refund_amount, is_open, created_at"
        message = (
            f"Claims cannot be sorted by 'email': order takes {fields}, updated_at,"
            " each with - in front for descending"
        )
        assert told(await shop.get("/admin/claims?order=-email")) == (400, message)
        assert (await shop.get("/admin/claims?order[a]=id")).status_code == 400
