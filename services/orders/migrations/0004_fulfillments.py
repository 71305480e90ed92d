"""Orders pack, send, capture and cancel: states of fulfillments, captures, sagas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATES = "state IN ('pending', 'live', 'refused', 'canceling', 'canceled')"
_DUE = sa.text("next_at IS NOT NULL")


def upgrade() -> None:
    """Apply."""
    # As text: SQLite takes a constraint only with its column.
    op.execute(
        "ALTER TABLE fulfillments ADD COLUMN state TEXT NOT NULL DEFAULT 'live'"
        f" CONSTRAINT ck_fulfillments_state CHECK ({_STATES})"
    )
    op.execute("UPDATE fulfillments SET state = 'canceled' WHERE canceled_at IS NOT NULL")
    for name in ("made_here", "uses_stock"):
        op.add_column(
            "fulfillments",
            sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()),
        )
    op.add_column("fulfillments", sa.Column("no_notification", sa.Boolean(), nullable=True))
    op.add_column("fulfillments", sa.Column("metadata", Json, nullable=True))
    op.add_column("fulfillments", sa.Column("refusal", Json, nullable=True))
    op.add_column("payments", sa.Column("canceled_at", Instant, nullable=True))
    op.add_column("refunds", sa.Column("payment_id", sa.Text(), nullable=True))
    op.create_table(
        "captures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency_code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_at", Instant, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'sent', 'unknown', 'posted', 'declined')",
            name=op.f("ck_captures_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_captures")),
        sa.UniqueConstraint("payment_id", "number", name=op.f("uq_captures_payment_id_number")),
        sa.UniqueConstraint("provider_ref", name=op.f("uq_captures_provider_ref")),
    )
    for name in ("order_id", "payment_id"):
        op.create_index(op.f(f"ix_captures_{name}"), "captures", [name])
    op.create_index(
        "ix_captures_due", "captures", ["next_at"], postgresql_where=_DUE, sqlite_where=_DUE
    )
    op.create_table(
        "sagas",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("plan", Json, nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("marks", Json, nullable=False),
        sa.Column("facts", Json, nullable=False),
        sa.Column("refusals", Json, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", Instant, nullable=True),
        sa.Column("deadline_at", Instant, nullable=True),
        sa.Column("history", Json, nullable=False),
        sa.Column("context", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint(
            "direction IN ('forward', 'back', 'finished', 'undone')",
            name=op.f("ck_sagas_direction"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sagas")),
    )
    op.create_index("ix_sagas_subject", "sagas", ["kind", "subject_id"])
    op.create_index("ix_sagas_due", "sagas", ["next_at"], postgresql_where=_DUE, sqlite_where=_DUE)


def downgrade() -> None:
    """Undo; what was refused is not kept."""
    op.drop_table("sagas")
    op.drop_table("captures")
    op.execute("DELETE FROM fulfillments WHERE state IN ('pending', 'refused')")
    op.drop_column("refunds", "payment_id")
    op.drop_column("payments", "canceled_at")
    for name in ("refusal", "metadata", "no_notification", "uses_stock", "made_here", "state"):
        op.drop_column("fulfillments", name)
