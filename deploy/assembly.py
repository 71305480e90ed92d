"""Which services there are, and the topology that all of them together need."""

from __future__ import annotations

from chassis.messaging import Subscription
from chassis.serve import Build
from chassis.topology import Topology
from services.claims import app as claims
from services.claims import consumers as claims_consumers
from services.inventory import app as inventory
from services.inventory import consumers as inventory_consumers
from services.orders import app as orders
from services.orders import consumers as orders_consumers
from services.returns import app as returns
from services.returns import consumers as returns_consumers

SERVICES: dict[str, Build] = {
    "orders": orders.build,
    "claims": claims.build,
    "returns": returns.build,
    "inventory": inventory.build,
}
PROCESSES = (*SERVICES, "gateway")

SUBSCRIPTIONS: dict[str, tuple[Subscription, ...]] = {
    "orders": orders_consumers.SUBSCRIPTIONS,
    "claims": claims_consumers.SUBSCRIPTIONS,
    "returns": returns_consumers.SUBSCRIPTIONS,
    "inventory": inventory_consumers.SUBSCRIPTIONS,
}


def topology() -> Topology:
    """Every queue and binding of the whole system."""
    return Topology.of(part for parts in SUBSCRIPTIONS.values() for part in parts)
