"""What refunds by hand give back of lines whose units stay with the customer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Json

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "order_lines",
        sa.Column("goodwill_amount", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_table(
        "goodwill_lines",
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("net", sa.BigInteger(), nullable=False),
        sa.Column("taxes", Json, nullable=True),
        sa.CheckConstraint("net >= 0", name=op.f("ck_goodwill_lines_net")),
        sa.PrimaryKeyConstraint("refund_id", "line_id", name=op.f("pk_goodwill_lines")),
    )
    op.create_index("ix_goodwill_lines_line_id", "goodwill_lines", ["line_id"])


def downgrade() -> None:
    """Undo; the refunds stay, but units are worth again what was paid for them."""
    op.drop_table("goodwill_lines")
    with op.batch_alter_table("order_lines") as batch:
        batch.drop_column("goodwill_amount")
