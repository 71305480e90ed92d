"""Who may call what: one table for every route. A route that is not in it is denied."""

from __future__ import annotations

PUBLIC = frozenset({"anyone"})
_ALL = frozenset({"admin", "agent", "finance", "warehouse", "ops"})
_DESK = frozenset({"admin", "agent", "finance"})
_WRITERS = frozenset({"admin", "agent", "finance", "warehouse"})
_STOCK = frozenset({"admin", "warehouse"})
_AGENTS = frozenset({"admin", "agent"})
_PACKERS = frozenset({"admin", "agent", "warehouse"})
_PROMISES = frozenset({"admin", "agent", "warehouse"})
_ADMIN = frozenset({"admin"})
_OPERATORS = frozenset({"admin", "ops"})
_CUSTOMER = frozenset({"customer"})

TABLE: dict[tuple[str, str], frozenset[str]] = {
    # people
    ("POST", "/admin/auth"): PUBLIC,
    ("GET", "/admin/auth"): _ALL,
    ("DELETE", "/admin/auth"): _ALL,
    ("POST", "/admin/auth/token"): PUBLIC,
    ("POST", "/store/auth/token"): PUBLIC,
    ("POST", "/store/auth"): PUBLIC,
    ("GET", "/store/auth"): _CUSTOMER,
    ("DELETE", "/store/auth"): _CUSTOMER,
    ("GET", "/admin/users"): _ADMIN,
    ("POST", "/admin/users"): _ADMIN,
    ("GET", "/admin/users/{user_id}"): _ADMIN,
    ("POST", "/admin/users/{user_id}"): _ADMIN,
    ("DELETE", "/admin/users/{user_id}"): _ADMIN,
    ("GET", "/admin/tokens"): _ADMIN,
    ("POST", "/admin/tokens"): _ADMIN,
    ("DELETE", "/admin/tokens/{token_id}"): _ADMIN,
    # documents
    ("POST", "/admin/import"): _ADMIN,
    ("GET", "/admin/export"): _ADMIN,
    # orders
    ("GET", "/admin/orders"): _ALL,
    ("POST", "/admin/orders"): _ADMIN,
    ("GET", "/admin/orders/{order_id}"): _ALL,
    ("GET", "/admin/orders/{order_id}/ledger"): frozenset({"admin", "finance", "ops"}),
    ("POST", "/admin/orders/{order_id}"): _AGENTS,
    ("POST", "/admin/orders/{order_id}/complete"): _AGENTS,
    ("POST", "/admin/orders/{order_id}/archive"): _AGENTS,
    ("POST", "/admin/orders/{order_id}/cancel"): _AGENTS,
    ("POST", "/admin/orders/{order_id}/shipping-methods"): _AGENTS,
    ("POST", "/admin/orders/{order_id}/capture"): _DESK,
    ("POST", "/admin/orders/{order_id}/refund"): _DESK,
    ("POST", "/admin/orders/{order_id}/fulfillment"): _PACKERS,
    ("POST", "/admin/orders/{order_id}/fulfillments/{fulfillment_id}/cancel"): _PACKERS,
    ("POST", "/admin/orders/{order_id}/shipment"): _PACKERS,
    ("GET", "/admin/payments/{payment_id}"): _ALL,
    ("POST", "/admin/payments/{payment_id}/capture"): _DESK,
    ("POST", "/admin/payments/{payment_id}/refund"): _DESK,
    ("POST", "/admin/orders/{order_id}/claims"): _DESK,
    ("POST", "/admin/orders/{order_id}/claims/preview"): _DESK,
    ("GET", "/admin/orders/{order_id}/claimable"): _ALL,
    ("POST", "/admin/orders/{order_id}/claims/{claim_id}"): _DESK,
    ("POST", "/admin/orders/{order_id}/claims/{claim_id}/cancel"): _DESK,
    ("POST", "/admin/orders/{order_id}/return"): frozenset({"admin", "agent"}),
    ("GET", "/admin/store"): _ALL,
    ("GET", "/admin/regions"): _ALL,
    ("GET", "/admin/shipping-options"): _ALL,
    ("GET", "/admin/customers"): _ALL,
    ("GET", "/admin/customers/{customer_id}"): _ALL,
    ("POST", "/admin/customers/{customer_id}"): _AGENTS,
    # claims
    ("GET", "/admin/claims"): _ALL,
    ("GET", "/admin/claims/{claim_id}"): _ALL,
    ("POST", "/admin/claims/{claim_id}/assign"): _DESK,
    ("POST", "/admin/claims/{claim_id}/close"): _DESK,
    ("POST", "/admin/claims/{claim_id}/order"): _AGENTS,
    # what was reported and is not decided, and the files that show it
    ("GET", "/admin/inquiries"): _ALL,
    ("POST", "/admin/orders/{order_id}/inquiries"): _AGENTS,
    ("GET", "/admin/inquiries/{inquiry_id}"): _ALL,
    ("POST", "/admin/inquiries/{inquiry_id}/review"): _DESK,
    ("POST", "/admin/inquiries/{inquiry_id}/approve"): _DESK,
    ("POST", "/admin/inquiries/{inquiry_id}/reject"): _DESK,
    ("POST", "/admin/inquiries/{inquiry_id}/cancel"): _DESK,
    ("POST", "/admin/inquiries/{inquiry_id}/messages"): _DESK,
    ("POST", "/admin/inquiries/{inquiry_id}/evidence"): _WRITERS,
    ("GET", "/admin/claims/{claim_id}/evidence"): _ALL,
    ("POST", "/admin/claims/{claim_id}/evidence"): _WRITERS,
    ("GET", "/admin/evidence/{evidence_id}"): _ALL,
    ("DELETE", "/admin/evidence/{evidence_id}"): _DESK,
    # returns
    ("GET", "/admin/returns"): _ALL,
    ("GET", "/admin/returns/{return_id}"): _ALL,
    ("POST", "/admin/returns/{return_id}/receive"): frozenset({"admin", "agent", "warehouse"}),
    ("POST", "/admin/returns/{return_id}/cancel"): frozenset({"admin", "agent"}),
    ("GET", "/admin/return-reasons"): _ALL,
    ("POST", "/admin/return-reasons"): frozenset({"admin", "agent"}),
    ("GET", "/admin/return-reasons/{reason_id}"): _ALL,
    ("POST", "/admin/return-reasons/{reason_id}"): frozenset({"admin", "agent"}),
    ("DELETE", "/admin/return-reasons/{reason_id}"): frozenset({"admin", "agent"}),
    # inventory
    ("GET", "/admin/variants"): _ALL,
    ("GET", "/admin/variants/{variant_id}"): _ALL,
    ("GET", "/admin/variants/{variant_id}/inventory"): _ALL,
    ("GET", "/admin/inventory-items"): _ALL,
    ("POST", "/admin/inventory-items"): _STOCK,
    ("GET", "/admin/inventory-items/{item_id}"): _ALL,
    ("POST", "/admin/inventory-items/{item_id}"): _STOCK,
    ("DELETE", "/admin/inventory-items/{item_id}"): _STOCK,
    ("GET", "/admin/inventory-items/{item_id}/location-levels"): _ALL,
    ("POST", "/admin/inventory-items/{item_id}/location-levels"): _STOCK,
    ("POST", "/admin/inventory-items/{item_id}/location-levels/{location_id}"): _STOCK,
    ("DELETE", "/admin/inventory-items/{item_id}/location-levels/{location_id}"): _STOCK,
    ("GET", "/admin/stock-locations"): _ALL,
    ("POST", "/admin/stock-locations"): _STOCK,
    ("GET", "/admin/stock-locations/{location_id}"): _ALL,
    ("POST", "/admin/stock-locations/{location_id}"): _STOCK,
    ("DELETE", "/admin/stock-locations/{location_id}"): _STOCK,
    ("GET", "/admin/reservations"): _ALL,
    ("POST", "/admin/reservations"): _PROMISES,
    ("GET", "/admin/reservations/{reservation_id}"): _ALL,
    ("POST", "/admin/reservations/{reservation_id}"): _PROMISES,
    ("DELETE", "/admin/reservations/{reservation_id}"): _PROMISES,
    ("GET", "/admin/orders/{order_id}/reservations"): _ALL,
    # notes
    ("GET", "/admin/notes"): _ALL,
    ("POST", "/admin/notes"): _WRITERS,
    ("GET", "/admin/notes/{note_id}"): _ALL,
    ("POST", "/admin/notes/{note_id}"): _WRITERS,
    ("DELETE", "/admin/notes/{note_id}"): _WRITERS,
    # what was done, and what does not agree
    ("GET", "/admin/audit"): _OPERATORS,
    ("GET", "/admin/findings"): _OPERATORS,
    ("POST", "/admin/findings/{finding_id}/repair"): _OPERATORS,
    ("POST", "/admin/findings/{finding_id}/dismiss"): _OPERATORS,
    # exports: everybody's own
    ("GET", "/admin/batch-jobs"): _DESK,
    ("POST", "/admin/batch-jobs"): _DESK,
    ("GET", "/admin/batch-jobs/{job_id}"): _DESK,
    ("POST", "/admin/batch-jobs/{job_id}/confirm"): _DESK,
    ("POST", "/admin/batch-jobs/{job_id}/cancel"): _DESK,
    ("GET", "/admin/batch-jobs/{job_id}/file"): _DESK,
    # who is told of what
    ("GET", "/admin/webhooks"): _OPERATORS,
    ("POST", "/admin/webhooks"): _OPERATORS,
    ("GET", "/admin/webhooks/{webhook_id}"): _OPERATORS,
    ("POST", "/admin/webhooks/{webhook_id}"): _OPERATORS,
    ("DELETE", "/admin/webhooks/{webhook_id}"): _OPERATORS,
    ("POST", "/admin/webhooks/{webhook_id}/rotate-secret"): _OPERATORS,
    ("POST", "/admin/webhooks/{webhook_id}/test"): _OPERATORS,
    ("GET", "/admin/webhooks/{webhook_id}/deliveries"): _OPERATORS,
    ("GET", "/admin/webhooks/{webhook_id}/deliveries/{delivery_id}"): _OPERATORS,
    ("POST", "/admin/webhooks/{webhook_id}/deliveries/{delivery_id}/resend"): _OPERATORS,
    # messages and sagas
    ("GET", "/admin/dead-letters"): _OPERATORS,
    ("GET", "/admin/dead-letters/{letter_id}"): _OPERATORS,
    ("POST", "/admin/dead-letters/{letter_id}/replay"): _OPERATORS,
    ("POST", "/admin/dead-letters/{letter_id}/discard"): _OPERATORS,
    ("GET", "/admin/outbox"): _OPERATORS,
    ("POST", "/admin/outbox/{message_id}/unblock"): _OPERATORS,
    ("GET", "/admin/sagas"): _OPERATORS,
    ("GET", "/admin/sagas/{saga_id}"): _OPERATORS,
    ("POST", "/admin/sagas/{saga_id}/resume"): _OPERATORS,
    ("POST", "/admin/sagas/{saga_id}/compensate"): _OPERATORS,
    # storefront: what is not public is the customer's own
    ("POST", "/store/returns"): PUBLIC,
    ("GET", "/store/claims"): _CUSTOMER,
    ("POST", "/store/claims"): _CUSTOMER,
    ("GET", "/store/claims/{inquiry_id}"): _CUSTOMER,
    ("POST", "/store/claims/{inquiry_id}/cancel"): _CUSTOMER,
    ("POST", "/store/claims/{inquiry_id}/messages"): _CUSTOMER,
    ("POST", "/store/claims/{inquiry_id}/evidence"): _CUSTOMER,
    ("GET", "/store/claims/{inquiry_id}/evidence/{evidence_id}"): _CUSTOMER,
    ("DELETE", "/store/claims/{inquiry_id}/evidence/{evidence_id}"): _CUSTOMER,
    ("GET", "/store/orders"): PUBLIC,
    ("GET", "/store/orders/cart/{cart_id}"): PUBLIC,
    ("GET", "/store/orders/{order_id}"): PUBLIC,
    ("GET", "/store/return-reasons"): PUBLIC,
    ("GET", "/store/return-reasons/{reason_id}"): PUBLIC,
}


def may(method: str, template: str, role: str | None) -> bool:
    """Whether somebody with this role (None: not signed in) may call a route."""
    allowed = TABLE.get((method, template), frozenset())
    return allowed is PUBLIC or role in allowed
