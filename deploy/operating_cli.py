"""``reclamo dlq | outbox | saga``: see what is stuck, and mend it.

Changes go through the gateway, so that the roles hold and the trail says who. Lists are read there
too, or in the databases when nobody is there. Exit codes: 0 well, 1 something was refused, failed
again, or a service is missing from a list, 2 not carried out.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import typer

from deploy.terminal import (
    DEFAULT_URL,
    Failed,
    Json,
    Token,
    Url,
    at_gateway,
    put,
    the_token,
    words,
)

if TYPE_CHECKING:  # an image that holds one service has no use for these, nor what they import
    from deploy.gateway_client import Gateway
    from deploy.operating_gateway import Source

T = TypeVar("T")
dlq = typer.Typer(help="Messages that could not be handled.", no_args_is_help=True)
outbox = typer.Typer(help="Messages that wait to be sent.", no_args_is_help=True)
saga = typer.Typer(help="What is under way between services.", no_args_is_help=True)

Services = Literal["orders", "claims", "returns", "inventory"]
Service = Annotated[Services | None, typer.Option(help="of this service only")]
Limit = Annotated[int, typer.Option(help="how many at most", min=1, max=100)]
Ids = Annotated[list[str], typer.Argument(metavar="ID...")]
Why = Annotated[str, typer.Option(help="the reason; it goes into the audit trail")]
WAIT_S = 20.0
LOOK_EVERY_S = 0.2
PAGE_ROWS = 100


# ---- dead letters ------------------------------------------------------------------------------


@dlq.command("list")
def dlq_list(
    service: Service = None,
    state: Annotated[Literal["parked", "dead"] | None, typer.Option()] = None,
    queue: Annotated[str | None, typer.Option(help="of this queue only")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List messages that are parked (tried again by themselves) or dead, the newest first."""

    async def work(source: Source) -> dict[str, Any]:
        return await source.page(
            "dead-letters", service=service, state=state, queue=queue, limit=limit
        )

    found = _read(url, token, work)
    lines = [
        f"{row['state']:<7} {row['id']}  {row['type']}  {row['about']}  {row['error']}"
        for row in found["dead_letters"]
    ]
    _show_list(found, lines, "dead letters", as_json)


@dlq.command("show")
def dlq_show(id: str, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Show one message with its envelope, as JSON."""
    put(_read(url, token, lambda source: source.one("dead-letters", id))["dead_letter"])


@dlq.command("replay")
def dlq_replay(
    ids: Ids,
    with_data: Annotated[
        Path | None,
        typer.Option(help="a JSON file that takes the place of the message's data"),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Try messages again, mended if a file is given, and wait until they are handled."""
    if with_data is not None and len(ids) != 1:
        raise Failed("--with-data mends one message at a time")
    body = {} if with_data is None else {"data": _object(with_data)}

    async def one(gateway: Gateway, id_: str) -> bool:
        path = f"/admin/dead-letters/{quote(id_, safe='')}"
        await gateway.post(f"{path}/replay", body)
        letter = await _settled(gateway, path)
        words.print(f"{id_}: {_became(letter)}", markup=False)
        return bool(letter["state"] == "done")

    _each(url, token, ids, one)


@dlq.command("discard")
def dlq_discard(ids: Ids, why: Why, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Never handle messages. They stay known, and `dlq replay` takes it back."""

    async def one(gateway: Gateway, id_: str) -> bool:
        await gateway.post(f"/admin/dead-letters/{quote(id_, safe='')}/discard", {"reason": why})
        words.print(f"{id_}: discarded", markup=False)
        return True

    _each(url, token, ids, one)


@dlq.command("export")
def dlq_export(
    service: Service = None,
    state: Annotated[Literal["parked", "dead"] | None, typer.Option()] = None,
    output: Annotated[Path | None, typer.Option(help="a file; else standard output")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Write messages with their envelopes, one JSON object per line."""

    async def work(source: Source) -> dict[str, Any]:
        ids: list[str] = []
        while True:
            page = await source.page(
                "dead-letters", service=service, state=state, limit=PAGE_ROWS, offset=len(ids)
            )
            ids += [row["id"] for row in page["dead_letters"]]
            if len(page["dead_letters"]) < PAGE_ROWS:
                break
        letters = [(await source.one("dead-letters", id_))["dead_letter"] for id_ in ids]
        return {"letters": letters, "missing": page["missing"]}

    found = _read(url, token, work)
    text = "".join(
        json.dumps(letter, ensure_ascii=False, default=str) + "\n" for letter in found["letters"]
    )
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)
    words.print(f"{len(found['letters'])} dead letters.{_missing(found)}")
    raise typer.Exit(1 if found["missing"] else 0)


# ---- outbox ------------------------------------------------------------------------------------


@outbox.command("lag")
def outbox_lag(
    service: Service = None, url: Url = DEFAULT_URL, token: Token = None, as_json: Json = False
) -> None:
    """How many messages wait in each service, for how long, and which are blocked and why."""

    async def work(source: Source) -> dict[str, Any]:
        return await source.page("outbox", service=service, state="blocked", limit=PAGE_ROWS)

    found = _read(url, token, work)
    lines = [
        f"{lag['service']:<10} {lag['unsent']} unsent, the oldest for {lag['oldest_age_s']:.1f} s;"
        f" {lag['blocked']} blocked"
        for lag in found["lag"]
    ]
    lines += [
        f"blocked    {row['id']}  {row['type']}  {row['about']}  {row['last_error']}"
        for row in found["messages"]
    ]
    _show_list(found, lines, "blocked messages", as_json)


@outbox.command("unblock")
def outbox_unblock(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]")] = None,
    all_: Annotated[bool, typer.Option("--all", help="every blocked message")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Send blocked messages again, once the queue that they want is there."""
    if bool(ids) == all_:
        raise Failed("say which messages, or --all")
    if all_:
        found = _read(
            url, token, lambda source: source.page("outbox", state="blocked", limit=PAGE_ROWS)
        )
        ids = [row["id"] for row in found["messages"]]

    async def one(gateway: Gateway, id_: str) -> bool:
        await gateway.post(f"/admin/outbox/{quote(id_, safe='')}/unblock", {})
        words.print(f"{id_}: sent again", markup=False)
        return True

    _each(url, token, ids or [], one)


# ---- sagas -------------------------------------------------------------------------------------


@saga.command("list")
def saga_list(
    service: Service = None,
    kind: Annotated[str | None, typer.Option(help="claim, return-request, ...")] = None,
    direction: Annotated[Literal["forward", "back"] | None, typer.Option()] = None,
    older_than: Annotated[float, typer.Option(help="seconds since they began", min=0)] = 0,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List sagas under way, the oldest first: what they wait for, since when, how often asked."""

    async def work(source: Source) -> dict[str, Any]:
        return await source.page(
            "sagas",
            service=service,
            kind=kind,
            direction=direction,
            older_than_s=older_than,
            limit=limit,
        )

    found = _read(url, token, work)
    lines = [
        f"{row['age_s']:>8.0f} s  {row['id']}  {row['kind']} {row['direction']}, waits for"
        f" {' and '.join(row['waits_for'])}, asked again {row['tries']} times,"
        f" next {row['next_at']}"
        for row in found["sagas"]
    ]
    _show_list(found, lines, "sagas under way", as_json)


@saga.command("show")
def saga_show(id: str, url: Url = DEFAULT_URL, token: Token = None, as_json: Json = False) -> None:
    """Show one saga: where it stands, and everything that happened to it."""
    found = _read(url, token, lambda source: source.one("sagas", id))["saga"]
    if as_json:
        put(found)
        return
    for name in ("id", "service", "kind", "subject_id", "direction", "tries", "next_at"):
        sys.stdout.write(f"{name:<14} {found[name]}\n")
    sys.stdout.write(f"{'waits for':<14} {', '.join(found['waits_for']) or 'nothing'}\n")
    sys.stdout.write(f"{'compensate':<14} {'possible' if found['can_turn_back'] else 'no'}\n")
    for entry in found["history"]:
        detail = f" ({entry['detail']})" if entry.get("detail") else ""
        sys.stdout.write(f"  {entry['at']}  {entry['step']}: {entry['what']}{detail}\n")


@saga.command("resume")
def saga_resume(ids: Ids, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Ask for what is awaited again now, with the same commands, instead of at the next timer."""

    async def one(gateway: Gateway, id_: str) -> bool:
        told = (await gateway.post(f"/admin/sagas/{quote(id_, safe='')}/resume", {}))["saga"]
        words.print(f"{id_}: asked again for {' and '.join(told['waits_for'])}", markup=False)
        return True

    _each(url, token, ids, one)


@saga.command("compensate")
def saga_compensate(ids: Ids, why: Why, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Undo what was done and end the saga; refused once money or goods may have moved."""

    async def one(gateway: Gateway, id_: str) -> bool:
        path = f"/admin/sagas/{quote(id_, safe='')}/compensate"
        told = (await gateway.post(path, {"reason": why}))["saga"]
        words.print(f"{id_}: {told['direction']}", markup=False)
        return True

    _each(url, token, ids, one)


# ---- the same for all --------------------------------------------------------------------------


def _read(url: str, token: str | None, work: Callable[[Source], Coroutine[Any, Any, T]]) -> T:
    from deploy import operating_gateway

    async def at_the_gateway() -> T:
        async with operating_gateway.at_gateway(url, the_token(token)) as source:
            return await work(source)

    async def in_the_databases() -> T:
        # Here and not above: it loads every service.
        from deploy import operating_databases

        async with operating_databases.in_databases() as found:
            return await work(found)

    return at_gateway(url, at_the_gateway, otherwise=in_the_databases)


def _show_list(found: dict[str, Any], lines: list[str], name: str, as_json: bool) -> None:
    if as_json:
        put(found)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        words.print(f"{found['count']} {name}.{_missing(found)}")
    raise typer.Exit(1 if found["missing"] else 0)


def _missing(found: dict[str, Any]) -> str:
    return f" No answer from {', '.join(found['missing'])}." if found["missing"] else ""


def _each(
    url: str, token: str | None, ids: list[str], one: Callable[[Gateway, str], Awaitable[bool]]
) -> None:
    """Do the same to each; one that is refused does not keep the others from it."""
    from deploy.gateway_client import Gateway, GatewayRefused
    from deploy.operating_gateway import PATIENCE_S

    async def work() -> bool:
        well = True
        async with Gateway(url, the_token(token), patience_s=PATIENCE_S) as gateway:
            for id_ in ids:
                try:
                    well = await one(gateway, id_) and well
                except GatewayRefused as error:
                    if error.status in (401, 403):
                        raise
                    words.print(f"{id_}: refused: {error}", markup=False)
                    well = False
        return well

    raise typer.Exit(0 if at_gateway(url, work) else 1)


async def _settled(gateway: Gateway, path: str) -> dict[str, Any]:
    """The letter once its next try has ended, or as it is after a while."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + WAIT_S
    while True:
        letter: dict[str, Any] = (await gateway.get(path))["dead_letter"]
        # While a try runs, its start stands in place of an error.
        tried = letter["error"] and not letter["error"].startswith("started ")
        if letter["state"] != "parked" or tried or loop.time() > give_up_at:
            return letter
        await asyncio.sleep(LOOK_EVERY_S)


def _became(letter: dict[str, Any]) -> str:
    if letter["state"] == "done":
        return "handled"
    if letter["error"]:
        return f"failed again ({letter['state']}): {letter['error']}"
    return f"still {letter['state']} after {WAIT_S:.0f} s: is {letter['service']} running?"


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Failed(f"{file} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Failed(f"{file} must hold a JSON object: the new data of the message")
    return found
