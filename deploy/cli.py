"""The ``reclamo`` command. Data goes to stdout, words to stderr; exit codes are stable:
0 all well, 1 something was found or refused, 2 the command could not be carried out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from chassis.errors import Unavailable
from chassis.observability import configure_logs
from chassis.values import random_token
from deploy import operating_cli, trust_cli
from deploy.terminal import DEFAULT_URL, Failed, Json, Token, Url, words
from deploy.terminal import at_gateway as _at_gateway
from deploy.terminal import put as _put
from deploy.terminal import run as _run
from deploy.terminal import said as _said
from deploy.terminal import the_token as _token

app = typer.Typer(
    help="Reclamo: claims, returns, and the orders and stock behind them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topology_app = typer.Typer(help="Exchanges, queues and bindings.", no_args_is_help=True)
app.add_typer(topology_app, name="topology")
app.add_typer(operating_cli.dlq, name="dlq")
app.add_typer(operating_cli.outbox, name="outbox")
app.add_typer(operating_cli.saga, name="saga")
app.add_typer(trust_cli.audit, name="audit")
app.add_typer(trust_cli.findings, name="findings")

Host = Annotated[str, typer.Option(help="the address to listen on")]
Port = Annotated[int, typer.Option(help="the port to listen on", min=1, max=65535)]
Process = Literal["orders", "claims", "returns", "inventory", "gateway"]
DEFAULT_HOST = "127.0.0.1"


@app.command()
def up(
    embedded: Annotated[bool, typer.Option("--embedded", help="everything in one process")] = False,
    host: Host = DEFAULT_HOST,
    port: Port = 8000,
    data_dir: Annotated[Path | None, typer.Option(help="where the data lies")] = None,
    seed: Annotated[Literal["demo", "none"], typer.Option(help="fill an empty system")] = "none",
) -> None:
    """Start Reclamo in one process on SQLite, without any other software."""
    if not embedded:
        raise Failed("say --embedded; for separate processes there are `make local` and `make up`")
    from deploy import run_embedded
    from deploy.demo_seed import SeedRefused
    from deploy.gateway_client import GatewayError

    try:
        _run(run_embedded.run(host=host, port=port, data_dir=data_dir, seed=seed))
    except (GatewayError, SeedRefused) as error:
        raise Failed(f"the demo data could not be loaded: {error}") from None


@app.command()
def local(
    host: Host = DEFAULT_HOST,
    port: Port = 8000,
    data_dir: Annotated[Path, typer.Option(help="where the data lies")] = Path(".data/local"),
    seed: Annotated[Literal["demo", "none"], typer.Option(help="fill an empty system")] = "demo",
    replicas: Annotated[int, typer.Option(help="processes of each service", min=1, max=8)] = 1,
) -> None:
    """Start every service as its own process, with a private PostgreSQL and RabbitMQ."""
    from deploy import ports, run_local

    chosen = ports.choose(host, port)
    if chosen != port:
        words.print(f"Port {port} is taken, using {chosen}.")
    folder = data_dir.absolute()
    raise typer.Exit(
        _run(run_local.run(host=host, port=chosen, data_dir=folder, seed=seed, replicas=replicas))
    )


@app.command()
def serve(service: Process, host: Host = DEFAULT_HOST, port: Port = 8080) -> None:
    """Run one service in the foreground."""
    module = "gateway.app" if service == "gateway" else f"services.{service}.app"
    arguments = [sys.executable, "-m", module, "--host", host, "--port", str(port)]
    os.execv(sys.executable, arguments)


@app.command()
def migrate(service: Process) -> None:
    """Bring the schema of one service to the newest revision."""
    from chassis import migrations
    from chassis.settings import Settings

    # An image holds one service: nothing of the others may be imported here.
    url = Settings().database_url(service)
    if not url.startswith("sqlite"):
        _run(_can_be_read(service, url))
    migrations.upgrade(service, url)
    words.print(f"{service}: schema at {migrations.head(service)}")


async def _can_be_read(service: str, url: str) -> None:
    """Raises Unavailable, in words, where Alembic would raise whatever its driver does."""
    from deploy.reading import open_to_read

    await (await open_to_read(service, url)).close()


@app.command("import")
def import_(
    files: list[Path],
    format: Annotated[Literal["reclamo", "online-retail"], typer.Option()] = "reclamo",
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Load orders and reference data through the gateway; exit code 1 if a row was refused."""
    from deploy.import_client import FileUnreadable, import_files

    try:
        summary = _at_gateway(
            url, lambda: import_files(url, _token(token), files, format, not as_json)
        )
    except FileUnreadable as error:
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
    from deploy.import_client import FileUnreadable
    from deploy.replay_client import replay as run

    try:
        report = _at_gateway(url, lambda: run(url, _token(token), file, as_, not as_json))
    except FileUnreadable as error:
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
    from deploy.gateway_client import Gateway

    async def work() -> None:
        async with Gateway(url, _token(token)) as gateway:
            await fill(gateway)

    try:
        _at_gateway(url, work)
    except SeedRefused as error:
        raise Failed(f"the demo data was refused: {error}") from None
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
    from deploy.verify import verify as check
    from gateway.settings import GatewaySettings

    report = _run(check(GatewaySettings(), at_rest=at_rest))
    if as_json:
        _put(report.to_json())
    else:
        for finding in report.findings:
            sys.stdout.write(f"{finding.invariant}  {finding.id}  {finding.message}\n")
        words.print(report.summary)
    raise typer.Exit(1 if report.findings else 0)


@app.command()
def bench(
    mode: Annotated[Literal["embedded", "distributed", "both"], typer.Option()] = "both",
    clients: Annotated[str, typer.Option(help="how many at once, e.g. 8 or 1,8,32")] = "1,8,32",
    seconds: Annotated[float, typer.Option(help="measured time per cell", min=0.1)] = 10.0,
    warmup: Annotated[float, typer.Option(help="seconds before it", min=0.0)] = 2.0,
    only: Annotated[
        str,
        typer.Option(help="of refund,refund-return,replace,return,order,orders,ceilings,idle"),
    ] = "",
    history: Annotated[int, typer.Option(help="again with so many more orders", min=0)] = 0,
    idle_seconds: Annotated[float, typer.Option(help="how long to look", min=1.0)] = 60.0,
    soak_minutes: Annotated[float, typer.Option(help="of steady load: memory", min=0.0)] = 0.0,
    profile: Annotated[
        bool, typer.Option("--profile", help="by py-spy, beside the report")
    ] = False,
    output: Annotated[Path, typer.Option(help="the report")] = Path("reports/bench.json"),
    as_json: Json = False,
) -> None:
    """Measure systems of its own under load; exit code 1 on an error or a refusal, not on speed."""
    from deploy.bench import report as reports
    from deploy.bench import run as benches
    from deploy.bench.catalog import BenchFailed

    try:
        request = benches.request(
            mode=mode,
            clients=clients,
            only=only,
            seconds=seconds,
            warmup_s=warmup,
            history=history,
            idle_s=idle_seconds,
            soak_minutes=soak_minutes,
            profile_dir=output.parent / "profile" if profile else None,
        )
        found = _run(benches.run(request, reports.Say(shown=True)))
    except BenchFailed as error:
        raise Failed(str(error)) from None
    except asyncio.CancelledError:
        raise typer.Exit(130) from None
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        _put(found)
    else:
        reports.write(found)
    words.print(f"The report is in {output}.")
    raise typer.Exit(1 if found["troubles"] else 0)


@app.command()
def sim(
    seed: Annotated[int, typer.Option(help="what everything follows from")] = 1,
    seeds: Annotated[int, typer.Option(help="how many, from that one on", min=1)] = 1,
    as_json: Json = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="print what happened, line by line")
    ] = False,
) -> None:
    """Let the whole system run in an invented world full of accidents, and audit it at the end.

    The same seed gives the same course of events. Exit code 1 if something was lost or doubled.
    """
    from deploy.progress import bar
    from deploy.simulation.report import simulate
    from deploy.simulation.run import Outcome

    # The accidents are on purpose: what the services say of them is not news.
    configure_logs("CRITICAL")
    with bar("seeds", seeds, shown=seeds > 1 and not as_json) as advance:

        def each(outcome: Outcome) -> None:
            advance(1)
            if trace:
                sys.stdout.write("\n".join([*outcome.lines, ""]))
            for wrong in outcome.wrong:
                words.print(f"seed {outcome.seed}: {wrong}", style="red", markup=False)
            if outcome.wrong:
                words.print(f"see it again: reclamo sim --seed {outcome.seed} --trace")

        figures = simulate(range(seed, seed + seeds), each)
    if as_json:
        _put(figures.to_json())
    words.print(figures.summary, markup=False)
    raise typer.Exit(1 if figures.failed else 0)


@app.command()
def keygen() -> None:
    """Print fresh secrets as lines for an environment file."""
    from chassis import auth

    secret = random_token(32)
    public = auth.public_text(auth.private_key(secret, "internal"))
    lines = [f"RECLAMO_SECRET_KEY={secret}", f"RECLAMO_INTERNAL_PUBLIC_KEY={public}"]
    lines.append(f"RECLAMO_ADMIN_TOKEN=rk_{random_token(20)}")
    names = ("postgres", "rabbitmq", "orders", "claims", "returns", "inventory", "gateway")
    for name in (*names, "outside"):
        lines.append(f"RECLAMO_{name.upper()}_PASSWORD={random_token(16)}")
    sys.stdout.write("\n".join(lines) + "\n")


@topology_app.command("apply")
def topology_apply() -> None:
    """Declare every exchange, queue and binding at RECLAMO_BUS_URL."""
    from chassis.bus_rabbit import declare_topology
    from deploy.assembly import topology
    from gateway.settings import GatewaySettings

    found, url = topology(), GatewaySettings().bus_url
    if not url.startswith("amqp"):
        raise Failed(f"RECLAMO_BUS_URL is {url}: say amqp://user:password@host/")
    try:
        _run(declare_topology(url, found))
    except (OSError, TimeoutError) as error:
        raise Failed(f"the broker cannot be reached: {error or type(error).__name__}") from None
    words.print(f"{len(found.queues)} queues and {len(found.bindings)} bindings are declared.")


@topology_app.command("definitions")
def topology_definitions(
    output: Annotated[Path | None, typer.Option(help="a file; else standard output")] = None,
) -> None:
    """Write RabbitMQ's definitions file: users, permissions, exchanges, queues and bindings.

    Passwords come from RECLAMO_<SERVICE>_PASSWORD, that of the user `deployer` from
    RECLAMO_RABBITMQ_PASSWORD, that of `outside`, who reads events, from RECLAMO_OUTSIDE_PASSWORD.
    """
    from deploy.assembly import SUBSCRIPTIONS
    from deploy.rabbitmq_definitions import DEPLOYER, OUTSIDE, definitions

    variables = {name: f"RECLAMO_{name.upper()}_PASSWORD" for name in (*SUBSCRIPTIONS, OUTSIDE)}
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
    configure_logs(os.environ.get("RECLAMO_LOG_LEVEL", "WARNING"))
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Unavailable as error:
        raise SystemExit(_said(error.message)) from None
    except ValidationError as error:
        # A setting that cannot be read; anything else that does not fit is a defect.
        if not error.title.endswith("Settings"):
            raise
        for wrong in error.errors():
            name = "_".join(map(str, wrong["loc"]))
            _said(f"RECLAMO_{name.upper()}: {wrong['msg']}")
        raise SystemExit(2) from None
