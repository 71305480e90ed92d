"""Where the refund of a claim goes."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # As text: SQLite takes a constraint only with its column.
    op.execute(
        "ALTER TABLE claims ADD COLUMN refund_to TEXT NOT NULL DEFAULT 'payment'"
        " CONSTRAINT ck_claims_refund_to CHECK (refund_to IN ('payment', 'store_credit'))"
    )


def downgrade() -> None:
    """Undo; what became store credit looks like money that went back."""
    op.drop_column("claims", "refund_to")
