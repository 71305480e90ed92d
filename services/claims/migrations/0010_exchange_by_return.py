"""Returns name their exchange: it is looked up by its return, and claims are not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the index of the look-up."""
    only = sa.text("type = 'exchange'")
    op.create_index(
        "ix_claims_exchange_return",
        "claims",
        ["return_id"],
        sqlite_where=only,
        postgresql_where=only,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_claims_exchange_return", table_name="claims")
