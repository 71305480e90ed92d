"""The map: which method of the client asks what; what it really asks is compared with it."""

from __future__ import annotations

ORDERS = "/admin/orders"
ONE = f"{ORDERS}/:id"
CLAIM = f"{ONE}/claims/:claim"
SWAP = f"{ONE}/swaps/:swap"


def _whole(resource: str, path: str) -> dict[str, str]:
    """Create, list, retrieve, update, delete."""
    return {
        f"admin.{resource}.create": f"POST {path}",
        f"admin.{resource}.list": f"GET {path}",
        f"admin.{resource}.retrieve": f"GET {path}/:id",
        f"admin.{resource}.update": f"POST {path}/:id",
        f"admin.{resource}.delete": f"DELETE {path}/:id",
    }


MAP = {
    "admin.orders.list": f"GET {ORDERS}",
    "admin.orders.retrieve": f"GET {ONE}",
    "admin.orders.update": f"POST {ONE}",
    "admin.orders.complete": f"POST {ONE}/complete",
    "admin.orders.capturePayment": f"POST {ONE}/capture",
    "admin.orders.cancel": f"POST {ONE}/cancel",
    "admin.orders.archive": f"POST {ONE}/archive",
    "admin.orders.refundPayment": f"POST {ONE}/refund",
    "admin.orders.createFulfillment": f"POST {ONE}/fulfillment",
    "admin.orders.cancelFulfillment": f"POST {ONE}/fulfillments/:fulfillment/cancel",
    "admin.orders.createShipment": f"POST {ONE}/shipment",
    "admin.orders.requestReturn": f"POST {ONE}/return",
    "admin.orders.addShippingMethod": f"POST {ONE}/shipping-methods",
    "admin.orders.createClaim": f"POST {ONE}/claims",
    "admin.orders.updateClaim": f"POST {CLAIM}",
    "admin.orders.cancelClaim": f"POST {CLAIM}/cancel",
    "admin.orders.fulfillClaim": f"POST {CLAIM}/fulfillments",
    "admin.orders.cancelClaimFulfillment": f"POST {CLAIM}/fulfillments/:fulfillment/cancel",
    "admin.orders.createClaimShipment": f"POST {CLAIM}/shipments",
    "admin.orders.createSwap": f"POST {ONE}/swaps",
    "admin.orders.cancelSwap": f"POST {SWAP}/cancel",
    "admin.orders.fulfillSwap": f"POST {SWAP}/fulfillments",
    "admin.orders.createSwapShipment": f"POST {SWAP}/shipments",
    "admin.orders.processSwapPayment": f"POST {SWAP}/process-payment",
    "admin.orders.cancelSwapFulfillment": f"POST {SWAP}/fulfillments/:fulfillment/cancel",
    "admin.returns.list": "GET /admin/returns",
    "admin.returns.receive": "POST /admin/returns/:id/receive",
    "admin.returns.cancel": "POST /admin/returns/:id/cancel",
    **_whole("returnReasons", "/admin/return-reasons"),
    **_whole("reservations", "/admin/reservations"),
    **_whole("inventoryItems", "/admin/inventory-items"),
    "admin.inventoryItems.listLocationLevels": "GET /admin/inventory-items/:id/location-levels",
    "admin.inventoryItems.createLocationLevel": "POST /admin/inventory-items/:id/location-levels",
    "admin.inventoryItems.updateLocationLevel": (
        "POST /admin/inventory-items/:id/location-levels/:location"
    ),
    "admin.inventoryItems.deleteLocationLevel": (
        "DELETE /admin/inventory-items/:id/location-levels/:location"
    ),
    **_whole("stockLocations", "/admin/stock-locations"),
    **_whole("notes", "/admin/notes"),
    "admin.swaps.list": "GET /admin/swaps",
    "admin.swaps.retrieve": "GET /admin/swaps/:id",
    "admin.batchJobs.create": "POST /admin/batch-jobs",
    "admin.batchJobs.list": "GET /admin/batch-jobs",
    "admin.batchJobs.retrieve": "GET /admin/batch-jobs/:id",
    "admin.batchJobs.cancel": "POST /admin/batch-jobs/:id/cancel",
    "admin.batchJobs.confirm": "POST /admin/batch-jobs/:id/confirm",
    "admin.payments.retrieve": "GET /admin/payments/:id",
    "admin.payments.capturePayment": "POST /admin/payments/:id/capture",
    "admin.payments.refundPayment": "POST /admin/payments/:id/refund",
    "returns.create": "POST /store/returns",
    "returnReasons.list": "GET /store/return-reasons",
    "returnReasons.retrieve": "GET /store/return-reasons/:id",
    "orders.retrieve": "GET /store/orders/:id",
    "orders.lookupOrder": "GET /store/orders",
    "orders.retrieveByCartId": "GET /store/orders/cart/:cart",
    "swaps.create": "POST /store/swaps",
    "swaps.retrieveByCartId": "GET /store/swaps/:cart",
    # Who signs in, and what Medusa's own pages ask while somebody makes a claim.
    "admin.auth.getToken": "POST /admin/auth/token",
    "admin.auth.createSession": "POST /admin/auth",
    "admin.auth.getSession": "GET /admin/auth",
    "admin.auth.deleteSession": "DELETE /admin/auth",
    "auth.getToken": "POST /store/auth/token",
    "admin.customers.list": "GET /admin/customers",
    "admin.customers.retrieve": "GET /admin/customers/:id",
    "admin.customers.update": "POST /admin/customers/:id",
    "admin.variants.list": "GET /admin/variants",
    "admin.variants.retrieve": "GET /admin/variants/:id",
    "admin.variants.getInventory": "GET /admin/variants/:id/inventory",
    "admin.regions.list": "GET /admin/regions",
    "admin.shippingOptions.list": "GET /admin/shipping-options",
    "admin.store.retrieve": "GET /admin/store",
}

# Whose every method is in the map; of the others the map has what is served.
RESOURCES = (
    *("admin.orders", "admin.returns", "admin.returnReasons", "admin.reservations"),
    *("admin.inventoryItems", "admin.stockLocations", "admin.notes", "admin.swaps"),
    *("admin.batchJobs", "admin.payments", "returns", "returnReasons", "swaps"),
)
# What a shop's pages do with the cart of a swap: there are no carts here.
NOT_SERVED = frozenset({"swaps.create", "swaps.retrieveByCartId"})


def fits(asked: str, path: str) -> bool:
    """Whether ``GET /admin/orders/x`` is asked by ``GET /admin/orders/:id``."""
    ours, theirs = path.split("/"), asked.rstrip("/").split("/")
    return len(ours) == len(theirs) and all(
        mine.startswith(":") or mine == given for mine, given in zip(ours, theirs, strict=True)
    )
