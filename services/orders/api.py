"""The HTTP door of orders, for the gateway only.

A customer sees own orders: another's answers exactly like one that does not exist.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import auth, clock, http
from chassis.auth import Principal
from chassis.db import Database
from chassis.door import Given, Router, Who
from chassis.http import Db, Tries
from contracts.orders import PlaceClaimHold, RetryClaimRefund
from services.orders import (
    linking,
    operations,
    operations_claims,
    operations_money,
    queries,
    queries_money,
    schemas,
)

# A batch of the importer is one transaction: large enough to be quick, small enough to be short.
IMPORT_MAX_BYTES = 32 * 1024 * 1024

router = Router()
_may_load = auth.require("admin")
_may_refund = auth.require("admin", "agent", "finance")
_may_change = auth.require("admin", "agent")
_may_pack = auth.require("admin", "agent", "warehouse")
_may_note = auth.require("admin", "agent", "finance", "warehouse")
_staff = auth.require("admin", "agent", "finance", "ops", "warehouse")

Limit = Annotated[int, Field(ge=0, le=1000)]
Offset = Annotated[int, Field(ge=0, le=2**31)]
Ids = Annotated[list[str] | None, Field(max_length=1000)]


def _bound_s(request: Request) -> float:
    bound: float = request.app.state.wait_bound_s
    return bound


def _providers(request: Request) -> Collection[str]:
    providers: Collection[str] = request.app.state.providers
    return providers


Bound = Annotated[float, Given(_bound_s)]
Known = Annotated[Collection[str], Given(_providers)]


def _owner(who: Principal) -> str | None:
    """Whose orders may be seen: a customer's own, nobody's for a guest, all for the shop."""
    return (who.customer_id or "") if who.is_customer else None


# ---- orders -------------------------------------------------------------------------------------


@router.get("/orders")
async def list_orders(db: Db, who: Who, filters: schemas.OrderFilters) -> Response:
    """A page of whole orders: {orders, count, offset, limit}."""
    async with db.reading() as tx:
        orders, count = await queries.list_orders(tx, filters=filters, customer_id=_owner(who))
    return http.json_response(
        {"orders": orders, "count": count, "offset": filters.offset, "limit": filters.limit}
    )


@router.get("/orders/{order_id}")
async def get_order(order_id: str, db: Db, who: Who) -> Response:
    """One order whole, and which kinds of remedies it has: {order, remedy_kinds}."""
    async with db.reading() as tx:
        found = await queries.order_by_id(tx, order_id=order_id, customer_id=_owner(who))
    return http.json_response(found)


@router.get("/orders/{order_id}/facts")
async def get_facts(order_id: str, db: Db, who: Who) -> Response:
    """The few facts other decisions need, without an envelope: id, region_id, ..., status."""
    async with db.reading() as tx:
        facts = await queries.order_facts(tx, order_id=order_id, customer_id=_owner(who))
    return http.json_response(facts)


@router.get("/order-lines/{line_id}/unsent")
async def get_unsent_units(line_id: str, db: Db, who: Who) -> Response:
    """How many units of a line are still to be sent: {line_id, order_id, units}."""
    _staff(who)
    async with db.reading() as tx:
        found = await queries.unsent_units(tx, line_id=line_id)
    return http.json_response(found)


@router.get("/orders/{order_id}/ledger")
async def get_ledger(order_id: str, db: Db, who: Who) -> Response:
    """The money of an order and what it is held for: {ledger}."""
    _staff(who)
    async with db.reading() as tx:
        ledger = await queries_money.ledger_of(tx, order_id=order_id)
    return http.json_response({"ledger": ledger})


@router.get("/orders/{order_id}/claimable")
async def get_claimable(order_id: str, db: Db, who: Who) -> Response:
    """What of each line may still be claimed and returned: {lines}."""
    _staff(who)
    async with db.reading() as tx:
        lines = await queries.claimable(tx, order_id=order_id)
    return http.json_response({"lines": lines})


@router.post("/orders/{order_id}/claims/preview")
async def preview_claim(order_id: str, body: PlaceClaimHold, db: Db, who: Who) -> Response:
    """What the hold of a claim would answer, and nothing held: {placed}."""
    _may_refund(who)
    command = body.model_copy(update={"order_id": order_id})
    async with db.transaction() as tx:
        placed = await operations_claims.preview_claim(tx, command=command)
    return http.json_response({"placed": placed})


@router.post("/orders/{order_id}/claims/refund/preview")
async def preview_claim_refund(order_id: str, body: RetryClaimRefund, db: Db, who: Who) -> Response:
    """What a claim would be refunded now, and nothing refunded: {refund}."""
    _may_refund(who)
    command = body.model_copy(update={"order_id": order_id})
    async with db.transaction() as tx:
        refund = await operations_claims.preview_claim_refund(tx, command=command)
    return http.json_response({"refund": refund})


@router.post("/orders/{order_id}/refunds")
async def refund_order(
    order_id: str, body: schemas.RefundOrder, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Refund by hand, and wait until the money is out: 200 {refund}."""
    _may_refund(who)
    async with http.accepting(db) as tx:
        refund_id = await operations_money.refund_order(
            tx,
            order_id=order_id,
            amount=body.amount,
            reason=body.reason,
            note=body.note,
            no_notification=body.no_notification,
            items=[(item.item_id, item.amount) for item in body.items or ()],
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=refund_id,
        outcome=partial(queries_money.refund_outcome, refund_id=refund_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/orders/{order_id}/ledger",
        one_statement=True,
    )


@router.post("/orders/{order_id}")
async def update_order(
    order_id: str, body: schemas.UpdateOrder, db: Db, who: Who, attempt: Tries
) -> Response:
    """Correct email, addresses, customer, wish for mail: {order_id}."""
    _may_change(who)
    async with http.accepting(db) as tx:
        await operations.update_order(
            tx,
            order_id=order_id,
            changes=body.model_dump(exclude_none=True),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"order_id": order_id})


@router.post("/orders/{order_id}/complete")
async def complete_order(order_id: str, db: Db, who: Who, attempt: Tries) -> Response:
    """Declare an order completed: {order_id}."""
    _may_change(who)
    async with http.accepting(db) as tx:
        await operations.complete_order(
            tx, order_id=order_id, caller=attempt.by(who.id), now=clock.now()
        )
    return http.json_response({"order_id": order_id})


@router.post("/orders/{order_id}/archive")
async def archive_order(order_id: str, db: Db, who: Who, attempt: Tries) -> Response:
    """Put a completed order away: {order_id}."""
    _may_change(who)
    async with http.accepting(db) as tx:
        await operations.archive_order(
            tx, order_id=order_id, caller=attempt.by(who.id), now=clock.now()
        )
    return http.json_response({"order_id": order_id})


@router.post("/orders/{order_id}/shipping-methods")
async def add_shipping_method(
    order_id: str, body: schemas.AddShippingMethod, db: Db, who: Who, attempt: Tries
) -> Response:
    """One more way to send an order: {order_id}."""
    _may_change(who)
    async with http.accepting(db) as tx:
        await operations.add_shipping_method(
            tx,
            order_id=order_id,
            option_id=body.option_id,
            price=body.price,
            data=body.data,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"order_id": order_id})


@router.post("/orders/{order_id}/cancel")
async def cancel_order(order_id: str, db: Db, who: Who, attempt: Tries, bound_s: Bound) -> Response:
    """Cancel an order and wait until its reservations are released: {order_id}."""
    _may_change(who)
    async with http.accepting(db) as tx:
        accepted = await operations.cancel_order(
            tx, order_id=order_id, caller=attempt.by(who.id), now=clock.now()
        )
    if accepted.done:
        return http.json_response({"order_id": order_id})
    return await http.settled(
        db,
        key=accepted.wait_for,
        outcome=partial(queries.cancel_outcome, order_id=order_id, saga_id=accepted.wait_for),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/orders/{order_id}",
        one_statement=True,
    )


# ---- fulfillments -------------------------------------------------------------------------------


@router.post("/orders/{order_id}/fulfillments")
async def create_fulfillment(
    order_id: str,
    body: schemas.CreateFulfillment,
    db: Db,
    who: Who,
    attempt: Tries,
    bound_s: Bound,
) -> Response:
    """Pack goods and wait until they are out of stock: {fulfillment_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.create_fulfillment(
            tx,
            order_id=order_id,
            items=[(item.item_id, item.quantity) for item in body.items],
            location_id=body.location_id,
            no_notification=body.no_notification,
            metadata=body.metadata,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    if accepted.done:
        return http.json_response({"fulfillment_id": accepted.id, "order_id": order_id})
    return await http.settled(
        db,
        key=accepted.wait_for,
        outcome=partial(queries.fulfillment_outcome, fulfillment_id=accepted.id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/orders/{order_id}",
        one_statement=True,
    )


@router.post("/orders/{order_id}/fulfillments/{fulfillment_id}/cancel")
async def cancel_fulfillment(
    order_id: str, fulfillment_id: str, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Unpack goods and wait until they are back in stock: {fulfillment_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.cancel_fulfillment(
            tx,
            order_id=order_id,
            fulfillment_id=fulfillment_id,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    if accepted.done:
        return http.json_response({"fulfillment_id": fulfillment_id, "order_id": order_id})
    return await http.settled(
        db,
        key=accepted.wait_for,
        outcome=partial(queries.unpacking_outcome, fulfillment_id=fulfillment_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/orders/{order_id}",
        one_statement=True,
    )


@router.post("/orders/{order_id}/shipments")
async def create_shipment(
    order_id: str, body: schemas.CreateShipment, db: Db, who: Who, attempt: Tries
) -> Response:
    """Packed goods are on their way: {fulfillment_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        await operations.create_shipment(
            tx,
            order_id=order_id,
            fulfillment_id=body.fulfillment_id,
            tracking_numbers=body.tracking_numbers,
            no_notification=body.no_notification,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"fulfillment_id": body.fulfillment_id, "order_id": order_id})


# ---- payments -----------------------------------------------------------------------------------


@router.post("/orders/{order_id}/capture")
async def capture_order(
    order_id: str, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Take the money of an order and wait until its providers have answered: {order_id}."""
    _may_refund(who)
    async with http.accepting(db) as tx:
        accepted = await operations_money.capture_order(
            tx, order_id=order_id, caller=attempt.by(who.id), now=clock.now()
        )
    if accepted.done:
        return http.json_response({"order_id": order_id})
    return await http.settled(
        db,
        key=accepted.wait_for,
        outcome=partial(queries_money.capture_outcome, order_id=order_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/orders/{order_id}/ledger",
        one_statement=True,
    )


@router.get("/payments/{payment_id}")
async def get_payment(payment_id: str, db: Db, who: Who) -> Response:
    """One payment: {payment}."""
    _staff(who)
    async with db.reading() as tx:
        payment = await queries_money.payment_by_id(tx, payment_id=payment_id)
    return http.json_response({"payment": payment})


@router.post("/payments/{payment_id}/capture")
async def capture_payment(
    payment_id: str, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Take the money of one payment and wait for its provider: {payment}."""
    _may_refund(who)
    async with http.accepting(db) as tx:
        accepted = await operations_money.capture_payment(
            tx, payment_id=payment_id, caller=attempt.by(who.id), now=clock.now()
        )
    return await http.settled(
        db,
        key=accepted.wait_for,
        outcome=partial(queries_money.payment_capture_outcome, payment_id=payment_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/payments/{payment_id}",
        one_statement=True,
    )


@router.post("/payments/{payment_id}/refunds")
async def refund_payment(
    payment_id: str,
    body: schemas.RefundPayment,
    db: Db,
    who: Who,
    attempt: Tries,
    bound_s: Bound,
) -> Response:
    """Refund one payment by hand, and wait until the money is out: {refund}."""
    _may_refund(who)
    async with http.accepting(db) as tx:
        refund_id = await operations_money.refund_payment(
            tx,
            payment_id=payment_id,
            amount=body.amount,
            reason=body.reason,
            note=body.note,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=refund_id,
        outcome=partial(
            queries_money.payment_refund_outcome, payment_id=payment_id, refund_id=refund_id
        ),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/payments/{payment_id}",
        one_statement=True,
    )


# ---- notes --------------------------------------------------------------------------------------


@router.get("/credit-memos")
async def list_credit_memos(
    db: Db,
    who: Who,
    order_id: Ids = None,
    refund_id: Ids = None,
    year: Annotated[int | None, Field(ge=1, le=9999)] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """The documents of refunds, the newest first: {credit_memos, count, offset, limit}."""
    _staff(who)
    async with db.reading() as tx:
        page = await queries_money.credit_memos(
            tx,
            order_ids=order_id,
            refund_ids=refund_id,
            year=year,
            limit=limit,
            offset=offset,
        )
    return http.json_response(page)


@router.get("/credit-memos/{memo_id}")
async def get_credit_memo(memo_id: str, db: Db, who: Who) -> Response:
    """One document, by its id or its number: {credit_memo}."""
    _staff(who)
    async with db.reading() as tx:
        found = await queries_money.credit_memo(tx, memo_id=memo_id)
    return http.json_response(found)


@router.get("/notes")
async def list_notes(
    db: Db, who: Who, resource_id: str | None = None, limit: Limit = 50, offset: Offset = 0
) -> Response:
    """A page of notes, of one thing if asked, newest first: {notes, count, offset, limit}."""
    _staff(who)
    async with db.reading() as tx:
        notes, count = await queries.list_notes(
            tx, resource_id=resource_id, limit=limit, offset=offset
        )
    return http.json_response({"notes": notes, "count": count, "offset": offset, "limit": limit})


@router.get("/notes/{note_id}")
async def get_note(note_id: str, db: Db, who: Who) -> Response:
    """One note: {note}."""
    _staff(who)
    async with db.reading() as tx:
        note = await queries.note_by_id(tx, note_id=note_id)
    return http.json_response({"note": note})


@router.post("/notes")
async def write_note(body: schemas.WriteNote, db: Db, who: Who, attempt: Tries) -> Response:
    """A new note, whose author is who asks: {note}."""
    _may_note(who)
    async with db.transaction() as tx:
        note_id = await operations.add_note(
            tx,
            **body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _note(db, note_id)


@router.post("/notes/{note_id}")
async def change_note(note_id: str, body: schemas.ChangeNote, db: Db, who: Who) -> Response:
    """Another text: {note}."""
    _may_note(who)
    async with db.transaction() as tx:
        await operations.change_note(tx, note_id=note_id, value=body.value, now=clock.now())
    return await _note(db, note_id)


@router.delete("/notes/{note_id}")
async def remove_note(note_id: str, db: Db, who: Who) -> Response:
    """Forget a note: {id, object, deleted}."""
    _may_note(who)
    async with db.transaction() as tx:
        await operations.remove_note(tx, note_id=note_id)
    return http.json_response({"id": note_id, "object": "note", "deleted": True})


async def _note(db: Database, note_id: str) -> Response:
    async with db.reading() as tx:
        return http.json_response({"note": await queries.note_by_id(tx, note_id=note_id)})


# ---- orders that follow from a claim ------------------------------------------------------------


@router.get("/claims/{claim_id}/orders")
async def orders_of_claim(claim_id: str, db: Db, who: Who) -> Response:
    """The orders that follow from a claim: {orders}, in a few words."""
    _staff(who)
    async with db.reading() as tx:
        orders = await queries.orders_of_claim(tx, claim_id=claim_id)
    return http.json_response({"orders": orders})


@router.post("/linked-orders")
async def open_linked_order(
    body: schemas.OpenLinkedOrder, db: Db, who: Who, attempt: Tries
) -> Response:
    """Open an order that follows from a claim: {order_id}."""
    _may_change(who)
    async with http.accepting(db) as tx:
        order_id = await linking.open_linked_order(
            tx,
            request=body.model_dump(exclude_none=True),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"order_id": order_id})


# ---- customers and reference data ---------------------------------------------------------------


@router.get("/customers")
async def list_customers(
    db: Db,
    who: Who,
    q: str | None = None,
    email: str | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """A page of customers: {customers, count, offset, limit}."""
    _staff(who)
    async with db.reading() as tx:
        customers, count = await queries.list_customers(
            tx, q=q, email=email, limit=limit, offset=offset
        )
    return http.json_response(
        {"customers": customers, "count": count, "offset": offset, "limit": limit}
    )


@router.get("/customers/{customer_id}")
async def get_customer(customer_id: str, db: Db, who: Who) -> Response:
    """One customer: {customer}; customers see themselves."""
    async with db.reading() as tx:
        customer = await queries.customer_by_id(tx, customer_id=customer_id, own_id=_owner(who))
    return http.json_response({"customer": customer})


@router.post("/customers/{customer_id}")
async def update_customer(
    customer_id: str, body: schemas.UpdateCustomer, db: Db, who: Who
) -> Response:
    """Correct a customer's name, phone number or e-mail: {customer}."""
    _may_change(who)
    async with db.transaction() as tx:
        await operations.update_customer(
            tx,
            customer_id=customer_id,
            changes=body.model_dump(exclude_unset=True),
            now=clock.now(),
        )
    return await _customer(db, customer_id)


async def _customer(db: Database, customer_id: str) -> Response:
    async with db.reading() as tx:
        customer = await queries.customer_by_id(tx, customer_id=customer_id, own_id=None)
    return http.json_response({"customer": customer})


@router.get("/customers/{customer_id}/store-credits")
async def get_store_credits(
    customer_id: str, db: Db, who: Who, limit: Limit = 50, offset: Offset = 0
) -> Response:
    """A customer's store credit: {store_credits, entries, count, offset, limit}; customers see
    their own."""
    async with db.reading() as tx:
        found = await queries_money.store_credits(
            tx, customer_id=customer_id, own_id=_owner(who), limit=limit, offset=offset
        )
    return http.json_response({**found, "offset": offset, "limit": limit})


@router.post("/customers/{customer_id}/store-credits")
async def adjust_store_credit(
    customer_id: str, body: schemas.AdjustStoreCredit, db: Db, who: Who, attempt: Tries
) -> Response:
    """Give store credit by hand, or book what was spent: {customer_id}."""
    _may_refund(who)
    async with http.accepting(db) as tx:
        await operations_money.adjust_store_credit(
            tx,
            customer_id=customer_id,
            currency_code=body.currency_code,
            amount=body.amount,
            note=body.note,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"customer_id": customer_id})


@router.get("/shipping-options")
async def list_shipping_options(
    db: Db, who: Who, region_id: str | None = None, is_return: bool | None = None
) -> Response:
    """Shipping options: {shipping_options}."""
    async with db.reading() as tx:
        options = await queries.shipping_options(tx, region_id=region_id, is_return=is_return)
    return http.json_response({"shipping_options": options})


@router.get("/regions")
async def list_regions(db: Db, who: Who) -> Response:
    """Regions: {regions}."""
    async with db.reading() as tx:
        regions = await queries.regions(tx)
    return http.json_response({"regions": regions})


@router.get("/sales-channels")
async def list_sales_channels(
    db: Db, who: Who, id: Annotated[list[str] | None, Field(max_length=1000)] = None
) -> Response:
    """Sales channels, all or those of these ids: {sales_channels}."""
    _staff(who)
    async with db.reading() as tx:
        channels = await queries.sales_channels(tx, ids=id)
    return http.json_response({"sales_channels": channels})


# ---- import and export --------------------------------------------------------------------------


@router.post("/import", max_body_size=IMPORT_MAX_BYTES)
async def import_document(
    body: schemas.ImportDocument, db: Db, who: Who, providers: Known
) -> Response:
    """Load regions, channels, options, customers and orders; a refused record stops no other."""
    _may_load(who)
    async with db.transaction() as tx:
        answer = await operations.import_document(
            tx, lists=body.lists(), providers=providers, now=clock.now()
        )
    return http.json_response(answer)


@router.get("/export")
async def export(
    db: Db,
    who: Who,
    cursor: str | None = None,
    limit: Annotated[int, Field(ge=1, le=queries.EXPORT_ROWS_MAX)] = queries.EXPORT_ROWS_MAX,
) -> Response:
    """A piece of the document that an import reads; ``next`` is the cursor of the following."""
    _may_load(who)
    async with db.reading() as tx:
        page = await queries.export_page(tx, cursor=cursor, limit=limit)
    return http.json_response(page)
