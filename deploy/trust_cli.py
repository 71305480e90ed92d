"""``reclamo audit | findings``: who did what, whether the record of it is whole, and where the
services' books differ. Exit codes: 0 well, 1 something was found or refused, 2 not carried out.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from deploy.terminal import (
    DEFAULT_URL,
    Failed,
    Json,
    Token,
    Url,
    at_gateway,
    put,
    run,
    the_token,
    words,
)

audit = typer.Typer(help="Who did what, and whether the record is whole.", no_args_is_help=True)
findings = typer.Typer(help="Where the services' books differ.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(help="how many at most", min=1, max=100)]
States = Literal["open", "resolved", "repaired", "dismissed", "all"]


def _ask(url: str, token: str | None, path: str, body: dict[str, Any] | None = None) -> Any:
    from deploy.gateway_client import Gateway

    async def work() -> Any:
        async with Gateway(url, the_token(token)) as gateway:
            if body is None:
                return await gateway.get(path)
            return await gateway.post(path, body)

    return at_gateway(url, work)


def _query(**given: Any) -> str:
    return urlencode({name: value for name, value in given.items() if value is not None})


@audit.command("list")
def audit_list(
    about: Annotated[str | None, typer.Option(help="of one thing, e.g. claim/claim_...")] = None,
    actor: Annotated[str | None, typer.Option(help="by this id, or by this role")] = None,
    action: Annotated[
        str | None, typer.Option(help="e.g. claim.opened, or a family: refund.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="a date or an instant")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List what was done, in all services, the newest first."""
    query = _query(about=about, actor=actor, action=action, since=since, limit=limit)
    found = _ask(url, token, f"/admin/audit?{query}")
    if as_json:
        put(found)
        return
    for row in found["audit"]:
        who = row["actor_id"] or row["actor_kind"]
        change = " ".join(filter(None, (_change(row), row["note"])))
        sys.stdout.write(f"{row['at']}  {who}  {row['action']}  {row['about']}  {change}\n")
    words.print(f"{len(found['audit'])} of {found['count']} records.")


def _change(row: dict[str, Any]) -> str:
    before, after = row["before"] or {}, row["after"] or {}
    told = []
    for name in dict.fromkeys([*before, *after]):
        was = f"{before[name]} -> " if name in before else ""
        told.append(f"{name}: {was}{after.get(name)}")
    return ", ".join(told)


@audit.command("verify")
def audit_verify(as_json: Json = False) -> None:
    """Walk the chain of every service; name the first broken record of each, and what follows."""
    from chassis.errors import Unavailable
    from deploy.verify import chains
    from gateway.settings import GatewaySettings

    try:
        broken, lengths = run(chains(GatewaySettings()))
    except Unavailable as error:
        raise Failed(error.message) from None
    if as_json:
        put({"findings": broken, "records": lengths})
    else:
        for row in broken:
            sys.stdout.write(f"{row['invariant']}  {row['id']}  {row['message']}\n")
        counted = ", ".join(f"{name} {count}" for name, count in lengths.items())
        words.print(f"Sealed records: {counted}. " + ("Broken." if broken else "Nothing found."))
    raise typer.Exit(1 if broken else 0)


@findings.command("list")
def findings_list(
    state: States = "open",
    invariant: Annotated[str | None, typer.Option(help="e.g. I13")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List differences between books, with what to do about each; exit code 1 if one is open."""
    only = None if state == "all" else state
    query = _query(state=only, invariant=invariant, limit=limit)
    found = _ask(url, token, f"/admin/findings?{query}")
    if as_json:
        put(found)
    else:
        for row in found["findings"]:
            repair = row["proposal"]["repair"] or "by hand"
            told = (row[name] for name in ("id", "state", "invariant", "about", "message"))
            sys.stdout.write("  ".join(told) + "\n")
            sys.stdout.write(f"    {repair}: {row['proposal']['advice']}\n")
        words.print(f"{len(found['findings'])} of {found['count']} findings.")
    still = any(row["state"] == "open" for row in found["findings"])
    raise typer.Exit(1 if still else 0)


@findings.command("repair")
def findings_repair(
    ids: Annotated[list[str], typer.Argument(metavar="ID...")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Make the proposed repair; the next look closes what it healed."""
    for id_ in ids:
        _ask(url, token, f"/admin/findings/{id_}/repair", {})
        words.print(f"{id_}: the repair is on its way.")


@findings.command("dismiss")
def findings_dismiss(
    id: str,
    note: Annotated[str, typer.Option(help="why; it goes into the audit trail")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Want no more of a finding."""
    _ask(url, token, f"/admin/findings/{id}/dismiss", {"note": note})
    words.print(f"{id} is dismissed.")
