"""News of a return names its claim: nobody looks for a claim by its return any more."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Drop the index of the look-up."""
    op.drop_index("ix_claims_return", table_name="claims")


def downgrade() -> None:
    """Make it again."""
    op.create_index("ix_claims_return", "claims", ["return_id"])
