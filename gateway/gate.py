"""What every request passes: who are you, may you, how often; and what handlers work with."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from chassis import clock, context
from chassis.auth import Principal, Unauthorized
from chassis.db import Database
from chassis.errors import Forbidden
from gateway import access
from gateway.clients import Upstream
from gateway.drift import Reconciler
from gateway.exporting import Exports
from gateway.identity import Caller, Identity
from gateway.settings import GatewaySettings
from gateway.webhooks import Webhooks

COOKIE = "reclamo_session"
UPLOADS_AT_ONCE = 8
# No form of another site can send these: a browser asks first (CORS), and nobody else is allowed.
_NO_FORM = frozenset(
    {"application/json", "application/octet-stream", "application/pdf"}
    | {"image/png", "image/jpeg", "image/webp"}
)
SECURE_COOKIE = f"__Host-{COOKIE}"
_SAFE = ("GET", "HEAD", "OPTIONS")
GUEST = Principal("guest", "guest")


class TooManyRequests(Exception):
    """The caller's bucket is empty; ``retry_after_s`` says when a request is free again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many requests. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Buckets:
    """A token bucket per principal and address, in memory."""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60
        self._most = float(per_minute)
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, principal: str, address: str) -> None:
        """One request; raises TooManyRequests."""
        now = clock.monotonic_s()
        left, seen = self._left.get((principal, address), (self._most, now))
        left = min(self._most, left + (now - seen) * self._per_s)
        if left < 1:
            raise TooManyRequests(max(1, round((1 - left) / self._per_s)))
        self._left[(principal, address)] = (left - 1, now)
        self._left.move_to_end((principal, address))
        while len(self._left) > 50_000:
            self._left.popitem(last=False)


@dataclass
class Gate:
    """The gateway's parts, for handlers: ``request.app.state.gate``."""

    settings: GatewaySettings
    database: Database
    identity: Identity
    upstreams: dict[str, Upstream]
    embedded: bool
    reconciler: Reconciler
    webhooks: Webhooks
    exports: Exports
    # The gateway's own operator's door, asked like that of a service.
    own: Upstream
    # Places for files that are on their way through memory.
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))
    buckets: Buckets = field(init=False)
    token_buckets: Buckets = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = Buckets(self.settings.requests_per_minute)
        self.token_buckets = Buckets(self.settings.token_requests_per_minute)

    @property
    def orders(self) -> Upstream:
        """The orders service."""
        return self.upstreams["orders"]

    @property
    def claims(self) -> Upstream:
        """The claims service."""
        return self.upstreams["claims"]

    @property
    def returns(self) -> Upstream:
        """The returns service."""
        return self.upstreams["returns"]

    @property
    def inventory(self) -> Upstream:
        """The inventory service."""
        return self.upstreams["inventory"]


async def gate(request: Request) -> Gate:
    """FastAPI dependency: the gateway's parts."""
    found: Gate = request.app.state.gate
    return found


async def recognize(request: Request, parts: Gate) -> Caller | None:
    """Who calls, or None; a credential that does not hold is an error, not nobody."""
    token = request.headers.get("x-medusa-access-token")
    if token:
        return await parts.identity.by_api_token(token)
    header = request.headers.get("authorization", "")
    if header:
        scheme, _, credential = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("only Bearer is understood")
        return await parts.identity.by_access_token(credential.strip())
    cookie = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE)
    if cookie:
        caller = await parts.identity.by_session(cookie)
        if request.method not in _SAFE:
            _refuse_forgery(request, parts.settings)
        return caller
    return None


def refuse_elsewhere(request: Request, settings: GatewaySettings) -> None:
    """Raises Forbidden when a browser says that another site's page sends this."""
    origin = request.headers.get("origin")
    if origin is not None and origin in settings.origins:
        return
    site = request.headers.get("sec-fetch-site")
    own = {request.headers.get("host", ""), urlsplit(settings.public_url).netloc}
    foreign_origin = origin is not None and urlsplit(origin).netloc not in own - {""}
    if foreign_origin or (site is not None and site not in ("same-origin", "none")):
        raise Forbidden("cross_site", "The request comes from another site.")


def _refuse_forgery(request: Request, settings: GatewaySettings) -> None:
    """A browser sends the cookie on its own, so a change must visibly come from our own pages."""
    refuse_elsewhere(request, settings)
    if "origin" not in request.headers and "sec-fetch-site" not in request.headers:
        raise Forbidden("cross_site", "The request does not say which site it comes from.")
    content_type = request.headers.get("content-type", "").split(";")[0].strip()
    if content_type and content_type.lower() not in _NO_FORM:
        raise Forbidden("cross_site", "Send JSON.")


async def admit(request: Request, parts: Annotated[Gate, Depends(gate)]) -> Principal:
    """FastAPI dependency on every route: recognize, limit, check the role."""
    template = request.scope["route"].path
    public = access.may(request.method, template, None)
    try:
        caller = await recognize(request, parts)
    except Unauthorized:
        if not template.endswith("/auth") and not template.endswith("/auth/token"):
            raise
        caller = None
    address = request.client.host if request.client else ""
    # An embedded installation is on loopback: a limit on its owner's own token protects nobody.
    by_token = caller is not None and caller.via == "token"
    if not (parts.embedded and by_token):
        buckets = parts.token_buckets if by_token else parts.buckets
        buckets.take(caller.principal.id if caller else "", address)
    if caller is None:
        if not public:
            raise Unauthorized("not signed in")
        return GUEST
    who = caller.principal
    context.enter(actor_kind=who.role, actor_id=who.id)
    if not access.may(request.method, template, who.role):
        if who.is_customer:
            raise Unauthorized("customers have no place here")
        raise Forbidden("role", f"The role {who.role} may not do this.")
    return who


Parts = Annotated[Gate, Depends(gate)]
Who = Annotated[Principal, Depends(admit)]
