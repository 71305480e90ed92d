"""Exchanges are kept as claims are, with a type of their own."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TYPES = "type IN ('refund', 'replace')"
_TYPES_NOW = "type IN ('refund', 'replace', 'exchange')"
_COLUMNS = (
    ("difference_due", sa.BigInteger()),
    ("confirmed_at", Instant),
    ("allow_backorder", sa.Boolean()),
)


def upgrade() -> None:
    """Apply."""
    for name, kind in _COLUMNS:
        op.add_column("claims", sa.Column(name, kind, nullable=True))
    op.add_column(
        "additional_items",
        sa.Column("includes_tax", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    _change_types(_TYPES, _TYPES_NOW)


def downgrade() -> None:
    """Undo; it fails as long as there is an exchange."""
    _change_types(_TYPES_NOW, _TYPES)
    op.drop_column("additional_items", "includes_tax")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("claims", name)


def _change_types(before: str, now: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_claims_type"), "claims")
        op.create_check_constraint(op.f("ck_claims_type"), "claims", now)
        return
    # SQLite changes no constraint: the table is made anew from its own words. The new one takes the
    # name of the old one last, because a table that is renamed takes its references along.
    made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND "
    bind = op.get_bind()
    words: str = bind.execute(sa.text(f"{made}name = 'claims'")).scalar_one()
    if before not in words:
        raise LookupError(f"claims has no {before}")
    around = sa.text(f"{made}tbl_name = 'claims' AND type IN ('index', 'trigger')")
    others = list(bind.execute(around).scalars())
    words = re.sub(r'^CREATE TABLE "?claims"?', "CREATE TABLE claims_now", words)
    bind.exec_driver_sql(words.replace(before, now))
    bind.exec_driver_sql("INSERT INTO claims_now SELECT * FROM claims")
    bind.exec_driver_sql("DROP TABLE claims")
    bind.exec_driver_sql("ALTER TABLE claims_now RENAME TO claims")
    for each in others:
        bind.exec_driver_sql(each)
