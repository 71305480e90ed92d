"""Webhooks through the door: who is told, how it is signed, what happens when nobody is there."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from chassis import clock
from chassis.messaging import EVENTS, Parcel
from chassis.testing import eventually
from deploy.verify import verify
from gateway import delivering, webhooks
from tests.gateway.builders import Door, Json, a_shop
from tests.gateway.conftest import OpenGateway
from tests.gateway.receiver import Receiver, receiving

PATH = "/admin/webhooks"
_CLAIM = ["claim.created", "claim_item.created", "claim.refund_processed", "claim.confirmed"]


@pytest.fixture
async def shop(open_gateway: OpenGateway) -> Door:
    """A small shop whose webhooks may go to loopback."""
    door = await open_gateway(webhook_targets="any")
    await door.load(a_shop())
    return door


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who takes webhooks."""
    async with receiving() as found:
        yield found


async def _add(shop: Door, receiver: Receiver, *events: str, **more: Any) -> Json:
    """{webhook, secret}."""
    body = {"url": receiver.url, "events": list(events or ("*",)), **more}
    answer = await shop.post(PATH, body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def _deliveries(shop: Door, webhook: Json, query: str = "") -> list[Json]:
    answer = await shop.get(f"{PATH}/{webhook['id']}/deliveries{query}")
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["deliveries"]
    return found


async def _all_are(shop: Door, webhook: Json, state: str, many: int) -> list[Json]:
    """The deliveries, as soon as there are that many and all in this state."""

    async def so() -> list[Json]:
        found = await _deliveries(shop, webhook)
        ended = len(found) == many and {each["state"] for each in found} == {state}
        return found if ended else []

    return await eventually(so)


async def _write(shop: Door, sql: str, **params: Any) -> None:
    async with shop.embedded.gateway.database.transaction() as tx:
        await tx.execute(sql, **params)
        tx.wake(webhooks.WAKE)


async def _come_due(shop: Door) -> None:
    sql = "UPDATE webhook_deliveries SET next_at = :now WHERE state = 'pending'"
    await _write(shop, sql, now=clock.now())


class TestWhoIsTold:
    async def test_every_event_of_a_claim_is_told_signed_and_once(
        self, shop: Door, receiver: Receiver
    ) -> None:
        """D22: order.refund_created among them."""
        made = await _add(shop, receiver)
        claim = (await shop.claim()).json()["order"]["claims"][0]
        await _all_are(shop, made["webhook"], "delivered", 5)
        assert sorted(receiver.names()) == sorted([*_CLAIM, "order.refund_created"])
        assert all(message.is_signed_by(made["secret"]) for message in receiver.got)
        assert len({message.id for message in receiver.got}) == 5
        created = next(m for m in receiver.got if m.json()["type"] == "claim.created").json()
        assert (created["data"]["id"], created["data"]["no_notification"]) == (claim["id"], False)
        assert created["event"] == {
            "id": next(m.id for m in receiver.got if m.json()["type"] == "claim.created"),
            "type": "reclamo.claims.claim.created.v1",
            "source": "/reclamo/claims",
            "subject": f"claim/{claim['id']}",
            "version": 1,
        }

    async def test_nobody_is_named(self, shop: Door, receiver: Receiver) -> None:
        made = await _add(shop, receiver)
        await shop.claim(return_shipping={"price": 0})
        await shop.post(
            "/admin/notes",
            {"resource_type": "order", "resource_id": "order_ana"}
            | {"value": "Ana, ana@shop.example, 041 555 123"},
        )
        await _all_are(shop, made["webhook"], "delivered", 7)
        for personal in (b"shop.example", b"Ana", b"Ljubljana", b"555 123"):
            assert not [m for m in receiver.got if personal in m.body], personal

    @pytest.mark.parametrize(
        ("chosen", "told"),
        [
            (["claim.created"], ["claim.created"]),
            (["reclamo.claims.claim.created.v1"], ["claim.created"]),
            (["claim.created", "reclamo.claims.claim.created.v1"], ["claim.created"]),
            (
                ["order.refund_created", "claim.confirmed"],
                ["claim.confirmed", "order.refund_created"],
            ),
            (["claim.canceled"], []),
        ],
    )
    async def test_a_webhook_hears_what_it_chose(
        self, shop: Door, receiver: Receiver, chosen: list[str], told: list[str]
    ) -> None:
        made = await _add(shop, receiver, *chosen)
        async with receiving() as everything:
            other = await _add(shop, everything)
            await shop.claim()
            # Whoever hears all of it has heard it: so has the other what it chose.
            await _all_are(shop, other["webhook"], "delivered", 5)
        if told:
            await _all_are(shop, made["webhook"], "delivered", len(told))
        assert sorted(receiver.names()) == told

    async def test_an_item_that_somebody_changed_is_told_and_the_others_are_not(
        self, shop: Door, receiver: Receiver
    ) -> None:
        lines = ("item_ana_mug", "item_ana_lamp")
        items = [{"item_id": line, "quantity": 1, "reason": "other"} for line in lines]
        claim = (await shop.claim(claim_items=items)).json()["order"]["claims"][0]
        made = (await _add(shop, receiver, "claim.updated", "claim_item.updated"))["webhook"]
        changed = claim["claim_items"][0]["id"]
        edit = {"id": changed, "note": "the handle is off", "images": [], "tags": []}
        path = f"/admin/orders/order_ana/claims/{claim['id']}"
        assert (await shop.post(path, {"claim_items": [edit]})).status_code == 200
        await _all_are(shop, made, "delivered", 2)
        told = {m.json()["type"]: m.json() for m in receiver.got}
        assert told["claim_item.updated"]["data"]["id"] == changed
        assert told["claim_item.updated"]["data"]["claim_id"] == claim["id"]
        version = told["claim.updated"]["event"]["version"]
        assert told["claim_item.updated"]["event"]["version"] == version

    async def test_two_webhooks_hear_the_same_event_under_the_same_id(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = await _add(shop, receiver, "claim.created")
        async with receiving() as second:
            other = await _add(shop, second, "claim.created")
            await shop.claim()
            await _all_are(shop, made["webhook"], "delivered", 1)
            await _all_are(shop, other["webhook"], "delivered", 1)
            assert receiver.got[0].id == second.got[0].id
            assert receiver.got[0].body == second.got[0].body
            assert not receiver.got[0].is_signed_by(other["secret"])

    async def test_a_disabled_webhook_hears_nothing_and_an_enabled_one_what_comes_after(
        self, shop: Door, receiver: Receiver
    ) -> None:
        awake = (await _add(shop, receiver, "claim.created", url=f"{receiver.url}?awake"))[
            "webhook"
        ]
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        off = (await shop.post(f"{PATH}/{made['id']}", {"enabled": False})).json()["webhook"]
        assert (off["enabled"], off["disabled_reason"]) == (False, None)
        await shop.claim()
        # The event has come by now, and was noted for whoever is enabled.
        await _all_are(shop, awake, "delivered", 1)
        on = (await shop.post(f"{PATH}/{made['id']}", {"enabled": True})).json()["webhook"]
        assert (on["enabled"], on["disabled_at"]) == (True, None)
        await shop.claim(
            order_id="order_ben",
            claim_items=[{"item_id": "item_ben_mug", "quantity": 1, "reason": "other"}],
        )
        (told,) = await _all_are(shop, made, "delivered", 1)
        order = (await shop.get(f"{PATH}/{made['id']}/deliveries/{told['id']}")).json()["delivery"]
        assert '"order_id":"order_ben"' in order["body"]

    async def test_an_event_that_comes_twice_is_told_once(
        self, open_gateway: OpenGateway, receiver: Receiver
    ) -> None:
        shop = await open_gateway(webhook_targets="any", bus_local_faults="dup:1")
        await shop.load(a_shop())
        made = await _add(shop, receiver)
        await shop.claim()
        await _all_are(shop, made["webhook"], "delivered", 5)
        assert len(receiver.got) == 5

    async def test_an_event_that_comes_twice_is_told_once_also_when_the_inbox_has_forgotten_it(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = await _add(shop, receiver, "claim.created")
        await shop.claim()
        await _all_are(shop, made["webhook"], "delivered", 1)
        await _write(shop, "DELETE FROM inbox")
        claims = shop.embedded.services["claims"].database
        async with claims.reading() as tx:
            row = await tx.fetch_one(
                "SELECT id, payload FROM outbox WHERE routing_key = 'claims.claim.created.v1'"
            )
        assert row is not None
        parcel = Parcel(row["id"], EVENTS, "claims.claim.created.v1", "c", row["payload"].encode())
        await shop.embedded._bus.publish(parcel)
        await _come_due(shop)
        assert len(await _all_are(shop, made["webhook"], "delivered", 1)) == 1
        assert len(receiver.got) == 1

    async def test_while_nobody_listens_nothing_is_written_down(self, shop: Door) -> None:
        await shop.claim()
        async with shop.embedded.gateway.database.reading() as tx:
            assert await tx.fetch_value("SELECT COUNT(*) FROM inbox") == 0


class TestWhenItDoesNotArrive:
    async def test_it_is_sent_again_the_same_until_it_arrives(
        self, shop: Door, receiver: Receiver
    ) -> None:
        receiver.answers = [(500, {}), (302, {"location": "http://127.0.0.1:1/"}), (404, {})]
        made = await _add(shop, receiver, "claim.created")
        await shop.claim()
        for tries in (1, 2, 3):
            await eventually(lambda tries=tries: len(receiver.got) == tries)
            await eventually(lambda tries=tries: _tried(shop, made["webhook"], tries))
            await _come_due(shop)
        (told,) = await _all_are(shop, made["webhook"], "delivered", 1)
        assert [each["status"] for each in told["tries"]] == [500, 302, 404, 204]
        assert told["tries"][0]["error"] == "answered 500"
        assert (told["attempts"], told["next_at"]) == (4, None)
        assert len({(m.id, m.body) for m in receiver.got}) == 1
        webhook = (await shop.get(f"{PATH}/{made['webhook']['id']}")).json()["webhook"]
        assert (webhook["enabled"], webhook["failing_since"]) == (True, None)

    async def test_the_next_try_is_after_the_schedules_pause_or_what_the_receiver_asks(
        self, shop: Door, receiver: Receiver
    ) -> None:
        receiver.answers = [(500, {}), (503, {"retry-after": "7200"}), (503, {"retry-after": "no"})]
        made = await _add(shop, receiver, "claim.created")
        await shop.claim()
        pauses = []
        for tries in (1, 2, 3):
            found = await eventually(lambda tries=tries: _tried(shop, made["webhook"], tries))
            after = _time(found["next_at"]) - _time(found["tries"][-1]["at"])
            pauses.append(after.total_seconds())
            await _come_due(shop)
        assert 4.4 <= pauses[0] <= 5.6
        assert 7199 <= pauses[1] <= 7201
        assert 1619 <= pauses[2] <= 1981

    async def test_nobody_there_is_a_failure_like_any_other(
        self, shop: Door, receiver: Receiver
    ) -> None:
        body = {"url": "http://127.0.0.1:1/nobody", "events": ["claim.created"]}
        made = (await shop.post(PATH, body)).json()["webhook"]
        await shop.claim()
        found = await eventually(lambda: _tried(shop, made, 1))
        assert found["tries"][0]["status"] is None
        assert "Connect" in found["tries"][0]["error"]
        webhook = (await shop.get(f"{PATH}/{made['id']}")).json()["webhook"]
        assert webhook["failing_since"] is not None

    async def test_after_ten_tries_it_is_given_up_until_somebody_sends_it_again(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        receiver.answers = [(500, {})]
        await shop.claim()
        await eventually(lambda: _tried(shop, made, 1))
        receiver.answers = [(500, {})]
        await _write(
            shop,
            "UPDATE webhook_deliveries SET attempts = :many, next_at = :now",
            many=delivering.TRIES_MAX - 1,
            now=clock.now(),
        )
        (lost,) = await _all_are(shop, made, "failed", 1)
        assert (lost["attempts"], lost["next_at"]) == (10, None)
        assert await _deliveries(shop, made, "?state=failed") == [lost]
        answer = await shop.post(f"{PATH}/{made['id']}/deliveries/{lost['id']}/resend")
        assert (answer.status_code, answer.json()["delivery"]["state"]) == (200, "pending")
        (told,) = await _all_are(shop, made, "delivered", 1)
        assert (told["attempts"], len(told["tries"])) == (1, 3)
        assert len({(m.id, m.body) for m in receiver.got}) == 1

    async def test_a_receiver_that_says_gone_is_not_asked_again(
        self, shop: Door, receiver: Receiver
    ) -> None:
        receiver.answers = [(410, {})]
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        await shop.claim()
        await _all_are(shop, made, "failed", 1)
        webhook = (await shop.get(f"{PATH}/{made['id']}")).json()["webhook"]
        assert webhook["enabled"] is False
        assert webhook["disabled_reason"] == "The receiver answered 410 Gone."
        await shop.claim()
        assert len(await _deliveries(shop, made)) == 1
        (row,) = (await shop.get("/admin/audit?action=webhook.disabled")).json()["audit"]
        assert (row["actor_kind"], row["about"]) == ("system", f"webhook/{made['id']}")

    async def test_a_webhook_that_fails_for_five_days_is_disabled_and_keeps_what_waits(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        receiver.answers = [(500, {}), (500, {})]
        await shop.claim()
        await eventually(lambda: _tried(shop, made, 1))
        since = clock.now() - delivering.GIVE_UP
        await _write(shop, "UPDATE webhooks SET failing_since = :since", since=since)
        await _come_due(shop)
        await eventually(lambda: _tried(shop, made, 2))
        webhook = (await shop.get(f"{PATH}/{made['id']}")).json()["webhook"]
        assert webhook["disabled_reason"] == "Nothing could be delivered for 5 days."
        # Whoever enables it does not wait for the next try, which is hours away.
        await shop.post(f"{PATH}/{made['id']}", {"enabled": True})
        await _all_are(shop, made, "delivered", 1)

    async def test_what_a_dead_process_had_in_hand_is_sent_by_another(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        # As if one had taken it, and died before it could write anything down.
        receiver.answers = [(500, {})]
        await shop.claim()
        await eventually(lambda: _tried(shop, made, 1))
        await _write(
            shop,
            "UPDATE webhook_deliveries SET tries = :none, next_at = :lease",
            none=[],
            lease=clock.now() - timedelta(seconds=1),
        )
        (told,) = await _all_are(shop, made, "delivered", 1)
        assert told["attempts"] == 2


async def _tried(shop: Door, webhook: Json, tries: int) -> Json | None:
    """The one delivery, as soon as it was tried so often."""
    found = await _deliveries(shop, webhook)
    return found[0] if len(found) == 1 and len(found[0]["tries"]) == tries else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


class TestVerify:
    async def test_it_finds_an_event_that_a_webhook_was_never_told(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver, "claim.created", "reclamo.claims.claim.confirmed.v1"))[
            "webhook"
        ]
        await shop.claim()
        told = await _all_are(shop, made, "delivered", 2)
        long_ago = clock.now() - timedelta(minutes=1)
        await _write(shop, "UPDATE webhooks SET enabled_since = :then", then=long_ago)
        settings = shop.embedded.settings
        assert (await verify(settings, at_rest=True)).findings == []
        await _write(shop, "DELETE FROM webhook_deliveries WHERE id = :id", id=told[0]["id"])
        (finding,) = (await verify(settings, look_again_after_s=0)).findings
        assert (finding.invariant, finding.id) == ("I18", told[0]["event_id"])
        key = told[0]["type"].removeprefix("reclamo.")
        assert finding.message == f"webhook {made['id']} was not told of {key}"

    async def test_what_was_said_before_a_webhook_listened_is_not_missed(
        self, shop: Door, receiver: Receiver
    ) -> None:
        await shop.claim()
        made = (await _add(shop, receiver, "claim.canceled"))["webhook"]
        await shop.post(f"{PATH}/{made['id']}", {"events": ["*"]})
        assert (await verify(shop.embedded.settings, look_again_after_s=0)).findings == []


class TestSecrets:
    async def test_a_secret_is_shown_once_and_stored_nowhere(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = await _add(shop, receiver)
        secret = made["secret"]
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
        for path in (PATH, f"{PATH}/{made['webhook']['id']}", "/admin/audit"):
            assert secret not in (await shop.get(path)).text
        database = shop.embedded.gateway.database
        async with database.reading() as tx:
            for table in database.tables:
                rows = await tx.fetch(f"SELECT * FROM {table}")
                assert secret.removeprefix("whsec_") not in str(rows), table

    async def test_during_a_rotation_both_secrets_sign_and_after_it_the_new_one(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = await _add(shop, receiver, "claim.created")
        webhook_id = made["webhook"]["id"]
        turned = (await shop.post(f"{PATH}/{webhook_id}/rotate-secret")).json()
        assert turned["secret"] != made["secret"]
        assert turned["webhook"]["previous_secret_until"] is not None
        await shop.post(f"{PATH}/{webhook_id}/test")
        await eventually(lambda: len(receiver.got) == 1)
        assert receiver.got[0].is_signed_by(turned["secret"])
        assert receiver.got[0].is_signed_by(made["secret"])
        await _write(shop, "UPDATE webhooks SET previous_until = :now", now=clock.now())
        await shop.post(f"{PATH}/{webhook_id}/test")
        await eventually(lambda: len(receiver.got) == 2)
        assert receiver.got[1].is_signed_by(turned["secret"])
        assert not receiver.got[1].is_signed_by(made["secret"])


@pytest.mark.parametrize(
    ("secret", "message_id", "timestamp", "body", "wanted"),
    [
        (
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            '{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1731705121,
            '{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
    ],
)
def test_the_signature_is_that_of_the_specifications_vectors(
    secret: str, message_id: str, timestamp: int, body: str, wanted: str
) -> None:
    key = base64.b64decode(secret)
    given = {"message_id": message_id, "timestamp": timestamp, "body": body}
    assert webhooks.signature([key], **given) == wanted  # type: ignore[arg-type]


class TestTheDoor:
    async def test_a_webhook_is_added_changed_listed_and_removed(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver, "claim.created", description="ours"))["webhook"]
        assert (made["enabled"], made["created_by"]) == (True, "admin_user")
        changed = await shop.post(
            f"{PATH}/{made['id']}", {"events": ["note.created"], "description": None}
        )
        webhook = changed.json()["webhook"]
        assert (webhook["events"], webhook["description"]) == (["note.created"], None)
        assert webhook["url"] == receiver.url
        page = (await shop.get(f"{PATH}/")).json()
        assert page == {"webhooks": [webhook], "count": 1, "offset": 0, "limit": 50}
        gone = {"id": made["id"], "object": "webhook", "deleted": True}
        assert (await shop.delete(f"{PATH}/{made['id']}")).json() == gone
        for path in ("", "/deliveries", "/deliveries/whdel_x"):
            assert (await shop.get(f"{PATH}/{made['id']}{path}")).status_code == 404
        rows = (await shop.get(f"/admin/audit?about=webhook/{made['id']}")).json()["audit"]
        assert [row["action"] for row in reversed(rows)] == [
            "webhook.added",
            "webhook.changed",
            "webhook.removed",
        ]
        # Some receivers keep a secret in the path.
        assert "hooks" not in str(rows)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"events": ["*"]}, "url should not be empty, url must be a string"),
            ({"url": "https://example.com"}, "events should not be empty, events must be an array"),
            ({"url": "http://127.0.0.1/", "events": []}, "events should not be empty"),
            ({"url": "nonsense", "events": ["*"]}, "url must be an https or http URL"),
            (
                {"url": "http://127.0.0.1/", "events": ["*"], "secret": "x"},
                "property secret should not exist",
            ),
        ],
    )
    async def test_what_is_no_webhook_is_refused(
        self, shop: Door, body: Json, message: str
    ) -> None:
        answer = await shop.post(PATH, body)
        assert (answer.status_code, answer.json()["message"]) == (400, message)
        assert (await shop.get(PATH)).json()["count"] == 0

    async def test_an_event_that_does_not_exist_is_refused_and_those_that_do_are_told(
        self, shop: Door
    ) -> None:
        answer = await shop.post(PATH, {"url": "http://127.0.0.1/", "events": ["claim.borked"]})
        assert answer.status_code == 400
        message = answer.json()["message"]
        assert message.startswith("each value in events must be one of the following values: *, ")
        for name in ("claim.created", "order.return_action_required", "note.deleted"):
            assert f", {name}" in message
        assert "reclamo.orders.claim-hold.placed.v1" not in message, "what services say inside"

    async def test_one_url_has_one_webhook(self, shop: Door, receiver: Receiver) -> None:
        await _add(shop, receiver)
        answer = await shop.post(PATH, {"url": receiver.url, "events": ["*"]})
        assert (answer.status_code, answer.json()["type"]) == (422, "duplicate_error")

    async def test_there_is_an_end_to_webhooks(
        self, shop: Door, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "WEBHOOKS_MAX", 1)
        await _add(shop, receiver)
        answer = await shop.post(PATH, {"url": f"{receiver.url}2", "events": ["*"]})
        assert (answer.status_code, answer.json()["type"]) == (400, "not_allowed")

    async def test_the_address_is_checked_again_when_it_is_sent_to(
        self, shop: Door, receiver: Receiver
    ) -> None:
        """A row that somebody wrote while any address was allowed goes nowhere afterwards."""
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        shop.app.state.gate.webhooks.anywhere = False
        await shop.claim()
        found = await eventually(lambda: _tried(shop, made, 1))
        assert receiver.got == []
        assert found["tries"][0]["status"] is None

    async def test_in_earnest_a_webhook_into_our_own_network_is_refused(self, door: Door) -> None:
        for url in ("https://127.0.0.1/", "https://localhost/x", "http://example.com/"):
            answer = await door.post(PATH, {"url": url, "events": ["*"]})
            assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data"), url

    async def test_a_delivery_is_its_webhooks_own(self, shop: Door, receiver: Receiver) -> None:
        made = (await _add(shop, receiver))["webhook"]
        sent = (await shop.post(f"{PATH}/{made['id']}/test")).json()["delivery"]
        assert sent["name"] == "webhook.test"
        async with receiving() as second:
            other = (await _add(shop, second))["webhook"]
            path = f"{PATH}/{other['id']}/deliveries/{sent['id']}"
            assert (await shop.get(path)).status_code == 404
            assert (await shop.post(f"{path}/resend")).status_code == 404
        await eventually(lambda: receiver.names() == ["webhook.test"])

    async def test_nothing_is_sent_to_a_disabled_webhook_by_hand_either(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver))["webhook"]
        await shop.post(f"{PATH}/{made['id']}", {"enabled": False})
        answer = await shop.post(f"{PATH}/{made['id']}/test")
        assert (answer.status_code, answer.json()["type"]) == (400, "not_allowed")

    async def test_the_reference_describes_what_is_sent(self, shop: Door) -> None:
        document = (await shop.get("/openapi.json")).json()
        told = document["webhooks"]["claim.created"]["post"]
        schema = told["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["type"] == {"const": "claim.created"}
        assert set(document["webhooks"]) <= set(webhooks.EVENTS)

    async def test_figures_tell_what_waits_and_what_fails(
        self, shop: Door, receiver: Receiver
    ) -> None:
        made = (await _add(shop, receiver, "claim.created"))["webhook"]
        receiver.answers = [(500, {})]
        await shop.claim()
        await eventually(lambda: _tried(shop, made, 1))
        figures = (await shop.get("/metrics")).text
        for name in ("reclamo_webhook_deliveries_pending", "reclamo_webhooks_failing"):
            assert f'{name}{{service="gateway"}} 1.0' in figures
        assert 'reclamo_webhook_deliveries_failed{service="gateway"} 0.0' in figures

    async def test_a_message_that_nobody_can_read_is_the_gateways_dead_letter(
        self, shop: Door, receiver: Receiver
    ) -> None:
        await _add(shop, receiver)
        parcel = Parcel("m1", EVENTS, "claims.claim.created.v1", "claim/x", b"{}")
        await shop.embedded._bus.publish(parcel)
        page = (await shop.get("/admin/dead-letters")).json()
        (letter,) = page["dead_letters"]
        assert (letter["service"], letter["queue"]) == ("gateway", "gateway.notify.v1")
        path = f"/admin/dead-letters/{letter['id']}"
        assert (await shop.get(path)).status_code == 200
        assert (await shop.get("/admin/dead-letters?service=gateway")).json()["count"] == 1
        assert (await shop.post(f"{path}/discard", {"reason": "a test"})).status_code == 200
        assert (await shop.get("/admin/dead-letters")).json()["count"] == 0
