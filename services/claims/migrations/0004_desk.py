"""Who works on a claim, when it was closed, and what became of its return."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CLAIM_COLUMNS = (
    ("assigned_to", sa.Text()),
    ("closed_at", Instant),
    ("closed_by", sa.Text()),
    ("return_status", sa.Text()),
)


def upgrade() -> None:
    """Apply."""
    for name, kind in _CLAIM_COLUMNS:
        op.add_column("claims", sa.Column(name, kind, nullable=True))
    op.add_column("claim_items", sa.Column("metadata", Json, nullable=True))
    op.create_index("ix_claims_return", "claims", ["return_id"])
    op.execute("UPDATE claims SET return_status = 'requested' WHERE return_id IS NOT NULL")


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_claims_return", table_name="claims")
    op.drop_column("claim_items", "metadata")
    for name, _ in reversed(_CLAIM_COLUMNS):
        op.drop_column("claims", name)
