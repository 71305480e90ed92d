"""The gateway put together: what it insists on at start, and its four doors for operators."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from chassis.serve import MissingSetting
from gateway import app
from gateway.settings import GatewaySettings
from tests.gateway.builders import Door

GOOD = "0123456789abcdef0123456789abcdef"


def _settings(secret: str | None, token: str | None = None) -> GatewaySettings:
    return GatewaySettings(
        secret_key=SecretStr(secret) if secret is not None else None,
        admin_token=SecretStr(token) if token is not None else None,
    )


@pytest.mark.parametrize("secret", [None, "", "change-me", "short", "a" * 64, GOOD[:31]])
def test_a_process_of_its_own_insists_on_a_real_secret(secret: str | None) -> None:
    with pytest.raises(MissingSetting, match="RECLAMO_SECRET_KEY"):
        app._secret(_settings(secret))


def test_a_process_of_its_own_insists_on_a_long_first_token() -> None:
    with pytest.raises(MissingSetting, match="RECLAMO_ADMIN_TOKEN"):
        app._secret(_settings(GOOD, "test_token"))
    assert app._secret(_settings(GOOD, GOOD)) == GOOD
    assert app._secret(_settings(GOOD)) == GOOD


async def test_the_first_token_is_made_once_and_no_second_one_takes_its_place(door: Door) -> None:
    await door.app.state.gate.identity.bootstrap("another token at the second start")
    other = door.as_(x_medusa_access_token="another token at the second start")
    assert (await other.get("/admin/auth")).status_code == 401
    assert (await door.get("/admin/auth")).status_code == 200


async def test_health_needs_no_credentials(door: Door) -> None:
    nobody = door.as_()
    assert (await nobody.get("/livez")).json() == {"status": "ok"}
    ready = (await nobody.get("/readyz")).json()
    checks = {"bus": "ok", "database": "ok", "migrations": "ok"}
    assert ready == {"status": "ok", "checks": checks}
    assert (await nobody.get("/version")).json()["service"] == "gateway"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.7.7", "172.16.0.1"])
async def test_figures_are_shown_to_near_networks(door: Door, address: str) -> None:
    assert (await door.as_(address).get("/metrics")).status_code == 200


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860::1", "not an address"])
async def test_figures_are_hidden_from_the_world(door: Door, address: str) -> None:
    far = door.as_(address)
    assert (await far.get("/metrics")).status_code == 404
    spoofed = await far.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"})
    assert spoofed.status_code == 404


async def test_figures_name_routes_and_nobody(shop: Door) -> None:
    ana = await shop.customer("ana")
    await ana.get("/store/orders/order_ana")
    await shop.get("/admin/customers?email=ana@shop.example")
    await shop.get("/admin/nothing/here/order_ana")
    figures = (await shop.get("/metrics")).text
    assert 'route="/store/orders/{order_id}"' in figures
    for personal in ("order_ana", "ana@shop.example", "cus_ana", "nothing"):
        assert personal not in figures


async def test_an_answer_carries_its_own_correlation_id_and_not_the_clients(shop: Door) -> None:
    one = await shop.get("/admin/orders", headers={"x-request-id": "mine\x7f"})
    two = await shop.get("/admin/orders", headers={"x-request-id": "mine"})
    ids = {one.headers["x-request-id"], two.headers["x-request-id"]}
    assert len(ids) == 2
    assert "mine" not in ids
