"""A running installation finds planted drift by itself, heals what is safe, never cries wolf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chassis import audit
from chassis.db import connect
from chassis.testing import DatabaseUrl, eventually
from deploy.assembly import PROCESSES
from deploy.demo.shop import variant_id
from deploy.demo_seed import seed
from deploy.embedded import Embedded, running
from deploy.gateway_client import Gateway, GatewayRefused
from deploy.secrets_file import load
from gateway import repairs
from gateway.drift import Reconciler
from gateway.settings import GatewaySettings
from tests.deploy.system import PASSWORD, TOKEN, reclamo, serving
from tests.deploy.test_verify import DRIFTS, _plant, _work

Row = dict[str, Any]
# These are of `verify` alone: a provider's own ledger, and what only holds at rest.
OURS = {
    name: drift
    for name, drift in DRIFTS.items()
    if not drift.at_rest and "refund_attempts" not in drift.change
}
_FIRST = "WHERE item_id = (SELECT MIN(item_id) FROM levels)"
_ONE_MORE = f"UPDATE levels SET on_hand = on_hand + 1 {_FIRST}"
_ONE_LESS = f"UPDATE levels SET on_hand = on_hand - 1 {_FIRST}"


class Running:
    """An installation and a client of it; ``look`` searches without waiting for the job."""

    def __init__(self, embedded: Embedded, gateway: Gateway) -> None:
        self.embedded = embedded
        self.gateway = gateway

    @property
    def reconciler(self) -> Reconciler:
        return self.embedded.gateway._parts.reconciler

    async def look(self) -> list[Row]:
        await self.reconciler.look()
        return await self.open()

    async def open(self, state: str = "open") -> list[Row]:
        found: list[Row] = (await self.gateway.get(f"/admin/findings?state={state}"))["findings"]
        return found

    async def tables(self, database: str, sql: str, **params: Any) -> int:
        name = self.embedded.services[database].database
        async with name.transaction() as tx:
            return await tx.execute(sql, **params)

    async def value(self, database: str, sql: str) -> Any:
        async with self.embedded.services[database].database.reading() as tx:
            return await tx.fetch_value(sql)


@asynccontextmanager
async def at_work(settings: GatewaySettings, **changes: Any) -> AsyncIterator[Running]:
    """The installation, with a search that confirms at once unless told otherwise."""
    given = settings.model_copy(update={"drift_confirm_s": 0.0, **changes})
    async with (
        running(given, load(given)) as embedded,
        serving(embedded) as url,
        Gateway(url, TOKEN) as gateway,
    ):
        yield Running(embedded, gateway)


@pytest.mark.parametrize("name", OURS)
async def test_planted_drift_becomes_a_finding(seeded: GatewaySettings, name: str) -> None:
    drift = OURS[name]
    expected = await _plant(seeded, drift)
    async with at_work(seeded) as system:
        found = await system.look()
    told = {(row["invariant"], row["about"]) for row in found if drift.words in row["message"]}
    assert expected in told, found


def test_there_are_more_than_a_dozen_kinds_of_drift() -> None:
    assert len(OURS) >= 12


async def test_a_sound_installation_has_no_findings(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        assert await system.look() == []


async def test_what_is_gone_is_resolved_and_what_comes_again_opens_again(
    seeded: GatewaySettings,
) -> None:
    async with at_work(seeded) as system:
        more, less = _ONE_MORE, _ONE_LESS
        await system.tables("inventory", more)
        (first, *_) = await system.look()
        assert (first["invariant"], first["state"]) == ("I17", "open")
        assert first["proposal"]["repair"] is None
        await system.tables("inventory", less)
        assert await system.look() == []
        assert first["id"] in {row["id"] for row in await system.open("resolved")}
        await system.tables("inventory", more)
        assert first["id"] in {row["id"] for row in await system.look()}


# ---- repairs -----------------------------------------------------------------------------------

_OPEN = "SELECT id FROM claims WHERE type = 'replace' AND status = 'open' ORDER BY id LIMIT 1"


async def _kill_a_claim(system: Running) -> str:
    """A claim canceled in its own books alone: its units and its stock are still held."""
    claim_id: str = await system.value("claims", _OPEN)
    await system.tables(
        "claims", "UPDATE claims SET status = 'canceled' WHERE id = :id", id=claim_id
    )
    return claim_id


async def test_what_a_dead_claim_holds_is_released_by_a_repair(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        claim_id = await _kill_a_claim(system)
        found = {row["invariant"]: row for row in await system.look() if row["about"] == claim_id}
        assert {row["proposal"]["repair"] for row in found.values()} >= {repairs.RELEASE}
        await system.gateway.post(f"/admin/findings/{found['I13']['id']}/repair", {})
        await eventually(lambda: _nothing_held(system, claim_id))
        left = [row["message"] for row in await system.look() if row["about"] == claim_id]
        # What no release mends, a person sees: the return of the claim is still expected.
        assert not [text for text in left if "still" in text]
        repaired = {row["id"] for row in await system.open("repaired")}
        assert found["I13"]["id"] in repaired
        trail = await system.gateway.get("/admin/audit?action=finding.")
        assert trail["audit"][0]["about"] == f"finding/{found['I13']['id']}"


async def _nothing_held(system: Running, claim_id: str) -> bool:
    held = await system.value("orders", f"SELECT state FROM remedies WHERE id = '{claim_id}'")
    sql = f"SELECT COUNT(*) FROM reservations WHERE remedy_id = '{claim_id}' AND state = 'held'"
    return held == "released" and await system.value("inventory", sql) == 0


async def test_goods_of_a_dead_fulfillment_are_put_back_by_a_repair(
    seeded: GatewaySettings,
) -> None:
    async with at_work(seeded) as system:
        order = {
            "id": "order_packed",
            "email": "packed@reclamo.example",
            "region_id": await system.value("orders", "SELECT MIN(id) FROM regions"),
            "currency_code": "eur",
            "items": [
                {
                    "id": "item_packed",
                    "variant_id": variant_id("mug"),
                    "title": "Mug",
                    "unit_price": 100,
                    "quantity": 1,
                }
            ],
            "shipping_methods": [{"price": 0}],
        }
        await system.gateway.post("/admin/import", {"orders": [order]})
        body = {
            "items": [{"item_id": "item_packed", "quantity": 1}],
            "location_id": "sloc_demo",
        }
        path = "/admin/orders/order_packed/fulfillment"
        packed = (await system.gateway.post(path, body))["order"]["fulfillments"][0]["id"]
        assert await system.look() == []
        await system.tables(
            "orders",
            "UPDATE fulfillments SET state = 'canceled', canceled_at = created_at WHERE id = :id",
            id=packed,
        )
        (finding,) = [row for row in await system.look() if row["about"] == packed]
        assert (finding["invariant"], finding["proposal"]["repair"]) == ("I17", repairs.RELEASE)
        await system.gateway.post(f"/admin/findings/{finding['id']}/repair", {})
        put_back = f"SELECT COUNT(*) FROM movements WHERE cause_id = '{packed}'"

        async def back() -> bool:
            return bool(await system.value("inventory", put_back) == 2)

        await eventually(back)
        assert await system.look() == []


async def test_a_lost_message_is_sent_again_and_handled(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        lost = await system.value(
            "inventory",
            "SELECT message_id FROM inbox WHERE type LIKE '%reservation.place' LIMIT 1",
        )
        await system.tables("inventory", "DELETE FROM inbox WHERE message_id = :id", id=lost)
        (finding,) = await system.look()
        assert (finding["invariant"], finding["about"]) == ("I7", lost)
        assert finding["proposal"]["repair"] == repairs.RESEND
        await system.gateway.post(f"/admin/findings/{finding['id']}/repair", {})
        await eventually(lambda: system.value("inventory", _known(lost)))
        assert await system.look() == []
        assert [row["state"] for row in await system.open("repaired")] == ["repaired"]


def _known(message_id: str) -> str:
    return f"SELECT COUNT(*) FROM inbox WHERE message_id = '{message_id}' AND state = 'done'"


async def test_a_saga_without_a_timer_is_woken(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        saga_id = await system.value("claims", "SELECT id FROM sagas ORDER BY id LIMIT 1")
        await system.tables(
            "claims", "UPDATE sagas SET direction = 'forward' WHERE id = :id", id=saga_id
        )
        (finding,) = [row for row in await system.look() if row["invariant"] == "I6"]
        assert finding["about"] == saga_id
        assert finding["proposal"]["repair"] == repairs.WAKE
        await system.gateway.post(f"/admin/findings/{finding['id']}/repair", {})
        assert [row for row in await system.look() if row["invariant"] == "I6"] == []


async def test_safe_repairs_run_by_themselves_when_they_may(seeded: GatewaySettings) -> None:
    async with at_work(seeded, repair="safe") as system:
        claim_id = await _kill_a_claim(system)
        await system.look()
        await eventually(lambda: _nothing_held(system, claim_id))


async def test_unless_told_so_nothing_is_repaired(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        claim_id = await _kill_a_claim(system)
        await system.look()
        await system.look()
        assert not await _nothing_held(system, claim_id)


async def test_what_is_not_safe_is_not_repaired(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        await system.tables("inventory", _ONE_MORE)
        (finding, *_) = await system.look()
        with pytest.raises(GatewayRefused, match="A person has to decide: Count the shelf"):
            await system.gateway.post(f"/admin/findings/{finding['id']}/repair", {})


async def test_a_dismissed_finding_stays_so_until_it_is_gone(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        await system.tables("inventory", _ONE_MORE)
        for finding in await system.look():
            path = f"/admin/findings/{finding['id']}/dismiss"
            told = (await system.gateway.post(path, {"note": "counted"}))["finding"]
            assert (told["state"], told["note"]) == ("dismissed", "counted")
        assert await system.look() == []
        await system.tables("inventory", _ONE_LESS)
        await system.look()
        assert await system.open("dismissed") == []


async def test_the_same_search_and_repair_on_postgresql(
    postgres_url_factory: DatabaseUrl, tmp_path: Path
) -> None:
    settings = GatewaySettings(
        data_dir=tmp_path,
        databases={name: await postgres_url_factory(name) for name in PROCESSES},
        admin_token=TOKEN,
    )
    async with at_work(settings) as system:
        await seed(system.gateway, password=PASSWORD)
        assert await system.look() == []
        claim_id = await _kill_a_claim(system)
        await system.tables("inventory", _ONE_MORE)
        found = {row["invariant"]: row for row in await system.look()}
        assert {"I4", "I13", "I17"} <= found.keys()
        await system.reconciler.changed()
        await system.reconciler.changed()
        await system.reconciler.again()
        await system.gateway.post(f"/admin/findings/{found['I13']['id']}/repair", {})
        await system.gateway.post(f"/admin/findings/{found['I17']['id']}/dismiss", {"note": "ok"})
        await eventually(lambda: _nothing_held(system, claim_id))
        assert not {"I17"} & {row["invariant"] for row in await system.look()}
        assert found["I13"]["id"] in {row["id"] for row in await system.open("repaired")}
        trail = await system.gateway.get(
            "/admin/audit?actor=admin_user&action=finding.&since=2020-01-01"
        )
        assert trail["count"] == 2


# ---- the job -----------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A job that hardly rests."""
    monkeypatch.setattr("gateway.drift.REST", 1)
    return None


async def test_the_job_finds_drift_by_itself_and_says_so_in_a_metric(
    seeded: GatewaySettings, quick: None
) -> None:
    often = {"drift_own_s": 1.0, "drift_changed_s": 1.0, "drift_full_s": 1.0}
    async with at_work(seeded, drift_confirm_s=0.5, **often) as system:
        claim_id = await _kill_a_claim(system)

        async def found() -> bool:
            return claim_id in {row["about"] for row in await system.open()}

        await eventually(found, within_s=60, every_s=0.2)
        await eventually(lambda: _metric(system), within_s=10, every_s=0.2)


async def _metric(system: Running) -> bool:
    async with system.gateway._session.get(f"{system.gateway._url}/metrics") as answer:  # type: ignore[union-attr]
        return 'reclamo_findings_open{invariant="I13"} 1.0' in await answer.text()


async def test_eight_clients_at_work_are_no_findings(seeded: GatewaySettings, quick: None) -> None:
    often = {"drift_own_s": 0.5, "drift_changed_s": 0.5, "drift_full_s": 0.5}
    enough = asyncio.Event()
    async with at_work(seeded, drift_confirm_s=5.0, **often) as system:
        clients = [
            asyncio.create_task(_work(system.gateway._url, number, enough)) for number in range(8)
        ]
        # Besides the job itself, which looks every half second.
        while await system.value("claims", "SELECT COUNT(*) FROM audit") < 500:
            await system.reconciler.own_books()
            await system.reconciler.changed()
            await system.reconciler.again()
            async for _page in system.reconciler._everything():
                pass
        enough.set()
        calls = sum(await asyncio.gather(*clients))
        assert calls > 20
        assert await system.look() == []
        for state in ("resolved", "repaired", "dismissed"):
            assert await system.open(state) == []


# ---- the command -------------------------------------------------------------------------------


async def test_the_command_lists_repairs_and_tells_the_trail(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        claim_id = await _kill_a_claim(system)
        await system.look()
        at = ("--url", system.gateway._url, "--token", TOKEN)

        async def told(*arguments: str) -> tuple[int, str]:
            done = await asyncio.to_thread(reclamo, *arguments, data_dir=seeded.data_dir)
            return done.returncode, done.stdout + done.stderr

        code, said = await told("findings", "list", "--invariant", "I13", *at)
        assert code == 1
        finding_id = said.split()[0]
        assert f"{finding_id}  open  I13  {claim_id}  the claim is canceled, but orders" in said
        assert "release: Send the release" in said
        assert (await told("findings", "repair", finding_id, *at))[0] == 0
        await eventually(lambda: _nothing_held(system, claim_id))
        code, said = await told("findings", "dismiss", finding_id, "--note", "seen", *at)
        assert (code, "is dismissed" in said) == (0, True)
        code, said = await told("audit", "list", "--about", f"subject/{claim_id}", *at)
        assert (code, "admin_user  repair.released" in said) == (0, True), said
        code, said = await told("findings", "repair", "find_1", *at)
        assert (code, "was not found" in said) == (2, True)


async def test_the_command_names_the_first_broken_record(seeded: GatewaySettings) -> None:
    async with at_work(seeded) as system:
        await eventually(lambda: _all_sealed(system))
    done = await asyncio.to_thread(reclamo, "audit", "verify", data_dir=seeded.data_dir)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing found." in done.stderr
    database = connect(seeded.database_url("orders"))
    await database.open()
    async with database.transaction() as tx:
        for statement in audit.unguards("sqlite"):
            await tx.execute(statement)
        for seq in (3, 5):
            await tx.execute("UPDATE audit SET actor_id = 'nobody' WHERE seq = :seq", seq=seq)
    await database.close()
    done = await asyncio.to_thread(reclamo, "audit", "verify", data_dir=seeded.data_dir)
    assert done.returncode == 1
    assert done.stdout.startswith("I14  orders audit/3  the record under link 3 was changed")
    done = await asyncio.to_thread(reclamo, "verify", data_dir=seeded.data_dir)
    assert (done.returncode, done.stdout.count("I14")) == (1, 2)
    async with at_work(seeded) as system:
        found = [row for row in await system.look() if row["invariant"] == "I14"]
        assert {row["about"] for row in found} == {"audit/3", "audit/5"}
        assert found[0]["proposal"]["repair"] is None


async def _all_sealed(system: Running) -> bool:
    sql = "SELECT (SELECT COUNT(*) FROM audit) - (SELECT COUNT(*) FROM audit_seals)"
    return all([await system.value(name, sql) == 0 for name in system.embedded.services])
