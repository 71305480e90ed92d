"""Transfers are looked up by the refund that they belong to; captures belong to none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the index of the look-up."""
    only = sa.text("refund_id IS NOT NULL")
    op.create_index(
        "ix_transfers_refund_id",
        "transfers",
        ["refund_id"],
        sqlite_where=only,
        postgresql_where=only,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_transfers_refund_id", table_name="transfers")
