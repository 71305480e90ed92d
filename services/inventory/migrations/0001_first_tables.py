"""first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.db import Instant, Json, Serial

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("partitionkey", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", Instant, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("envelope", sa.Text(), nullable=True),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("done_at", Instant, nullable=True),
        sa.CheckConstraint("state IN ('done', 'parked', 'dead')", name=op.f("ck_inbox_state")),
        sa.PrimaryKeyConstraint("consumer", "message_id", name=op.f("pk_inbox")),
    )
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_inbox_due",
            ["next_at"],
            unique=False,
            postgresql_where=sa.text("state = 'parked'"),
            sqlite_where=sa.text("state = 'parked'"),
        )
        batch_op.create_index(
            "ix_inbox_open",
            ["state"],
            unique=False,
            postgresql_where=sa.text("state <> 'done'"),
            sqlite_where=sa.text("state <> 'done'"),
        )

    op.create_table(
        "movements",
        sa.Column("id", Serial, autoincrement=True, nullable=False),
        sa.Column("cause_kind", sa.Text(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint(
            "cause_kind IN ('receipt', 'import', 'count', 'removal')",
            name=op.f("ck_movements_cause_kind"),
        ),
        sa.CheckConstraint("quantity <> 0", name=op.f("ck_movements_quantity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_movements")),
        sa.UniqueConstraint(
            "cause_kind",
            "cause_id",
            "line_no",
            name=op.f("uq_movements_cause_kind_cause_id_line_no"),
        ),
    )
    with op.batch_alter_table("movements", schema=None) as batch_op:
        batch_op.create_index(
            "ix_movements_item_id_location_id", ["item_id", "location_id"], unique=False
        )

    op.create_table(
        "outbox",
        sa.Column("seq", Serial, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("aggregatetype", sa.Text(), nullable=False),
        sa.Column("aggregateid", sa.Text(), nullable=False),
        sa.Column("aggregateversion", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("sent_at", Instant, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("blocked_at", Instant, nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        sa.UniqueConstraint(
            "aggregatetype",
            "aggregateid",
            "aggregateversion",
            "type",
            name=op.f("uq_outbox_aggregatetype_aggregateid_aggregateversion_type"),
        ),
        sa.UniqueConstraint("id", name=op.f("uq_outbox_id")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_outbox_unsent",
            ["seq"],
            unique=False,
            postgresql_where=sa.text("sent_at IS NULL AND blocked_at IS NULL"),
            sqlite_where=sa.text("sent_at IS NULL AND blocked_at IS NULL"),
        )

    op.create_table(
        "receipts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("return_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reply", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint("state IN ('booked', 'rejected')", name=op.f("ck_receipts_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
    )
    op.create_table(
        "reservation_groups",
        sa.Column("remedy_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reply", Json, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("released_at", Instant, nullable=True),
        sa.CheckConstraint(
            "state IN ('held', 'released')", name=op.f("ck_reservation_groups_state")
        ),
        sa.PrimaryKeyConstraint("remedy_id", name=op.f("pk_reservation_groups")),
    )
    op.create_table(
        "stock_locations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", Json, nullable=True),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_locations")),
    )
    op.create_table(
        "variants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("product_title", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("manage_inventory", sa.Boolean(), nullable=False),
        sa.Column("allow_backorder", sa.Boolean(), nullable=False),
        sa.Column("prices", Json, nullable=False),
        sa.Column("tax_rate", sa.Float(), nullable=True),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("categories", Json, nullable=True),
        sa.Column("final_sale", sa.Boolean(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variants")),
    )
    with op.batch_alter_table("variants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_variants_sku"), ["sku"], unique=False)

    op.create_table(
        "channel_locations",
        sa.Column("sales_channel_id", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"], ["stock_locations.id"], name=op.f("fk_channel_locations_location_id")
        ),
        sa.PrimaryKeyConstraint(
            "sales_channel_id", "location_id", name=op.f("pk_channel_locations")
        ),
    )
    with op.batch_alter_table("channel_locations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_channel_locations_location_id"), ["location_id"], unique=False
        )

    op.create_table(
        "inventory_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("thumbnail", sa.Text(), nullable=True),
        sa.Column("origin_country", sa.Text(), nullable=True),
        sa.Column("hs_code", sa.Text(), nullable=True),
        sa.Column("mid_code", sa.Text(), nullable=True),
        sa.Column("material", sa.Text(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=True),
        sa.Column("length", sa.Float(), nullable=True),
        sa.Column("height", sa.Float(), nullable=True),
        sa.Column("width", sa.Float(), nullable=True),
        sa.Column("requires_shipping", sa.Boolean(), nullable=False),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["variant_id"], ["variants.id"], name=op.f("fk_inventory_items_variant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_items")),
        sa.UniqueConstraint("variant_id", name=op.f("uq_inventory_items_variant_id")),
    )
    with op.batch_alter_table("inventory_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_inventory_items_sku"), ["sku"], unique=False)

    op.create_table(
        "reservations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("remedy_id", sa.Text(), nullable=True),
        sa.Column("line_id", sa.Text(), nullable=True),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("release_cause", sa.Text(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("released_at", Instant, nullable=True),
        sa.CheckConstraint(
            "(state = 'held') = (release_cause IS NULL)"
            " AND (release_cause IS NULL OR release_cause IN ('command', 'manual'))",
            name=op.f("ck_reservations_release_cause"),
        ),
        sa.CheckConstraint("state IN ('held', 'released')", name=op.f("ck_reservations_state")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_reservations_quantity")),
        sa.ForeignKeyConstraint(
            ["remedy_id"], ["reservation_groups.remedy_id"], name=op.f("fk_reservations_remedy_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    with op.batch_alter_table("reservations", schema=None) as batch_op:
        batch_op.create_index(
            "ix_reservations_item_id_location_id", ["item_id", "location_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_reservations_line_id"), ["line_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_reservations_remedy_id"), ["remedy_id"], unique=False)
        batch_op.create_index(
            "uq_reservations_live",
            ["remedy_id", "line_id", "location_id"],
            unique=True,
            postgresql_where=sa.text("state = 'held' AND remedy_id IS NOT NULL"),
            sqlite_where=sa.text("state = 'held' AND remedy_id IS NOT NULL"),
        )

    op.create_table(
        "levels",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("on_hand", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("incoming", sa.BigInteger(), nullable=False),
        sa.Column("allow_backorder", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint("incoming >= 0", name=op.f("ck_levels_incoming")),
        sa.CheckConstraint("on_hand >= 0", name=op.f("ck_levels_on_hand")),
        sa.CheckConstraint(
            "reserved <= on_hand OR allow_backorder", name=op.f("ck_levels_oversell")
        ),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_levels_reserved")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["inventory_items.id"], name=op.f("fk_levels_item_id")
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["stock_locations.id"], name=op.f("fk_levels_location_id")
        ),
        sa.PrimaryKeyConstraint("item_id", "location_id", name=op.f("pk_levels")),
    )
    with op.batch_alter_table("levels", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_levels_location_id"), ["location_id"], unique=False)
    _forbid_changes_of("movements")


def _forbid_changes_of(table: str) -> None:
    """A journal that could be edited would prove nothing: the database itself refuses."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER append_only_{change.lower()} BEFORE {change} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("levels", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_levels_location_id"))

    op.drop_table("levels")
    with op.batch_alter_table("reservations", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_reservations_live",
            postgresql_where=sa.text("state = 'held' AND remedy_id IS NOT NULL"),
            sqlite_where=sa.text("state = 'held' AND remedy_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_reservations_remedy_id"))
        batch_op.drop_index(batch_op.f("ix_reservations_line_id"))
        batch_op.drop_index("ix_reservations_item_id_location_id")

    op.drop_table("reservations")
    with op.batch_alter_table("inventory_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_inventory_items_sku"))

    op.drop_table("inventory_items")
    with op.batch_alter_table("channel_locations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_channel_locations_location_id"))

    op.drop_table("channel_locations")
    with op.batch_alter_table("variants", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_variants_sku"))

    op.drop_table("variants")
    op.drop_table("stock_locations")
    op.drop_table("reservation_groups")
    op.drop_table("receipts")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_outbox_unsent",
            postgresql_where=sa.text("sent_at IS NULL AND blocked_at IS NULL"),
            sqlite_where=sa.text("sent_at IS NULL AND blocked_at IS NULL"),
        )

    op.drop_table("outbox")
    with op.batch_alter_table("movements", schema=None) as batch_op:
        batch_op.drop_index("ix_movements_item_id_location_id")

    op.drop_table("movements")
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_inbox_open",
            postgresql_where=sa.text("state <> 'done'"),
            sqlite_where=sa.text("state <> 'done'"),
        )
        batch_op.drop_index(
            "ix_inbox_due",
            postgresql_where=sa.text("state = 'parked'"),
            sqlite_where=sa.text("state = 'parked'"),
        )

    op.drop_table("inbox")
    op.drop_table("idempotency_keys")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
