"""What all commands of ``reclamo`` share: data to stdout, words to stderr, options, the gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

words = Console(stderr=True, highlight=False, soft_wrap=True)
T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Url = Annotated[str, typer.Option(help="the gateway", envvar="RECLAMO_URL")]
Token = Annotated[str | None, typer.Option(help="an admin API token", envvar="RECLAMO_ADMIN_TOKEN")]
DEFAULT_URL = "http://127.0.0.1:8000"


class Failed(typer.Exit):
    """The command could not be carried out; the reason was said."""

    def __init__(self, reason: str) -> None:
        super().__init__(said(reason))


def said(reason: str) -> int:
    """Say why it could not be done; the exit code for that."""
    words.print(f"reclamo: {reason}", style="red", markup=False)
    return 2


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work."""
    import uvloop

    return uvloop.run(work)


def put(data: Any) -> None:
    """Data as JSON."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def the_token(given: str | None) -> str | None:
    """The token given, or that of the data folder: no need to copy it on the same machine."""
    if given:
        return given
    from deploy.secrets_file import load
    from gateway.settings import GatewaySettings

    settings = GatewaySettings()
    return load(settings).admin_token if (settings.data_dir / "secrets.json").exists() else None


def at_gateway(
    url: str,
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    otherwise: Callable[[], Coroutine[Any, Any, T]] | None = None,
) -> T:
    """Do work at the gateway; its troubles are said in one line each, with what to do.

    ``otherwise``: what to do when nobody is there.
    """
    from deploy.gateway_client import Gateway, GatewayError, GatewayRefused, GatewayUnreachable

    async def ask_and_work() -> T:
        # Work that has begun is patient with a restart; that nobody is there is said at once.
        try:
            async with Gateway(url, None, patience_s=2) as gateway:
                await gateway.get("/livez")
        except GatewayUnreachable as error:
            if otherwise is None:
                raise
            words.print(f"{error}: reading the databases instead", markup=False)
            return await otherwise()
        return await work()

    try:
        return run(ask_and_work())
    except GatewayUnreachable as error:
        raise Failed(f"{error}: is it running (`make run`)? Say where with --url") from None
    except GatewayRefused as error:
        if error.status == 401:
            raise Failed(
                "the gateway does not know the token: give the one of its start banner with"
                " --token or RECLAMO_ADMIN_TOKEN"
            ) from None
        raise Failed(f"{url} answered: {error}") from None
    except GatewayError as error:
        raise Failed(str(error)) from None
