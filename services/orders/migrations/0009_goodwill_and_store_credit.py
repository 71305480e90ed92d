"""What refunds by hand give back of lines whose units stay with the customer; store credit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Of store credit there is no memo: it is taken back as long as it is unspent.
_DUE = "state = 'posted' AND memo_id IS NULL"
_DUE_NOW = f"{_DUE} AND destination = 'payment'"
_KINDS = "kind IN ('capture', 'refund', 'refund_before')"
_KINDS_NOW = "kind IN ('capture', 'refund', 'refund_before', 'reversal')"


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
    # As text: SQLite takes a constraint only with its column.
    op.execute(
        "ALTER TABLE refunds ADD COLUMN destination TEXT NOT NULL DEFAULT 'payment'"
        " CONSTRAINT ck_refunds_destination CHECK (destination IN ('payment', 'store_credit'))"
    )
    op.create_table(
        "store_credits",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_store_credits_balance")),
        sa.PrimaryKeyConstraint("customer_id", "currency_code", name=op.f("pk_store_credits")),
    )
    op.create_table(
        "store_credit_entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("claim_id", sa.Text(), nullable=True),
        sa.Column("refund_id", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint(
            "amount <> 0 AND balance >= 0", name=op.f("ck_store_credit_entries_amounts")
        ),
        sa.CheckConstraint(
            "kind IN ('granted', 'reversed', 'adjusted')", name=op.f("ck_store_credit_entries_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_credit_entries")),
        sa.UniqueConstraint(
            "customer_id",
            "currency_code",
            "number",
            name=op.f("uq_store_credit_entries_customer_id_currency_code_number"),
        ),
        sa.UniqueConstraint(
            "refund_id", "kind", name=op.f("uq_store_credit_entries_refund_id_kind")
        ),
    )
    _change_kinds(_KINDS, _KINDS_NOW)
    _index_due(_DUE_NOW)


def downgrade() -> None:
    """Undo; it fails as long as store credit was ever taken back. What was given back of a price is
    no longer known, nor is anybody's credit."""
    _index_due(_DUE)
    _change_kinds(_KINDS_NOW, _KINDS)
    op.drop_table("store_credit_entries")
    op.drop_table("store_credits")
    op.drop_table("goodwill_lines")
    op.drop_column("refunds", "destination")
    op.drop_column("order_lines", "goodwill_amount")


def _index_due(condition: str) -> None:
    op.drop_index("ix_refunds_memo_due", table_name="refunds")
    op.create_index(
        "ix_refunds_memo_due",
        "refunds",
        ["settled_at", "id"],
        postgresql_where=sa.text(condition),
        sqlite_where=sa.text(condition),
    )


def _change_kinds(before: str, now: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_transfers_kind"), "transfers")
        op.create_check_constraint(op.f("ck_transfers_kind"), "transfers", now)
        return
    # SQLite changes no constraint: the table is made anew from its own words.
    made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND "
    bind = op.get_bind()
    words: str = bind.execute(sa.text(f"{made}name = 'transfers'")).scalar_one()
    if before not in words:
        raise LookupError(f"transfers has no {before}")
    around = sa.text(f"{made}tbl_name = 'transfers' AND type IN ('index', 'trigger')")
    others = list(bind.execute(around).scalars())
    bind.execute(sa.text("ALTER TABLE transfers RENAME TO transfers_before"))
    bind.exec_driver_sql(words.replace(before, now))
    bind.exec_driver_sql("INSERT INTO transfers SELECT * FROM transfers_before")
    bind.exec_driver_sql("DROP TABLE transfers_before")
    for each in others:
        bind.exec_driver_sql(each)
