"""Operators at the gateway: what is stuck in any service is seen in one list, and mended there."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chassis.testing import eventually
from tests.gateway.builders import Door, a_claim

LAMP = [{"variant_id": "variant_lamp", "quantity": 1}]
CLAIMS = "/admin/orders/order_ana/claims"
# A defect of the sender: what claims says to inventory cannot be understood.
POISON = (
    "CREATE TRIGGER poison AFTER INSERT ON outbox"
    " WHEN NEW.routing_key = 'inventory.reservation.place' BEGIN"
    " UPDATE outbox SET payload = replace(payload, '\"quantity\":', '\"amount\":')"
    " WHERE seq = NEW.seq; END"
)
Json = dict[str, Any]


async def tamper(shop: Door, service: str, sql: str, **params: Any) -> None:
    async with shop.embedded.services[service].database.transaction() as tx:
        await tx.execute(sql, **params)
        tx.wake("outbox")


async def trail(shop: Door, service: str) -> list[tuple[str, str, str | None]]:
    async with shop.embedded.services[service].database.reading() as tx:
        rows = await tx.fetch(
            "SELECT action, about, note FROM audit WHERE actor_kind IN ('admin', 'ops')"
            " AND (action LIKE 'saga.%' OR action LIKE 'message.%' OR action LIKE 'dead%')"
            " ORDER BY seq"
        )
    return [(row["action"], row["about"], row["note"]) for row in rows]


async def listed(shop: Door, path: str) -> Json:
    answer = await shop.get(f"/admin/{path}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def begin(shop: Door, **more: Any) -> str:
    """A replace claim that nobody waits for; the id of its saga, which is under way."""
    body = a_claim(type="replace", additional_items=LAMP, **more)
    answer = await shop.post(CLAIMS, body, key="k-1", prefer="respond-async")
    assert answer.status_code == 202, answer.text
    (saga,) = (await listed(shop, "sagas"))["sagas"]
    return str(saga["id"])


async def lost_bus(shop: Door) -> None:
    await shop.embedded._bus.stop()


async def claim_of(shop: Door) -> Json:
    return (
        await shop.post(CLAIMS, a_claim(type="replace", additional_items=LAMP), key="k-1")
    ).json()


async def poisoned(shop: Door) -> Json:
    """A message of a claim that inventory could not understand."""
    await tamper(shop, "claims", POISON)
    await begin(shop)

    async def found() -> Json | None:
        letters = (await listed(shop, "dead-letters"))["dead_letters"]
        return letters[0] if letters else None

    letter: Json = await eventually(found)
    return letter


class TestDeadLetters:
    async def test_a_poisoned_message_is_found_mended_and_handled(self, shop: Door) -> None:
        letter = await poisoned(shop)
        assert (letter["service"], letter["state"]) == ("inventory", "dead")
        assert letter["type"] == "reclamo.inventory.reservation.place"
        path = f"/admin/dead-letters/{letter['id']}"
        data = (await shop.get(path)).json()["dead_letter"]["envelope"]["data"]

        refused = await shop.post(f"{path}/replay")
        assert refused.status_code == 400
        assert "does not fit PlaceReservation" in refused.json()["message"]

        for line in data["lines"]:
            line["quantity"] = line.pop("amount")
        assert (await shop.post(f"{path}/replay", {"data": data})).status_code == 200

        async def agreed() -> bool:
            return (await shop.get(path)).json()["dead_letter"]["state"] == "done"

        await eventually(agreed)
        order = (await claim_of(shop))["order"]
        assert [claim["type"] for claim in order["claims"]] == ["replace"]
        assert (await listed(shop, "dead-letters"))["count"] == 0
        assert await trail(shop, "inventory") == [
            ("dead_letter.replayed", f"dead-letter/{letter['id']}", None)
        ]

    async def test_a_discarded_one_leaves_the_list_and_says_why(self, shop: Door) -> None:
        letter = await poisoned(shop)
        path = f"/admin/dead-letters/{letter['id']}"
        answer = await shop.post(f"{path}/discard", {"reason": "sent by a test"})
        assert answer.json()["dead_letter"]["state"] == "discarded"
        assert (await listed(shop, "dead-letters"))["count"] == 0
        assert await trail(shop, "inventory") == [
            ("dead_letter.discarded", f"dead-letter/{letter['id']}", "sent by a test")
        ]
        again = await shop.post(f"{path}/discard", {"reason": "once more"})
        assert (again.status_code, again.json()["type"]) == (400, "not_allowed")

    async def test_the_list_can_be_narrowed(self, shop: Door) -> None:
        letter = await poisoned(shop)
        for query, count in (
            ("state=dead", 1),
            ("state=parked", 0),
            (f"queue={letter['queue']}", 1),
            ("queue=orders.commands.v1", 0),
            ("service=inventory", 1),
            ("service=orders", 0),
            (f"type={letter['type']}", 1),
        ):
            assert (await listed(shop, f"dead-letters?{query}"))["count"] == count, query

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({}, "reason should not be empty"),
            ({"reason": " "}, "reason should not be empty"),
            ({"reason": 1}, "reason must be a string"),
            ({"reason": "x", "force": True}, "property force should not exist"),
        ],
    )
    async def test_a_reason_is_needed(self, door: Door, body: Json, said: str) -> None:
        answer = await door.post("/admin/dead-letters/claims.saga.v1:m1/discard", body)
        assert answer.status_code == 400
        assert said in answer.json()["message"]

    @pytest.mark.parametrize("letter_id", ["m1", "claims.saga.v1:m1", "shop.queue:m1", "a%2Fb"])
    async def test_what_is_not_there_is_not_found(self, door: Door, letter_id: str) -> None:
        for answer in (
            await door.get(f"/admin/dead-letters/{letter_id}"),
            await door.post(f"/admin/dead-letters/{letter_id}/replay"),
        ):
            assert (answer.status_code, answer.json()["type"]) == (404, "not_found")


class TestSagas:
    async def test_one_under_way_is_listed_with_what_it_waits_for(self, shop: Door) -> None:
        await lost_bus(shop)
        saga_id = await begin(shop)
        (saga,) = (await listed(shop, "sagas"))["sagas"]
        assert (saga["kind"], saga["direction"], saga["service"]) == ("claim", "forward", "claims")
        assert sorted(saga["waits_for"]) == ["hold", "reserve"]
        assert (saga["tries"], saga["can_turn_back"]) == (0, True)
        assert (await listed(shop, "sagas?older_than_s=3600"))["count"] == 0
        assert (await listed(shop, "sagas?direction=back"))["count"] == 0
        assert (await listed(shop, "sagas?kind=claim"))["count"] == 1
        whole = (await shop.get(f"/admin/sagas/{saga_id}")).json()["saga"]
        assert [entry["what"] for entry in whole["history"]] == ["asked", "asked"]
        assert whole["facts"]["order_id"] == "order_ana"

    async def test_resumed_it_asks_with_the_same_commands_and_goes_on(self, shop: Door) -> None:
        await lost_bus(shop)
        saga_id = await begin(shop)
        answer = await shop.post(f"/admin/sagas/{saga_id}/resume")
        assert answer.json()["saga"]["history"][-1]["step"] == "operator"
        await shop.embedded._bus.start()

        async def finished() -> bool:
            saga = (await shop.get(f"/admin/sagas/{saga_id}")).json()["saga"]
            return bool(saga["direction"] == "finished")

        await eventually(finished)
        async with shop.embedded.services["claims"].database.reading() as tx:
            asked = await tx.fetch_value(
                "SELECT COUNT(*) FROM outbox WHERE routing_key = :key",
                key="inventory.reservation.place",
            )
        assert asked == 1
        assert await trail(shop, "claims") == [("saga.resumed", f"saga/{saga_id}", None)]
        over = await shop.post(f"/admin/sagas/{saga_id}/resume")
        assert (over.status_code, over.json()["message"]) == (
            400,
            "The saga is finished: nothing is under way.",
        )

    async def test_compensated_everything_is_undone_and_the_client_is_told(
        self, shop: Door
    ) -> None:
        await lost_bus(shop)
        saga_id = await begin(shop)
        path = f"/admin/sagas/{saga_id}/compensate"
        answer = await shop.post(path, {"reason": "the customer gave up"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["saga"]["direction"] == "back"
        again = await shop.post(path, {"reason": "once more"})
        assert (again.status_code, again.json()["message"]) == (
            400,
            "The saga goes back already: resume it.",
        )
        await shop.embedded._bus.start()

        async def undone() -> bool:
            saga = (await shop.get(f"/admin/sagas/{saga_id}")).json()["saga"]
            return bool(saga["direction"] == "undone")

        await eventually(undone)
        assert await claim_of(shop) == {
            "type": "not_allowed",
            "message": "The request was given up by an operator.",
        }
        assert (await shop.order())["claims"] == []
        assert await trail(shop, "claims") == [
            ("saga.compensated", f"saga/{saga_id}", "the customer gave up")
        ]
        # The units are free again.
        assert (await shop.claim(key="k-2")).status_code == 200

    async def test_a_return_that_is_given_up_is_refused(self, shop: Door) -> None:
        await lost_bus(shop)
        items = {"items": [{"item_id": "item_ana_mug", "quantity": 1}]}
        path = "/admin/orders/order_ana/return"
        answer = await shop.post(path, items, key="k-r", prefer="respond-async")
        assert answer.status_code == 202
        (saga,) = (await listed(shop, "sagas?kind=return-request"))["sagas"]
        given_up = await shop.post(f"/admin/sagas/{saga['id']}/compensate", {"reason": "a test"})
        assert given_up.status_code == 200, given_up.text
        await shop.embedded._bus.start()
        told = await shop.post(path, items, key="k-r")
        assert (told.status_code, told.json()["message"]) == (
            400,
            "The request was given up by an operator.",
        )

    async def test_past_the_pivot_it_only_goes_forward(self, shop: Door) -> None:
        claim = (await shop.claim(type="replace", additional_items=LAMP)).json()["order"]["claims"][
            0
        ]
        await lost_bus(shop)
        await shop.post(f"{CLAIMS}/{claim['id']}/cancel", key="k-c", prefer="respond-async")
        (saga,) = (await listed(shop, "sagas"))["sagas"]
        assert saga["can_turn_back"] is False
        answer = await shop.post(f"/admin/sagas/{saga['id']}/compensate", {"reason": "a test"})
        assert answer.status_code == 400
        assert "only goes forward: resume it" in answer.json()["message"]
        assert await trail(shop, "claims") == []

    async def test_one_that_is_nowhere_is_not_found(self, door: Door) -> None:
        for answer in (
            await door.get("/admin/sagas/claim_x"),
            await door.post("/admin/sagas/claim_x/resume"),
            await door.post("/admin/sagas/claim_x/compensate", {"reason": "a test"}),
        ):
            assert (answer.status_code, answer.json()["type"]) == (404, "not_found")


class TestOutbox:
    async def test_what_waits_is_counted_and_listed(self, shop: Door) -> None:
        await lost_bus(shop)
        await begin(shop)
        found = await listed(shop, "outbox")
        assert [message["service"] for message in found["messages"]] == ["claims", "claims"]
        lags = {lag["service"]: lag["unsent"] for lag in found["lag"]}
        assert lags == {"orders": 0, "claims": 2, "returns": 0, "inventory": 0}

    async def test_a_blocked_message_is_sent_once_it_is_unblocked(self, shop: Door) -> None:
        await lost_bus(shop)
        await begin(shop)
        await tamper(
            shop,
            "claims",
            "UPDATE outbox SET blocked_at = created_at, attempts = 10 WHERE sent_at IS NULL",
        )
        await shop.embedded._bus.start()
        found = await listed(shop, "outbox?state=blocked")
        assert found["count"] == 2
        for message in found["messages"]:
            answer = await shop.post(f"/admin/outbox/{message['id']}/unblock")
            assert answer.json()["message"]["blocked_at"] is None, answer.text

        async def empty() -> bool:
            return bool((await listed(shop, "outbox"))["count"] == 0)

        await eventually(empty)
        again = await shop.post(f"/admin/outbox/{found['messages'][0]['id']}/unblock")
        assert (again.status_code, again.json()["message"]) == (
            400,
            "The message is not blocked: it is sent.",
        )
        assert (await shop.post("/admin/outbox/m1/unblock")).status_code == 404
        assert {action for action, _, _ in await trail(shop, "claims")} == {"message.unblocked"}


class TestAServiceIsDown:
    async def test_it_is_named_and_hides_nothing_of_the_others(self, shop: Door) -> None:
        await lost_bus(shop)
        saga_id = await begin(shop)
        await shop.embedded.services["returns"].database.close()
        for path in ("dead-letters", "outbox", "sagas"):
            found = await listed(shop, path)
            assert found["missing"] == ["returns"]
        assert found["count"] == 1
        assert (await shop.get(f"/admin/sagas/{saga_id}")).status_code == 200
        nowhere = await shop.get("/admin/sagas/claim_x")
        assert (nowhere.status_code, nowhere.json()) == (
            503,
            {"type": "unexpected_state", "message": "no answer from returns"},
        )

    async def test_when_all_are_down_there_is_no_list(self, door: Door) -> None:
        for service in door.embedded.services.values():
            await service.database.close()
        assert (await door.get("/admin/dead-letters")).status_code == 503


class TestPaging:
    async def test_pages_are_those_of_one_list_over_all_services(self, shop: Door) -> None:
        for number, service in enumerate(("orders", "claims", "returns", "inventory") * 2):
            await tamper(
                shop,
                service,
                "INSERT INTO inbox (consumer, message_id, type, partitionkey, state, received_at)"
                " VALUES (:queue, :id, 't', 'p', 'dead', :at)",
                queue=f"{service}.commands.v1",
                id=f"m{number}",
                at=f"2026-11-20T12:00:0{number}+00:00",
            )
        seen = []
        for offset in (0, 3, 6, 9):
            page = await listed(shop, f"dead-letters?limit=3&offset={offset}")
            assert (page["count"], page["offset"], page["limit"]) == (8, offset, 3)
            seen += [row["message_id"] for row in page["dead_letters"]]
        assert seen == [f"m{number}" for number in reversed(range(8))]
        assert (await listed(shop, "dead-letters?limit=1000"))["limit"] == 100
        assert (await listed(shop, "dead-letters?limit=0"))["dead_letters"] == []

    @pytest.mark.parametrize(
        "query",
        [
            "offset=9901",
            "limit=x",
            "state=odd",
            "service=shop",
            "nonsense=1",
            "state[]=a&state[]=b",
        ],
    )
    async def test_what_makes_no_sense_is_refused(self, door: Door, query: str) -> None:
        answer = await door.get(f"/admin/dead-letters?{query}")
        assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data"), answer.text


async def test_metrics_tell_of_every_service(shop: Door) -> None:
    await lost_bus(shop)
    await begin(shop)
    text = (await shop.get("/metrics")).text
    found = {
        (sample.name, sample.labels.get("service"), sample.labels.get("kind")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["reclamo_outbox_unsent", "claims", None] == 2
    assert found["reclamo_sagas_under_way", "claims", "claim"] == 1
    assert found["reclamo_bus_ready", "claims", None] == 0
    for service in ("orders", "claims", "returns", "inventory"):
        assert found["reclamo_database_up", service, None] == 1
        assert found["reclamo_relay_holds", service, None] == 1
        assert found["reclamo_inbox_dead", service, None] == 0
    assert found["reclamo_refunds_unknown", "orders", None] == 0
