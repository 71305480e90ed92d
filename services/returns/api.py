"""The HTTP door of returns: parse, authorize, one call inwards, wait, answer.

Customers and guests see and request only what is theirs: the gateway has read the order as that
customer before it asks here, and reads are limited to the customer of the token.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import auth, clock, http
from chassis.auth import Principal
from chassis.door import Given, Router, Who
from chassis.http import Attempt, Db, Tries
from services.returns import operations, queries, schemas
from services.returns.booking import Caller
from services.returns.domain import Item
from services.returns.operations import first_receipt_id
from services.returns.settings import Settings

IMPORT_MAX_BYTES = 32 * 1024 * 1024

router = Router()

_may_write = auth.require("admin", "agent")
_may_request = auth.require("admin", "agent", "customer", "guest")
_may_receive = auth.require("admin", "agent", "warehouse")
_may_settle = auth.require("admin", "agent", "finance")
_may_load = auth.require("admin")
_may_operate = auth.require("admin", "ops")

Limit = Annotated[int, Field(ge=0, le=1000)]
Offset = Annotated[int, Field(ge=0, le=2**31)]
Ids = Annotated[list[str] | None, Field(max_length=1000)]


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


Rules = Annotated[Settings, Given(_settings)]


def _owner(who: Principal) -> str | None:
    """Whose returns may be read: a customer's own, nobody's for a guest, all for the shop."""
    return (who.customer_id or "") if who.is_customer else None


def _caller(who: Principal, attempt: Attempt) -> Caller:
    return Caller(
        who.id,
        attempt.key,
        attempt.fingerprint,
        customer_id=who.customer_id,
        is_customer=who.is_customer,
    )


# ---- returns ------------------------------------------------------------------------------------


@router.post("/returns")
async def request_return(
    body: schemas.RequestReturn, db: Db, who: Who, attempt: Tries, rules: Rules
) -> Response:
    """Request a return, with ``receive_now`` also receive it: {return}."""
    _may_request(who)
    customer_asks = body.storefront or who.is_customer
    async with http.accepting(db) as tx:
        return_id = await operations.request_return(
            tx,
            caller=_caller(who, attempt),
            order_id=body.order_id,
            items=[
                Item(item.item_id, item.quantity, item.reason_id, item.note) for item in body.items
            ],
            return_shipping=body.shipping(),
            refund=body.refund,
            refund_to=body.refund_to,
            receive_now=body.receive_now,
            location_id=body.location_id,
            no_notification=body.no_notification,
            policy_binds=customer_asks and rules.store_policy == "enforce",
            customer_id=body.customer_id,
            metadata=body.metadata,
            now=clock.now(),
        )
    receipt_id = first_receipt_id(return_id=return_id)
    return await http.settled(
        db,
        key=return_id,
        outcome=lambda tx: queries.outcome_of_request(
            tx, return_id=return_id, receipt_id=receipt_id
        ),
        attempt=attempt,
        bound_s=rules.wait_bound_s,
        location=f"/returns/{return_id}",
    )


@router.post("/returns/{return_id}/receive")
async def receive_return(
    return_id: str,
    body: schemas.ReceiveReturn,
    db: Db,
    who: Who,
    attempt: Tries,
    rules: Rules,
) -> Response:
    """Book a parcel of a return: {return}. Can be repeated until everything came."""
    _may_receive(who)
    async with http.accepting(db) as tx:
        receipt_id = await operations.receive_return(
            tx,
            caller=_caller(who, attempt),
            return_id=return_id,
            items=[
                Item(item.item_id, item.quantity, damaged_quantity=item.damaged_quantity)
                for item in body.items
            ],
            refund=body.refund,
            refund_to=body.refund_to,
            location_id=body.location_id,
            note=body.note,
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=receipt_id,
        outcome=lambda tx: queries.outcome_of_receipt(
            tx, return_id=return_id, receipt_id=receipt_id
        ),
        attempt=attempt,
        bound_s=rules.wait_bound_s,
        location=f"/returns/{return_id}",
    )


@router.post("/returns/{return_id}/settle")
async def settle_return(
    return_id: str, body: schemas.SettleReturn, db: Db, who: Who, attempt: Tries, rules: Rules
) -> Response:
    """Pay what receipts left owed: {return}."""
    _may_settle(who)
    async with http.accepting(db) as tx:
        receipt_id = await operations.settle_owed(
            tx,
            caller=_caller(who, attempt),
            return_id=return_id,
            refund=body.refund,
            refund_to=body.refund_to,
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=receipt_id,
        outcome=lambda tx: queries.outcome_of_receipt(
            tx, return_id=return_id, receipt_id=receipt_id
        ),
        attempt=attempt,
        bound_s=rules.wait_bound_s,
        location=f"/returns/{return_id}",
    )


@router.post("/returns/{return_id}/close")
async def close_return(return_id: str, db: Db, who: Who, attempt: Tries, rules: Rules) -> Response:
    """What is missing will not come: {return}. Again is no change."""
    _may_write(who)
    async with http.accepting(db) as tx:
        await operations.close_return(tx, return_id=return_id, now=clock.now())
    return await http.settled(
        db,
        key=return_id,
        outcome=lambda tx: queries.outcome_of_close(tx, return_id=return_id),
        attempt=attempt,
        bound_s=rules.wait_bound_s,
        location=f"/returns/{return_id}",
    )


@router.post("/returns/{return_id}/cancel")
async def cancel_return(return_id: str, db: Db, who: Who, attempt: Tries, rules: Rules) -> Response:
    """Call a return off: {return}. Again is no change."""
    _may_write(who)
    async with http.accepting(db) as tx:
        await operations.cancel_return(tx, return_id=return_id, now=clock.now())
    return await http.settled(
        db,
        key=return_id,
        outcome=lambda tx: queries.outcome_of_cancel(tx, return_id=return_id),
        attempt=attempt,
        bound_s=rules.wait_bound_s,
        location=f"/returns/{return_id}",
    )


@router.get("/returns")
async def list_returns(
    db: Db,
    who: Who,
    order_id: Ids = None,
    claim_id: Ids = None,
    swap_id: Ids = None,
    status: Ids = None,
    limit: Limit = 50,
    offset: Offset = 0,
    after: str | None = None,
) -> Response:
    """Returns, newest first: {returns, count, offset, limit}; with ``after`` only ids behind that
    one, in the order of ids."""
    async with db.reading() as tx:
        page = await queries.returns_page(
            tx,
            owner=_owner(who),
            order_ids=order_id,
            claim_ids=claim_id,
            swap_ids=swap_id,
            statuses=status,
            limit=limit,
            offset=offset,
            after=after,
        )
    return http.json_response(page)


@router.get("/returns/{return_id}")
async def get_return(return_id: str, db: Db, who: Who) -> Response:
    """One return: {return}, for the shop with number, receipts, findings and timelines beside."""
    async with db.reading() as tx:
        found = await queries.return_by_id(
            tx, return_id=return_id, owner=_owner(who), inside=not who.is_customer
        )
    return http.json_response(found)


@router.get("/orders/{order_id}/returns")
async def list_returns_of_order(order_id: str, db: Db, who: Who) -> Response:
    """All returns of one order: {returns}."""
    async with db.reading() as tx:
        found = await queries.returns_of_order(tx, order_id=order_id, owner=_owner(who))
    return http.json_response(found)


# ---- return reasons -----------------------------------------------------------------------------


@router.get("/return-reasons")
async def list_reasons(db: Db) -> Response:
    """Top-level reasons with their children: {return_reasons}."""
    async with db.reading() as tx:
        found = await queries.reasons(tx)
    return http.json_response(found)


@router.get("/return-reasons/{reason_id}")
async def get_reason(reason_id: str, db: Db) -> Response:
    """One reason: {return_reason}."""
    async with db.reading() as tx:
        found = await queries.reason_by_id(tx, reason_id=reason_id)
    return http.json_response(found)


async def _reason(db: Db, reason_id: str) -> Response:
    async with db.reading() as tx:
        return http.json_response(await queries.reason_by_id(tx, reason_id=reason_id))


@router.post("/return-reasons")
async def create_reason(body: schemas.CreateReason, db: Db, who: Who, attempt: Tries) -> Response:
    """A new reason: {return_reason}."""
    _may_write(who)
    async with db.transaction() as tx:
        reason_id = await operations.create_reason(
            tx, caller=_caller(who, attempt), fields=body.model_dump(), now=clock.now()
        )
    return await _reason(db, reason_id)


@router.post("/return-reasons/{reason_id}")
async def update_reason(reason_id: str, body: schemas.UpdateReason, db: Db, who: Who) -> Response:
    """Change a reason: {return_reason}. Its parent cannot change."""
    _may_write(who)
    async with db.transaction() as tx:
        await operations.update_reason(
            tx, reason_id=reason_id, changes=body.changes(), now=clock.now()
        )
    return await _reason(db, reason_id)


@router.delete("/return-reasons/{reason_id}")
async def delete_reason(reason_id: str, db: Db, who: Who) -> Response:
    """Take a reason and its children out of use: {id, object, deleted}."""
    _may_write(who)
    async with db.transaction() as tx:
        await operations.delete_reason(tx, reason_id=reason_id, now=clock.now())
    return http.json_response({"id": reason_id, "object": "return_reason", "deleted": True})


# ---- loading, copying, operating ----------------------------------------------------------------


@router.post("/import", max_body_size=IMPORT_MAX_BYTES)
async def load_document(document: dict[str, Any], db: Db, who: Who) -> Response:
    """Load return reasons: {created, updated, unchanged, refused, refusals}."""
    _may_load(who)
    async with db.transaction() as tx:
        counts = await operations.import_document(tx, document=document, now=clock.now())
    return http.json_response(counts)


@router.get("/export")
async def copy_document(db: Db, who: Who) -> Response:
    """What `/import` would take: {return_reasons}."""
    _may_load(who)
    async with db.reading() as tx:
        document = await queries.export(tx)
    return http.json_response(document)


@router.get("/sagas")
async def list_sagas(
    db: Db, who: Who, open_only: bool = True, limit: Limit = 50, offset: Offset = 0
) -> Response:
    """What is under way, also behind returns nobody sees yet: {sagas, count, offset, limit}."""
    _may_operate(who)
    async with db.reading() as tx:
        page = await queries.sagas_page(tx, open_only=open_only, limit=limit, offset=offset)
    return http.json_response(page)
