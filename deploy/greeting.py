"""What a person sees once everything runs: where to go, how to sign in, what to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deploy.demo.shop import line_id, order_id
from deploy.secrets_file import Secrets

if TYPE_CHECKING:  # it knows PostgreSQL and RabbitMQ, which the embedded mode does not need
    from deploy.local import Local

words = Console(stderr=True, highlight=False, soft_wrap=True)
TRY_ORDER = 1001
TRY_VARIANT = "mug"


def embedded(url: str, secrets: Secrets, *, data_dir: Path, seeded: bool, seconds: float) -> None:
    """The banner of the embedded mode."""
    words.print(f"\n[bold]Reclamo[/] is ready after {seconds:.1f} s: [bold]{url}[/]\n")
    _addresses(url)
    if seeded:
        words.print(
            "  demo logins    admin@reclamo.example  agent@reclamo.example\n"
            "                 warehouse@reclamo.example  customer ana@reclamo.example\n"
            f"                 password for all: {secrets.demo_password}"
        )
    words.print(f"  API token      {secrets.admin_token}")
    words.print(f"  data           {data_dir.absolute()}")
    if seeded:
        _try(url, secrets)
    words.print("\n  Embedded mode: one process, SQLite; not for production. Ctrl-C stops it.\n")


def local(system: Local, secrets: Secrets, *, seconds: float) -> None:
    """The banner of the distributed mode without containers."""
    words.print(f"\n[bold]Reclamo[/] is ready after {seconds:.1f} s: [bold]{system.url}[/]\n")
    _addresses(system.url)
    for name, process in system.processes.items():
        pid = process.running.pid if process.running else "-"
        words.print(f"  {name:<14} {process.url}  pid {pid}  log {process.log_file}")
    words.print(f"  postgresql     {system.postgres.url}")
    words.print(f"  rabbitmq       {system.rabbit.url}")
    words.print(f"  API token      {secrets.admin_token}")
    _try(system.url, secrets)
    each = "its own process" if system.replicas == 1 else f"{system.replicas} processes"
    words.print(f"\n  Every service is {each}; one Ctrl-C stops all.\n")


def _addresses(url: str) -> None:
    for name, path in (
        ("start page", "/"),
        ("API reference", "/docs"),
        ("events", "/events"),
        ("metrics", "/metrics"),
    ):
        words.print(f"  {name:<14} {url}{path}")


def _try(url: str, secrets: Secrets) -> None:
    words.print(f"\n  Open a claim:\n\n{_curl(url, secrets.admin_token)}", markup=False)


def _curl(url: str, token: str) -> str:
    """A call that can be copied as it stands, no line longer than a terminal is wide."""
    item = {"item_id": line_id(TRY_ORDER, TRY_VARIANT), "quantity": 1, "reason": "wrong_item"}
    return " \\\n".join(
        (
            f"  curl -s {url}/admin/orders/{order_id(TRY_ORDER)}/claims",
            f"    -H 'x-medusa-access-token: {token}'",
            "    -H 'content-type: application/json'",
            f'    -d \'{{"type": "refund", "claim_items": [\n    {json.dumps(item)}]}}\'',
        )
    )
