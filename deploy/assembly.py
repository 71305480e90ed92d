"""Which services there are, and the topology that all of them together need."""

from __future__ import annotations

from chassis.messaging import Subscription
from chassis.serve import Build
from chassis.settings import Settings
from chassis.topology import Topology
from gateway import consumers as gateway_consumers
from services.claims import app as claims
from services.claims import consumers as claims_consumers
from services.claims import settings as claims_settings
from services.claims import store as claims_store
from services.inventory import app as inventory
from services.inventory import consumers as inventory_consumers
from services.inventory import settings as inventory_settings
from services.inventory import store as inventory_store
from services.orders import app as orders
from services.orders import consumers as orders_consumers
from services.orders import settings as orders_settings
from services.orders import store as orders_store
from services.returns import app as returns
from services.returns import consumers as returns_consumers
from services.returns import settings as returns_settings
from services.returns import store as returns_store

SERVICES: dict[str, Build] = {
    "orders": orders.build,
    "claims": claims.build,
    "returns": returns.build,
    "inventory": inventory.build,
}
SETTINGS: dict[str, type[Settings]] = {
    "orders": orders_settings.Settings,
    "claims": claims_settings.Settings,
    "returns": returns_settings.Settings,
    "inventory": inventory_settings.Settings,
}
STORES = {
    "orders": orders_store,
    "claims": claims_store,
    "returns": returns_store,
    "inventory": inventory_store,
}
PROCESSES = (*SERVICES, "gateway")

SUBSCRIPTIONS: dict[str, tuple[Subscription, ...]] = {
    "orders": orders_consumers.SUBSCRIPTIONS,
    "claims": claims_consumers.SUBSCRIPTIONS,
    "returns": returns_consumers.SUBSCRIPTIONS,
    "inventory": inventory_consumers.SUBSCRIPTIONS,
    "gateway": gateway_consumers.SUBSCRIPTIONS,
}


def topology() -> Topology:
    """Every queue and binding of the whole system."""
    return Topology.of(part for parts in SUBSCRIPTIONS.values() for part in parts)


def topology_of_services() -> Topology:
    """Without what the gateway hears, which it does not write down while no webhook is there."""
    return Topology.of(part for name in SERVICES for part in SUBSCRIPTIONS[name])


def settings_of(service: str, common: Settings) -> Settings:
    """A service's own settings, with what is common to all as given."""
    given = {name: getattr(common, name) for name in Settings.model_fields}
    return SETTINGS[service](**given)
