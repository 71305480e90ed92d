"""Internal tokens: what the gateway minted holds, anything else does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis import auth, clock
from chassis.auth import ISSUER, LIFETIME_S, TOKEN_TYPE, Issuer, Principal, Unauthorized, Verifier
from chassis.errors import Forbidden

KEY = auth.private_key("a secret of at least 32 characters", "internal")
CLERK = Principal(id="usr_1", role="agent")


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(KEY.public_key(), "claims")


def claims(**changes: Any) -> dict[str, Any]:
    now = int(clock.now().timestamp())
    made = {
        "iss": ISSUER,
        "aud": "claims",
        "sub": "usr_1",
        "role": "agent",
        "iat": now,
        "exp": now + LIFETIME_S,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def token(
    *,
    key: Any = KEY,
    algorithm: str = "EdDSA",
    headers: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    return jwt.encode(
        claims(**changes), key, algorithm=algorithm, headers={"typ": TOKEN_TYPE, **(headers or {})}
    )


def _part(content: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")


def _by_hand(header: dict[str, Any], sign: Any) -> str:
    body = _part({"typ": TOKEN_TYPE, **header}) + b"." + _part(claims())
    return (body + b"." + base64.urlsafe_b64encode(sign(body)).rstrip(b"=")).decode()


class TestWhatHolds:
    @pytest.mark.parametrize(
        "who", [CLERK, Principal(id="cus_1", role="customer", customer_id="cus_1")]
    )
    def test_what_was_minted_says_who_asks(self, verifier: Verifier, who: Principal) -> None:
        minted = Issuer(KEY).mint(who, "claims")
        assert verifier.verify(minted) == who
        assert verifier.verify(minted) == who

    def test_it_lives_a_minute_and_names_the_gateway_as_actor(self) -> None:
        minted = jwt.decode(
            Issuer(KEY).mint(CLERK, "claims"),
            KEY.public_key(),
            algorithms=["EdDSA"],
            audience="claims",
        )
        assert minted["exp"] - minted["iat"] == LIFETIME_S
        assert minted["act"] == {"sub": ISSUER}
        assert minted["jti"]

    def test_clocks_of_two_hosts_may_differ_a_little(self, verifier: Verifier) -> None:
        now = int(clock.now().timestamp())
        ahead = token(iat=now + 3, exp=now + 3 + LIFETIME_S)
        assert verifier.verify(ahead) == CLERK
        with pytest.raises(Unauthorized):
            verifier.verify(token(iat=now + 60, exp=now + 60 + LIFETIME_S))

    def test_one_is_reused_for_the_same_principal_and_audience_only(self) -> None:
        issuer = Issuer(KEY)
        minted = issuer.mint(CLERK, "claims")
        assert issuer.mint(CLERK, "claims") == minted
        assert issuer.mint(CLERK, "orders") != minted
        assert issuer.mint(Principal(id="usr_2", role="agent"), "claims") != minted

    def test_the_public_key_travels_as_text(self) -> None:
        text = auth.public_text(KEY)
        assert Verifier(auth.public_key(text), "claims").verify(token()) == CLERK

    def test_a_secret_gives_one_key_per_purpose_and_always_the_same(self) -> None:
        def text(secret: str, purpose: str) -> str:
            return auth.public_text(auth.private_key(secret, purpose))

        assert text("a", "internal") == text("a", "internal")
        assert len({text("a", "internal"), text("a", "sessions"), text("b", "internal")}) == 3

    def test_headers_that_point_at_other_keys_are_ignored(self, verifier: Verifier) -> None:
        """The right key holds whatever they say; a wrong one does not, whatever they offer."""
        other = Ed25519PrivateKey.generate()
        raw = other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        offered = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode()}
        for headers in (
            {"jku": "http://127.0.0.1:1/keys"},
            {"x5u": "http://127.0.0.1:1/cert"},
            {"jwk": offered},
            {"kid": "../../etc/passwd"},
        ):
            assert verifier.verify(token(headers=headers)) == CLERK
            with pytest.raises(Unauthorized):
                verifier.verify(token(key=other, headers=headers))


def flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


NOW = int(clock.now().timestamp())
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
FORGED = {
    "nothing": lambda: "",
    "no token": lambda: "a.b.c",
    "not ASCII": lambda: "ü.ü.ü",
    "algorithm none": lambda: _by_hand({"alg": "none"}, lambda _: b""),
    "algorithm None": lambda: _by_hand({"alg": "None"}, lambda _: b""),
    "HS256 with the public key": lambda: _by_hand(
        {"alg": "HS256"}, lambda body: hmac.new(PUBLIC, body, hashlib.sha256).digest()
    ),
    "HS256 with the public key as text": lambda: _by_hand(
        {"alg": "HS256"},
        lambda body: hmac.new(auth.public_text(KEY).encode(), body, hashlib.sha256).digest(),
    ),
    "another key": lambda: token(key=Ed25519PrivateKey.generate()),
    "the key of another purpose": lambda: token(
        key=auth.private_key("a secret of at least 32 characters", "sessions")
    ),
    "no signature": lambda: token().rsplit(".", 1)[0] + ".",
    "expired": lambda: token(iat=NOW - 3600, exp=NOW - 3600 + LIFETIME_S),
    "no expiry": lambda: token(exp=None),
    "an expiry that is no number": lambda: token(exp="never"),
    "valid for ten years": lambda: token(exp=NOW + 315_360_000),
    "not yet valid": lambda: token(nbf=NOW + 600),
    "no subject": lambda: token(sub=None),
    "a subject that is no text": lambda: token(sub=7),
    "no role": lambda: token(role=None),
    "for another service": lambda: token(aud="orders"),
    "for nobody": lambda: token(aud=None),
    "from another issuer": lambda: token(iss="somebody"),
    "from nobody": lambda: token(iss=None),
    "typ JWT": lambda: token(headers={"typ": "JWT"}),
    "typ of an access token": lambda: token(headers={"typ": "at+jwt"}),
    "no typ": lambda: token(headers={"typ": None}),
}


class TestWhatDoesNot:
    @pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
    def test_it_is_unauthorized(self, verifier: Verifier, make: Any) -> None:
        with pytest.raises(Unauthorized):
            verifier.verify(make())

    def test_no_letter_of_a_token_can_be_changed(self, verifier: Verifier) -> None:
        good = token()
        for at in range(0, len(good) - 1, 7):
            if good[at] != ".":
                with pytest.raises(Unauthorized):
                    verifier.verify(flipped(good, at))
        assert verifier.verify(good) == CLERK

    def test_one_that_held_does_not_hold_for_ever(self, verifier: Verifier) -> None:
        """A verifier remembers what it checked, but not longer than the token lives."""
        good = token(iat=NOW - 3600, exp=NOW - 3600 + LIFETIME_S)
        verifier._known[good] = (float(NOW - 1), CLERK)
        with pytest.raises(Unauthorized):
            verifier.verify(good)


class TestRoles:
    def test_a_role_that_is_not_named_is_forbidden(self) -> None:
        check = auth.require("admin", "finance")
        check(Principal(id="u", role="finance"))
        with pytest.raises(Forbidden, match="This needs the role admin or finance"):
            check(CLERK)

    def test_customers_and_guests_see_only_their_own(self) -> None:
        assert [
            Principal(id="u", role=role).is_customer
            for role in ("customer", "guest", "agent", "admin")
        ] == [True, True, False, False]
