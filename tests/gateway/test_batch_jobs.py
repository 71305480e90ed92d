"""Batch jobs through the door: Medusa's cases (M136), files, whose they are, what ends them."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from chassis import clock
from chassis.failpoints import arm
from chassis.testing import eventually
from gateway import exporting
from tests.gateway.builders import Door, Json, an_order

PATH = "/admin/batch-jobs"


async def _create(door: Door, type_: str = "order-export", **more: Any) -> Json:
    answer = await door.post(PATH, {"type": type_, "context": {}, **more})
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()["batch_job"]
    return found


async def _is(door: Door, job: Json, status: str) -> Json:
    async def so() -> Json | None:
        found: Json = (await door.get(f"{PATH}/{job['id']}")).json()["batch_job"]
        return found if found["status"] == status else None

    return await eventually(so)


async def _rows(door: Door, job: Json) -> list[dict[str, str]]:
    answer = await door.get(f"{PATH}/{job['id']}/file")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def _write(door: Door, sql: str, **params: Any) -> None:
    async with door.embedded.gateway.database.transaction() as tx:
        await tx.execute(sql, **params)
        tx.wake(exporting.WAKE)


async def _many(door: Door, count: int) -> None:
    """So many more orders."""
    orders = [
        an_order(f"n{number:03}", id=f"order_n{number:03}", customer_id=None)
        for number in range(count)
    ]
    await door.load({"orders": orders})


class TestMedusasCases:
    async def test_creates_a_job(self, shop: Door) -> None:
        answer = await shop.post(PATH, {"type": "order-export", "context": {}})
        assert answer.status_code == 201
        job = answer.json()["batch_job"]
        assert job["id"].startswith("batch_")
        assert {name: value for name, value in job.items() if value is not None} == {
            "id": job["id"],
            "type": "order-export",
            "status": "created",
            "created_by": "admin_user",
            "context": {},
            "dry_run": False,
            "created_at": job["created_at"],
            "updated_at": job["updated_at"],
        }

    async def test_lists_the_callers_jobs_only(self, shop: Door) -> None:
        login = await shop.user("agent")
        token = (await shop.as_().post("/admin/auth/token", login)).json()["access_token"]
        agent = shop.as_(authorization=f"Bearer {token}")
        mine, theirs = await _create(shop), await _create(agent)
        for door, job in ((shop, mine), (agent, theirs)):
            page = (await door.get(PATH)).json()
            assert [each["id"] for each in page["batch_jobs"]] == [job["id"]]
            assert (page["count"], page["offset"], page["limit"]) == (1, 0, 10)

    async def test_a_job_of_somebody_else_is_refused(self, shop: Door) -> None:
        login = await shop.user("agent")
        token = (await shop.as_().post("/admin/auth/token", login)).json()["access_token"]
        agent = shop.as_(authorization=f"Bearer {token}")
        path = f"{PATH}/{(await _create(shop))['id']}"
        for answer in (
            await agent.get(path),
            await agent.post(f"{path}/cancel"),
            await agent.post(f"{path}/confirm"),
            await agent.get(f"{path}/file"),
        ):
            assert answer.status_code == 400
            assert answer.json() == {
                "type": "not_allowed",
                "message": "Cannot access a batch job that does not belong to the logged in user",
            }

    async def test_a_completed_job_cannot_be_canceled(self, shop: Door) -> None:
        job = await _create(shop)
        await _is(shop, job, "completed")
        answer = await shop.post(f"{PATH}/{job['id']}/cancel")
        assert answer.status_code == 400
        message = "Cannot cancel completed batch job"
        assert answer.json() == {"type": "not_allowed", "message": message}

    async def test_cancels_a_job(self, shop: Door) -> None:
        job = await _create(shop, dry_run=True)
        await _is(shop, job, "pre_processed")
        for _ in range(2):
            answer = await shop.post(f"{PATH}/{job['id']}/cancel")
            assert answer.status_code == 200
            canceled = answer.json()["batch_job"]
            assert canceled["status"] == "canceled"
            assert canceled["canceled_at"] is not None

    async def test_an_unknown_job_is_not_found(self, shop: Door) -> None:
        answer = await shop.get(f"{PATH}/batch_x")
        assert answer.status_code == 404
        message = "Batch job with id batch_x was not found"
        assert answer.json() == {"type": "not_found", "message": message}


class TestTheFile:
    async def test_every_order_is_a_line_with_medusas_columns(self, shop: Door) -> None:
        await shop.claim()
        job = await _is(shop, await _create(shop), "completed")
        ana, ben = await _rows(shop, job)
        assert (ana["Order_ID"], ben["Order_ID"]) == ("order_ana", "order_ben")
        assert {name: ana[name] for name in ("Customer Email", "Shipping City", "Total")} == {
            "Customer Email": "ana@shop.example",
            "Shipping City": "Ljubljana",
            "Total": "10300",
        }
        assert (ana["Refunded Total"], ben["Refunded Total"]) == ("1200", "0")
        result = job["result"]
        assert (result["count"], result["advancement_count"], result["progress"]) == (2, 2, 1)
        assert result["errors"] == []
        answer = await shop.get(f"{PATH}/{job['id']}/file")
        assert len(answer.content) == result["file_size"]
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"].startswith("attachment; ")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"

    async def test_claims_and_returns_have_files_too(self, shop: Door) -> None:
        order = (await shop.claim(return_shipping={"price": 0})).json()["order"]
        claim, opened = order["claims"][0], order["returns"][0]
        job = await _is(shop, await _create(shop, "claim-export"), "completed")
        (row,) = await _rows(shop, job)
        assert (row["Claim_ID"], row["Order_ID"]) == (claim["id"], "order_ana")
        assert (row["Units"], row["Reasons"], row["Refund Amount"]) == ("1", "wrong_item", "1200")
        job = await _is(shop, await _create(shop, "return-export"), "completed")
        (row,) = await _rows(shop, job)
        assert (row["Return_ID"], row["Claim_ID"]) == (opened["id"], claim["id"])
        assert (row["Requested Units"], row["Received Units"]) == ("1", "0")

    async def test_what_people_write_is_no_formula(self, shop: Door) -> None:
        bad = {"first_name": "=HYPERLINK(1)", "last_name": "@x", "city": "-2+3"}
        order = an_order("eve", id="order_eve", customer_id=None, shipping_address=bad)
        await shop.load({"orders": [order]})
        job = await _is(shop, await _create(shop), "completed")
        row = next(row for row in await _rows(shop, job) if row["Order_ID"] == "order_eve")
        assert row["Customer First name"] == "'=HYPERLINK(1)"
        assert (row["Customer Last name"], row["Shipping City"]) == ("'@x", "'-2+3")

    async def test_an_export_of_nothing_is_a_header(self, shop: Door) -> None:
        job = await _is(shop, await _create(shop, "claim-export"), "completed")
        assert await _rows(shop, job) == []
        assert (await shop.get(f"{PATH}/{job['id']}/file")).text.startswith("Claim_ID,Order_ID,")
        assert job["result"]["progress"] == 1

    async def test_filters_choose_the_lines(self, shop: Door) -> None:
        await shop.claim()
        fields = {"payment_status": ["partially_refunded"], "created_at": {"gt": "2020-01-01"}}
        job = await _create(shop, context={"filterable_fields": fields})
        rows = await _rows(shop, await _is(shop, job, "completed"))
        assert [row["Order_ID"] for row in rows] == ["order_ana"]

    async def test_many_orders_are_read_page_by_page_each_once(self, shop: Door) -> None:
        await _many(shop, 2 * exporting.PAGE_ROWS)
        job = await _is(shop, await _create(shop), "completed")
        rows = await _rows(shop, job)
        ids = [row["Order_ID"] for row in rows]
        assert len(ids) == len(set(ids)) == 2 * exporting.PAGE_ROWS + 2

    async def test_a_file_is_kept_for_a_week(self, shop: Door) -> None:
        job = await _is(shop, await _create(shop), "completed")
        files = shop.app.state.gate.exports.files
        async with shop.embedded.gateway.database.transaction() as tx:
            await files.forget(tx, before=clock.now() - timedelta(days=7))
        assert len(await _rows(shop, job)) == 2
        async with shop.embedded.gateway.database.transaction() as tx:
            await files.forget(tx, before=clock.now() + timedelta(seconds=1))
        answer = await shop.get(f"{PATH}/{job['id']}/file")
        assert (answer.status_code, answer.json()["type"]) == (404, "not_found")

    async def test_a_file_that_is_not_complete_is_not_given(self, shop: Door) -> None:
        job = await _create(shop, dry_run=True)
        answer = await shop.get(f"{PATH}/{job['id']}/file")
        assert (answer.status_code, answer.json()["type"]) == (400, "not_allowed")

    async def test_who_exported_and_who_fetched_is_in_the_audit_trail(self, shop: Door) -> None:
        job = await _is(shop, await _create(shop), "completed")
        await shop.get(f"{PATH}/{job['id']}/file")
        rows = (await shop.get(f"/admin/audit?about=batch-job/{job['id']}")).json()["audit"]
        actions = [(row["action"], row["actor_id"]) for row in reversed(rows)]
        assert actions == [
            ("batch_job.created", "admin_user"),
            ("batch_job.downloaded", "admin_user"),
        ]


class TestTheWay:
    async def test_a_dry_run_counts_and_waits_to_be_confirmed(self, shop: Door) -> None:
        job = await _is(shop, await _create(shop, dry_run=True), "pre_processed")
        assert (job["result"]["count"], job["result"]["file_size"]) == (2, 0)
        (told,) = job["result"]["stat_descriptors"]
        assert told["message"] == "There will be 2 orders exported by this action"
        answer = await shop.post(f"{PATH}/{job['id']}/confirm")
        assert (answer.status_code, answer.json()["batch_job"]["status"]) == (200, "confirmed")
        done = await _is(shop, job, "completed")
        assert len(await _rows(shop, job)) == 2
        times = [done[f"{name}_at"] for name in ("pre_processed", "confirmed", "processing")]
        assert times == sorted(times)

    async def test_only_what_was_counted_can_be_confirmed(self, shop: Door) -> None:
        job = await _is(shop, await _create(shop), "completed")
        answer = await shop.post(f"{PATH}/{job['id']}/confirm")
        assert answer.status_code == 400
        assert answer.json() == {
            "type": "not_allowed",
            "message": "Cannot confirm processing for a batch job that is not pre processed",
        }

    @pytest.mark.parametrize("point", ["export.x1", "export.x2", "export.x3"])
    async def test_what_breaks_in_the_middle_goes_on_where_it_was(
        self, shop: Door, point: str
    ) -> None:
        await _many(shop, exporting.PAGE_ROWS)
        arm(f"gateway.{point}@1:raise")
        try:
            job = await _create(shop)
            await eventually(lambda: _broken(shop, job, point))
        finally:
            arm("")
        await _come_due(shop)
        done = await _is(shop, job, "completed")
        ids = [row["Order_ID"] for row in await _rows(shop, job)]
        assert len(ids) == len(set(ids)) == exporting.PAGE_ROWS + 2
        assert done["result"]["advancement_count"] == len(ids)

    async def test_a_job_that_is_canceled_while_it_runs_leaves_no_file(self, shop: Door) -> None:
        await _many(shop, exporting.PAGE_ROWS)
        arm("gateway.export.x1@2:raise")
        try:
            job = await _create(shop)
            await eventually(lambda: _broken(shop, job, "export.x3"))
        finally:
            arm("")
        answer = await shop.post(f"{PATH}/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["batch_job"]["status"]) == (200, "canceled")
        await _come_due(shop)
        async with shop.embedded.gateway.database.reading() as tx:
            assert await tx.fetch_value("SELECT COUNT(*) FROM file_pieces") == 0
            assert await tx.fetch("SELECT id FROM batch_jobs WHERE next_at IS NOT NULL") == []

    async def test_a_service_that_refuses_fails_the_job_and_says_why(self, shop: Door) -> None:
        fields = {"status": ["borked"]}
        job = await _create(shop, context={"filterable_fields": fields})
        failed = await _is(shop, job, "failed")
        (error,) = failed["result"]["errors"]
        assert error.startswith("each value in status must be one of the following values: ")
        assert failed["failed_at"] is not None

    async def test_nobody_starts_more_than_ten_at_once(self, shop: Door) -> None:
        for _ in range(exporting.UNDER_WAY_MAX):
            await _is(shop, await _create(shop, dry_run=True), "pre_processed")
        body = {"type": "order-export", "context": {}}
        answer = await shop.post(PATH, body)
        assert (answer.status_code, answer.json()["type"]) == (400, "not_allowed")

    async def test_a_repeat_with_its_key_is_the_same_job(self, shop: Door) -> None:
        body = {"type": "order-export", "context": {}}
        first = await shop.post(PATH, body, key="job-1")
        again = await shop.post(PATH, body, key="job-1")
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert (await shop.get(PATH)).json()["count"] == 1


async def _broken(shop: Door, job: Json, point: str) -> bool:
    async with shop.embedded.gateway.database.reading() as tx:
        row = await tx.fetch_one(
            "SELECT status, pieces, next_at FROM batch_jobs WHERE id = :id", id=job["id"]
        )
    assert row is not None
    if point == "export.x3":
        return bool(row["pieces"])
    # It was counted, then taken for the first page: its lease runs.
    return row["status"] == "confirmed" and row["next_at"] > clock.now() + timedelta(seconds=5)


async def _come_due(shop: Door) -> None:
    sql = "UPDATE batch_jobs SET next_at = :now WHERE next_at IS NOT NULL"
    await _write(shop, sql, now=clock.now())


class TestTheList:
    async def test_filters_by_type_id_and_by_times_that_are_or_are_not(self, shop: Door) -> None:
        done = await _is(shop, await _create(shop), "completed")
        waits = await _is(shop, await _create(shop, "claim-export", dry_run=True), "pre_processed")

        async def ids(query: str) -> list[str]:
            answer = await shop.get(f"{PATH}?{query}")
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert page["count"] == len(page["batch_jobs"])
            return [job["id"] for job in page["batch_jobs"]]

        both = [waits["id"], done["id"]]
        # The stock client turns null into text.
        assert await ids("completed_at=null") == [waits["id"]]
        assert await ids("completed_at%5Bgt%5D=2020-01-01") == [done["id"]]
        assert await ids("completed_at[lt]=2020-01-01") == []
        assert await ids("canceled_at=null&failed_at=null") == both
        assert await ids("type[]=claim-export") == [waits["id"]]
        assert await ids("type[0]=claim-export&type[1]=order-export") == both
        assert await ids(f"id={done['id']}") == [done["id"]]
        assert await ids(f"id[]={done['id']}&id[]=x") == [done["id"]]
        assert await ids("order=created_at") == [done["id"], waits["id"]]
        assert await ids("created_at[gte]=2020-01-01&confirmed_at=null") == [waits["id"]]

    async def test_pages_and_fields(self, shop: Door) -> None:
        for _ in range(3):
            await _create(shop, dry_run=True)
        page = (
            await shop.get(f"{PATH}?limit=1&offset=1&fields=type&expand=created_by_user")
        ).json()
        assert (page["count"], page["limit"], page["offset"]) == (3, 1, 1)
        assert set(page["batch_jobs"][0]) == {"id", "created_at", "type"}

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("borked=1", "property borked should not exist"),
            ("type=order-export", "type must be an array"),
            ("type[]=product-import", "product-import is not a type of batch job"),
            ("completed_at=yesterday", "completed_at must be an object"),
            ("created_at=null", "created_at must be an object"),
            ("completed_at[gt]=soon", "soon is not a date"),
            ("order=password", "Order field password is not valid"),
        ],
    )
    async def test_what_is_no_filter_is_refused(self, shop: Door, query: str, message: str) -> None:
        answer = await shop.get(f"{PATH}?{query}")
        assert (answer.status_code, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {},
            "type should not be empty, type must be one of the following values: order-export,"
            " claim-export, return-export, context should not be empty, context must be an object",
        ),
        (
            {"type": "product-export", "context": {}},
            "type must be one of the following values: order-export, claim-export, return-export",
        ),
        (
            {"type": "order-export", "context": {}, "dry_run": "yes"},
            "dry_run must be a boolean value",
        ),
        ({"type": "order-export", "context": {"shape": 1}}, "property shape should not exist"),
        (
            {"type": "order-export", "context": {"filterable_fields": {"secret": "x"}}},
            "property secret should not exist",
        ),
        (
            {"type": "claim-export", "context": {"filterable_fields": {"type": ["a", "b"]}}},
            "type has too many values",
        ),
        (
            {"type": "order-export", "context": {"filterable_fields": {"created_at": "now"}}},
            "created_at must be an object",
        ),
    ],
)
async def test_what_is_no_job_is_refused_and_none_is_made(
    shop: Door, body: Json, message: str
) -> None:
    answer = await shop.post(PATH, body)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert (await shop.get(PATH)).json()["count"] == 0


async def test_an_export_reads_with_the_rights_of_who_asked_for_it(shop: Door) -> None:
    for role in ("warehouse", "ops"):
        door = await shop.with_role(role)
        body = {"type": "order-export", "context": {}}
        assert (await door.post(PATH, body)).status_code == 403
    finance = await shop.with_role("finance")
    await _is(finance, await _create(finance), "completed")
