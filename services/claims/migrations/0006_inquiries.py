"""What customers report before it is decided, and the files that show it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json, Serial

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATUS = "status IN ('pending', 'in_review', 'approving', 'approved', 'rejected', 'canceled')"
_AUTHOR = "author_kind IN ('customer', 'shop')"


def upgrade() -> None:
    """Apply."""
    _inquiries()
    _what_belongs_to_them()
    _evidence()
    op.add_column("claims", sa.Column("inquiry_id", sa.Text(), nullable=True))
    op.create_index(
        "uq_claims_inquiry",
        "claims",
        ["inquiry_id"],
        unique=True,
        sqlite_where=sa.text("status <> 'refused'"),
        postgresql_where=sa.text("status <> 'refused'"),
    )


def _inquiries() -> None:
    op.create_table(
        "inquiries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("claim_id", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("refusal", Json, nullable=True),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        sa.Column("history", Json, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint(_STATUS, name=op.f("ck_inquiries_status")),
        sa.CheckConstraint(
            "(status IN ('approving', 'approved')) = (claim_id IS NOT NULL)",
            name=op.f("ck_inquiries_claim"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inquiries")),
    )
    op.create_index("ix_inquiries_created", "inquiries", ["created_at", "id"])
    op.create_index("ix_inquiries_order", "inquiries", ["order_id"])
    op.create_index("ix_inquiries_customer", "inquiries", ["customer_id", "created_at"])


def _what_belongs_to_them() -> None:
    op.create_table(
        "inquiry_items",
        sa.Column("inquiry_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_inquiry_items_quantity")),
        sa.ForeignKeyConstraint(
            ["inquiry_id"], ["inquiries.id"], name=op.f("fk_inquiry_items_inquiry_id")
        ),
        sa.PrimaryKeyConstraint("inquiry_id", "position", name=op.f("pk_inquiry_items")),
    )
    op.create_table(
        "inquiry_messages",
        sa.Column("seq", Serial, autoincrement=True, nullable=False),
        sa.Column("inquiry_id", sa.Text(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint(_AUTHOR, name=op.f("ck_inquiry_messages_author_kind")),
        sa.ForeignKeyConstraint(
            ["inquiry_id"], ["inquiries.id"], name=op.f("fk_inquiry_messages_inquiry_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_inquiry_messages")),
    )
    op.create_index(op.f("ix_inquiry_messages_inquiry_id"), "inquiry_messages", ["inquiry_id"])
    op.create_table(
        "reported_orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_reported_orders")),
    )


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("inquiry_id", sa.Text(), nullable=True),
        sa.Column("claim_id", sa.Text(), nullable=True),
        sa.Column("file_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint("size_bytes > 0", name=op.f("ck_evidence_size")),
        sa.CheckConstraint(_AUTHOR, name=op.f("ck_evidence_author_kind")),
        sa.CheckConstraint(
            "(inquiry_id IS NULL) <> (claim_id IS NULL)", name=op.f("ck_evidence_about")
        ),
        sa.ForeignKeyConstraint(
            ["inquiry_id"], ["inquiries.id"], name=op.f("fk_evidence_inquiry_id")
        ),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_evidence_claim_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("file_key", name=op.f("uq_evidence_file_key")),
    )
    op.create_index(op.f("ix_evidence_inquiry_id"), "evidence", ["inquiry_id"])
    op.create_index(op.f("ix_evidence_claim_id"), "evidence", ["claim_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("uq_claims_inquiry", table_name="claims")
    op.drop_column("claims", "inquiry_id")
    for name in (
        *("evidence", "reported_orders", "inquiry_messages", "inquiry_items", "inquiries"),
    ):
        op.drop_table(name)
