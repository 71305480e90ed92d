"""The HTTP door of exchanges (Medusa's swaps), for the gateway only."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import auth, clock, http
from chassis.door import Given, Router, Who
from chassis.http import Db, Tries
from services.claims import exchange_queries, exchanging, operations, queries, schemas
from services.claims.exchanges import SwapNotFound

router = Router()
_may_read = auth.require("admin", "agent", "finance", "ops", "warehouse")
_may_write = auth.require("admin", "agent", "finance")
_may_pack = auth.require("admin", "agent", "warehouse")


def _bound_s(request: Request) -> float:
    bound: float = request.app.state.wait_bound_s
    return bound


Bound = Annotated[float, Given(_bound_s)]


@router.post("/exchanges")
async def open_exchange(
    body: schemas.OpenExchange, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Open an exchange and wait for its saga: 200 {claim_id, order_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await exchanging.open_exchange(
            tx, request=body.model_dump(), caller=attempt.by(who.id), now=clock.now()
        )
    return await http.settled(
        db,
        key=accepted.claim_id,
        outcome=partial(queries.outcome_of_creation, claim_id=accepted.claim_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/exchanges/{accepted.claim_id}",
        one_statement=True,
    )


@router.post("/exchanges/{exchange_id}/process-payment")
async def process_payment(
    exchange_id: str, body: schemas.OfOrder, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Settle what is left of the difference, and wait for that: {claim_id, order_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await exchanging.process_payment(
            tx,
            exchange_id=exchange_id,
            order_id=body.order_id,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    if accepted is None:
        return http.json_response({"claim_id": exchange_id, "order_id": body.order_id})
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/exchanges/{exchange_id}/cancel")
async def cancel_exchange(
    exchange_id: str, body: schemas.OfOrder, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Cancel an exchange and wait until everything is released: {claim_id, order_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        accepted = await operations.cancel_claim(
            tx,
            claim_id=exchange_id,
            order_id=body.order_id,
            caller=attempt.by(who.id),
            now=clock.now(),
            exchange=True,
        )
    if accepted is None:
        return http.json_response({"claim_id": exchange_id, "order_id": body.order_id})
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/exchanges/{exchange_id}/fulfillments")
async def create_fulfillment(
    exchange_id: str,
    body: schemas.CreateFulfillment,
    db: Db,
    who: Who,
    attempt: Tries,
    bound_s: Bound,
) -> Response:
    """Pack what an exchange sends out and wait until it is out of stock: {claim_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.create_fulfillment(
            tx,
            claim_id=exchange_id,
            **body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
            exchange=True,
        )
    return await http.settled(
        db,
        key=accepted.saga_id,
        outcome=partial(queries.outcome_of_packing, request_id=accepted.saga_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/exchanges/{exchange_id}",
        one_statement=True,
    )


@router.post("/exchanges/{exchange_id}/fulfillments/{fulfillment_id}/cancel")
async def cancel_fulfillment(
    exchange_id: str,
    fulfillment_id: str,
    body: schemas.CancelFulfillment,
    db: Db,
    who: Who,
    attempt: Tries,
    bound_s: Bound,
) -> Response:
    """Unpack goods of an exchange and wait until they are back in stock: {claim_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.cancel_fulfillment(
            tx,
            claim_id=exchange_id,
            order_id=body.order_id,
            fulfillment_id=fulfillment_id,
            caller=attempt.by(who.id),
            now=clock.now(),
            exchange=True,
        )
    if accepted is None:
        return http.json_response({"claim_id": exchange_id, "order_id": body.order_id})
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


@router.post("/exchanges/{exchange_id}/shipments")
async def create_shipment(
    exchange_id: str, body: schemas.CreateShipment, db: Db, who: Who, attempt: Tries, bound_s: Bound
) -> Response:
    """Packed goods of an exchange are on their way, and orders knows: {claim_id, order_id}."""
    _may_pack(who)
    async with http.accepting(db) as tx:
        accepted = await operations.create_shipment(
            tx,
            claim_id=exchange_id,
            **body.model_dump(),
            caller=attempt.by(who.id),
            now=clock.now(),
            exchange=True,
        )
    return await http.settled(db, attempt=attempt, bound_s=bound_s, **_until_over(accepted))


def _until_over(accepted: operations.Accepted) -> dict[str, Any]:
    """What to wait for: the end of a saga."""
    return {
        "key": accepted.saga_id,
        "outcome": partial(queries.outcome_of_saga, saga_id=accepted.saga_id),
        "location": f"/exchanges/{accepted.claim_id}",
        "one_statement": True,
    }


@router.get("/exchanges")
async def list_exchanges(
    db: Db,
    who: Who,
    limit: Annotated[int, Field(ge=0, le=1000)] = 50,
    offset: Annotated[int, Field(ge=0)] = 0,
    order_id: Annotated[list[str] | None, Field(max_length=1000)] = None,
    line_id: Annotated[list[str] | None, Field(max_length=1000)] = None,
    return_id: Annotated[list[str] | None, Field(max_length=1000)] = None,
) -> Response:
    """A page of exchanges, newest first: {exchanges, count, offset, limit}. ``line_id`` names lines
    that they send out; each filter may repeat."""
    _may_read(who)
    given = {"order_id": order_id, "line_id": line_id, "return_id": return_id}
    filters = {name: value for name, value in given.items() if value is not None}
    async with db.reading() as tx:
        found, count = await exchange_queries.list_exchanges(
            tx, filters=filters, limit=limit, offset=offset
        )
    return http.json_response(
        {"exchanges": found, "count": count, "offset": offset, "limit": limit}
    )


@router.get("/exchanges/{exchange_id}")
async def get_exchange(exchange_id: str, db: Db, who: Who) -> Response:
    """One exchange with the timeline of its sagas: {exchange}."""
    _may_read(who)
    async with db.reading() as tx:
        found = await exchange_queries.exchange_by_id(tx, exchange_id=exchange_id)
    if found is None:
        raise SwapNotFound(swap_id=exchange_id, order_id=None)
    return http.json_response({"exchange": found})


@router.get("/orders/{order_id}/exchanges")
async def exchanges_of_order(order_id: str, db: Db, who: Who) -> Response:
    """The exchanges of an order, oldest first: {exchanges}."""
    _may_read(who)
    async with db.reading() as tx:
        found = await exchange_queries.exchanges_of_order(tx, order_id=order_id)
    return http.json_response({"exchanges": found})
