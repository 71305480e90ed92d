"""The HTTP door, with the whole service behind it: relay, bus, consumers, timers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from chassis import at_rest, auth, clock
from chassis.bus_local import LocalBus
from chassis.db import connect
from chassis.messaging import Delivery, Envelope, Parcel, Subscription, exchange_of
from chassis.settings import Settings
from chassis.testing import DatabaseUrl, eventually
from chassis.topology import Topology
from chassis.values import uuid7
from contracts import MESSAGES
from contracts.inventory import ReceiveReceiptStock
from contracts.orders import PlaceReturnHold, ReleaseReturnHold, SettleReturnReceipt
from services.returns import app, consumers, invariants
from tests.returns.others import Others, recently

KEY = auth.private_key("a secret of these tests, and of no one else", "internal")
STAFF = auth.Principal("usr_1", "admin")
ANA = auth.Principal("cus_ana", "customer", "cus_ana")
BOB = auth.Principal("cus_bob", "customer", "cus_bob")
GUEST = auth.Principal("guest", "guest")
MUGS = {"order_id": "order_1", "items": [{"item_id": "item_mug", "quantity": 2}]}
ALL = {"items": [{"item_id": "item_mug", "quantity": 2}]}
RETURN_KEYS = {
    *("id", "status", "order_id", "claim_order_id", "swap_id", "location_id", "shipping_data"),
    *("refund_amount", "received_at", "no_notification", "metadata", "idempotency_key"),
    *("created_at", "updated_at", "items", "shipping_method"),
}
ITEM_KEYS = {
    *("return_id", "item_id", "quantity", "is_requested", "requested_quantity"),
    *("received_quantity", "reason_id", "reason", "note", "metadata"),
}
REASON_KEYS = {
    *("id", "value", "label", "description", "parent_return_reason_id", "parent_return_reason"),
    *("return_reason_children", "created_at", "updated_at", "deleted_at"),
}


async def _never(message: Any) -> None:
    """The others are no service: what they obey is answered by `System.obey`."""


OTHERS = Subscription(
    "others.commands.v1",
    dict.fromkeys(
        (PlaceReturnHold, ReleaseReturnHold, SettleReturnReceipt, ReceiveReceiptStock), _never
    ),
)


@dataclass
class System:
    """The service, a client, and the others on the same bus; ``silent`` others keep the mail."""

    http: httpx2.AsyncClient
    bus: LocalBus
    others: Others = field(default_factory=lambda: Others(delivered_at=recently(clock.now())))
    silent: bool = False
    mail: list[Delivery] = field(default_factory=list)

    async def obey(self, delivery: Delivery) -> None:
        """Answer a command on the bus."""
        if self.silent:
            self.mail.append(delivery)
            return
        command = Envelope.from_bytes(delivery.body)
        reply = self.others.answer(command.message(MESSAGES[command.key]))
        envelope = Envelope(
            id=uuid7(),
            source="/reclamo/others",
            type=f"reclamo.{reply.key}",  # type: ignore[attr-defined]
            subject=command.subject,
            time=command.time,
            data=reply.model_dump(mode="json"),
            causation_id=command.id,
            saga_id=command.saga_id,
        )
        exchange = exchange_of(reply)  # type: ignore[arg-type]
        body = envelope.to_bytes()
        await self.bus.publish(
            Parcel(envelope.id, exchange, envelope.key, envelope.subject, body, "others")
        )

    async def read_mail(self) -> None:
        """The others wake up."""
        self.silent = False
        while self.mail:
            await self.obey(self.mail.pop(0))

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        who: auth.Principal = STAFF,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """A call of the gateway on behalf of somebody."""
        token = auth.Issuer(KEY).mint(who, "returns")
        headers = {"authorization": f"Bearer {token}", **(headers or {})}
        return await self.http.request(method, path, json=json, headers=headers)

    async def requested(self, who: auth.Principal = STAFF, **fields: Any) -> dict[str, Any]:
        """A return that stands."""
        answer = await self.call("POST", "/returns", {**MUGS, **fields}, who=who)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["return"]
        return found


@pytest.fixture
def settings() -> Settings:
    return Settings(wait_bound_s=5)


@pytest.fixture
async def system(database_url: DatabaseUrl, settings: Settings) -> AsyncIterator[System]:
    """A running service on SQLite, and again on PostgreSQL. Afterwards its books are in order."""
    database = connect(await database_url("returns"))
    bus = LocalBus(Topology.of((*consumers.SUBSCRIPTIONS, OTHERS)))
    service = app.build(settings, database, bus, auth.Verifier(KEY.public_key(), "returns"))
    transport = httpx2.ASGITransport(app=service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://returns") as http:
        system = System(http, bus)
        await service.prepare()
        await bus.subscribe(OTHERS, system.obey)
        await bus.start()
        await service.start()

        async def resting() -> bool:
            async with database.reading() as tx:
                return not await at_rest.findings(tx)

        yield system
        await system.read_mail()
        await eventually(resting)
        async with database.reading() as tx:
            assert await invariants.findings(tx) == []
        await bus.stop()
        await service.stop()


def problem(answer: httpx2.Response) -> tuple[int, str, str, bool]:
    """(status, kind, message, settled) of a refusal."""
    body = answer.json()
    return answer.status_code, body["kind"], body["detail"], body.get("settled", False)


class TestRequest:
    async def test_a_return_has_exactly_the_keys_of_medusa(self, system: System) -> None:
        found = await system.requested(return_shipping={"option_id": "so_1"})
        assert set(found) == RETURN_KEYS
        assert set(found["items"][0]) == ITEM_KEYS
        assert found["status"] == "requested"
        assert found["id"].startswith("ret_")
        page = (await system.call("GET", "/returns")).json()
        assert page == {"returns": [found], "count": 1, "offset": 0, "limit": 50}
        of_order = (await system.call("GET", "/orders/order_1/returns")).json()
        assert of_order == {"returns": [found]}

    async def test_the_shop_sees_more_beside_the_return_and_a_customer_does_not(
        self, system: System
    ) -> None:
        found = await system.requested(ANA)
        inside = (await system.call("GET", f"/returns/{found['id']}")).json()
        assert inside["return"] == found
        assert inside["allowed_actions"] == ["receive", "cancel"]
        assert inside["number"].startswith("R-")
        assert [saga["kind"] for saga in inside["sagas"]] == ["return-request"]
        own = (await system.call("GET", f"/returns/{found['id']}", who=ANA)).json()
        assert own == {"return": found}

    async def test_what_orders_refuses_is_a_settled_problem(self, system: System) -> None:
        system.others.refuse = {PlaceReturnHold}
        answer = await system.call("POST", "/returns", MUGS, headers={"idempotency-key": "k"})
        message = "Cannot return more items than have been purchased"
        assert problem(answer)[1:] == ("not_allowed", message, True)
        again = await system.call("POST", "/returns", MUGS, headers={"idempotency-key": "k"})
        assert problem(again) == problem(answer)

    async def test_receive_now_answers_with_the_received_return(self, system: System) -> None:
        found = await system.requested(receive_now=True, location_id="sloc_1")
        assert found["status"] == "received"
        assert (found["refund_amount"], found["location_id"]) == (2000, "sloc_1")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {**MUGS, "surprise": 1},
            {**MUGS, "order_id": None},
            {**MUGS, "items": "x"},
            {**MUGS, "items": [{"item_id": "item_mug"}]},
            {**MUGS, "items": [{"item_id": "item_mug", "quantity": "1"}]},
            {**MUGS, "items": [{"item_id": "item_mug", "quantity": 1.5}]},
            {**MUGS, "items": [{"item_id": "item_mug", "quantity": 10**12}]},
            {**MUGS, "items": []},
            {**MUGS, "items": [{"item_id": "item_mug", "quantity": 0}]},
            {**MUGS, "refund": 10**18},
            {**MUGS, "return_shipping": {"option_id": "so_1", "price": -1}},
        ],
    )
    async def test_what_makes_no_sense_is_invalid_and_changes_nothing(
        self, system: System, body: Any
    ) -> None:
        answer = await system.call("POST", "/returns", body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["kind"] == "invalid"
        assert (await system.call("GET", "/returns")).json()["count"] == 0

    @pytest.mark.parametrize(
        "body", ['{"order_id": "a\\u0000b"}', '{"a": 1, "a": 2}', "{", "[" * 40 + "]" * 40]
    )
    async def test_what_is_no_json_is_invalid(self, system: System, body: str) -> None:
        token = auth.Issuer(KEY).mint(STAFF, "returns")
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = await system.http.post("/returns", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_json")

    async def test_a_hundred_calls_with_one_key_are_one_return(self, system: System) -> None:
        headers = {"idempotency-key": "k", "reclamo-fingerprint": "f"}
        answers = await asyncio.gather(
            *(system.call("POST", "/returns", MUGS, headers=headers) for _ in range(100))
        )
        good = [answer for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len({answer.json()["return"]["id"] for answer in good}) == 1
        assert (await system.call("GET", "/returns")).json()["count"] == 1
        other = {**headers, "reclamo-fingerprint": "g"}
        reused = await system.call("POST", "/returns", MUGS, headers=other)
        assert problem(reused)[:2] == (422, "key_reused")


class TestWaiting:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(wait_bound_s=0.05)

    async def test_a_passed_bound_says_still_running_and_the_same_key_joins(
        self, system: System
    ) -> None:
        system.silent = True
        headers = {"idempotency-key": "k"}
        answer = await system.call("POST", "/returns", MUGS, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "still_running")
        assert answer.headers["retry-after"]
        await system.read_mail()

        async def joined() -> httpx2.Response | None:
            again = await system.call("POST", "/returns", MUGS, headers=headers)
            return again if again.status_code == 200 else None

        again = await eventually(joined)
        assert again is not None
        assert again.json()["return"]["status"] == "requested"
        assert (await system.call("GET", "/returns")).json()["count"] == 1

    async def test_who_does_not_want_to_wait_gets_202_and_a_place_to_look(
        self, system: System
    ) -> None:
        headers = {"prefer": "respond-async"}
        answer = await system.call("POST", "/returns", MUGS, headers=headers)
        assert answer.status_code == 202
        where = answer.headers["location"]
        assert where == f"/returns/{answer.json()['id']}"

        async def there() -> bool:
            return (await system.call("GET", where)).status_code == 200

        await eventually(there)


class TestReceive:
    async def test_a_parcel_is_booked(self, system: System) -> None:
        found = await system.requested()
        part = {"items": [{"item_id": "item_mug", "quantity": 1}], "location_id": "sloc_1"}
        answer = await system.call("POST", f"/returns/{found['id']}/receive", part)
        assert answer.json()["return"]["status"] == "requires_action"
        answer = await system.call("POST", f"/returns/{found['id']}/receive", part)
        assert answer.json()["return"]["status"] == "received"
        assert set(answer.json()["return"]) == RETURN_KEYS
        again = await system.call("POST", f"/returns/{found['id']}/receive", part)
        message = f"Return with id {found['id']} has already been received"
        assert problem(again)[1:] == ("not_allowed", message, False)

    async def test_what_inventory_refuses_is_a_settled_problem(self, system: System) -> None:
        found = await system.requested()
        system.others.refuse = {ReceiveReceiptStock}
        answer = await system.call("POST", f"/returns/{found['id']}/receive", ALL)
        assert problem(answer)[0::3] == (404, True)

    async def test_two_parcels_at_once_are_one_receipt_and_one_conflict(
        self, system: System
    ) -> None:
        found = await system.requested()
        part = {"items": [{"item_id": "item_mug", "quantity": 1}]}
        answers = await asyncio.gather(
            *(system.call("POST", f"/returns/{found['id']}/receive", part) for _ in range(2))
        )
        statuses = sorted(answer.status_code for answer in answers)
        shown = (await system.call("GET", f"/returns/{found['id']}")).json()["return"]
        came = shown["items"][0]["received_quantity"]
        # The second may also come after the first has settled: then both are booked.
        assert (statuses, came) in (([200, 409], 1), ([200, 200], 2))

    async def test_an_empty_parcel_changes_nothing(self, system: System) -> None:
        found = await system.requested()
        answer = await system.call("POST", f"/returns/{found['id']}/receive", {"items": []})
        assert answer.json() == {"return": found}

    async def test_an_unknown_field_of_an_item_is_refused(self, system: System) -> None:
        found = await system.requested()
        body = {"items": [{"item_id": "item_mug", "quantity": 1, "note": "x"}]}
        answer = await system.call("POST", f"/returns/{found['id']}/receive", body)
        assert answer.status_code == 422


class TestCancel:
    async def test_a_canceled_return_stays_canceled(self, system: System) -> None:
        found = await system.requested()
        for _ in range(2):
            answer = await system.call("POST", f"/returns/{found['id']}/cancel")
            assert (answer.status_code, answer.json()["return"]["status"]) == (200, "canceled")
        answer = await system.call("POST", f"/returns/{found['id']}/receive", ALL)
        assert problem(answer)[2] == "Cannot receive a canceled return"

    @pytest.mark.parametrize("doing", ["receive", "cancel"])
    async def test_an_unknown_return_is_not_found(self, system: System, doing: str) -> None:
        answer = await system.call("POST", f"/returns/ret_none/{doing}", ALL)
        assert problem(answer)[0::2] == (404, "Return with id: ret_none was not found")


class TestWhoMayWhat:
    async def test_without_a_token_nothing_is_shown(self, system: System) -> None:
        for path in ("/returns", "/return-reasons", "/sagas", "/export"):
            assert (await system.http.get(path)).status_code == 401

    @pytest.mark.parametrize(
        ("role", "allowed"),
        [
            ("admin", "list request receive cancel reason import sagas"),
            ("agent", "list request receive cancel reason"),
            ("warehouse", "list receive"),
            ("finance", "list"),
            ("ops", "list sagas"),
            ("customer", "list request"),
            ("guest", "list request"),
        ],
    )
    async def test_each_role_may_do_its_own(self, system: System, role: str, allowed: str) -> None:
        who = auth.Principal("x", role, "cus_x" if role == "customer" else None)
        calls: dict[str, tuple[str, str, Any]] = {
            "list": ("GET", "/returns", None),
            "request": ("POST", "/returns", MUGS),
            "receive": ("POST", "/returns/ret_none/receive", ALL),
            "cancel": ("POST", "/returns/ret_none/cancel", None),
            "reason": ("POST", "/return-reasons", {"value": "v", "label": "l"}),
            "import": ("POST", "/import", {}),
            "sagas": ("GET", "/sagas", None),
        }
        found = {
            name
            for name, (method, path, body) in calls.items()
            if (await system.call(method, path, body, who=who)).status_code != 403
        }
        assert found == set(allowed.split())

    async def test_a_customer_sees_only_own_returns(self, system: System) -> None:
        own = await system.requested(ANA)
        for who, count, status in ((ANA, 1, 200), (BOB, 0, 404), (GUEST, 0, 404)):
            page = (await system.call("GET", "/returns", who=who)).json()
            assert page["count"] == count
            one = await system.call("GET", f"/returns/{own['id']}", who=who)
            assert one.status_code == status
            of_order = await system.call("GET", "/orders/order_1/returns", who=who)
            assert len(of_order.json()["returns"]) == count

    async def test_a_customer_cannot_fix_the_refund(self, system: System) -> None:
        answer = await system.call("POST", "/returns", {**MUGS, "refund": 1}, who=ANA)
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        ("who", "storefront", "status"),
        [(ANA, False, 409), (STAFF, True, 409), (GUEST, True, 409), (STAFF, False, 200)],
    )
    async def test_the_policy_binds_customers_and_advises_clerks(
        self, system: System, who: auth.Principal, storefront: bool, status: int
    ) -> None:
        system.others.delivered_at = None
        body = {**MUGS, "storefront": storefront}
        answer = await system.call("POST", "/returns", body, who=who)
        assert answer.status_code == status
        if status != 200:
            assert answer.json()["code"] == "not_delivered"


class TestAdvice:
    @pytest.fixture
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setenv("RECLAMO_STORE_POLICY", "advise")
        return Settings(wait_bound_s=5)

    async def test_a_shop_may_let_the_policy_only_advise(self, system: System) -> None:
        system.others.delivered_at = None
        assert (await system.requested(ANA))["status"] == "requested"


class TestLists:
    async def test_newest_first_in_pages_with_the_whole_count(self, system: System) -> None:
        ids = [(await system.requested(order_id=f"order_{n}"))["id"] for n in range(3)]
        page = (await system.call("GET", "/returns?limit=2")).json()
        assert [found["id"] for found in page["returns"]] == [ids[2], ids[1]]
        assert (page["count"], page["limit"], page["offset"]) == (3, 2, 0)
        rest = (await system.call("GET", "/returns?limit=2&offset=2")).json()
        assert [found["id"] for found in rest["returns"]] == [ids[0]]

    async def test_filters_narrow_the_list(self, system: System) -> None:
        ids = [(await system.requested(order_id=f"order_{n}"))["id"] for n in range(3)]
        await system.call("POST", f"/returns/{ids[0]}/cancel")
        for query, wanted in {
            "status=canceled": [ids[0]],
            "status=canceled&status=requested": ids[::-1],
            "order_id=order_1&order_id=order_2": [ids[2], ids[1]],
            "order_id=order_none": [],
            "claim_id=claim_none": [],
        }.items():
            page = (await system.call("GET", f"/returns?{query}")).json()
            assert [found["id"] for found in page["returns"]] == wanted, query

    @pytest.mark.parametrize("query", ["limit=-1", "limit=x", "offset=-1"])
    async def test_a_wrong_page_is_refused(self, system: System, query: str) -> None:
        assert (await system.call("GET", f"/returns?{query}")).status_code == 422


class TestReasons:
    async def create(self, system: System, **fields: Any) -> dict[str, Any]:
        answer = await system.call("POST", "/return-reasons", {"label": "L", **fields})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["return_reason"]
        return found

    async def test_reasons_nest_once_and_the_list_shows_the_top_level(self, system: System) -> None:
        size = await self.create(system, value="size", label="Size", description="d")
        big = await self.create(system, value="big", parent_return_reason_id=size["id"])
        assert set(size) == set(big) == REASON_KEYS
        assert big["parent_return_reason"]["value"] == "size"
        (top,) = (await system.call("GET", "/return-reasons")).json()["return_reasons"]
        assert (top["id"], top["description"]) == (size["id"], "d")
        assert [child["id"] for child in top["return_reason_children"]] == [big["id"]]
        body = {"value": "huge", "label": "Huge", "parent_return_reason_id": big["id"]}
        answer = await system.call("POST", "/return-reasons", body)
        message = "Doubly nested return reasons is not supported"
        assert problem(answer)[1:3] == ("invalid", message)

    async def test_an_update_keeps_what_it_does_not_name(self, system: System) -> None:
        made = await self.create(system, value="size", description="d")
        path = f"/return-reasons/{made['id']}"
        answer = await system.call("POST", path, {"label": "New", "description": None})
        found = answer.json()["return_reason"]
        assert (found["value"], found["label"], found["description"]) == ("size", "New", None)
        parent = await system.call("POST", path, {"parent_return_reason_id": "rr_x"})
        assert parent.status_code == 422

    async def test_a_value_is_unique_among_the_living(self, system: System) -> None:
        made = await self.create(system, value="too_big")
        other = await self.create(system, value="other")
        for path in ("/return-reasons", f"/return-reasons/{other['id']}"):
            answer = await system.call("POST", path, {"value": "too_big", "label": "x"})
            message = "Return_reason with value too_big already exists."
            assert problem(answer)[0::2] == (422, message)
        await system.call("DELETE", f"/return-reasons/{made['id']}")
        assert (await self.create(system, value="too_big"))["id"] != made["id"]

    async def test_deleting_takes_the_children_along(self, system: System) -> None:
        size = await self.create(system, value="size")
        big = await self.create(system, value="big", parent_return_reason_id=size["id"])
        answer = await system.call("DELETE", f"/return-reasons/{size['id']}")
        gone = {"id": size["id"], "object": "return_reason", "deleted": True}
        assert answer.json() == gone
        for reason in (size, big):
            for method, body in (("GET", None), ("DELETE", None), ("POST", {})):
                answer = await system.call(method, f"/return-reasons/{reason['id']}", body)
                message = f"Return Reason with id: {reason['id']} was not found."
                assert problem(answer)[0::2] == (404, message)

    async def test_the_same_key_makes_one_reason(self, system: System) -> None:
        headers = {"idempotency-key": "k"}
        body = {"value": "v", "label": "l"}
        answers = [
            await system.call("POST", "/return-reasons", body, headers=headers) for _ in range(2)
        ]
        assert answers[0].json() == answers[1].json()

    async def test_customers_may_read_them(self, system: System) -> None:
        made = await self.create(system, value="v")
        for path in ("/return-reasons", f"/return-reasons/{made['id']}"):
            assert (await system.call("GET", path, who=GUEST)).status_code == 200


class TestImport:
    DOCUMENT: dict[str, Any] = {
        "return_reasons": [
            {"id": "rr_big", "value": "big", "label": "Big", "parent_return_reason_id": "rr_size"},
            {"id": "rr_size", "value": "size", "label": "Size", "description": "d"},
            {"value": "plain", "label": "Plain"},
        ]
    }

    async def load(self, system: System, *records: Any) -> dict[str, Any]:
        answer = await system.call("POST", "/import", {"return_reasons": records})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def test_twice_changes_nothing_and_the_export_is_the_import(self, system: System) -> None:
        first = await self.load(system, *self.DOCUMENT["return_reasons"])
        assert first == {"created": 3, "updated": 0, "unchanged": 0, "refused": 0, "refusals": []}
        again = await self.load(system, *self.DOCUMENT["return_reasons"])
        assert (again["created"], again["unchanged"]) == (0, 3)
        document = (await system.call("GET", "/export")).json()
        assert [record["value"] for record in document["return_reasons"]][-1] == "big"
        copied = await self.load(system, *document["return_reasons"])
        assert copied["unchanged"] == 3

    async def test_a_changed_or_deleted_reason_is_updated(self, system: System) -> None:
        await self.load(system, *self.DOCUMENT["return_reasons"])
        changed = {"id": "rr_size", "value": "size", "label": "Sizes"}
        assert (await self.load(system, changed))["updated"] == 1
        await system.call("DELETE", "/return-reasons/rr_size")
        assert (await self.load(system, changed))["updated"] == 1
        assert (await system.call("GET", "/return-reasons/rr_size")).status_code == 200

    @pytest.mark.parametrize(
        ("record", "path", "message"),
        [
            ("x", "", "each return reason must be an object"),
            ({"value": "v", "label": "l", "more": 1}, ".more", "property more should not exist"),
            ({"label": "l"}, ".value", "value should not be empty"),
            ({"value": "v", "label": 5}, ".label", "label must be a string"),
            (
                {"value": "v", "label": "l", "parent_return_reason_id": "rr_none"},
                "",
                "Return Reason with id: rr_none was not found.",
            ),
            (
                {"value": "good", "label": "l", "id": "rr_other"},
                "",
                "Return_reason with value good already exists.",
            ),
        ],
    )
    async def test_a_refused_record_is_named_and_does_not_stop_the_others(
        self, system: System, record: Any, path: str, message: str
    ) -> None:
        found = await self.load(system, {"value": "good", "label": "Good"}, record)
        assert (found["created"], found["refused"]) == (1, 1)
        (refusal,) = found["refusals"]
        assert (refusal["path"], refusal["message"]) == (f"return_reasons[1]{path}", message)

    @pytest.mark.parametrize("document", [{"orders": []}, {"return_reasons": {}}, []])
    async def test_a_document_of_another_kind_is_refused(
        self, system: System, document: Any
    ) -> None:
        assert (await system.call("POST", "/import", document)).status_code == 422


class TestOperators:
    async def test_what_is_under_way_is_seen_with_its_timeline(self, system: System) -> None:
        system.silent = True
        headers = {"prefer": "respond-async"}
        answer = await system.call("POST", "/returns", MUGS, headers=headers)
        page = (await system.call("GET", "/sagas")).json()
        (saga,) = page["sagas"]
        assert (saga["subject_id"], saga["direction"]) == (answer.json()["id"], "forward")
        assert saga["history"][0]["step"] == "hold"
        await system.read_mail()

        async def over() -> bool:
            return (await system.call("GET", "/sagas")).json()["count"] == 0

        await eventually(over)
        everything = (await system.call("GET", "/sagas?open_only=false")).json()
        assert everything["count"] == 1

    async def test_the_service_says_when_it_is_ready(self, system: System) -> None:
        checks = (await system.http.get("/readyz")).json()["checks"]
        assert checks == {"bus": "ok", "database": "ok", "migrations": "ok"}
