"""Notes about anything that has an id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "notes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    op.create_index("ix_notes_resource", "notes", ["resource_id", "created_at"], unique=False)
    op.create_index("ix_notes_created", "notes", ["created_at", "id"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_notes_created", table_name="notes")
    op.drop_index("ix_notes_resource", table_name="notes")
    op.drop_table("notes")
