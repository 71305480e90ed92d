"""The return of an exchange is kept as a claim's is, and shown as a swap's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "returns",
        sa.Column("of_exchange", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Undo; the return of an exchange looks like a claim's."""
    op.drop_column("returns", "of_exchange")
