"""Half a year of real trade: imported, its credit notes replayed, and every penny accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from chassis.testing import DatabaseUrl
from deploy.assembly import PROCESSES
from deploy.import_client import Summary, import_files
from deploy.replay_client import As, Reconciliation, replay
from tests.journeys.conftest import OpenSystem
from tests.journeys.system import SECRETS, Application, Distributed

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # One installation of each kind serves them all.
    pytest.mark.xdist_group("journeys"),
]

SLICE = Path(__file__).parents[2] / "deploy" / "demo" / "online_retail_slice.csv"
ORDERS = 120
CREDIT_LINES = 42


async def _import(system: Application) -> Summary:
    summary = await import_files(
        system.url, SECRETS.admin_token, [SLICE], "online-retail", progress=False
    )
    assert summary.ok, summary.refusals
    assert summary.records["orders"] == ORDERS
    return summary


async def _replay(system: Application, as_: As) -> Reconciliation:
    report = await replay(system.url, SECRETS.admin_token, SLICE, as_, progress=False)
    assert report.refusals == []
    assert report.difference_pence == 0
    places = (
        report.refunded_claims_pence,
        report.refunded_orders_pence,
        report.refunded_ledger_pence,
    )
    assert set(places) == {report.expected_refund_pence}
    assert report.expected_refund_pence > 0
    assert report.credit_lines == CREDIT_LINES
    assert (report.claims > 0) == (as_ != "returns")
    assert (report.returns > 0) == (as_ != "claims")
    return report


async def _all_of_it(system: Application, as_: As) -> None:
    first = await _import(system)
    assert (first.updated, first.unchanged) == (0, 0)
    second = await _import(system)
    assert (second.created, second.updated) == (0, 0)
    assert second.unchanged == first.created
    report = await _replay(system, as_)
    await system.verify()
    # Once more: every credit note has its key, every record its id. Where goods came back the file
    # counts the stock anew, which is what a file of stock levels says.
    third = await _import(system)
    assert third.created == 0
    assert third.updated + third.unchanged == first.created
    assert third.updated <= report.lines_matched * (as_ != "claims")
    again = await _replay(system, as_)
    figures = [made.to_json() | {"seconds": 0} for made in (report, again)]
    assert figures[0] == figures[1]
    await system.verify()


@pytest.mark.parametrize("as_", get_args(As))
async def test_credit_notes_replayed_in_one_process_agree_to_the_penny(
    open_system: OpenSystem, sqlite_url_factory: DatabaseUrl, as_: As
) -> None:
    databases = {name: await sqlite_url_factory(name) for name in PROCESSES}
    await _all_of_it(await open_system("embedded", databases=databases), as_)


@pytest.mark.timeout(300)
async def test_credit_notes_replayed_over_a_broker_agree_to_the_penny(
    open_system: OpenSystem,
) -> None:
    system = await open_system("local")
    assert isinstance(system, Distributed)
    for as_ in get_args(As):
        await _all_of_it(system, as_)
        await system.forget()
