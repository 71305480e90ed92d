"""The HTTP door of claims, for the gateway only."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import auth, clock, http
from chassis.door import Given, Router, Who
from chassis.http import Db, Tries
from services.claims import operations, queries, schemas
from services.claims.domain import ClaimNotFound

router = Router()
STAFF = ("admin", "agent", "finance", "ops", "warehouse")
_may_read = auth.require(*STAFF)
_may_write = auth.require("admin", "agent", "finance")
_may_pack = auth.require("admin", "agent", "warehouse")


def _bound_s(request: Request) -> float:
    bound: float = request.app.state.wait_bound_s
    return bound


Bound = Annotated[float, Given(_bound_s)]


@router.post("/claims")
async def open_claim(
    body: schemas.OpenClaim, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Open a claim and wait for its saga: 200 {claim_id, order_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await operations.open_claim(
            tx,
            request=body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=accepted.claim_id,
        outcome=partial(queries.outcome_of_creation, claim_id=accepted.claim_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/claims/{accepted.claim_id}",
        one_statement=True,
    )


@router.post("/claims/preview")
async def preview_claim(body: schemas.OpenClaim, who: Who) -> Response:
    """What a claim would ask the others for, checked as far as claims can: {hold, reservation,
    events}. Stores nothing."""
    _may_write(who)
    plan = operations.plan_claim(request=body.model_dump())
    return http.json_response(
        {"hold": plan.hold, "reservation": plan.reservation, "events": plan.events}
    )


@router.post("/claims/{claim_id}")
async def update_claim(claim_id: str, body: schemas.UpdateClaim, db: Db, who: Who) -> Response:
    """Change what is written on a claim: {claim_id}."""
    _may_write(who)
    given = body.model_dump()
    async with http.accepting(db) as tx:
        await operations.update_claim(
            tx, claim_id=claim_id, order_id=given.pop("order_id"), given=given, now=clock.now()
        )
    return http.json_response({"claim_id": claim_id})


@router.post("/claims/{claim_id}/assign")
async def assign_claim(claim_id: str, body: schemas.AssignClaim, db: Db, who: Who) -> Response:
    """Give a claim to somebody: {claim_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        await operations.assign_claim(
            tx,
            claim_id=claim_id,
            order_id=body.order_id,
            user_id=body.user_id,
            now=clock.now(),
        )
    return http.json_response({"claim_id": claim_id})


@router.post("/claims/{claim_id}/close")
async def close_claim(
    claim_id: str, body: schemas.CloseClaim, db: Db, who: Who, attempt: Tries
) -> Response:
    """The work on a claim is over: {claim_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        await operations.close_claim(
            tx,
            claim_id=claim_id,
            order_id=body.order_id,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"claim_id": claim_id})


@router.post("/claims/{claim_id}/cancel")
async def cancel_claim(
    claim_id: str, body: schemas.CancelClaim, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Cancel a claim and wait until everything is released: 200 {claim_id, order_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await operations.cancel_claim(
            tx,
            claim_id=claim_id,
            order_id=body.order_id,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    if accepted is None:
        return http.json_response({"claim_id": claim_id, "order_id": body.order_id})
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/claims/{claim_id}/refund")
async def retry_refund(
    claim_id: str, body: schemas.RetryRefund, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Refund a claim whose money did not go out and wait for that: {claim_id, order_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await operations.retry_refund(
            tx,
            claim_id=claim_id,
            refund_amount=body.refund_amount,
            refund_to=body.refund_to,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/claims/{claim_id}/convert")
async def convert_claim(
    claim_id: str, body: schemas.ConvertClaim, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Make a claim one of the other type and wait for all of it: {claim_id, ...}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await operations.convert_claim(
            tx,
            claim_id=claim_id,
            request=body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    if accepted is None:
        return http.json_response({"claim_id": claim_id})
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/claims/{claim_id}/convert/preview")
async def preview_conversion(
    claim_id: str, body: schemas.ConvertClaim, db: Db, who: Who
) -> Response:
    """What a conversion would ask the others for: {refund, reservation}. Stores nothing."""
    _may_write(who)
    async with db.transaction() as tx:
        refund, reservation = await operations.plan_conversion(
            tx, claim_id=claim_id, request=body.model_dump()
        )
    return http.json_response({"refund": refund, "reservation": reservation})


@router.post("/claims/{claim_id}/fulfillments")
async def create_fulfillment(
    claim_id: str, body: schemas.CreateFulfillment, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Pack what a claim sends out and wait until it is out of stock: {claim_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.create_fulfillment(
            tx,
            claim_id=claim_id,
            **body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=accepted.saga_id,
        outcome=partial(queries.outcome_of_packing, request_id=accepted.saga_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/claims/{claim_id}",
        one_statement=True,
    )


@router.post("/claims/{claim_id}/fulfillments/{fulfillment_id}/cancel")
async def cancel_fulfillment(
    claim_id: str,
    fulfillment_id: str,
    body: schemas.CancelFulfillment,
    db: Db,
    who: Who,
    attempt: Tries,
    bound_s: Bound,
) -> Response:
    """Unpack goods of a claim and wait until they are back in stock: {claim_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.cancel_fulfillment(
            tx,
            claim_id=claim_id,
            order_id=body.order_id,
            fulfillment_id=fulfillment_id,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    if accepted is None:
        return http.json_response({"claim_id": claim_id, "order_id": body.order_id})
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/claims/{claim_id}/shipments")
async def create_shipment(
    claim_id: str, body: schemas.CreateShipment, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Packed goods of a claim are on their way, and orders knows: {claim_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.create_shipment(
            tx,
            claim_id=claim_id,
            **body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


def _until_over(accepted: operations.Accepted) -> dict[str, Any]:
    """What to wait for: the end of a saga."""
    return {
        "key": accepted.saga_id,
        "outcome": partial(queries.outcome_of_saga, saga_id=accepted.saga_id),
        "location": f"/claims/{accepted.claim_id}",
        "one_statement": True,
    }


@router.get("/claims")
async def list_claims(
    db: Db,
    who: Who,
    limit: Annotated[int, Field(ge=0, le=1000)] = 50,
    offset: Annotated[int, Field(ge=0)] = 0,
    order_id: Annotated[list[str] | None, Field(max_length=1000)] = None,
    line_id: Annotated[list[str] | None, Field(max_length=1000)] = None,
    type: str | None = None,
    status: str | None = None,
    payment_status: str | None = None,
    assigned_to: str | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    is_open: bool | None = None,
    queue: Literal["needs_review", "waiting_for_return", "stuck"] | None = None,
    order: str = queries.NEWEST_FIRST,
    after: str | None = None,
) -> Response:
    """A page of claims, by default the newest first: {claims, count, offset, limit}. ``order_id``
    may repeat, and so may ``line_id``, which names replacement lines. ``queue``: what somebody has
    to look at. ``order``: fields to sort by, separated by commas, - in front for descending.
    With ``after`` only ids behind that one, in the order of ids.
    """
    _may_read(who)
    given: dict[str, Any] = {
        "order_id": order_id,
        "line_id": line_id,
        "type": type,
        "status": status,
        "payment_status": payment_status,
        "assigned_to": assigned_to,
        "created_from": created_from,
        "created_before": created_before,
    }
    filters = {name: value for name, value in given.items() if value is not None}
    async with db.reading() as tx:
        claims, count = await queries.list_claims(
            tx,
            filters=filters,
            queue=queue,
            is_open=is_open,
            order=order,
            limit=limit,
            offset=offset,
            after=after,
            now=clock.now(),
        )
    return http.json_response({"claims": claims, "count": count, "offset": offset, "limit": limit})


@router.get("/claims/{claim_id}")
async def get_claim(claim_id: str, db: Db, who: Who) -> Response:
    """One claim with the timeline of its sagas: {claim}."""
    _may_read(who)
    async with db.reading() as tx:
        claim = await queries.claim_by_id(tx, claim_id=claim_id)
    if claim is None:
        raise ClaimNotFound(claim_id=claim_id, order_id=None)
    return http.json_response({"claim": claim})


@router.get("/orders/{order_id}/claims")
async def claims_of_order(order_id: str, db: Db, who: Who) -> Response:
    """The claims of an order, oldest first: {claims}."""
    _may_read(who)
    async with db.reading() as tx:
        claims = await queries.claims_of_order(tx, order_id=order_id)
    return http.json_response({"claims": claims})
