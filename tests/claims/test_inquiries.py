"""Inquiries on both databases: what is repeated, raced, delivered twice, refused on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis.db import Transient
from chassis.errors import KeyReused, NotAllowed, Refusal
from chassis.idempotency import Caller
from chassis.sagas import DEADLINE_S
from contracts.orders import PlaceClaimHold
from services.claims import approving, evidence, inquiries, inquiry_queries, invariants
from services.claims.evidence import Kept
from services.claims.inquiry import By, InquiryBusy, WrongState
from services.claims.operations import Accepted
from services.claims.pictures import Content
from services.claims.schemas import ApproveInquiry, OpenInquiry
from tests.claims.builders import World
from tests.claims.test_operations import NOW, expire

CUSTOMER, CLERK = By("customer", "cus_1"), By("shop", "usr_1")
NO = {"code": "units_taken", "message": "Cannot claim more of an item than has been fulfilled."}


async def report(world: World, *, units: int = 1, key: str | None = None, by: By = CUSTOMER) -> str:
    item = {"item_id": "item_1", "quantity": units, "reason": "missing_item"}
    body = OpenInquiry(
        order_id="order_1",
        customer_id="cus_1",
        claim_items=[item],  # type: ignore[list-item]
        claimable={"item_1": 2},
    )
    async with world.database.transaction() as tx:
        return await inquiries.open_inquiry(
            tx,
            request=body.model_dump(exclude={"claimable"}),
            claimable=body.claimable,
            by=by,
            caller=Caller(by.id or "", key, "f"),
            a_day_most=20,
            now=NOW,
        )


async def in_review(world: World) -> str:
    inquiry_id = await report(world)
    async with world.database.transaction() as tx:
        await inquiries.review_inquiry(
            tx, inquiry_id=inquiry_id, by=CLERK, caller=Caller("usr_1"), now=NOW
        )
    return inquiry_id


async def approve(
    world: World, inquiry_id: str, *, key: str = "a", fingerprint: str = "f"
) -> Accepted:
    async with world.database.transaction() as tx:
        return await approving.approve_inquiry(
            tx,
            inquiry_id=inquiry_id,
            request=ApproveInquiry(type="refund").model_dump(),
            by=CLERK,
            caller=Caller("usr_1", key, fingerprint),
            now=NOW,
        )


async def row(world: World, inquiry_id: str) -> dict[str, Any]:
    (found,) = await world.rows("SELECT * FROM inquiries WHERE id = :id", id=inquiry_id)
    return found


async def outcome(world: World, claim_id: str) -> dict[str, Any] | Refusal | None:
    async with world.database.reading() as tx:
        return await inquiry_queries.outcome_of_approval(tx, claim_id=claim_id)


async def findings(world: World) -> list[tuple[str, str]]:
    async with world.database.reading() as tx:
        return [(one["invariant"], one["id"]) for one in await invariants.findings(tx)]


class TestReport:
    async def test_a_known_key_answers_with_what_it_made(self, world: World) -> None:
        assert await report(world, key="k") == await report(world, key="k")
        assert len(await world.rows("SELECT id FROM inquiries")) == 1

    async def test_of_many_at_once_only_as_many_as_there_are_units(self, world: World) -> None:
        async def attempt() -> str:
            while True:
                try:
                    return await report(world)
                except NotAllowed:
                    return "no"
                except Transient:
                    continue

        ends = await asyncio.gather(*(attempt() for _ in range(6)))
        assert ends.count("no") == 4
        assert len(await world.rows("SELECT id FROM inquiries")) == 2


class TestApprove:
    async def test_it_is_decided_when_its_claim_is_there(self, world: World) -> None:
        inquiry_id = await in_review(world)
        accepted = await approve(world, inquiry_id)
        assert await outcome(world, accepted.claim_id) is None
        assert (await row(world, inquiry_id))["status"] == "approving"
        await world.pump()
        done = {"inquiry_id": inquiry_id, "claim_id": accepted.claim_id}
        assert await outcome(world, accepted.claim_id) == done
        assert (await row(world, inquiry_id))["status"] == "approved"
        assert (await world.claim(accepted.claim_id))["inquiry_id"] == inquiry_id
        assert await findings(world) == []

    async def test_replies_that_come_twice_say_it_once(self, world: World) -> None:
        inquiry_id = await in_review(world)
        await approve(world, inquiry_id)
        deliveries = await world.replies()
        await world.hear([*deliveries, *deliveries])
        await world.pump()
        keys = await world.keys()
        assert keys.count("claims.inquiry.approved.v1") == 1
        assert await findings(world) == []

    async def test_a_known_key_joins_it_and_another_has_to_wait(self, world: World) -> None:
        inquiry_id = await in_review(world)
        first = await approve(world, inquiry_id)
        assert await approve(world, inquiry_id) == first
        with pytest.raises(InquiryBusy):
            await approve(world, inquiry_id, key="b")
        with pytest.raises(KeyReused):
            await approve(world, inquiry_id, fingerprint="other")
        await world.pump()
        assert await approve(world, inquiry_id) == first
        with pytest.raises(WrongState):
            await approve(world, inquiry_id, key="c")

    async def test_two_clerks_at_once_make_one_claim(self, world: World) -> None:
        inquiry_id = await in_review(world)

        async def attempt(number: int) -> str:
            while True:
                try:
                    return (await approve(world, inquiry_id, key=f"k{number}")).claim_id
                except InquiryBusy:
                    return "busy"
                except Transient:
                    continue

        ends = await asyncio.gather(*(attempt(number) for number in range(5)))
        assert ends.count("busy") == 4
        await world.pump()
        assert len(await world.rows("SELECT id FROM claims")) == 1
        assert await findings(world) == []

    async def test_a_refusal_leaves_it_in_review_and_the_next_attempt_is_another_claim(
        self, world: World
    ) -> None:
        world.others.refuses = {PlaceClaimHold: NO}
        inquiry_id = await in_review(world)
        first = await approve(world, inquiry_id)
        await world.pump()
        refusal = await outcome(world, first.claim_id)
        assert isinstance(refusal, Refusal)
        assert refusal.message == NO["message"]
        back = await row(world, inquiry_id)
        assert (back["status"], back["claim_id"]) == ("in_review", None)
        assert back["refusal"]["message"] == NO["message"]
        world.others.refuses = {}
        second = await approve(world, inquiry_id, key="b")
        assert second.claim_id != first.claim_id
        await world.pump()
        assert (await row(world, inquiry_id))["claim_id"] == second.claim_id
        # The first key still answers what it was told.
        assert await approve(world, inquiry_id) == first
        again = await outcome(world, first.claim_id)
        assert isinstance(again, Refusal)
        assert await findings(world) == []

    async def test_an_unanswered_approval_is_given_up_only_when_all_is_released(
        self, world: World
    ) -> None:
        world.others.silent = {PlaceClaimHold}
        inquiry_id = await in_review(world)
        accepted = await approve(world, inquiry_id)
        await world.pump()
        await expire(world, accepted.saga_id, DEADLINE_S)
        assert (await row(world, inquiry_id))["status"] == "approving"
        await world.pump()
        assert (await row(world, inquiry_id))["status"] == "in_review"
        assert await findings(world) == []


class TestEvidence:
    async def test_two_who_remove_the_same_file_at_once_say_it_once(self, world: World) -> None:
        inquiry_id = await report(world)
        kept = Kept("0" * 32, Content("image/png", b"pixels"), "mug.png")
        async with world.database.transaction() as tx:
            added = await evidence.add_to_inquiry(
                tx,
                inquiry_id=inquiry_id,
                owner="cus_1",
                kept=kept,
                by=CUSTOMER,
                key=None,
                now=NOW,
            )

        async def attempt() -> str:
            while True:
                try:
                    async with world.database.transaction() as tx:
                        return await evidence.remove_evidence(
                            tx, evidence_id=added["id"], inquiry_id=inquiry_id, owner="cus_1"
                        )
                except evidence.EvidenceNotFound:
                    return "gone"
                except Transient:
                    continue

        ends = await asyncio.gather(*(attempt() for _ in range(5)))
        assert sorted(ends) == [kept.file_key, *["gone"] * 4]
        assert (await world.keys()).count("claims.evidence.removed.v1") == 1


@pytest.mark.parametrize(
    ("broken", "invariant"),
    [
        ("UPDATE inquiries SET version = version + 1", "I10"),
        ("UPDATE inquiries SET claim_id = 'claim_other'", "I21"),
        ("UPDATE claims SET inquiry_id = NULL", "I21"),
        ("UPDATE claims SET status = 'refused'", "I21"),
    ],
)
async def test_an_inquiry_and_a_claim_that_do_not_agree_are_found(
    world: World, broken: str, invariant: str
) -> None:
    inquiry_id = await in_review(world)
    await approve(world, inquiry_id)
    await world.pump()
    assert await findings(world) == []
    async with world.database.transaction() as tx:
        await tx.execute(broken)
    assert (invariant, inquiry_id) in await findings(world)
