"""Credit notes become claims or returns, once each, and all money is accounted for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest

from deploy import online_retail
from deploy.gateway_client import GatewayRefused, GatewayUnreachable
from deploy.import_client import FileUnreadable, import_files
from deploy.replay_client import Reconciliation, replay
from tests.deploy.stand_in import StandIn, a_gateway

SLICE = Path(online_retail.__file__).parent / "demo" / "online_retail_slice.csv"
DATA = Path(__file__).parents[1] / "data" / "online-retail" / "2010-12_2011-05.csv.xz"
CREDITS = 33
REFUND_PENCE = 200_492
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


@pytest.fixture
async def gateway() -> AsyncIterator[StandIn]:
    async with a_gateway() as state:
        await import_files(state.url, state.token, [SLICE], "online-retail", False)
        state.calls.clear()
        yield state


async def run(
    gateway: StandIn,
    as_: Literal["claims", "returns", "both"] = "claims",
    file: Path = SLICE,
    **more: Any,
) -> Reconciliation:
    return await replay(gateway.url, gateway.token, file, as_, False, **more)


def money_of(report: Reconciliation) -> tuple[int, int, int, int]:
    return (
        report.refunded_claims_pence,
        report.refunded_orders_pence,
        report.refunded_ledger_pence,
        report.difference_pence,
    )


class TestReplay:
    async def test_the_whole_file_reconciles_to_the_penny(self) -> None:
        async with a_gateway() as gateway:
            await import_files(gateway.url, gateway.token, [DATA], "online-retail", False)
            report = await run(gateway, "both", DATA)
            assert report.ok
            assert report.claims + report.returns == 1_365
            assert report.expected_refund_pence == 14_923_521
            assert money_of(report) == (14_923_521, 14_923_521, 14_923_521, 0)
            assert len(gateway.lists["orders"]) == 7_364

    async def test_makes_one_claim_per_credit_and_order(self, gateway: StandIn) -> None:
        report = await run(gateway)
        assert report.ok
        assert (report.claims, report.returns) == (CREDITS, 0)
        assert money_of(report) == (REFUND_PENCE, REFUND_PENCE, REFUND_PENCE, 0)
        made = [claim for claims in gateway.claims.values() for claim in claims]
        assert {claim["type"] for claim in made} == {"refund"}
        assert len(made) == CREDITS

    async def test_makes_returns_that_are_received_at_once(self, gateway: StandIn) -> None:
        report = await run(gateway, "returns")
        assert (report.claims, report.returns) == (0, CREDITS)
        assert money_of(report) == (REFUND_PENCE, REFUND_PENCE, REFUND_PENCE, 0)
        assert {row["status"] for rows in gateway.returns.values() for row in rows} == {"received"}

    async def test_both_gives_odd_credit_invoices_to_claims(self, gateway: StandIn) -> None:
        report = await run(gateway, "both")
        assert (report.claims, report.returns) == (15, 18)
        assert money_of(report) == (REFUND_PENCE, REFUND_PENCE, REFUND_PENCE, 0)
        invoices = [c["metadata"]["credit_invoice"] for cs in gateway.claims.values() for c in cs]
        assert all(int(invoice[1:]) % 2 for invoice in invoices)

    async def test_claims_of_one_order_keep_the_order_of_the_file(self, gateway: StandIn) -> None:
        await run(gateway)
        for claims in gateway.claims.values():
            invoices = [claim["metadata"]["credit_invoice"] for claim in claims]
            assert invoices == sorted(invoices)

    async def test_a_second_run_changes_nothing_and_says_the_same(self, gateway: StandIn) -> None:
        first = await run(gateway, "both")
        again = await run(gateway, "both")
        assert first.to_json() | {"seconds": 0} == again.to_json() | {"seconds": 0}
        assert sum(map(len, gateway.claims.values())) == 15
        assert sum(map(len, gateway.returns.values())) == 18

    async def test_what_was_refunded_before_does_not_count(self, gateway: StandIn) -> None:
        some = next(iter(online_retail.read(SLICE).credits.values())).order_id
        gateway.refund(some, 7, "manual", "by hand")
        gateway.refund(some, 11, "receipt", "rcpt_other")
        gateway.returns[some].append(
            {"id": "ret_other", "status": "received", "refund_amount": 11, "items": []}
        )
        assert (await run(gateway, "returns")).difference_pence == 0

    async def test_a_json_report_has_the_keys_that_scripts_rely_on(self, gateway: StandIn) -> None:
        report = json.loads(json.dumps((await run(gateway)).to_json()))
        assert set(report) == {
            "credit_lines",
            "lines_matched",
            "lines_partly",
            "lines_unmatched",
            "units_matched",
            "units_unmatched",
            "claims",
            "returns",
            "expected_refund_pence",
            "refunded_claims_pence",
            "refunded_orders_pence",
            "refunded_ledger_pence",
            "difference_pence",
            "seconds",
        }
        assert (report["credit_lines"], report["lines_unmatched"]) == (42, 2)
        assert (report["units_matched"], report["units_unmatched"]) == (353, 26)


class TestTrouble:
    async def test_no_claim_is_made_twice_when_answers_are_lost(self, gateway: StandIn) -> None:
        gateway.troubles["POST", "claims"] = [503, "lost", "lost", 409, 502, "lost"]
        gateway.troubles["GET", "ledger"] = [503, "lost"]
        report = await run(gateway)
        assert report.ok
        assert sum(map(len, gateway.claims.values())) == CREDITS
        assert gateway.calls["POST claims"] == CREDITS + 6

    async def test_no_return_is_made_twice_when_answers_are_lost(self, gateway: StandIn) -> None:
        gateway.troubles["POST", "return"] = ["lost", 503, "lost"]
        report = await run(gateway, "returns")
        assert report.ok
        assert sum(map(len, gateway.returns.values())) == CREDITS

    async def test_a_refused_claim_is_listed_and_the_difference_shown(
        self, gateway: StandIn
    ) -> None:
        credit = next(iter(online_retail.read(SLICE).credits.values()))
        for line_id in credit.items:
            gateway.remedied[line_id] += gateway.line(credit.order_id, line_id)["quantity"]
        report = await run(gateway)
        assert not report.ok
        assert [(no.credit_invoice, no.order_id, no.kind) for no in report.refusals] == [
            (credit.invoice, credit.order_id, "claim")
        ]
        assert report.refusals[0].message.startswith("Cannot claim more of an item")
        assert report.claims == CREDITS - 1
        assert report.difference_pence == credit.refund

    async def test_an_order_that_was_never_imported_is_a_refusal(self) -> None:
        async with a_gateway() as gateway:
            report = await run(gateway)
            assert len(report.refusals) == CREDITS
            assert report.difference_pence == REFUND_PENCE

    async def test_money_missing_in_one_place_is_a_difference(self, gateway: StandIn) -> None:
        await run(gateway)
        order_id = next(order for order, rows in gateway.refunds.items() if rows)
        lost = gateway.refunds[order_id].pop()
        report = await run(gateway)
        assert report.refunded_claims_pence == REFUND_PENCE
        assert report.difference_pence == lost["amount"]
        assert not report.ok

    async def test_a_wrong_token_stops_at_once(self, gateway: StandIn) -> None:
        with pytest.raises(GatewayRefused, match="Unauthorized"):
            await replay(gateway.url, "wrong", SLICE, "claims", False)
        assert gateway.claims == {}

    async def test_a_gateway_that_goes_away_ends_the_replay(self, gateway: StandIn) -> None:
        gateway.troubles["POST", "claims"] = [503] * 1_000
        with pytest.raises(GatewayUnreachable, match="503 Busy"):
            await run(gateway, patience_s=0.2)

    async def test_another_file_is_refused(self, gateway: StandIn, tmp_path: Path) -> None:
        other = tmp_path / "other.csv"
        other.write_text("id,name\n", encoding="utf-8")
        with pytest.raises(FileUnreadable, match=r"other\.csv"):
            await run(gateway, file=other)


async def test_unmatched_credits_are_reported_and_never_invented(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    rows = [
        HEADER,
        "1,22692,MAT,2,2010-12-01T08:26:00,1.00,1,EIRE",
        "C2,22692,MAT,-3,2010-12-02T08:26:00,1.00,1,EIRE",
        "C3,22699,HAT,-1,2010-12-02T08:26:00,1.00,1,EIRE",
    ]
    file.write_text("\n".join(rows), encoding="utf-8")
    async with a_gateway() as gateway:
        await import_files(gateway.url, gateway.token, [file], "online-retail", False)
        report = await run(gateway, file=file)
        assert report.ok
        assert [(lost.invoice, lost.code, lost.units) for lost in report.unmatched] == [
            ("C2", "22692", 1),
            ("C3", "22699", 1),
        ]
        assert (report.claims, report.refunded_ledger_pence) == (1, 200)
