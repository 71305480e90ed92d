"""Credit memos of refunds; what receipts left owed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_DUE = sa.text("state = 'posted' AND memo_id IS NULL")


def upgrade() -> None:
    """Apply. Refunds of before get their memos when orders runs again."""
    op.add_column(
        "receipts",
        sa.Column("owed_amount", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.add_column("receipts", sa.Column("owed_explanation", Json, nullable=True))
    op.create_index("ix_receipts_return_id", "receipts", ["return_id"])
    op.add_column("refunds", sa.Column("memo_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_refunds_memo_due",
        "refunds",
        ["settled_at", "id"],
        postgresql_where=_DUE,
        sqlite_where=_DUE,
    )
    op.create_table(
        "credit_memo_years",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("year", name=op.f("pk_credit_memo_years")),
    )
    op.create_table(
        "credit_memos",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("display_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("cause_kind", sa.Text(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("lines", Json, nullable=True),
        sa.Column("payments", Json, nullable=True),
        sa.Column("refunded_at", Instant, nullable=False),
        sa.Column("issued_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_memos")),
        sa.UniqueConstraint("number", name=op.f("uq_credit_memos_number")),
        sa.UniqueConstraint("refund_id", name=op.f("uq_credit_memos_refund_id")),
        sa.UniqueConstraint("year", "sequence", name=op.f("uq_credit_memos_year_sequence")),
    )
    op.create_index(op.f("ix_credit_memos_order_id"), "credit_memos", ["order_id"])


def downgrade() -> None:
    """Undo: the documents and their numbers are gone."""
    op.drop_table("credit_memos")
    op.drop_table("credit_memo_years")
    op.drop_index("ix_refunds_memo_due", table_name="refunds")
    op.drop_column("refunds", "memo_id")
    op.drop_index("ix_receipts_return_id", table_name="receipts")
    op.drop_column("receipts", "owed_explanation")
    op.drop_column("receipts", "owed_amount")
