"""Orders that follow from a claim know which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("orders", sa.Column("claim_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_orders_claim_id"), "orders", ["claim_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_orders_claim_id"), table_name="orders")
    op.drop_column("orders", "claim_id")
