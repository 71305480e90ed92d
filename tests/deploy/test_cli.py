"""The `reclamo` command: help, refusals, exit codes, data on stdout and words on stderr."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from chassis import migrations
from chassis.testing import DatabaseUrl
from deploy.cli import app
from deploy.demo.shop import variant_id
from tests.deploy.system import RECLAMO, ROOT, TOKEN, Up, environment, reclamo

COMMANDS = (
    *("up", "local", "serve", "migrate", "import", "replay", "seed", "doctor", "verify"),
    *("keygen", "topology", "dlq", "outbox", "saga"),
)
SLICE = ROOT / "deploy" / "demo" / "online_retail_slice.csv"
CLOSED = "127.0.0.1:1"


def _refused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """Nothing on stdout, words on stderr, exit code 2, no stack trace."""
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    for each in words:
        assert each in run.stderr


def _in_process(*arguments: str) -> Result:
    """As ``reclamo``, where the process as a whole does not matter."""
    return CliRunner().invoke(app, arguments, prog_name="reclamo")


# ---- help and what there is not ----------------------------------------------------------------


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(option: str) -> None:
    run = _in_process(option)
    assert run.exit_code == 0
    listed = re.findall(r"^│ ([a-z]+)  +\S", run.stdout.split("Commands")[1], re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    run = _in_process(command, "--help")
    assert run.exit_code == 0
    assert f"reclamo {command}" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dance",), "No such command 'dance'"),
        (("verify", "--deeply"), "No such option: --deeply"),
        (("migrate", "warehouse"), "'warehouse' is not one of 'orders', 'claims', 'returns'"),
        (("serve", "warehouse"), "'warehouse' is not one of 'orders', 'claims', 'returns'"),
        (("seed", "everything"), "'everything'"),
        (("import", "x.json", "--format", "excel"), "'excel' is not one of 'reclamo'"),
        (("replay", "x.csv", "--as", "gifts"), "'gifts' is not one of 'claims', 'returns'"),
        (("up", "--embedded", "--port", "70000"), "Input should be less than or equal to 65535"),
        (("up", "--embedded", "--port", "http"), "Input should be a valid integer"),
        (("topology", "destroy"), "No such command 'destroy'"),
    ],
)
def test_what_there_is_not_is_refused_by_name(arguments: tuple[str, ...], words: str) -> None:
    run = _in_process(*arguments)
    assert (run.exit_code, run.stdout) == (2, "")
    # The frame around it breaks lines.
    assert words in re.sub(r"[\s│]+", " ", run.stderr)


def test_up_wants_to_be_told_that_it_is_embedded() -> None:
    _refused(reclamo("up"), "say --embedded", "make local", "make up")


def test_words_have_no_color_where_none_is_wanted() -> None:
    colored = environment() | {"FORCE_COLOR": "1"}
    for extra, has_color in (({}, True), ({"NO_COLOR": "1"}, False)):
        run = subprocess.run(
            [*RECLAMO, "up"],
            env=colored | extra,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ("\x1b[31m" in run.stderr) == has_color
    assert "\x1b[" not in reclamo("up").stderr


def test_a_setting_that_cannot_be_read_is_named() -> None:
    run = reclamo("doctor", requests_per_minute="many")
    _refused(run, "RECLAMO_REQUESTS_PER_MINUTE: Input should be a valid integer")
    assert len(run.stderr.splitlines()) == 1


def test_a_reader_that_has_seen_enough_is_nobodys_trouble() -> None:
    run = subprocess.run(
        ["sh", "-c", '"$0" "$@" | true', *RECLAMO, "keygen"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""


# ---- setting an installation up ----------------------------------------------------------------


def test_keygen_prints_lines_that_an_installation_accepts(tmp_path: Path) -> None:
    run = reclamo("keygen")
    assert (run.returncode, run.stderr) == (0, "")
    lines = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert all(re.fullmatch(r"RECLAMO_[A-Z_]+", name) for name in lines)
    assert all(re.fullmatch(r"[\w+/=-]{32,}", value) for value in lines.values())
    assert len(set(lines.values())) == len(lines)

    given = {name.removeprefix("RECLAMO_").lower(): value for name, value in lines.items()}
    doctor = reclamo(
        "doctor", "--json", data_dir=tmp_path, bus_url=f"amqp://a:b@{CLOSED}/", **given
    )
    states = {check["name"]: check["state"] for check in json.loads(doctor.stdout)}
    assert [states[name] for name in ("secret", "public key", "admin token")] == ["ok"] * 3

    definitions = reclamo("topology", "definitions", **given)
    assert definitions.returncode == 0
    assert "orders.commands.v1" in {q["name"] for q in json.loads(definitions.stdout)["queues"]}


def test_two_keygens_have_nothing_in_common() -> None:
    one, two = (set(re.findall(r"=(.*)", reclamo("keygen").stdout)) for _ in range(2))
    assert not one & two


def test_definitions_without_passwords_say_which_are_missing() -> None:
    _refused(
        reclamo("topology", "definitions"),
        *("RECLAMO_ORDERS_PASSWORD", "RECLAMO_RABBITMQ_PASSWORD", "reclamo keygen"),
    )


def test_a_topology_cannot_be_applied_to_the_memory_of_a_process() -> None:
    _refused(reclamo("topology", "apply"), "RECLAMO_BUS_URL is memory://", "amqp://")


def test_a_topology_cannot_be_applied_to_a_dead_broker() -> None:
    run = reclamo("topology", "apply", bus_url=f"amqp://guest:guest@{CLOSED}/")
    _refused(run, "the broker cannot be reached")


def test_migrate_makes_a_schema_and_has_nothing_to_do_the_second_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    for _ in range(2):
        run = reclamo("migrate", "orders", orders_database_url=url)
        assert (run.returncode, run.stdout) == (0, "")
        assert run.stderr == f"orders: schema at {migrations.head('orders')}\n"


def test_migrate_without_a_database_is_one_line() -> None:
    url = f"postgresql://nobody:nothing@{CLOSED}/claims"
    run = reclamo("migrate", "claims", claims_database_url=url)
    _refused(run, "claims: the database cannot be reached")
    assert len(run.stderr.splitlines()) == 1


async def test_migrate_names_a_database_that_is_not_there(
    postgres_url_factory: DatabaseUrl,
) -> None:
    url = (await postgres_url_factory("returns")).rsplit("/", 1)[0] + "/no_such_database"
    run = await asyncio.to_thread(reclamo, "migrate", "returns", returns_database_url=url)
    _refused(run, 'returns: database "no_such_database" does not exist')


@pytest.mark.parametrize("service", ["orders", "gateway"])
def test_a_service_that_cannot_start_says_why_in_one_line(service: str, tmp_path: Path) -> None:
    run = reclamo("serve", service, data_dir=tmp_path)
    _refused(run, "RECLAMO_")
    assert len(run.stderr.splitlines()) == 1


# ---- against a running installation ------------------------------------------------------------


@pytest.fixture(scope="module")
def system(_seeded_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running installation with the demo data."""
    folder = tmp_path_factory.mktemp("cli") / "data"
    shutil.copytree(_seeded_once, folder)
    running = Up(folder)
    try:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: asyncio.run(running.ready())).result()
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def _variant(name: str, **facts: Any) -> dict[str, Any]:
    price = {"currency_code": "eur", "amount": 100}
    return {"id": name, "title": name, "sku": name, "prices": [price], **facts}


def _file(tmp_path: Path, document: Any) -> Path:
    file = tmp_path / "document.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def _at(system: Up) -> dict[str, object]:
    return {"url": system.url, "admin_token": TOKEN}


def test_import_loads_a_file_and_prints_the_summary_alone_on_stdout(
    system: Up, tmp_path: Path
) -> None:
    file = _file(tmp_path, {"variants": [_variant("variant_cli_1"), _variant("variant_cli_2")]})
    for extra in ((), ("--json",)):
        run = reclamo("import", file, *extra, **_at(system))
        assert run.returncode == 0, run.stderr
        summary = json.loads(run.stdout)
        assert summary["refused"] == 0
        assert summary["created"] + summary["unchanged"] == 2
    assert run.stderr == ""


def test_a_refused_row_is_listed_with_its_reason_and_the_rest_is_loaded(
    system: Up, tmp_path: Path
) -> None:
    bad = _variant("variant_cli_bad", prices=[{"currency_code": "eur", "amount": "much"}])
    file = _file(tmp_path, {"variants": [bad, _variant("variant_cli_good")]})
    run = reclamo("import", file, "--json", **_at(system))
    assert run.returncode == 1
    summary = json.loads(run.stdout)
    assert (summary["created"], summary["refused"]) == (1, 1)
    (refusal,) = summary["refusals"]
    assert refusal["id"] == "variant_cli_bad"
    assert refusal["path"].startswith("variants[0].prices[0].amount")
    (line,) = run.stderr.splitlines()
    for told in ("document.json", refusal["path"], "variant_cli_bad", refusal["message"]):
        assert told in line


def test_the_token_of_the_data_folder_need_not_be_copied(system: Up, tmp_path: Path) -> None:
    file = _file(tmp_path, {"variants": [_variant("variant_cli_folder")]})
    folder = re.search(r"^  data +(.*)$", system.said, re.MULTILINE)
    assert folder
    run = reclamo("import", file, "--url", system.url, data_dir=folder.group(1))
    assert run.returncode == 0, run.stderr


def test_replay_reconciles_every_penny(system: Up) -> None:
    run = reclamo(
        *("replay", SLICE, "--format", "online-retail", "--as", "claims", "--json"), **_at(system)
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["difference_pence"] == 0
    assert report["expected_refund_pence"] == report["refunded_ledger_pence"] > 0
    assert report["claims"] > 0
    assert run.stderr == ""


def test_the_demo_data_can_be_loaded_again(system: Up) -> None:
    run = reclamo("seed", "demo", **_at(system))
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr == "The demo data is there.\n"


def _client_commands(tmp_path: Path) -> tuple[tuple[object, ...], ...]:
    file = _file(tmp_path, {"variants": [_variant(variant_id("mug"))]})
    return (
        ("import", file, "--json"),
        ("replay", SLICE, "--json"),
        ("seed", "demo"),
    )


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_gateway_that_is_not_there_is_said_at_once(which: int, tmp_path: Path) -> None:
    arguments = _client_commands(tmp_path)[which]
    run = reclamo(*arguments, url=f"http://{CLOSED}", admin_token=TOKEN)
    _refused(run, f"http://{CLOSED}", "is it running (`make run`)?", "--url")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_wrong_token_is_said_with_where_the_right_one_is(
    system: Up, which: int, tmp_path: Path
) -> None:
    arguments = _client_commands(tmp_path)[which]
    for token in ("rk_wrong", ""):
        run = reclamo(*arguments, url=system.url, admin_token=token, data_dir=tmp_path)
        _refused(run, "does not know the token", "start banner", "RECLAMO_ADMIN_TOKEN")


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"variants": 3}', '{"cars": []}'])
def test_a_file_that_is_not_what_it_should_be_is_refused_as_a_whole(
    system: Up, tmp_path: Path, text: str
) -> None:
    _refused(reclamo("import", _file(tmp_path, text), **_at(system)), "document.json")


def test_a_file_that_is_not_there_is_named(system: Up, tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    _refused(reclamo("import", missing, **_at(system)), "missing.csv")
    _refused(reclamo("replay", missing, **_at(system)), "missing.csv")
