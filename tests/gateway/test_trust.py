"""What was done, and what does not agree, as an operator asks for it."""

from __future__ import annotations

import pytest

from chassis.testing import eventually
from tests.gateway.builders import Door


async def test_the_trail_of_a_claim_runs_through_the_services(shop: Door) -> None:
    opened = await shop.claim()
    assert opened.status_code == 200, opened.text
    claim_id = opened.json()["order"]["claims"][0]["id"]
    answer = (await shop.get(f"/admin/audit?about=claim/{claim_id}")).json()
    told = {(row["service"], row["action"]) for row in answer["audit"]}
    assert told == {
        ("claims", "claim.opened"),
        ("orders", "claim.held"),
        ("claims", "claim.created"),
        ("claims", "claim.refunded"),
        ("claims", "claim.confirmed"),
    }
    assert {row["actor_id"] for row in answer["audit"]} == {"admin_user"}
    assert len({row["correlation_id"] for row in answer["audit"]}) == 1
    assert (answer["count"], answer["offset"], answer["limit"]) == (5, 0, 50)
    (created,) = [row for row in answer["audit"] if row["action"] == "claim.created"]
    assert created["before"]["status"] == "opening"
    assert created["after"]["status"] == "open"
    paid = (await shop.get("/admin/audit?about=order/order_ana")).json()["audit"]
    assert [row["action"] for row in paid] == ["refund.posted"]
    assert paid[0]["after"]["cause"] == f"claim/{claim_id}"


async def test_pages_run_over_all_services_newest_first(shop: Door) -> None:
    await shop.claim()

    async def issued() -> bool:
        told = await shop.get("/admin/audit?limit=100&action=memos.")
        return bool(told.json()["audit"])

    # The credit memo is written behind the refund; after it nobody does anything.
    await eventually(issued)
    whole = (await shop.get("/admin/audit?limit=100")).json()
    assert [row["at"] for row in whole["audit"]] == sorted(
        (row["at"] for row in whole["audit"]), reverse=True
    )
    assert {row["service"] for row in whole["audit"]} >= {"orders", "claims", "inventory"}
    paged = [
        (await shop.get(f"/admin/audit?limit=1&offset={offset}")).json()["audit"][0]
        for offset in range(3)
    ]
    assert paged == whole["audit"][:3]


async def test_people_and_tokens_leave_a_trail_without_secrets(shop: Door) -> None:
    login = await shop.user("agent")
    assert (await shop.as_().post("/admin/auth/token", login)).status_code == 200
    wrong = {**login, "password": "not this one"}
    assert (await shop.as_().post("/admin/auth/token", wrong)).status_code == 401
    await shop.with_role("ops")
    answer = await shop.get("/admin/audit?limit=100")
    actions = [row["action"] for row in answer.json()["audit"] if row["service"] == "gateway"]
    assert actions[:4] == ["token.made", "login.failed", "login.accepted", "user.added"]
    for secret in (login["password"], "not this one", "argon2"):
        assert secret not in answer.text


async def test_stock_that_a_person_sets_leaves_a_trail(shop: Door) -> None:
    item = (await shop.get("/admin/inventory-items?sku=MUG")).json()["inventory_items"][0]["id"]
    path = f"/admin/inventory-items/{item}/location-levels/sloc_1"
    assert (await shop.post(path, {"stocked_quantity": 7})).status_code == 200
    found = (await shop.get(f"/admin/audit?about=inventory-item/{item}&action=level.")).json()
    (row,) = found["audit"]
    assert (row["before"], row["after"]) == ({"stocked_quantity": 10}, {"stocked_quantity": 7})


@pytest.mark.parametrize("role", ["agent", "finance", "warehouse"])
async def test_only_operators_see_the_trail_and_the_findings(door: Door, role: str) -> None:
    somebody = await door.with_role(role)
    for path in ("/admin/audit", "/admin/findings"):
        assert (await somebody.get(path)).status_code == 403


async def test_an_operator_sees_both(door: Door) -> None:
    operator = await door.with_role("ops")
    assert (await operator.get("/admin/audit?actor=admin")).json()["count"] == 1
    assert (await operator.get("/admin/findings")).json() == {
        "findings": [],
        "count": 0,
        "offset": 0,
        "limit": 50,
    }


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/admin/audit?offset=20000", "narrow the search"),
        ("/admin/audit?since=yesterday", "is not a date"),
        ("/admin/audit?who=me", "property who should not exist"),
        ("/admin/findings?state=odd", "state must be one of"),
    ],
)
async def test_nonsense_is_refused_in_words(door: Door, path: str, words: str) -> None:
    answer = await door.get(path)
    assert answer.status_code == 400
    assert words in answer.json()["message"]


@pytest.mark.parametrize("what", ["repair", "dismiss"])
async def test_an_unknown_finding_is_not_found(door: Door, what: str) -> None:
    answer = await door.post(f"/admin/findings/find_1/{what}", {})
    assert answer.status_code == 404


async def test_the_services_books_are_open_to_nobody_but_the_search(door: Door) -> None:
    """The gateway has no such routes, and a service refuses people's tokens."""
    assert (await door.get("/internal/reconcile/findings")).status_code == 404
