"""Signing in, users, API tokens, customers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis import audit, clock
from chassis.auth import Principal
from chassis.db import DuplicateRow
from chassis.errors import Duplicate, NotFound
from chassis.http import json_response
from gateway import answers, bodies, store, wire
from gateway.clients import segment
from gateway.gate import COOKIE, SECURE_COOKIE, Gate, Parts, Who, refuse_elsewhere
from gateway.identity import SESSION_LIFE
from gateway.settings import GatewaySettings
from gateway.shapes import check

router = APIRouter()


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _with_session(
    request: Request, settings: GatewaySettings, response: Response, cookie: str
) -> Response:
    """The answer with the session's cookie: bound to the host and Secure wherever there is TLS."""
    secure = request.url.scheme == "https" or settings.public_url.startswith("https://")
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        cookie,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    return response


async def _end_session(request: Request, parts: Gate) -> Response:
    response = Response("OK", media_type="text/plain")
    for name in (SECURE_COOKIE, COOKIE):
        cookie = request.cookies.get(name)
        if cookie:
            await parts.identity.close_session(cookie)
            response.delete_cookie(name, path="/", secure=name == SECURE_COOKIE, httponly=True)
    return response


@router.post("/admin/auth")
async def sign_in(request: Request, parts: Parts, who: Who) -> Response:
    """Sign in with a cookie session: {user}."""
    refuse_elsewhere(request, parts.settings)
    given = check(bodies.LOGIN, await wire.body(request))
    user = await parts.identity.sign_in(**given, address=_address(request))
    cookie = await parts.identity.open_session(user["id"])
    return _with_session(request, parts.settings, json_response({"user": _shown(user)}), cookie)


@router.get("/admin/auth")
async def whoami(parts: Parts, who: Who) -> Response:
    """Who is signed in: {user}."""
    async with parts.database.reading() as tx:
        user = await store.user_by_id(tx, user_id=who.id)
    return json_response(
        {"user": _shown(user) if user else {"id": who.id, "email": None, "role": who.role}}
    )


@router.delete("/admin/auth")
async def sign_out(request: Request, parts: Parts, who: Who) -> Response:
    """End the session, here and on the server."""
    return await _end_session(request, parts)


@router.post("/admin/auth/token")
async def get_token(request: Request, parts: Parts, who: Who) -> Response:
    """Sign in with a token of 15 minutes: {access_token}."""
    given = check(bodies.LOGIN, await wire.body(request))
    user = await parts.identity.sign_in(**given, address=_address(request))
    return json_response({"access_token": parts.identity.access_token(user["id"])})


@router.post("/store/auth/token")
async def get_customer_token(request: Request, parts: Parts, who: Who) -> Response:
    """Sign a customer in with a token of 15 minutes: {access_token}."""
    given = check(bodies.LOGIN, await wire.body(request))
    customer_id = await parts.identity.sign_in_customer(**given, address=_address(request))
    token = parts.identity.access_token(customer_id, customer_id=customer_id)
    return json_response({"access_token": token})


@router.post("/store/auth")
async def sign_customer_in(request: Request, parts: Parts, who: Who) -> Response:
    """Sign a customer in with a cookie session: {customer}."""
    refuse_elsewhere(request, parts.settings)
    given = check(bodies.LOGIN, await wire.body(request))
    customer_id = await parts.identity.sign_in_customer(**given, address=_address(request))
    own = Principal(customer_id, "customer", customer_id)
    shown = await parts.orders.get(f"/customers/{segment(customer_id)}", who=own)
    cookie = await parts.identity.open_session(customer_id, customer_id=customer_id)
    return _with_session(request, parts.settings, json_response(shown), cookie)


@router.get("/store/auth")
async def which_customer(parts: Parts, who: Who) -> Response:
    """Which customer is signed in: {customer}."""
    return json_response(await parts.orders.get(f"/customers/{segment(who.id)}", who=who))


@router.delete("/store/auth")
async def sign_customer_out(request: Request, parts: Parts, who: Who) -> Response:
    """End the session, here and on the server."""
    return await _end_session(request, parts)


@router.get("/admin/users")
async def list_users(parts: Parts, who: Who) -> Response:
    """Everybody who works here: {users}."""
    async with parts.database.reading() as tx:
        return json_response({"users": [_shown(user) for user in await store.users(tx)]})


@router.post("/admin/users")
async def create_user(request: Request, parts: Parts, who: Who) -> Response:
    """A new user: {user}."""
    given = check(bodies.CREATE_USER, await wire.body(request))
    try:
        user = await parts.identity.add_user(**given)
    except DuplicateRow:
        message = f"User with email {given['email']} already exists."
        raise Duplicate("email_taken", message) from None
    return json_response({"user": _shown(user)})


@router.get("/admin/users/{user_id}")
async def get_user(user_id: str, parts: Parts, who: Who) -> Response:
    """One user: {user}."""
    async with parts.database.reading() as tx:
        user = await store.user_by_id(tx, user_id=user_id)
    if user is None:
        raise NotFound("user_not_found", f"User with id: {user_id} was not found")
    return json_response({"user": _shown(user)})


@router.post("/admin/users/{user_id}")
async def change_user(request: Request, user_id: str, parts: Parts, who: Who) -> Response:
    """Another role, a new password: {user}. Effective at once, everywhere within seconds."""
    given = check(bodies.CHANGE_USER, await wire.body(request))
    user = await parts.identity.change_user(user_id, **given)
    return json_response({"user": _shown(user)})


@router.delete("/admin/users/{user_id}")
async def remove_user(user_id: str, parts: Parts, who: Who) -> Response:
    """A user leaves: {id, object, deleted}. Sessions and API tokens end with them."""
    await parts.identity.remove_user(user_id)
    return json_response({"id": user_id, "object": "user", "deleted": True})


@router.get("/admin/tokens")
async def list_tokens(parts: Parts, who: Who) -> Response:
    """API tokens, without their secrets: {tokens}."""
    async with parts.database.reading() as tx:
        return json_response({"tokens": await store.tokens(tx)})


@router.post("/admin/tokens")
async def create_token(request: Request, parts: Parts, who: Who) -> Response:
    """A new API token: {token, secret}; the secret is shown this once."""
    given = check(bodies.CREATE_TOKEN, await wire.body(request))
    token, secret = await parts.identity.make_token(
        name=given["name"], role=given["role"], user_id=who.id
    )
    return json_response({"token": token, "secret": secret})


@router.delete("/admin/tokens/{token_id}")
async def revoke_token(token_id: str, parts: Parts, who: Who) -> Response:
    """End an API token: {id, object, deleted}."""
    async with parts.database.transaction() as tx:
        if not await store.revoke_token(tx, token_id=token_id, now=clock.now()):
            raise NotFound("token_not_found", f"Token with id {token_id} was not found")
        await audit.record(tx, action="token.revoked", about=f"token/{token_id}")
    parts.identity.forget()
    return json_response({"id": token_id, "object": "token", "deleted": True})


@router.get("/admin/customers")
async def list_customers(request: Request, parts: Parts, who: Who) -> Response:
    """A page of customers: {customers, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"q", "email", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    params = {name: wire.text(query, name) for name in ("q", "email")}
    params |= {"limit": str(limit), "offset": str(offset)}
    return json_response(await parts.orders.get("/customers", who=who, params=params))


@router.get("/admin/customers/{customer_id}")
async def get_customer(customer_id: str, parts: Parts, who: Who) -> Response:
    """One customer: {customer}."""
    return json_response(await parts.orders.get(f"/customers/{segment(customer_id)}", who=who))


@router.post("/admin/customers/{customer_id}")
async def update_customer(request: Request, customer_id: str, parts: Parts, who: Who) -> Response:
    """Correct a name, a phone number, and the e-mail of whoever has no account: {customer}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.UPDATE_CUSTOMER, body)
        if given["email"] is not None:
            await parts.identity.check_email_is_free(customer_id)
        wanted = {name: value for name, value in given.items() if name in body}
        path = f"/customers/{segment(customer_id)}"
        return await parts.orders.send("POST", path, who=who, body=wanted)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


def _shown(user: dict[str, object]) -> dict[str, object]:
    return {name: user.get(name) for name in ("id", "email", "role", "created_at")}
