"""The list of failpoints is the code's: nothing that can die has none, and none is imaginary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chassis import auth
from chassis.bus_local import LocalBus
from chassis.db import connect
from contracts.catalogue import MESSAGES
from deploy.assembly import SERVICES, settings_of, topology
from deploy.embedded import Embedded
from deploy.secrets_file import Secrets
from gateway.settings import GatewaySettings
from tests.crash import points as listing
from tests.crash.points import LOOPS, SAGAS, points

NAMES = {point.name for point in points()}


def test_every_point_of_the_list_stands_in_the_code() -> None:
    patterns = listing.templates()
    imaginary = [
        name for name in NAMES if not any(re.fullmatch(pattern, name) for pattern in patterns)
    ]
    assert imaginary == []


def test_every_point_in_the_code_is_on_the_list() -> None:
    unlisted = [
        f"{where} {pattern}"
        for pattern, where in listing.templates().items()
        if not any(re.fullmatch(pattern, name) for name in NAMES)
    ]
    assert unlisted == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_handler_has_its_points(service: str) -> None:
    for key in listing.handled(service):
        assert {f"{service}.{key}.{moment}" for moment in ("k1", "k3", "k4")} <= NAMES


@pytest.mark.parametrize("service", SAGAS)
def test_every_step_of_every_saga_is_handled_at_both_ends(service: str) -> None:
    """A step passes the points of its command at the participant and of its replies here."""
    everywhere = {key for name in SERVICES for key in listing.handled(name)}
    for reply in listing.asked(SAGAS[service]):
        assert reply.key in listing.handled(service)  # type: ignore[attr-defined]
    commands = {key for key in MESSAGES if not re.search(r"\.v\d+$", key)}
    assert commands <= everywhere


@pytest.mark.parametrize("service", SERVICES)
async def test_every_loop_of_a_service_has_its_points(service: str, tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path)
    database = connect(settings.database_url(service))
    key = auth.private_key("points-" + "0123456789abcdef" * 3, "internal").public_key()
    bus = LocalBus(topology())
    running = SERVICES[service](
        settings_of(service, settings), database, bus, auth.Verifier(key, service)
    )
    await running.prepare()
    try:
        names = {loop.name.split(".")[1] for loop in running._loops}
        assert names == set(listing.loops(service))
        assert {f"{service}.{place}" for name in names for place in LOOPS[name]} <= NAMES
    finally:
        await running.stop()


async def test_every_loop_of_the_gateway_that_writes_has_its_points(tmp_path: Path) -> None:
    secrets = Secrets("points-" + "0123456789abcdef" * 3, "rk_" + "0123456789" * 4, "none")
    gateway = Embedded(GatewaySettings(data_dir=tmp_path), secrets).gateway
    await gateway.prepare()
    try:
        # The search for drift begins again at its marks; the audit trail is that of services.
        names = {loop.name.split(".")[1] for loop in gateway._loops} - {"drift", "audit"}
        assert names == {"parked", "webhooks", "exports"}
        assert {f"gateway.{place}" for name in names for place in LOOPS[name]} <= NAMES
    finally:
        await gateway.stop()


@pytest.mark.parametrize("service", SERVICES)
def test_every_door_that_begins_a_saga_has_the_points_of_acceptance(service: str) -> None:
    bare = [
        door.name
        for door in listing.doors(service)
        if listing.waits_for_a_saga(door) and not listing.takes_on(door)
    ]
    assert bare == []


def test_there_are_as_many_points_as_the_crash_table_has_places() -> None:
    """Not a target, a tripwire: a number that falls has lost something."""
    assert len(NAMES) >= 120
