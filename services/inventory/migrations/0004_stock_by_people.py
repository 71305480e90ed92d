"""Reservations by people: one per line, item and location, changed by one person at a time.
Addresses of locations get an id that locations may share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.values import derived_id

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OWN = sa.text("state = 'held' AND remedy_id IS NULL")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "reserved_lines",
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("line_id", name=op.f("pk_reserved_lines")),
    )
    op.create_index(
        "uq_reservations_of_line",
        "reservations",
        ["line_id", "item_id", "location_id"],
        unique=True,
        postgresql_where=_OWN,
        sqlite_where=_OWN,
    )
    op.add_column("stock_locations", sa.Column("address_id", sa.Text(), nullable=True))
    op.create_index("ix_stock_locations_address_id", "stock_locations", ["address_id"])
    locations = sa.table("stock_locations", sa.column("id"), sa.column("address_id"))
    bind = op.get_bind()
    with_address = sa.text("SELECT id FROM stock_locations WHERE address IS NOT NULL")
    for location_id in list(bind.execute(with_address).scalars()):
        bind.execute(
            locations.update()
            .where(locations.c.id == location_id)
            .values(address_id=derived_id("laddr", location_id))
        )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_stock_locations_address_id", table_name="stock_locations")
    op.drop_column("stock_locations", "address_id")
    op.drop_index("uq_reservations_of_line", table_name="reservations")
    op.drop_table("reserved_lines")
