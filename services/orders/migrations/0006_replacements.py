"""Lines that claims send out: what they are worth, and the fulfillments that have them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("claim_id", sa.Text()),
    ("fulfillment_id", sa.Text()),
    ("worth", sa.BigInteger()),
)


def upgrade() -> None:
    """Apply."""
    for name, kind in _COLUMNS:
        op.add_column("order_lines", sa.Column(name, kind, nullable=True))
    op.create_index(op.f("ix_order_lines_fulfillment_id"), "order_lines", ["fulfillment_id"])
    op.add_column("remedies", sa.Column("retries", Json, nullable=True))
    op.create_table(
        "parcels",
        sa.Column("fulfillment_id", sa.Text(), nullable=False),
        sa.Column("claim_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rejected", Json, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint(
            "state IN ('recorded', 'shipped', 'withdrawn')", name=op.f("ck_parcels_state")
        ),
        sa.PrimaryKeyConstraint("fulfillment_id", name=op.f("pk_parcels")),
    )
    op.create_index(op.f("ix_parcels_order_id"), "parcels", ["order_id"])


def downgrade() -> None:
    """Undo; what claims sent out can no longer be claimed."""
    op.drop_table("parcels")
    op.drop_column("remedies", "retries")
    op.execute("DELETE FROM order_lines WHERE claim_id IS NOT NULL")
    op.drop_index(op.f("ix_order_lines_fulfillment_id"), table_name="order_lines")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("order_lines", name)
