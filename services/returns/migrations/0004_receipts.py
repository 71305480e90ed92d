"""Receipts: what nobody announced, damaged units, money still owed; returns that were closed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATES = (
    "state IN ('opening', 'requested', 'receiving', 'requires_action', 'received', 'canceling',"
    " 'canceled', 'refused'"
)
# (name of the CHECK, before, now) by table.
_CHECKS = {
    "returns": (("state", f"{_STATES})", f"{_STATES}, 'closing')"),),
    "return_items": (
        ("requested_quantity", "requested_quantity >= 1", "requested_quantity >= 0"),
        (
            "received_quantity",
            "received_quantity >= 0 AND received_quantity <= requested_quantity",
            "received_quantity >= 0",
        ),
    ),
}
_RECEIPT_COLUMNS = (
    ("owed_amount", sa.BigInteger(), "0"),
    ("settles_owed", sa.Boolean(), sa.false()),
)


def upgrade() -> None:
    """Apply."""
    op.add_column("returns", sa.Column("closed_at", Instant, nullable=True))
    for name, kind, default in _RECEIPT_COLUMNS:
        op.add_column("receipts", sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column("receipts", sa.Column("warnings", Json, nullable=True))
    op.add_column("receipts", sa.Column("note", sa.Text(), nullable=True))
    op.add_column(
        "receipt_lines",
        sa.Column("damaged_quantity", sa.Integer(), nullable=False, server_default="0"),
    )
    _change_checks(1, 2)


def downgrade() -> None:
    """Undo; it fails as long as a return is being closed, or has what nobody announced."""
    _change_checks(2, 1)
    op.drop_column("receipt_lines", "damaged_quantity")
    for name in ("note", "warnings", "settles_owed", "owed_amount"):
        op.drop_column("receipts", name)
    op.drop_column("returns", "closed_at")


def _change_checks(before: int, now: int) -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    for table, checks in _CHECKS.items():
        if not postgres:
            _make_anew(table, [(check[before], check[now]) for check in checks])
            continue
        for check in checks:
            name = op.f(f"ck_{table}_{check[0]}")
            op.drop_constraint(name, table)
            op.create_check_constraint(name, table, check[now])


def _make_anew(table: str, checks: list[tuple[str, str]]) -> None:
    """SQLite changes no constraint: the table is made anew from its own words, with its rows and
    indexes. The new one takes the name last, so that what points at the old points at it."""
    bind = op.get_bind()
    made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name = :name AND type "
    words: str = bind.execute(sa.text(f"{made}= 'table'"), {"name": table}).scalar_one()
    around = sa.text(f"{made}IN ('index', 'trigger')")
    others = list(bind.execute(around, {"name": table}).scalars())
    for old, new in ((f"CHECK ({one})", f"CHECK ({other})") for one, other in checks):
        if old not in words:
            raise LookupError(f"{table} has no {old}")
        words = words.replace(old, new)
    bind.exec_driver_sql(words.replace(table, f"{table}_new", 1))
    bind.exec_driver_sql(f"INSERT INTO {table}_new SELECT * FROM {table}")
    bind.exec_driver_sql(f"DROP TABLE {table}")
    bind.exec_driver_sql(f"ALTER TABLE {table}_new RENAME TO {table}")
    for each in others:
        bind.exec_driver_sql(each)
