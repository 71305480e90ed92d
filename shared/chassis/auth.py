"""Who asks: principals, and the gateway's internal tokens that carry them to the services.

An internal token is an Ed25519 JWT of 60 seconds for one audience (RFC 8693 ``act``). Only the
gateway has the private key; a service can check, never mint.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request

from chassis import clock, context
from chassis.errors import Forbidden
from chassis.values import uuid7

ISSUER = "reclamo-gateway"
TOKEN_TYPE = "internal+jwt"
LIFETIME_S = 60
REUSE_S = 30
LEEWAY_S = 5  # clocks of two hosts differ; without it a token of the future would be refused
_CACHE_MAX = 1024


class Unauthorized(Exception):
    """No token, or one that does not hold."""


@dataclass(frozen=True)
class Principal:
    """Who asks. ``customer_id`` is set for customers: they see only what is theirs."""

    id: str
    role: str
    customer_id: str | None = None

    @property
    def is_customer(self) -> bool:
        """Whether only own objects may be seen."""
        return self.role in ("customer", "guest")


def derived_key(secret: str, purpose: str) -> bytes:
    """The 32 bytes that a secret gives for a purpose (HKDF-SHA256): one secret, many keys."""
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=f"reclamo {purpose}".encode())
    return derived.derive(secret.encode())


def private_key(secret: str, purpose: str) -> Ed25519PrivateKey:
    """The signing key that a secret gives for a purpose."""
    return Ed25519PrivateKey.from_private_bytes(derived_key(secret, purpose))


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half as text for ``RECLAMO_INTERNAL_PUBLIC_KEY``."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """Read ``public_text`` back."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text))


class Issuer:
    """Mints internal tokens; the same principal and audience share one for half its life."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._recent: dict[tuple[Principal, str], tuple[float, str]] = {}

    @property
    def public_key(self) -> Ed25519PublicKey:
        """What its tokens are checked with."""
        return self._key.public_key()

    def mint(self, principal: Principal, audience: str) -> str:
        """A token that says: the gateway asks ``audience`` on behalf of ``principal``."""
        now = clock.now().timestamp()
        made_at, token = self._recent.get((principal, audience), (0.0, ""))
        if now - made_at < REUSE_S:
            return token
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": principal.id,
            "role": principal.role,
            "customer_id": principal.customer_id,
            "act": {"sub": ISSUER},
            "jti": uuid7(),
            "iat": int(now),
            "exp": int(now) + LIFETIME_S,
        }
        token = jwt.encode(claims, self._key, algorithm="EdDSA", headers={"typ": TOKEN_TYPE})
        if len(self._recent) >= _CACHE_MAX:
            self._recent.clear()
        self._recent[(principal, audience)] = (now, token)
        return token


class Verifier:
    """Checks internal tokens for one audience; a token that held is remembered until it expires."""

    def __init__(self, key: Ed25519PublicKey, audience: str) -> None:
        self._key = key
        self._audience = audience
        self._known: dict[str, tuple[float, Principal]] = {}

    def verify(self, token: str) -> Principal:
        """The principal, or Unauthorized."""
        now = clock.now().timestamp()
        expires_at, principal = self._known.get(token, (0.0, None))
        if principal is not None and now < expires_at:
            return principal
        claims = decode(
            token, key=self._key, audience=self._audience, issuer=ISSUER, kind=TOKEN_TYPE
        )
        lifetime_s = float(claims["exp"]) - float(claims["iat"])
        if lifetime_s > LIFETIME_S or not isinstance(claims.get("role"), str):
            raise Unauthorized("not a token that the gateway mints")
        principal = Principal(
            id=claims["sub"], role=claims["role"], customer_id=claims.get("customer_id")
        )
        if len(self._known) >= _CACHE_MAX:
            self._known.clear()
        self._known[token] = (float(claims["exp"]), principal)
        return principal


def decode(
    token: str, *, key: Ed25519PublicKey, audience: str, issuer: str, kind: str
) -> dict[str, Any]:
    """The claims of a token of exactly this kind, audience and issuer; else Unauthorized.

    Only EdDSA with the given key: headers that point at other keys are never looked at.
    """
    try:
        if jwt.get_unverified_header(token).get("typ") != kind:
            raise Unauthorized("another kind of token")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            audience=audience,
            issuer=issuer,
            # Their times are checked below, by our clock.
            options={
                "require": ["exp", "iat", "sub", "aud", "iss"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.PyJWTError as error:
        raise Unauthorized(str(error)) from None
    _check_times(claims)
    return claims


def _check_times(claims: dict[str, Any]) -> None:
    try:
        begins = max(float(claims["iat"]), float(claims.get("nbf", claims["iat"])))
        ends = float(claims["exp"])
    except (TypeError, ValueError):
        raise Unauthorized("its times are no numbers") from None
    now = clock.now().timestamp()
    if not begins <= now + LEEWAY_S:
        raise Unauthorized("not yet valid")
    if not ends > now - LEEWAY_S:
        raise Unauthorized("expired")


def principal(request: Request) -> Principal:
    """Who asks, by the internal token; raises Unauthorized without a valid one."""
    header = request.headers.get("authorization", "")
    if not header.startswith("Bearer "):
        raise Unauthorized("no internal token")
    verifier: Verifier = request.app.state.verifier
    who = verifier.verify(header[7:])
    context.enter(actor_kind=who.role, actor_id=who.id)
    return who


def require(*roles: str) -> Callable[[Principal], None]:
    """A check that the principal has one of these roles; raises Forbidden."""

    def check(who: Principal) -> None:
        if who.role not in roles:
            raise Forbidden("forbidden", f"This needs the role {' or '.join(roles)}.")

    return check
