"""Batch jobs, and the files that they write."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "batch_jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("context", Json, nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("result", Json, nullable=True),
        sa.Column("after_id", sa.Text(), nullable=False),
        sa.Column("pieces", sa.Integer(), nullable=False),
        sa.Column("next_at", Instant, nullable=True),
        sa.Column("pre_processed_at", Instant, nullable=True),
        sa.Column("confirmed_at", Instant, nullable=True),
        sa.Column("processing_at", Instant, nullable=True),
        sa.Column("completed_at", Instant, nullable=True),
        sa.Column("canceled_at", Instant, nullable=True),
        sa.Column("failed_at", Instant, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint(
            "status IN ('created', 'pre_processed', 'confirmed', 'processing', 'completed',"
            " 'canceled', 'failed')",
            name=op.f("ck_batch_jobs_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_jobs")),
    )
    op.create_index("ix_batch_jobs_created_by", "batch_jobs", ["created_by", "created_at"])
    op.create_index(
        "ix_batch_jobs_due",
        "batch_jobs",
        ["next_at"],
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "file_pieces",
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("file", "number", name=op.f("pk_file_pieces")),
    )
    op.create_index("ix_file_pieces_created", "file_pieces", ["created_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("file_pieces")
    op.drop_table("batch_jobs")
