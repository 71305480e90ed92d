"""Goods leave with fulfillments: what they took, what they used of reservations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# (name of the CHECK, before, now) by table; what there was not before is None.
_CHECKS: dict[str, tuple[tuple[str, str | None, str], ...]] = {
    "reservations": (
        (
            "state",
            "state IN ('held', 'released')",
            "state IN ('held', 'released', 'consumed')",
        ),
        (
            "release_cause",
            "(state = 'held') = (release_cause IS NULL)"
            " AND (release_cause IS NULL OR release_cause IN ('command', 'manual'))",
            "(state = 'released') = (release_cause IS NOT NULL)"
            " AND (release_cause IS NULL OR release_cause IN ('command', 'manual'))",
        ),
        ("fulfillment_id", None, "(state = 'consumed') = (fulfillment_id IS NOT NULL)"),
    ),
    "movements": (
        (
            "cause_kind",
            "cause_kind IN ('receipt', 'import', 'count', 'removal')",
            "cause_kind IN ('receipt', 'import', 'count', 'removal', 'fulfillment', 'restoration')",
        ),
    ),
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "stock_uses",
        sa.Column("fulfillment_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reply", Json, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("restored_at", Instant, nullable=True),
        sa.CheckConstraint("state IN ('consumed', 'restored')", name=op.f("ck_stock_uses_state")),
        sa.PrimaryKeyConstraint("fulfillment_id", name=op.f("pk_stock_uses")),
    )
    op.create_table(
        "released_lines",
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("released_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("line_id", name=op.f("pk_released_lines")),
    )
    op.create_index(op.f("ix_released_lines_order_id"), "released_lines", ["order_id"])
    op.add_column("reservations", sa.Column("fulfillment_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_reservations_fulfillment_id"), "reservations", ["fulfillment_id"])
    for table, checks in _CHECKS.items():
        _change_checks(table, checks)


def downgrade() -> None:
    """Undo; it fails as long as anything is consumed."""
    for table, checks in _CHECKS.items():
        _change_checks(table, tuple((name, now, before) for name, before, now in checks))
    op.drop_index(op.f("ix_reservations_fulfillment_id"), "reservations")
    op.execute("ALTER TABLE reservations DROP COLUMN fulfillment_id")
    op.drop_table("released_lines")
    op.drop_table("stock_uses")


def _change_checks(table: str, checks: tuple[tuple[str, str | None, str | None], ...]) -> None:
    if op.get_bind().dialect.name != "postgresql":
        _make_anew(table, checks)
        return
    for name, before, now in checks:
        if before is not None:
            op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        if now is not None:
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, now)


def _make_anew(table: str, checks: tuple[tuple[str, str | None, str | None], ...]) -> None:
    """SQLite changes no constraint: the table is made anew from its own words, with its rows,
    indexes and triggers."""
    made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND "
    bind = op.get_bind()
    found: str = bind.execute(sa.text(f"{made}name = :name"), {"name": table}).scalar_one()
    words = found.replace("\n\t", "").replace(",CONSTRAINT", ", CONSTRAINT")
    around = sa.text(f"{made}tbl_name = :name AND type IN ('index', 'trigger')")
    others = list(bind.execute(around, {"name": table}).scalars())
    for name, before, now in checks:
        old, new = (
            "" if check is None else f"CONSTRAINT ck_{table}_{name} CHECK ({check}), "
            for check in (before, now)
        )
        place = old or f"CONSTRAINT ck_{table}_state"
        if place not in words:
            raise LookupError(f"{table} has no {place}")
        words = words.replace(place, new if old else new + place)
    bind.execute(sa.text(f"ALTER TABLE {table} RENAME TO {table}_before"))
    bind.exec_driver_sql(words)
    bind.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM {table}_before")
    bind.exec_driver_sql(f"DROP TABLE {table}_before")
    for each in others:
        bind.exec_driver_sql(each)
