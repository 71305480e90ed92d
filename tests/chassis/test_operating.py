"""The operator's door of a service, on both databases: who may, what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from chassis import auth, operating, saga_log
from chassis.auth import Issuer, Principal, Verifier
from chassis.bus_local import LocalBus
from chassis.db import Database, Tx
from chassis.inbox import Inbox
from chassis.operating import SagaDesk
from chassis.service import Service
from chassis.testing import MakeDatabase
from chassis.topology import Topology
from tests.chassis.shop import SCHEMA, PackBox, Packer, a_delivery, packed, say
from tests.chassis.test_saga_log import TABLES, begin

KEY = auth.private_key("a secret of at least 32 characters", "internal")
QUEUE = "shop.commands.v1"


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    async def give_up(tx: Tx, saga_id: str, reason: str, now: Any) -> None:
        await saga_log.give_up(tx, TABLES, saga_id, reason=reason, now=now)

    packer = Packer()
    service = Service(
        "shop",
        database=database,
        bus=LocalBus(Topology.of([packer.subscription])),
        verifier=Verifier(KEY.public_key(), "shop"),
        routers=[],
        subscriptions=[packer.subscription],
        sagas=SagaDesk(TABLES, give_up),
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=service.app), base_url="http://shop"
    ) as found:
        yield found


def as_(role: str) -> dict[str, str]:
    token = Issuer(KEY).mint(Principal(id=f"usr_{role}", role=role), "shop")
    return {"authorization": f"Bearer {token}"}


ROUTES = [
    (method, route.path)
    for route in operating.router.routes
    for method in sorted((route.methods or set()) - {"HEAD"})
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_only_operators_may(client: httpx2.AsyncClient, method: str, path: str) -> None:
    body = {"json": {"reason": "a test"} if path.endswith(("discard", "compensate")) else {}}
    body = body if method == "POST" else {}
    assert (await client.request(method, path, **body)).status_code == 401
    for role in ("agent", "warehouse", "finance", "customer", "guest"):
        answer = await client.request(method, path, headers=as_(role), **body)
        assert answer.status_code == 403, role
    for role in ("ops", "admin"):
        answer = await client.request(method, path, headers=as_(role), **body)
        assert answer.status_code in (200, 404), answer.text


async def test_there_is_a_route_for_everything(client: httpx2.AsyncClient) -> None:
    assert len(ROUTES) == 11


async def test_a_dead_letter_goes_round(client: httpx2.AsyncClient, database: Database) -> None:
    inbox = Inbox("shop", database, Packer(troubles=[ValueError("odd")]).subscription)
    await inbox.deliver(a_delivery(PackBox(box="1")))
    listed = (await client.get("/dead-letters?state=parked", headers=as_("ops"))).json()
    assert (listed["count"], listed["offset"], listed["limit"]) == (1, 0, 50)
    (letter,) = listed["dead_letters"]
    assert "envelope" not in letter
    path = f"/dead-letters/{letter['id']}"
    shown = (await client.get(path, headers=as_("ops"))).json()["dead_letter"]
    assert shown["envelope"]["id"] == letter["message_id"] == "m1"
    mended = await client.post(f"{path}/replay", json={"data": {"box": "9"}}, headers=as_("ops"))
    assert mended.status_code == 200, mended.text
    await inbox.retry_due()
    assert await packed(database) == {"9": 1}
    again = await client.post(f"{path}/replay", json={}, headers=as_("ops"))
    assert (again.status_code, again.json()["code"]) == (409, "handled_already")


async def test_an_outbox_tells_its_lag(client: httpx2.AsyncClient, database: Database) -> None:
    (message_id,) = await say(database, "1")
    listed = (await client.get("/outbox", headers=as_("ops"))).json()
    assert [row["id"] for row in listed["messages"]] == [message_id]
    assert (listed["lag"]["unsent"], listed["lag"]["blocked"]) == (1, 0)
    answer = await client.post(f"/outbox/{message_id}/unblock", headers=as_("ops"))
    assert (answer.status_code, answer.json()["code"]) == (409, "not_blocked")


async def test_a_saga_is_resumed_and_turned_back(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await begin(database)
    (saga,) = (await client.get("/sagas", headers=as_("ops"))).json()["sagas"]
    path = f"/sagas/{saga['id']}"
    assert (await client.post(f"{path}/resume", headers=as_("ops"))).json()["saga"]["tries"] == 0
    turned = await client.post(f"{path}/compensate", json={"reason": "a test"}, headers=as_("ops"))
    assert turned.json()["saga"]["direction"] == "back"
    async with database.reading() as tx:
        actions = await tx.fetch("SELECT action, actor_id FROM audit ORDER BY seq")
    assert [(row["action"], row["actor_id"]) for row in actions] == [
        ("saga.resumed", "usr_ops"),
        ("saga.compensated", "usr_ops"),
    ]


async def test_a_service_without_sagas_has_none(database: Database) -> None:
    service = Service(
        "shop",
        database=database,
        bus=LocalBus(Topology.of([])),
        verifier=Verifier(KEY.public_key(), "shop"),
        routers=[],
        subscriptions=[],
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=service.app), base_url="http://shop"
    ) as client:
        assert (await client.get("/sagas", headers=as_("ops"))).json()["sagas"] == []
        assert (await client.get("/sagas/saga_1", headers=as_("ops"))).status_code == 404
