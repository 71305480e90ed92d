"""Blocked messages of the outbox are found without reading all that was ever sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_outbox_blocked",
        "outbox",
        ["seq"],
        unique=False,
        postgresql_where=sa.text("blocked_at IS NOT NULL"),
        sqlite_where=sa.text("blocked_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_outbox_blocked", table_name="outbox")
