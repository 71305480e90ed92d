"""Opening and canceling claims, with the others answering through the message door."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis import clock, saga_log
from chassis.db import Transient
from chassis.errors import Invalid, KeyReused, Refusal
from chassis.idempotency import Caller
from chassis.sagas import DEADLINE_S
from contracts.inventory import PlaceReservation
from contracts.orders import ClaimHoldPlaced, ExecuteClaimRefund, PlaceClaimHold, ReleaseClaimHold
from services.claims import invariants, operations, queries, saga
from services.claims.domain import ClaimBusy, ClaimNotFound, RefundAlreadyMade
from services.claims.operations import Accepted
from services.claims.schemas import OpenClaim
from tests.claims.builders import SNAPSHOT, TAX, World, a_replacement, a_request
from tests.claims.builders import Others as TheOthers

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SHIPPING = {"return_shipping": {"option_id": "so_1", "price": 500}}
SPARES = {"additional_items": [{"variant_id": "variant_1", "quantity": 1}]}
REQUESTS = {
    "refund": a_request(),
    "refund, goods back": a_request(**SHIPPING),
    "refund with additional items": a_request(**SPARES),
    "refund with additional items, goods back": a_request(**SPARES, **SHIPPING),
    "replace": a_replacement(),
    "replace, goods back": a_replacement(**SHIPPING),
}
EACH = pytest.mark.parametrize("name", REQUESTS)


async def open_claim(
    world: World,
    request: dict[str, Any] | None = None,
    *,
    key: str = "key_1",
    principal: str = "usr_1",
    fingerprint: str = "f",
) -> Accepted:
    body = OpenClaim.model_validate(request or a_request()).model_dump()
    async with world.database.transaction() as tx:
        return await operations.open_claim(
            tx, request=body, caller=Caller(principal, key, fingerprint), now=NOW
        )


async def cancel_claim(
    world: World,
    claim_id: str,
    *,
    order_id: str | None = "order_1",
    key: str | None = None,
    fingerprint: str = "c",
) -> Accepted | None:
    async with world.database.transaction() as tx:
        return await operations.cancel_claim(
            tx,
            claim_id=claim_id,
            order_id=order_id,
            caller=Caller("usr_1", key, fingerprint),
            now=NOW,
        )


async def expire(world: World, saga_id: str, after_s: float) -> None:
    async with world.database.transaction() as tx:
        await operations.expire_saga(tx, saga_id=saga_id, now=NOW + timedelta(seconds=after_s))


async def outcome(world: World, claim_id: str) -> dict[str, Any] | Refusal | None:
    async with world.database.reading() as tx:
        return await queries.outcome_of_creation(tx, claim_id=claim_id)


async def visible(world: World, claim_id: str) -> dict[str, Any] | None:
    async with world.database.reading() as tx:
        return await queries.claim_by_id(tx, claim_id=claim_id)


async def nothing_wrong(world: World) -> None:
    async with world.database.reading() as tx:
        assert await invariants.findings(tx) == []


class TestOpenClaim:
    async def test_accepting_writes_everything_in_one_transaction(self, world: World) -> None:
        accepted = await open_claim(world, a_request(metadata={"a": 1}, **SHIPPING))
        claim = await world.claim(accepted.claim_id)
        assert (claim["status"], claim["recovery_point"]) == ("opening", "started")
        assert (claim["idempotency_key"], claim["created_by"]) == ("key_1", "usr_1")
        assert (claim["metadata"], claim["return_id"][:4]) == ({"a": 1}, "ret_")
        assert len(await world.rows("SELECT id FROM claim_items")) == 1
        assert len(await world.rows("SELECT id FROM sagas WHERE next_at IS NOT NULL")) == 1
        assert len(await world.rows("SELECT key FROM idempotency_keys")) == 1
        (hold,) = await world.said()
        assert hold.key == PlaceClaimHold.key
        assert hold.data["claim_id"] == accepted.claim_id
        assert (hold.saga_id, hold.correlation_id) == (accepted.saga_id, "corr")

    async def test_a_replacement_asks_for_units_and_stock_at_once(self, world: World) -> None:
        await open_claim(world, a_replacement())
        assert await world.keys() == [PlaceClaimHold.key, PlaceReservation.key]

    async def test_items_keep_what_was_said_about_them(self, world: World) -> None:
        item = {
            "item_id": "item_1",
            "quantity": 1,
            "reason": "other",
            "note": "torn",
            "tags": [" Cracked ", "cracked", "BOX"],
            "images": ["https://a/1.jpg"],
        }
        await open_claim(world, a_request(claim_items=[item]))
        (row,) = await world.rows("SELECT * FROM claim_items")
        assert (row["note"], row["images"]) == ("torn", ["https://a/1.jpg"])
        assert row["tags"] == ["cracked", "box"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"type": "exchange"},
            {"claim_items": []},
            {"claim_items": [{"item_id": "item_1", "quantity": 1}]},
            {"type": "replace"},
        ],
    )
    async def test_what_makes_no_sense_leaves_nothing_not_even_the_key(
        self, world: World, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(Invalid):
            await open_claim(world, a_request(**wrong))
        for table in ("claims", "claim_items", "sagas", "outbox", "idempotency_keys"):
            assert await world.rows(f"SELECT 1 AS one FROM {table}") == []
        assert await open_claim(world, fingerprint="another body")

    @EACH
    async def test_agreed_by_all_it_is_open_and_told(self, world: World, name: str) -> None:
        accepted = await open_claim(world, REQUESTS[name])
        assert await outcome(world, accepted.claim_id) is None
        assert await visible(world, accepted.claim_id) is None
        await world.pump()
        claim = await world.claim(accepted.claim_id)
        refund = name.startswith("refund")
        assert (claim["status"], claim["recovery_point"]) == ("open", "finished")
        assert claim["payment_status"] == ("refunded" if refund else "na")
        assert claim["refund_amount"] == (1000 if refund else None)
        assert await outcome(world, accepted.claim_id) == {
            "claim_id": accepted.claim_id,
            "order_id": "order_1",
        }
        told = ["claim.created", *(["claim.refund_processed"] if refund else []), "claim.confirmed"]
        assert await world.events(accepted.claim_id) == [
            (event, version) for version, event in enumerate(told, 1)
        ]
        assert claim["version"] == len(told)
        await nothing_wrong(world)

    @EACH
    async def test_each_item_is_told_of_once(self, world: World, name: str) -> None:
        accepted = await open_claim(world, REQUESTS[name])
        await world.pump()
        items = await world.rows("SELECT id, line_id, quantity, reason FROM claim_items")
        told = [one for one in await world.said() if one.key == "claims.claim-item.created.v1"]
        assert [(one.subject, one.sequence, one.data) for one in told] == [
            (
                f"claim-item/{item['id']}",
                1,
                {"name": "claim_item.created", "claim_id": accepted.claim_id, **item},
            )
            for item in items
        ]

    async def test_a_plain_refund_is_one_command(self, world: World) -> None:
        await open_claim(world)
        await world.pump()
        commands = [key for key in await world.keys() if not key.startswith("claims.")]
        assert commands == [PlaceClaimHold.key]

    async def test_events_carry_the_state_after_the_change(self, world: World) -> None:
        accepted = await open_claim(world)
        await world.pump()
        *_, confirmed = await world.said()
        assert confirmed.subject == f"claim/{accepted.claim_id}"
        assert confirmed.data["status"] == "open"
        assert (confirmed.data["payment_status"], confirmed.data["refund_amount"]) == (
            "refunded",
            1000,
        )
        assert confirmed.data["items"] == [{"line_id": "item_1", "quantity": 1}]

    async def test_a_refund_of_nothing_is_not_said_to_be_refunded(self, world: World) -> None:
        world.others.amount = 0
        accepted = await open_claim(world)
        await world.pump()
        claim = await world.claim(accepted.claim_id)
        assert (claim["payment_status"], claim["refund_amount"]) == ("not_refunded", 0)
        assert [name for name, _ in await world.events(accepted.claim_id)] == [
            "claim.created",
            "claim.confirmed",
        ]

    async def test_lines_are_frozen_as_inventory_and_orders_said(self, world: World) -> None:
        await open_claim(
            world,
            a_replacement(
                additional_items=[
                    {"variant_id": "variant_2", "quantity": 3},
                    {"variant_id": "variant_3", "quantity": 1},
                ]
            ),
        )
        await world.pump()
        lines = await world.rows("SELECT * FROM additional_items ORDER BY variant_id")
        assert [(line["title"], line["unit_price"], line["quantity"]) for line in lines] == [
            ("Title of variant_2", 700, 3),
            ("Title of variant_3", 700, 1),
        ]
        assert {line["location_id"] for line in lines} == {"sloc_1"}
        assert [line["tax_lines"] for line in lines] == [[TAX], [TAX]]
        (item,) = await world.rows("SELECT variant_id FROM claim_items")
        assert item["variant_id"] == SNAPSHOT["variant_id"]


NO = {"code": "units_taken", "message": "Cannot claim more of an item than has been fulfilled."}
SHORT = {
    "code": "insufficient_stock",
    "message": "Variant with id: variant_1 does not have the required inventory",
}
DECLINED = {"code": "refund_declined", "message": "The payment provider declined: card closed"}


class TestARefusal:
    @pytest.mark.parametrize(
        ("name", "refuses", "told", "asked"),
        [
            ("refund", {PlaceClaimHold: NO}, NO, 1),
            ("refund, goods back", {PlaceClaimHold: NO}, NO, 1),
            ("replace", {PlaceClaimHold: NO}, NO, 3),
            ("replace", {PlaceReservation: SHORT}, SHORT, 3),
            ("replace, goods back", {PlaceReservation: SHORT, PlaceClaimHold: NO}, SHORT, 2),
            ("refund with additional items", {PlaceReservation: SHORT}, SHORT, 3),
        ],
    )
    async def test_leaves_the_claim_hidden_with_the_reason_told(
        self,
        world: World,
        name: str,
        refuses: dict[Any, dict[str, Any]],
        told: dict[str, Any],
        asked: int,
    ) -> None:
        world.others.refuses = refuses
        accepted = await open_claim(world, REQUESTS[name])
        await world.pump()
        refusal = await outcome(world, accepted.claim_id)
        assert isinstance(refusal, Refusal)
        assert (refusal.kind, refusal.code, refusal.message) == (
            "not_allowed",
            told["code"],
            told["message"],
        )
        assert (await world.claim(accepted.claim_id))["status"] == "refused"
        assert await visible(world, accepted.claim_id) is None
        assert await world.events(accepted.claim_id) == []
        assert len(await world.said()) == asked
        (row,) = await world.rows("SELECT direction, next_at FROM sagas")
        assert row == {"direction": "undone", "next_at": None}
        await nothing_wrong(world)

    @pytest.mark.parametrize("kind", ["not_found", "invalid", "conflict"])
    async def test_keeps_its_kind_on_the_way(self, world: World, kind: str) -> None:
        world.others.refuses = {PlaceClaimHold: NO | {"kind": kind}}
        accepted = await open_claim(world)
        await world.pump()
        refusal = await outcome(world, accepted.claim_id)
        assert isinstance(refusal, Refusal)
        assert refusal.kind == kind

    @pytest.mark.parametrize("name", ["refund", "refund with additional items, goods back"])
    async def test_of_the_refund_takes_a_created_claim_back_and_says_so(
        self, world: World, name: str
    ) -> None:
        world.others.refuses = {ExecuteClaimRefund: DECLINED}
        accepted = await open_claim(world, REQUESTS[name])
        await world.pump()
        assert await world.events(accepted.claim_id) == [
            ("claim.created", 1),
            ("claim.refused", 2),
        ]
        assert await visible(world, accepted.claim_id) is None
        refusal = await outcome(world, accepted.claim_id)
        assert isinstance(refusal, Refusal)
        assert refusal.message == DECLINED["message"]
        await nothing_wrong(world)


class TestTheSameKey:
    async def test_finds_the_same_claim_and_makes_nothing_new(self, world: World) -> None:
        first = await open_claim(world)
        assert await open_claim(world) == first
        await world.pump()
        assert await open_claim(world) == first
        assert len(await world.rows("SELECT id FROM claims")) == 1
        assert (await world.keys()).count(PlaceClaimHold.key) == 1

    async def test_finds_the_same_refusal(self, world: World) -> None:
        world.others.refuses = {PlaceClaimHold: NO}
        first = await open_claim(world)
        await world.pump()
        world.others.refuses = {}
        assert await open_claim(world) == first
        assert isinstance(await outcome(world, first.claim_id), Refusal)

    async def test_with_another_body_is_refused(self, world: World) -> None:
        await open_claim(world)
        with pytest.raises(KeyReused):
            await open_claim(world, fingerprint="g")

    async def test_of_another_principal_is_another_key(self, world: World) -> None:
        first = await open_claim(world)
        other = await open_claim(world, principal="usr_2", fingerprint="g")
        assert other.claim_id != first.claim_id

    async def test_at_the_same_moment_makes_one_claim(self, world: World) -> None:
        async def attempt() -> Accepted:
            while True:
                try:
                    return await open_claim(world)
                except Transient:
                    continue

        accepted = await asyncio.gather(*(attempt() for _ in range(10)))
        assert len({one.claim_id for one in accepted}) == 1
        assert len(await world.rows("SELECT id FROM claims")) == 1


class TestTimers:
    async def test_an_unanswered_claim_is_given_up_and_everything_is_released(
        self, world: World
    ) -> None:
        world.others.silent = {PlaceReservation}
        accepted = await open_claim(world, a_replacement())
        await world.pump()
        await expire(world, accepted.saga_id, DEADLINE_S)
        refusal = await outcome(world, accepted.claim_id)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "timeout"
        await world.pump()
        assert sorted(await world.keys())[-2:] == [
            "orders.claim-hold.place",
            "orders.claim-hold.release",
        ]
        assert "inventory.reservation.release" in await world.keys()
        (row,) = await world.rows("SELECT direction FROM sagas")
        assert row["direction"] == "undone"

    async def test_due_it_sends_the_same_commands_again(self, world: World) -> None:
        world.others.silent = {PlaceClaimHold, PlaceReservation}
        accepted = await open_claim(world, a_replacement())
        async with world.database.transaction() as tx:
            await tx.execute("UPDATE outbox SET sent_at = :now", now=NOW)
        await expire(world, accepted.saga_id, 30)
        rows = await world.rows("SELECT sent_at FROM outbox")
        assert [row["sent_at"] for row in rows] == [None, None]

    async def test_a_refund_on_its_way_is_waited_for_and_stays_visible(self, world: World) -> None:
        """The pivot: what was asked of the payment provider may still come true."""
        world.others.silent = {ExecuteClaimRefund}
        accepted = await open_claim(world)
        await world.pump()
        for day in range(1, 5):
            await expire(world, accepted.saga_id, day * 86400)
        claim = await world.claim(accepted.claim_id)
        assert (claim["status"], claim["recovery_point"]) == ("open", "claim_created")
        assert await visible(world, accepted.claim_id) is not None

    async def test_a_hold_whose_refund_went_out_while_it_was_given_up_becomes_a_claim_after_all(
        self, world: World
    ) -> None:
        accepted = await open_claim(world, a_request(**SHIPPING))
        late = await world.replies()
        await expire(world, accepted.saga_id, DEADLINE_S)
        # Nobody is told no while the refund may be out: the answer would be kept for ever.
        assert await outcome(world, accepted.claim_id) is None
        await world.hear(late)
        assert await outcome(world, accepted.claim_id) is None
        world.others.pivot_passed = True
        await world.pump()
        claim = await world.claim(accepted.claim_id)
        assert (claim["status"], claim["recovery_point"]) == ("open", "finished")
        assert (claim["payment_status"], claim["refusal"]) == ("refunded", None)
        assert [name for name, _ in await world.events(accepted.claim_id)] == [
            "claim.created",
            "claim.refund_processed",
            "claim.confirmed",
        ]
        await nothing_wrong(world)

    async def test_a_claim_that_is_given_up_is_refused_once_nothing_of_it_can_stand(
        self, world: World
    ) -> None:
        accepted = await open_claim(world, a_request(**SHIPPING))
        await expire(world, accepted.saga_id, DEADLINE_S)
        await world.pump()
        refusal = await outcome(world, accepted.claim_id)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "timeout"
        assert (await world.claim(accepted.claim_id))["status"] == "refused"
        await nothing_wrong(world)

    async def test_only_sagas_that_are_due_are_woken(self, world: World) -> None:
        await open_claim(world)
        woken: list[str] = []

        async def expire_one(_: Any, saga_id: str, now: datetime) -> None:
            woken.append(saga_id)

        await saga_log.wake_due(world.database, expire_one)
        async with world.database.transaction() as tx:
            await tx.execute("UPDATE sagas SET next_at = :now", now=NOW.replace(year=2099))
        await saga_log.wake_due(world.database, expire_one)
        assert len(woken) <= 1


async def a_finished(world: World, request: dict[str, Any] | None = None) -> str:
    accepted = await open_claim(world, request or a_replacement())
    await world.pump()
    assert (await world.claim(accepted.claim_id))["recovery_point"] == "finished"
    return accepted.claim_id


class TestCancelClaim:
    @pytest.mark.parametrize(
        ("request_", "commands"),
        [
            (a_replacement(), ["orders.claim-hold.release", "inventory.reservation.release"]),
            (
                a_replacement(**SHIPPING),
                [
                    "returns.claim-return.check",
                    "orders.claim-hold.release",
                    "inventory.reservation.release",
                ],
            ),
        ],
    )
    async def test_releases_everything_and_is_canceled(
        self, world: World, request_: dict[str, Any], commands: list[str]
    ) -> None:
        claim_id = await a_finished(world, request_)
        before = len(await world.said())
        accepted = await cancel_claim(world, claim_id)
        assert accepted is not None
        assert (await world.claim(claim_id))["status"] == "canceling"
        await world.pump()
        claim = await world.claim(claim_id)
        assert (claim["status"], claim["fulfillment_status"]) == ("canceled", "canceled")
        assert claim["canceled_at"] is not None
        assert [e.key for e in (await world.said())[before:]] == [
            *commands,
            "claims.claim.canceled.v1",
        ]
        assert (await world.events(claim_id))[-1] == ("claim.canceled", 3)
        await nothing_wrong(world)

    async def test_a_refund_of_nothing_can_be_canceled(self, world: World) -> None:
        world.others.amount = 0
        claim_id = await a_finished(world, a_request())
        await cancel_claim(world, claim_id)
        await world.pump()
        assert (await world.claim(claim_id))["status"] == "canceled"

    async def test_twice_is_no_error_and_no_second_event(self, world: World) -> None:
        claim_id = await a_finished(world)
        await cancel_claim(world, claim_id)
        await world.pump()
        before = await world.said()
        assert await cancel_claim(world, claim_id) is None
        assert await world.said() == before

    async def test_a_refunded_claim_is_not_canceled(self, world: World) -> None:
        claim_id = await a_finished(world, a_request())
        with pytest.raises(RefundAlreadyMade):
            await cancel_claim(world, claim_id)
        assert (await world.claim(claim_id))["status"] == "open"

    async def test_a_claim_that_a_saga_holds_is_busy(self, world: World) -> None:
        opening = await open_claim(world, a_replacement())
        with pytest.raises(ClaimBusy):
            await cancel_claim(world, opening.claim_id)
        await world.pump()
        await cancel_claim(world, opening.claim_id)
        with pytest.raises(ClaimBusy):
            await cancel_claim(world, opening.claim_id)

    @pytest.mark.parametrize("order_id", ["order_2", ""])
    async def test_under_another_order_it_is_not_found(self, world: World, order_id: str) -> None:
        claim_id = await a_finished(world)
        with pytest.raises(ClaimNotFound, match="related to order" if order_id else "not found"):
            await cancel_claim(world, claim_id, order_id=order_id)

    async def test_without_an_order_only_the_id_counts(self, world: World) -> None:
        claim_id = await a_finished(world)
        assert await cancel_claim(world, claim_id, order_id=None)

    async def test_unknown_or_refused_it_is_not_found(self, world: World) -> None:
        world.others.refuses = {PlaceClaimHold: NO}
        refused = await open_claim(world)
        await world.pump()
        for claim_id in ("claim_nowhere", refused.claim_id):
            with pytest.raises(ClaimNotFound):
                await cancel_claim(world, claim_id)

    async def test_a_return_under_way_keeps_it_open_and_is_told(self, world: World) -> None:
        world.others.return_status = "requested"
        claim_id = await a_finished(world, a_replacement(**SHIPPING))
        accepted = await cancel_claim(world, claim_id)
        await world.pump()
        assert accepted is not None
        async with world.database.reading() as tx:
            refusal = await queries.outcome_of_saga(tx, saga_id=accepted.saga_id)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.kind) == ("return_not_canceled", "not_allowed")
        assert (await world.claim(claim_id))["status"] == "open"
        assert "orders.claim-hold.release" not in await world.keys()
        world.others.return_status = "canceled"
        await cancel_claim(world, claim_id)
        await world.pump()
        assert (await world.claim(claim_id))["status"] == "canceled"

    async def test_money_that_went_out_meanwhile_keeps_it_open(self, world: World) -> None:
        claim_id = await a_finished(world)
        world.others.pivot_passed = True
        accepted = await cancel_claim(world, claim_id)
        await world.pump()
        assert accepted is not None
        async with world.database.reading() as tx:
            refusal = await queries.outcome_of_saga(tx, saga_id=accepted.saga_id)
        assert isinstance(refusal, Refusal)
        assert refusal.message == RefundAlreadyMade().message
        assert (await world.claim(claim_id))["status"] == "open"
        assert "inventory.reservation.release" not in await world.keys()

    async def test_the_same_key_joins_the_same_cancel(self, world: World) -> None:
        claim_id = await a_finished(world)
        first = await cancel_claim(world, claim_id, key="k")
        assert await cancel_claim(world, claim_id, key="k") == first
        await world.pump()
        assert await cancel_claim(world, claim_id, key="k") == first
        with pytest.raises(KeyReused):
            await cancel_claim(world, claim_id, key="k", fingerprint="other")

    async def test_two_at_once_begin_one_saga(self, world: World) -> None:
        claim_id = await a_finished(world)

        async def attempt() -> str:
            try:
                await cancel_claim(world, claim_id)
            except (ClaimBusy, Transient):
                return "busy"
            return "begun"

        ends = await asyncio.gather(*(attempt() for _ in range(6)))
        assert ends.count("begun") == 1
        sagas = await world.rows("SELECT id FROM sagas WHERE kind = :kind", kind=saga.CANCEL.kind)
        assert len(sagas) == 1

    async def test_an_unanswered_release_is_asked_for_ever(self, world: World) -> None:
        claim_id = await a_finished(world)
        world.others.silent = {ReleaseClaimHold}
        accepted = await cancel_claim(world, claim_id)
        assert accepted is not None
        for day in range(1, 4):
            await expire(world, accepted.saga_id, day * 86400)
        assert (await world.claim(claim_id))["status"] == "canceling"
        world.others.silent = set()
        await world.pump()
        assert (await world.claim(claim_id))["status"] == "canceled"


class TestWhatIsShown:
    async def ids(self, world: World, **filters: Any) -> list[str]:
        async with world.database.reading() as tx:
            claims, count = await queries.list_claims(
                tx, filters=filters, limit=10, offset=0, now=clock.now()
            )
        assert count == len(claims)
        return [claim["id"] for claim in claims]

    async def test_lists_are_newest_first_filtered_and_without_what_was_never_agreed(
        self, world: World
    ) -> None:
        refund = (await open_claim(world, key="1")).claim_id
        await world.pump()
        replace = (await open_claim(world, a_replacement(order_id="order_2"), key="2")).claim_id
        await world.pump()
        await open_claim(world, key="3")  # opening
        world.others.refuses = {PlaceClaimHold: NO}
        await open_claim(world, key="4")
        await world.pump()
        world.others = TheOthers()
        third = (await open_claim(world, key="5")).claim_id
        await world.pump()
        assert await self.ids(world) == sorted([refund, replace, third], reverse=True)
        assert await self.ids(world, order_id=["order_2"]) == [replace]
        assert len(await self.ids(world, order_id=["order_1", "order_2", "order_3"])) == 3
        assert await self.ids(world, type="replace") == [replace]
        assert await self.ids(world, payment_status="refunded", order_id=["order_1"]) == sorted(
            [refund, third], reverse=True
        )
        assert await self.ids(world, status="canceled") == []
        async with world.database.reading() as tx:
            page, count = await queries.list_claims(
                tx, filters={}, limit=1, offset=1, now=clock.now()
            )
            assert (len(page), count) == (1, 3)
            of_order = await queries.claims_of_order(tx, order_id="order_1")
        assert [claim["id"] for claim in of_order] == sorted([refund, third])

    async def test_one_claim_is_shown_whole_with_its_timeline(self, world: World) -> None:
        accepted = await open_claim(
            world,
            a_replacement(
                claim_items=[
                    {
                        "item_id": "item_1",
                        "quantity": 1,
                        "reason": "other",
                        "images": ["https://a/1.jpg"],
                        "tags": ["Cracked"],
                    }
                ],
                shipping_methods=[{"option_id": "so_2", "price": 300}],
                shipping_address={"city": "Bremen"},
                metadata={"ticket": 7},
            ),
        )
        await world.pump()
        claim = await visible(world, accepted.claim_id)
        assert claim is not None
        (item,) = claim["claim_items"]
        assert (item["item_id"], item["variant_id"]) == ("item_1", "variant_1")
        assert item["images"][0]["url"] == "https://a/1.jpg"
        assert [tag["value"] for tag in item["tags"]] == ["cracked"]
        (line,) = claim["additional_items"]
        assert (line["title"], line["unit_price"]) == ("Title of variant_1", 700)
        (method,) = claim["shipping_methods"]
        assert (method["shipping_option_id"], method["price"]) == ("so_2", 300)
        assert (claim["shipping_address"]["city"], claim["metadata"]) == ("Bremen", {"ticket": 7})
        assert claim["shipping_address"]["id"] == claim["shipping_address_id"]
        assert (line["subtotal"], line["tax_total"], line["total"]) == (700, 140, 840)
        (told,) = claim["timeline"]
        assert (told["kind"], told["direction"]) == ("claim", "finished")
        assert told["steps"] == {"hold": "done", "reserve": "done"}
        assert [entry["what"] for entry in told["history"]] == [
            "asked",
            "asked",
            "done",
            "done",
            "finished",
        ]

    async def test_the_hold_was_heard(self, world: World) -> None:
        """The example and what this service reads of it stay in step."""
        assert {"amount", "currency_code", "explanation", "lines", "tax"} <= set(
            ClaimHoldPlaced.model_fields
        )
