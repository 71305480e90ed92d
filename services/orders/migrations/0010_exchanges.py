"""Exchanges: a kind of remedy, and what their difference is made of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('claim', 'return')"
_KINDS_NOW = "kind IN ('claim', 'return', 'exchange')"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "exchanges",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("difference_due", sa.BigInteger(), nullable=False),
        sa.Column("lines", Json, nullable=False),
        sa.Column("explanation", Json, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchanges")),
    )
    op.create_index(op.f("ix_exchanges_order_id"), "exchanges", ["order_id"])
    op.create_index(op.f("ix_exchanges_payment_id"), "exchanges", ["payment_id"])
    _change_kinds(_KINDS, _KINDS_NOW)


def downgrade() -> None:
    """Undo; it fails as long as there is an exchange."""
    _change_kinds(_KINDS_NOW, _KINDS)
    op.drop_table("exchanges")


def _change_kinds(before: str, now: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_remedies_kind"), "remedies")
        op.create_check_constraint(op.f("ck_remedies_kind"), "remedies", now)
        return
    # SQLite changes no constraint: the table is made anew from its own words.
    made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND "
    bind = op.get_bind()
    words: str = bind.execute(sa.text(f"{made}name = 'remedies'")).scalar_one()
    if before not in words:
        raise LookupError(f"remedies has no {before}")
    around = sa.text(f"{made}tbl_name = 'remedies' AND type IN ('index', 'trigger')")
    others = list(bind.execute(around).scalars())
    bind.execute(sa.text("ALTER TABLE remedies RENAME TO remedies_before"))
    bind.exec_driver_sql(words.replace(before, now))
    bind.exec_driver_sql("INSERT INTO remedies SELECT * FROM remedies_before")
    bind.exec_driver_sql("DROP TABLE remedies_before")
    for each in others:
        bind.exec_driver_sql(each)
