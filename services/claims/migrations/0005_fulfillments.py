"""What a claim sends out, and what a saga of an open claim does with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATES = "state IN ('pending', 'live', 'refused', 'canceling', 'canceled')"
_SENT = (
    "shipped_quantity >= 0 AND shipped_quantity <= fulfilled_quantity"
    " AND fulfilled_quantity <= quantity"
)


def upgrade() -> None:
    """Apply."""
    for name in ("busy_with", "stock_id"):
        op.add_column("claims", sa.Column(name, sa.Text(), nullable=True))
    op.create_index(op.f("ix_claims_stock_id"), "claims", ["stock_id"])
    op.execute(
        "ALTER TABLE additional_items ADD COLUMN fulfilled_quantity BIGINT NOT NULL DEFAULT 0"
    )
    # As text: SQLite takes a constraint only with its column.
    op.execute(
        "ALTER TABLE additional_items ADD COLUMN shipped_quantity BIGINT NOT NULL DEFAULT 0"
        f" CONSTRAINT ck_additional_items_sent CHECK ({_SENT})"
    )
    op.create_table(
        "claim_fulfillments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("claim_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("items", Json, nullable=False),
        sa.Column("location_id", sa.Text(), nullable=True),
        sa.Column("uses_stock", sa.Boolean(), nullable=False),
        sa.Column("tracking_numbers", Json, nullable=False),
        sa.Column("no_notification", sa.Boolean(), nullable=True),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("refusal", Json, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("shipped_at", Instant, nullable=True),
        sa.Column("canceled_at", Instant, nullable=True),
        sa.CheckConstraint(_STATES, name=op.f("ck_claim_fulfillments_state")),
        sa.ForeignKeyConstraint(
            ["claim_id"], ["claims.id"], name=op.f("fk_claim_fulfillments_claim_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim_fulfillments")),
    )
    for name in ("claim_id", "request_id"):
        op.create_index(op.f(f"ix_claim_fulfillments_{name}"), "claim_fulfillments", [name])


def downgrade() -> None:
    """Undo."""
    op.drop_table("claim_fulfillments")
    for name in ("shipped_quantity", "fulfilled_quantity"):
        op.drop_column("additional_items", name)
    op.drop_index(op.f("ix_claims_stock_id"), table_name="claims")
    for name in ("stock_id", "busy_with"):
        op.drop_column("claims", name)
