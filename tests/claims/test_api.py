"""The HTTP door of claims, with the others answering in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from chassis import auth
from chassis.auth import Issuer, Principal, Verifier
from chassis.bus_local import LocalBus
from chassis.topology import Topology
from contracts.orders import ExecuteClaimRefund, PlaceClaimHold
from services.claims import app, consumers
from services.claims.settings import Settings
from tests.claims.builders import World, a_replacement, a_request

KEY = auth.private_key("a secret of at least 32 characters", "internal")
NO = {"code": "units_taken", "message": "Cannot claim more of an item than has been fulfilled."}


def bearer(role: str = "agent", id_: str = "usr_1") -> dict[str, str]:
    minted = Issuer(KEY).mint(Principal(id=id_, role=role), "claims")
    return {"authorization": f"Bearer {minted}"}


class Door:
    """The service's HTTP door; ``bound_s`` is how long it waits for a saga."""

    def __init__(self, world: World, bound_s: float = 10.0) -> None:
        self.world = world
        bus = LocalBus(Topology.of(consumers.SUBSCRIPTIONS))
        service = app.build(
            Settings(wait_bound_s=bound_s),
            world.database,
            bus,
            Verifier(KEY.public_key(), "claims"),
        )
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=service.app, raise_app_exceptions=False),
            base_url="http://claims",
            headers=bearer(),
        )

    async def open(
        self, request: dict[str, Any] | None = None, *, key: str = "key_1", **headers: str
    ) -> httpx2.Response:
        return await self.client.post(
            "/claims",
            json=request or a_request(),
            headers={"idempotency-key": key, "reclamo-fingerprint": "f", **headers},
        )

    async def cancel(
        self, claim_id: str, order_id: str | None = "order_1", **headers: str
    ) -> httpx2.Response:
        return await self.client.post(
            f"/claims/{claim_id}/cancel", json={"order_id": order_id}, headers=headers
        )

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.client.get(path, params=params)


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    door = Door(world)
    yield door
    await door.client.aclose()


@asynccontextmanager
async def answering(world: World) -> AsyncIterator[None]:
    async def answer() -> None:
        while True:
            await world.pump()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def a_claim(door: Door, request: dict[str, Any] | None = None, key: str = "key_1") -> str:
    async with answering(door.world):
        answer = await door.open(request or a_replacement(), key=key)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["claim_id"]
    return found


class TestOpen:
    async def test_agreed_it_answers_200_and_the_claim_is_there(self, door: Door) -> None:
        async with answering(door.world):
            answer = await door.open(a_request(return_shipping={}))
        assert answer.status_code == 200
        claim_id = answer.json()["claim_id"]
        assert answer.json() == {"claim_id": claim_id, "order_id": "order_1"}
        claim = (await door.get(f"/claims/{claim_id}")).json()["claim"]
        assert (claim["payment_status"], claim["refund_amount"]) == ("refunded", 1000)
        assert claim["return_id"].startswith("ret_")

    async def test_refused_by_a_participant_it_says_so_settled(self, door: Door) -> None:
        door.world.others.refuses = {PlaceClaimHold: NO}
        async with answering(door.world):
            answer = await door.open()
        assert (answer.status_code, answer.json()["settled"]) == (409, True)
        assert (answer.json()["kind"], answer.json()["detail"]) == ("not_allowed", NO["message"])
        assert (await door.get("/claims")).json()["count"] == 0

    async def test_a_declined_refund_is_told_and_the_claim_gone(self, door: Door) -> None:
        door.world.others.refuses = {ExecuteClaimRefund: NO}
        async with answering(door.world):
            answer = await door.open()
        assert (answer.status_code, answer.json()["settled"]) == (409, True)
        assert (await door.get("/claims")).json()["claims"] == []

    async def test_refused_before_it_began_it_is_not_settled_and_the_key_is_free(
        self, door: Door
    ) -> None:
        answer = await door.open(a_request(claim_items=[]))
        assert (answer.status_code, answer.json()["kind"]) == (422, "invalid")
        assert "settled" not in answer.json()
        assert answer.json()["detail"] == "Claims must have at least one claim item."
        async with answering(door.world):
            assert (await door.open(**{"reclamo-fingerprint": "g"})).status_code == 200

    async def test_not_decided_within_the_bound_it_is_503_and_the_same_key_joins(
        self, world: World
    ) -> None:
        impatient = Door(world, bound_s=0.05)
        answer = await impatient.open()
        assert (answer.status_code, answer.json()["code"]) == (503, "still_running")
        assert int(answer.headers["retry-after"]) > 0
        await world.pump()
        answer = await impatient.open()
        assert answer.status_code == 200
        assert len(await world.rows("SELECT id FROM claims")) == 1

    async def test_the_same_key_twice_is_the_same_claim(self, door: Door) -> None:
        async with answering(door.world):
            answers = await asyncio.gather(*(door.open() for _ in range(5)))
        decided = [answer for answer in answers if answer.status_code == 200]
        assert len({answer.json()["claim_id"] for answer in decided}) == 1
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len(await door.world.rows("SELECT id FROM claims")) == 1

    async def test_the_same_key_for_another_body_is_422(self, door: Door) -> None:
        async with answering(door.world):
            await door.open()
            answer = await door.open(**{"reclamo-fingerprint": "another"})
        assert (answer.status_code, answer.json()["kind"]) == (422, "key_reused")

    async def test_the_same_key_of_another_principal_is_another_claim(self, door: Door) -> None:
        async with answering(door.world):
            mine = await door.open()
            theirs = await door.open(**bearer(id_="usr_2"))
        assert theirs.status_code == 200
        assert theirs.json() != mine.json()

    async def test_without_a_key_each_request_is_a_claim(self, door: Door) -> None:
        async with answering(door.world):
            for _ in range(2):
                answer = await door.client.post("/claims", json=a_request())
                assert answer.status_code == 200
        assert len(await door.world.rows("SELECT id FROM claims")) == 2

    async def test_who_does_not_want_to_wait_is_told_where_to_look(self, door: Door) -> None:
        answer = await door.open(prefer="respond-async")
        assert answer.status_code == 202
        location = answer.headers["location"]
        assert (await door.get(location)).status_code == 404
        await door.world.pump()
        assert (await door.get(location)).json()["claim"]["status"] == "open"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"claim_items": [{"item_id": "item_1", "quantity": 0, "reason": "other"}]},
            {"claim_items": [{"item_id": "item_1", "quantity": 1.5, "reason": "other"}]},
            {"claim_items": [{"item_id": "item_1", "quantity": "1", "reason": "other"}]},
            {"claim_items": [{"item_id": "item_1", "quantity": 2**53 + 1, "reason": "other"}]},
            {"claim_items": [{"item_id": "i", "quantity": 1, "reason": "other"}] * 101},
            {"additional_items": [{"variant_id": "v", "quantity": -1}]},
            {"refund_amount": -1},
            {"refund_amount": 10.5},
            {"status": "open"},
            {"payment_status": "refunded"},
            {"order_id": None},
        ],
    )
    async def test_what_the_schema_forbids_is_refused_and_stored_nowhere(
        self, door: Door, wrong: dict[str, Any]
    ) -> None:
        answer = await door.open(a_request(**wrong))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert await door.world.rows("SELECT id FROM claims") == []


class TestCancel:
    async def test_released_it_answers_200_and_shows_canceled(self, door: Door) -> None:
        claim_id = await a_claim(door)
        async with answering(door.world):
            answer = await door.cancel(claim_id)
        assert (answer.status_code, answer.json()) == (
            200,
            {"claim_id": claim_id, "order_id": "order_1"},
        )
        claim = (await door.get(f"/claims/{claim_id}")).json()["claim"]
        assert (claim["status"], claim["fulfillment_status"]) == ("canceled", "canceled")
        assert [saga["kind"] for saga in claim["timeline"]] == ["claim", "claim_cancel"]

    async def test_twice_is_200_without_a_second_event(self, door: Door) -> None:
        claim_id = await a_claim(door)
        async with answering(door.world):
            await door.cancel(claim_id)
            assert (await door.cancel(claim_id)).status_code == 200
        names = [name for name, _ in await door.world.events(claim_id)]
        assert names.count("claim.canceled") == 1

    async def test_refunded_it_is_not_allowed(self, door: Door) -> None:
        claim_id = await a_claim(door, a_request())
        answer = await door.cancel(claim_id)
        assert (answer.status_code, answer.json()["kind"]) == (409, "not_allowed")
        assert answer.json()["detail"] == "Claim with a refund cannot be canceled"

    async def test_busy_it_is_a_conflict_to_try_again(self, door: Door) -> None:
        claim_id = await a_claim(door)
        await door.cancel(claim_id, prefer="respond-async")
        answer = await door.cancel(claim_id)
        assert (answer.status_code, answer.json()["kind"]) == (409, "conflict")
        assert answer.headers["retry-after"] == "1"

    async def test_under_another_order_or_unknown_it_is_not_found(self, door: Door) -> None:
        claim_id = await a_claim(door)
        for id_, order_id in ((claim_id, "order_2"), ("claim_x", "order_1")):
            answer = await door.cancel(id_, order_id)
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                f"no claim was found with the id: {id_} related to order: {order_id}",
            )

    async def test_a_return_under_way_is_told_as_the_end_of_an_accepted_request(
        self, door: Door
    ) -> None:
        door.world.others.return_status = "requested"
        claim_id = await a_claim(door, a_replacement(return_shipping={}))
        async with answering(door.world):
            answer = await door.cancel(claim_id)
        assert (answer.status_code, answer.json()["settled"]) == (409, True)
        assert answer.json()["detail"] == (
            "Return must be canceled before the claim can be canceled"
        )


class TestClose:
    async def test_a_repeat_under_its_key_is_told_the_same_and_another_is_refused(
        self, door: Door
    ) -> None:
        claim_id = await a_claim(door)
        path, key = f"/claims/{claim_id}/close", {"idempotency-key": "close_1"}
        first = await door.client.post(path, json={}, headers=key)
        again = await door.client.post(path, json={}, headers=key)
        assert (again.status_code, again.json()) == (200, first.json())
        other = await door.client.post(path, json={}, headers={"idempotency-key": "close_2"})
        assert (other.status_code, other.json()["code"]) == (409, "claim_closed")
        names = [name for name, _ in await door.world.events(claim_id)]
        assert names.count("claim.closed") == 1


class TestRead:
    async def test_a_page_says_how_many_there_are(self, door: Door) -> None:
        made = [await a_claim(door, key=f"key_{number}") for number in range(3)]
        page = (await door.get("/claims", limit=2, offset=1)).json()
        assert (page["count"], page["offset"], page["limit"]) == (3, 1, 2)
        assert [claim["id"] for claim in page["claims"]] == sorted(made, reverse=True)[1:]

    async def test_filters_narrow_it_and_an_order_may_be_repeated(self, door: Door) -> None:
        refund = await a_claim(door, a_request(), key="1")
        replace = await a_claim(door, a_replacement(order_id="order_2"), key="2")

        async def ids(**params: Any) -> set[str]:
            page = (await door.get("/claims", **params)).json()
            return {claim["id"] for claim in page["claims"]}

        assert await ids(type="replace") == {replace}
        assert await ids(payment_status="refunded") == {refund}
        assert await ids(status="canceled") == set()
        assert await ids(order_id="order_2") == {replace}
        assert await ids(order_id=["order_1", "order_2"]) == {refund, replace}
        (claim,) = (await door.get("/claims", type="replace")).json()["claims"]
        assert await ids(line_id=[claim["additional_items"][0]["id"], "x"]) == {replace}
        assert await ids(line_id="item_1") == set()

    async def test_it_is_sorted_as_asked_and_its_pages_fit_together(self, door: Door) -> None:
        asked = [a_replacement(order_id=f"order_{n}") for n in (3, 1)] + [a_request()]
        third, first, paid = [
            await a_claim(door, request, key=f"key_{number}")
            for number, request in enumerate(asked)
        ]
        await door.client.post(f"/claims/{third}/close", json={})

        async def ids(order: str) -> list[str]:
            pages = [
                (await door.get("/claims", order=order, limit=1, offset=offset)).json()
                for offset in range(3)
            ]
            assert {page["count"] for page in pages} == {3}
            return [claim["id"] for page in pages for claim in page["claims"]]

        assert await ids("created_at") == await ids("id") == [third, first, paid]
        assert await ids("-created_at") == [paid, first, third]
        # What is equal follows by id, in the direction of the last field.
        assert await ids("order_id") == [first, paid, third]
        assert await ids("-order_id") == [third, paid, first]
        assert await ids("is_open") == [third, first, paid]
        assert await ids("-is_open,-created_at") == [paid, first, third]
        assert await ids("type,-id") == [paid, first, third]
        assert await ids("-refund_amount,id") == [paid, third, first]
        assert await ids("-updated_at") == [third, paid, first]

    @pytest.mark.parametrize("order", ["email", "", "created_at,", "id DESC", "--id"])
    async def test_what_it_cannot_be_sorted_by_is_named(self, door: Door, order: str) -> None:
        answer = await door.get("/claims", order=order)
        assert (answer.status_code, answer.json()["code"]) == (422, "order_unknown_field")
        assert "order takes id, order_id, type, status," in answer.json()["detail"]

    @pytest.mark.parametrize("params", [{"limit": -1}, {"limit": 100_000}, {"offset": -1}])
    async def test_absurd_pages_are_refused(self, door: Door, params: dict[str, int]) -> None:
        assert (await door.get("/claims", **params)).status_code == 422

    async def test_the_claims_of_an_order_are_oldest_first(self, door: Door) -> None:
        made = [await a_claim(door, key=f"key_{number}") for number in range(2)]
        answer = (await door.get("/orders/order_1/claims")).json()
        assert [claim["id"] for claim in answer["claims"]] == sorted(made)
        assert (await door.get("/orders/order_9/claims")).json() == {"claims": []}

    async def test_what_is_not_there_is_404(self, door: Door) -> None:
        answer = await door.get("/claims/claim_x")
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "Claim with claim_x was not found",
        )


class TestWhoMay:
    @pytest.mark.parametrize(
        ("role", "read", "write"),
        [
            ("admin", 200, 404),
            ("agent", 200, 404),
            ("finance", 200, 404),
            ("ops", 200, 403),
            ("warehouse", 200, 403),
            ("customer", 403, 403),
            ("guest", 403, 403),
            ("nobody", 403, 403),
        ],
    )
    async def test_roles_decide(self, door: Door, role: str, read: int, write: int) -> None:
        headers = bearer(role)
        for path in ("/claims", "/orders/order_1/claims"):
            assert (await door.client.get(path, headers=headers)).status_code == read
        one = await door.client.get("/claims/claim_x", headers=headers)
        assert one.status_code == (404 if read == 200 else 403)
        assert (await door.cancel("claim_x", **headers)).status_code == write
        if write == 403:
            assert (await door.open(**headers)).status_code == 403

    async def test_every_route_but_health_needs_an_internal_token(self, door: Door) -> None:
        async with httpx2.AsyncClient(
            transport=door.client._transport, base_url="http://claims"
        ) as stranger:
            for method, path in (
                ("POST", "/claims"),
                ("POST", "/claims/claim_1/cancel"),
                ("GET", "/claims"),
                ("GET", "/claims/claim_1"),
                ("GET", "/orders/order_1/claims"),
            ):
                answer = await stranger.request(method, path, json=a_request())
                assert answer.status_code == 401, path
            assert (await stranger.get("/livez")).status_code == 200

    async def test_it_is_ready_on_a_migrated_database(self, door: Door) -> None:
        checks = (await door.get("/readyz")).json()["checks"]
        assert (checks["database"], checks["migrations"]) == ("ok", "ok")
