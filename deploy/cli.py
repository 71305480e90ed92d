"""The ``reclamo`` command. Data goes to stdout, words to stderr; exit codes are stable:
0 all well, 1 something was found or refused, 2 the command could not be carried out.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from chassis import auth
from chassis.observability import configure_logs
from chassis.values import random_token

app = typer.Typer(
    help="Reclamo: claims, returns, and the orders and stock behind them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topology_app = typer.Typer(help="Exchanges, queues and bindings.", no_args_is_help=True)
app.add_typer(topology_app, name="topology")
words = Console(stderr=True, highlight=False)
T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Url = Annotated[str, typer.Option(help="the gateway", envvar="RECLAMO_URL")]
Token = Annotated[str | None, typer.Option(help="an admin API token", envvar="RECLAMO_ADMIN_TOKEN")]
DEFAULT_URL = "http://127.0.0.1:8000"


class Failed(typer.Exit):
    """The command could not be carried out; the reason was said."""

    def __init__(self, reason: str) -> None:
        words.print(f"reclamo: {reason}", style="red", markup=False)
        super().__init__(2)


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)


def _put(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def _token(given: str | None) -> str | None:
    """The token given, or that of the data folder: no need to copy it on the same machine."""
    if given:
        return given
    from gateway.settings import GatewaySettings

    file = GatewaySettings().data_dir / "secrets.json"
    return json.loads(file.read_text())["admin_token"] if file.exists() else None


@app.command()
def up(
    embedded: Annotated[bool, typer.Option("--embedded", help="everything in one process")] = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    data_dir: Annotated[Path | None, typer.Option(help="where the data lies")] = None,
    seed: Annotated[Literal["demo", "none"], typer.Option(help="fill an empty system")] = "none",
) -> None:
    """Start Reclamo in one process on SQLite, without any other software."""
    if not embedded:
        raise Failed("say --embedded; for separate processes there are `make local` and `make up`")
    from deploy import run_embedded

    _run(run_embedded.run(host=host, port=_free(host, port), data_dir=data_dir, seed=seed))


def _free(host: str, port: int) -> int:
    """The port, or the next free one."""
    for candidate in range(port, port + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, candidate))
                if candidate != port:
                    words.print(f"Port {port} is taken, using {candidate}.")
                return candidate
    raise Failed(f"no free port between {port} and {port + 49}: choose one with --port")


@app.command()
def local(
    host: str = "127.0.0.1",
    port: int = 8000,
    data_dir: Annotated[Path, typer.Option(help="where the data lies")] = Path(".data/local"),
    seed: Annotated[Literal["demo", "none"], typer.Option(help="fill an empty system")] = "demo",
) -> None:
    """Start every service as its own process, with a private PostgreSQL and RabbitMQ."""
    from deploy import run_local

    code = _run(
        run_local.run(host=host, port=_free(host, port), data_dir=data_dir.absolute(), seed=seed)
    )
    raise typer.Exit(code)


@app.command()
def serve(service: str, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Run one service (orders, claims, returns, inventory, gateway) in the foreground."""
    module = "gateway.app" if service == "gateway" else f"services.{service}.app"
    arguments = [sys.executable, "-m", module, "--host", host, "--port", str(port)]
    os.execv(sys.executable, arguments)


@app.command()
def migrate(service: Literal["orders", "claims", "returns", "inventory", "gateway"]) -> None:
    """Bring the schema of one service to the newest revision."""
    from chassis import migrations
    from chassis.settings import Settings

    # An image holds one service: nothing of the others may be imported here.
    migrations.upgrade(service, Settings().database_url(service))
    words.print(f"{service}: schema at {migrations.head(service)}")


@app.command("import")
def import_(
    files: list[Path],
    format: Annotated[Literal["reclamo", "online-retail"], typer.Option()] = "reclamo",
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Load orders and reference data through the gateway; exit code 1 if a row was refused."""
    from deploy.gateway_client import GatewayError
    from deploy.import_client import FileUnreadable, import_files

    try:
        summary = _run(import_files(url, _token(token), files, format, not as_json))
    except (FileUnreadable, GatewayError) as error:
        raise Failed(str(error)) from None
    for refusal in summary.refusals:
        words.print(
            f"refused {refusal.file} {refusal.path} {refusal.id or ''}: {refusal.message}",
            markup=False,
        )
    _put(summary.to_json())
    raise typer.Exit(0 if summary.ok else 1)


@app.command()
def replay(
    file: Path,
    format: Annotated[Literal["online-retail"], typer.Option()] = "online-retail",
    as_: Annotated[Literal["claims", "returns", "both"], typer.Option("--as")] = "claims",
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Replay the credit notes of a file as claims or returns, and reconcile every penny."""
    from deploy.gateway_client import GatewayError
    from deploy.import_client import FileUnreadable
    from deploy.replay_client import replay as run

    try:
        report = _run(run(url, _token(token), file, as_, not as_json))
    except (FileUnreadable, GatewayError) as error:
        raise Failed(str(error)) from None
    for refusal in report.refusals:
        words.print(
            f"refused {refusal.kind} {refusal.credit_invoice} on {refusal.order_id}:"
            f" {refusal.message}",
            markup=False,
        )
    _put(report.to_json())
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def seed(what: Literal["demo"], url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Load the demo data into a running system."""
    from deploy.demo_seed import SeedRefused
    from deploy.demo_seed import seed as fill
    from deploy.gateway_client import Gateway, GatewayError

    async def work() -> None:
        async with Gateway(url, _token(token)) as gateway:
            await fill(gateway)

    try:
        _run(work())
    except (GatewayError, SeedRefused) as error:
        raise Failed(str(error)) from None
    words.print(f"The {what} data is there.")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check settings, databases, broker and migrations; each finding names its fix."""
    from deploy.doctor import examine
    from gateway.settings import GatewaySettings

    checks = _run(examine(GatewaySettings()))
    if as_json:
        _put([check.to_json() for check in checks])
    else:
        table = Table("check", "state", "found", "what to do", box=None)
        for check in checks:
            table.add_row(check.name, check.state, check.found, check.fix)
        Console().print(table)
    raise typer.Exit(1 if any(check.state == "wrong" for check in checks) else 0)


@app.command()
def verify(
    at_rest: Annotated[
        bool, typer.Option("--at-rest", help="nothing may be under way, parked or unsent")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every invariant, within the services and across them, on the live data."""
    from chassis.errors import Unavailable
    from deploy.verify import verify as check
    from gateway.settings import GatewaySettings

    try:
        report = _run(check(GatewaySettings(), at_rest=at_rest))
    except Unavailable as error:
        raise Failed(error.message) from None
    if as_json:
        _put(report.to_json())
    else:
        for finding in report.findings:
            sys.stdout.write(f"{finding.invariant}  {finding.id}  {finding.message}\n")
        words.print(report.summary)
    raise typer.Exit(1 if report.findings else 0)


@app.command()
def keygen() -> None:
    """Print fresh secrets as lines for an environment file."""
    secret = random_token(32)
    public = auth.public_text(auth.private_key(secret, "internal"))
    lines = [f"RECLAMO_SECRET_KEY={secret}", f"RECLAMO_INTERNAL_PUBLIC_KEY={public}"]
    lines.append(f"RECLAMO_ADMIN_TOKEN=rk_{random_token(20)}")
    names = ("postgres", "rabbitmq", "orders", "claims", "returns", "inventory", "gateway")
    for name in names:
        lines.append(f"RECLAMO_{name.upper()}_PASSWORD={random_token(16)}")
    sys.stdout.write("\n".join(lines) + "\n")


@topology_app.command("apply")
def topology_apply() -> None:
    """Declare every exchange, queue and binding at RECLAMO_BUS_URL."""
    from chassis.bus_rabbit import declare_topology
    from deploy.assembly import topology
    from gateway.settings import GatewaySettings

    found = topology()
    _run(declare_topology(GatewaySettings().bus_url, found))
    words.print(f"{len(found.queues)} queues and {len(found.bindings)} bindings are declared.")


@topology_app.command("definitions")
def topology_definitions(
    output: Annotated[Path | None, typer.Option(help="a file; else standard output")] = None,
) -> None:
    """Write RabbitMQ's definitions file: users, permissions, exchanges, queues and bindings.

    Passwords come from RECLAMO_<SERVICE>_PASSWORD, that of the user `deployer` from
    RECLAMO_RABBITMQ_PASSWORD.
    """
    from deploy.assembly import SUBSCRIPTIONS
    from deploy.rabbitmq_definitions import DEPLOYER, definitions

    variables = {name: f"RECLAMO_{name.upper()}_PASSWORD" for name in SUBSCRIPTIONS}
    variables[DEPLOYER] = "RECLAMO_RABBITMQ_PASSWORD"
    missing = [name for name in variables.values() if not os.environ.get(name)]
    if missing:
        raise Failed(f"set {', '.join(missing)} (`reclamo keygen` prints them)")
    made = definitions(
        (part for parts in SUBSCRIPTIONS.values() for part in parts),
        passwords={user: os.environ[name] for user, name in variables.items()},
    )
    if output is None:
        _put(made)
    else:
        output.write_text(json.dumps(made, indent=2) + "\n")
        words.print(f"{len(made['queues'])} queues are in {output}.")


def main() -> None:
    """The console script."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    configure_logs(os.environ.get("RECLAMO_LOG_LEVEL", "WARNING"))
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
