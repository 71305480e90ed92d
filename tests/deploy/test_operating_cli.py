"""`reclamo dlq | outbox | saga`, with the gateway and without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from chassis.db import connect
from chassis.testing import eventually
from deploy import operating_cli
from deploy.cli import app
from deploy.demo.shop import line_id, order_id, variant_id
from deploy.embedded import Embedded, running
from deploy.secrets_file import load
from gateway.settings import GatewaySettings
from tests.deploy.system import TOKEN, reclamo, serving

NOBODY = "http://127.0.0.1:1"
QUEUE = "inventory.commands.v1"
LETTER = f"{QUEUE}:m1"
MESSAGE = {
    "specversion": "1.0",
    "id": "m1",
    "source": "/reclamo/claims",
    "type": "reclamo.inventory.reservation.release",
    "subject": "claim/claim_nobody",
    "time": "2026-11-20T12:00:00.000+00:00",
    "data": {"remedy": "claim_nobody"},
}


async def _plant(settings: GatewaySettings) -> None:
    """A dead letter in inventory, a blocked message in claims."""
    inventory = connect(settings.database_url("inventory"))
    await inventory.open()
    async with inventory.transaction() as tx:
        await tx.execute(
            "INSERT INTO inbox (consumer, message_id, type, partitionkey, state, error, envelope,"
            " received_at) VALUES (:queue, 'm1', :type, 'claim/claim_nobody', 'dead',"
            " 'data does not fit', :envelope, '2026-11-20T12:00:00+00:00')",
            queue=QUEUE,
            type=MESSAGE["type"],
            envelope=json.dumps(MESSAGE),
        )
    await inventory.close()
    claims = connect(settings.database_url("claims"))
    await claims.open()
    async with claims.transaction() as tx:
        await tx.execute(
            "UPDATE outbox SET sent_at = NULL, blocked_at = created_at, attempts = 10,"
            " last_error = 'no queue takes it' WHERE seq = (SELECT MAX(seq) FROM outbox)"
        )
    await claims.close()


@asynccontextmanager
async def _served(settings: GatewaySettings) -> AsyncIterator[tuple[Embedded, str]]:
    async with running(settings, load(settings)) as embedded, serving(embedded) as url:
        yield embedded, url


async def _reclamo(*arguments: object, url: str = NOBODY, data_dir: Path | None = None) -> Result:
    """The command, in a thread beside the gateway."""
    given = {"RECLAMO_ADMIN_TOKEN": TOKEN}
    if data_dir is not None:
        given["RECLAMO_DATA_DIR"] = str(data_dir)
    words = [*map(str, arguments), "--url", url]
    return await asyncio.to_thread(CliRunner().invoke, app, words, env=given)


def _json(run: Result) -> Any:
    assert run.exit_code == 0, run.stderr
    return json.loads(run.stdout)


async def _begin(url: str) -> None:
    """A replace claim that nobody waits for."""
    body = {
        "type": "replace",
        "claim_items": [{"item_id": line_id(1001, "mug"), "quantity": 1, "reason": "wrong_item"}],
        "additional_items": [{"variant_id": variant_id("mug"), "quantity": 1}],
    }
    headers = {"x-medusa-access-token": TOKEN, "Prefer": "respond-async"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/admin/orders/{order_id(1001)}/claims", json=body) as answer,
    ):
        assert answer.status == 202, await answer.text()


class TestWithoutTheGateway:
    async def test_lists_are_read_from_the_databases(self, seeded: GatewaySettings) -> None:
        await _plant(seeded)
        where = {"data_dir": seeded.data_dir}
        run = await _reclamo("dlq", "list", "--json", **where)
        found = _json(run)
        assert [row["id"] for row in found["dead_letters"]] == [LETTER]
        assert (found["count"], found["missing"]) == (1, [])
        assert "reading the databases instead" in run.stderr
        assert (
            _json(await _reclamo("dlq", "list", "--state", "parked", "--json", **where))["count"]
            == 0
        )
        letter = _json(await _reclamo("dlq", "show", LETTER, **where))
        assert letter["envelope"]["data"] == {"remedy": "claim_nobody"}
        (blocked,) = _json(await _reclamo("outbox", "lag", "--json", **where))["messages"]
        assert blocked["last_error"] == "no queue takes it"
        assert _json(await _reclamo("saga", "list", "--json", **where))["sagas"] == []

    async def test_what_cannot_be_read_is_named_and_the_code_tells(
        self, seeded: GatewaySettings, tmp_path: Path
    ) -> None:
        await _plant(seeded)
        (seeded.data_dir / "orders.db").unlink()
        run = await _reclamo("dlq", "list", data_dir=seeded.data_dir)
        assert run.exit_code == 1
        assert f"dead    {LETTER}  reclamo.inventory.reservation.release" in run.stdout
        assert "No answer from orders." in run.stderr
        run = reclamo("dlq", "list", "--url", NOBODY, data_dir=tmp_path / "nothing")
        assert (run.returncode, run.stdout) == (2, "")
        assert "set RECLAMO_DATA_DIR, or say --url" in run.stderr

    async def test_nothing_is_changed(self, seeded: GatewaySettings) -> None:
        for arguments in (
            ("dlq", "replay", LETTER),
            ("dlq", "discard", LETTER, "--why", "a test"),
            ("outbox", "unblock", "m1"),
            ("saga", "resume", "claim_1"),
            ("saga", "compensate", "claim_1", "--why", "a test"),
        ):
            run = await _reclamo(*arguments, data_dir=seeded.data_dir)
            assert (run.exit_code, run.stdout) == (2, "")
            assert "is it running" in run.stderr


class TestAtTheGateway:
    async def test_a_dead_letter_is_found_mended_and_handled(
        self, seeded: GatewaySettings, tmp_path: Path
    ) -> None:
        await _plant(seeded)
        async with _served(seeded) as (_, url):
            found = _json(await _reclamo("dlq", "list", "--json", url=url))
            assert [row["id"] for row in found["dead_letters"]] == [LETTER]
            refused = await _reclamo("dlq", "replay", LETTER, url=url)
            assert refused.exit_code == 1
            assert "refused: It still cannot be handled" in refused.stderr
            data = tmp_path / "data.json"
            data.write_text(json.dumps({"remedy_id": "claim_nobody"}))
            mended = await _reclamo("dlq", "replay", LETTER, "--with-data", data, url=url)
            assert (mended.exit_code, mended.stderr) == (0, f"{LETTER}: handled\n")
            assert _json(await _reclamo("dlq", "show", LETTER, url=url))["state"] == "done"
            assert (await _reclamo("dlq", "replay", LETTER, url=url)).exit_code == 1

    async def test_it_is_exported_and_discarded(
        self, seeded: GatewaySettings, tmp_path: Path
    ) -> None:
        await _plant(seeded)
        async with _served(seeded) as (_, url):
            file = tmp_path / "letters.jsonl"
            run = await _reclamo("dlq", "export", "--output", file, url=url)
            assert (run.exit_code, run.stderr) == (0, "1 dead letters.\n")
            (line,) = file.read_text().splitlines()
            assert json.loads(line)["envelope"] == MESSAGE
            run = await _reclamo("dlq", "discard", LETTER, "nothing:m2", "--why", "odd", url=url)
            assert run.exit_code == 1
            assert f"{LETTER}: discarded" in run.stderr
            assert "nothing:m2: refused" in run.stderr
            assert _json(await _reclamo("dlq", "list", "--json", url=url))["count"] == 0

    async def test_blocked_messages_are_sent_again(self, seeded: GatewaySettings) -> None:
        await _plant(seeded)
        async with _served(seeded) as (_, url):
            run = await _reclamo("outbox", "lag", url=url)
            assert "no queue takes it" in run.stdout
            assert "claims     0 unsent, the oldest for 0.0 s; 1 blocked" in run.stdout
            assert (await _reclamo("outbox", "unblock", "--all", url=url)).exit_code == 0

            async def sent() -> bool:
                found = _json(await _reclamo("outbox", "lag", "--json", url=url))
                return all(lag["unsent"] == lag["blocked"] == 0 for lag in found["lag"])

            await eventually(sent, within_s=30)
            for wrong in (("unblock",), ("unblock", "m1", "--all")):
                assert (await _reclamo("outbox", *wrong, url=url)).exit_code == 2

    async def test_a_saga_is_listed_resumed_and_given_up(self, seeded: GatewaySettings) -> None:
        async with _served(seeded) as (embedded, url):
            await embedded._bus.stop()
            await _begin(url)
            run = await _reclamo("saga", "list", url=url)
            assert run.exit_code == 0
            assert "claim forward, waits for hold and reserve, asked again 0 times" in run.stdout
            (saga,) = _json(await _reclamo("saga", "list", "--json", url=url))["sagas"]
            shown = await _reclamo("saga", "show", saga["id"], url=url)
            assert "hold: asked" in shown.stdout
            resumed = await _reclamo("saga", "resume", saga["id"], url=url)
            assert resumed.stderr == f"{saga['id']}: asked again for hold and reserve\n"
            turned = await _reclamo("saga", "compensate", saga["id"], "--why", "a test", url=url)
            assert turned.stderr == f"{saga['id']}: back\n"
            again = await _reclamo("saga", "compensate", saga["id"], "--why", "x", url=url)
            assert again.exit_code == 1
            assert "goes back already" in again.stderr
            unknown = await _reclamo("saga", "show", "claim_x", url=url)
            assert (unknown.exit_code, unknown.stdout) == (2, "")

    async def test_a_token_that_may_not_is_told(self, seeded: GatewaySettings) -> None:
        async with _served(seeded) as (_, url):
            run = await _reclamo("dlq", "list", "--token", "wrong", url=url)
            assert run.exit_code == 2
            assert "does not know the token" in run.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("[]", "must hold a JSON object")],
)
def test_a_file_that_mends_nothing_is_named(
    tmp_path: Path, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(typer.Exit):
        operating_cli._object(file)
    assert said in capsys.readouterr().err
