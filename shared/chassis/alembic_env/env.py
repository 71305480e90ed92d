"""Alembic's environment for every service: the connection and the schema are handed in."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from chassis.db import Instant, Json, Serial

_OWN_TYPES = {id(Instant): "Instant", id(Json): "Json", id(Serial): "Serial"}


def _render(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    name = _OWN_TYPES.get(id(item)) if kind == "type" else None
    if name is None:
        return False
    autogen.imports.add(f"from chassis.db import {name}")
    return name


options = context.config.attributes
context.configure(
    connection=options["connection"],
    target_metadata=options["metadata"],
    render_as_batch=True,
    render_item=_render,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
