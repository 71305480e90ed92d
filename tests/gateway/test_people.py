"""Signing in and being recognized: users, sessions, tokens, customers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import jwt
import pytest

from chassis import auth, clock
from gateway import identity
from gateway.identity import AUDIENCE, TOKEN_KIND
from tests.gateway.builders import ADMIN_TOKEN, ORIGIN, PASSWORD, SECRET_KEY, Door, a_claim
from tests.gateway.conftest import OpenGateway

ACCESS_KEY = auth.private_key(SECRET_KEY, "access")


async def test_the_first_admin_token_is_the_user_admin_user(door: Door) -> None:
    answer = await door.get("/admin/auth")
    assert answer.json()["user"]["id"] == "admin_user"


async def test_nobody_is_told_unauthorized_as_text(door: Door) -> None:
    for somebody in (
        door.as_(),
        door.as_(x_medusa_access_token="wrong"),
        door.as_(authorization="Bearer wrong"),
        door.as_(authorization="Basic dTpw"),
        door.as_(cookie="reclamo_session=wrong"),
    ):
        answer = await somebody.get("/admin/orders")
        assert (answer.status_code, answer.text) == (401, "Unauthorized")
        assert answer.headers["content-type"].startswith("text/plain")


# ---- passwords ----------------------------------------------------------------------------------


async def test_a_user_is_shown_without_the_password(door: Door) -> None:
    answer = await door.post(
        "/admin/users", {"email": "A@shop.example", "password": PASSWORD, "role": "agent"}
    )
    user = answer.json()["user"]
    assert (user["email"], user["role"]) == ("a@shop.example", "agent")
    assert set(user) == {"id", "email", "role", "created_at"}
    assert "password" not in (await door.get("/admin/users")).text


@pytest.mark.parametrize(
    "password", ["short", "password", "123456789", "Qwertyuiop", "x" * 1000, ""]
)
async def test_a_weak_password_is_refused(door: Door, password: str) -> None:
    body = {"email": "a@shop.example", "password": password, "role": "agent"}
    answer = await door.post("/admin/users", body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "invalid_data"
    assert (await door.get("/admin/users")).json()["users"] == []


async def test_a_long_pass_phrase_is_welcome(door: Door) -> None:
    login = {"email": "a@shop.example", "password": "four words and a number 7 " * 4}
    assert (await door.post("/admin/users", {**login, "role": "agent"})).status_code == 200
    assert (await door.as_().post("/admin/auth/token", login)).status_code == 200


async def test_an_e_mail_is_taken_once(door: Door) -> None:
    body = {"email": "a@shop.example", "password": PASSWORD, "role": "agent"}
    assert (await door.post("/admin/users", body)).status_code == 200
    answer = await door.post("/admin/users", {**body, "email": "A@SHOP.example"})
    assert answer.status_code == 422
    assert answer.json()["type"] == "duplicate_error"


async def test_a_wrong_password_and_an_unknown_user_answer_alike(door: Door) -> None:
    await door.user("agent")
    guest = door.as_()
    for path in ("/admin/auth", "/admin/auth/token", "/store/auth/token"):
        wrong = await guest.post(path, {"email": "agent@shop.example", "password": "not it at all"})
        unknown = await guest.post(path, {"email": "x@shop.example", "password": "not it at all"})
        assert (wrong.status_code, wrong.text) == (401, "Unauthorized")
        assert (unknown.status_code, unknown.text) == (401, "Unauthorized")
        hidden = {"x-request-id", "date"}
        assert {k: v for k, v in wrong.headers.items() if k not in hidden} == {
            k: v for k, v in unknown.headers.items() if k not in hidden
        }


async def test_the_tenth_wrong_password_closes_the_account_to_that_address(door: Door) -> None:
    login = await door.user("agent")
    for email in (login["email"], "unknown@shop.example"):
        guess = {"email": email, "password": "not it at all"}
        guest = door.as_()
        tries = [(await guest.post("/admin/auth/token", guess)).status_code for _ in range(11)]
        assert tries == [401] * 10 + [429]
    closed = await door.as_().post("/admin/auth/token", login)
    assert closed.status_code == 429
    assert int(closed.headers["retry-after"]) >= 1
    assert closed.json()["type"] == "unexpected_state"
    spoofed = await door.as_().post("/admin/auth/token", login, x_forwarded_for="198.51.100.7")
    assert spoofed.status_code == 429
    elsewhere = await door.as_("198.51.100.7").post("/admin/auth/token", login)
    assert elsewhere.status_code == 200


async def test_a_burst_of_guesses_does_not_outrun_the_count(door: Door) -> None:
    login = await door.user("agent")
    guess = {**login, "password": "not it at all"}
    guest = door.as_()
    answers = await asyncio.gather(*(guest.post("/admin/auth/token", guess) for _ in range(30)))
    assert Counter(answer.status_code for answer in answers) == {401: 10, 429: 20}


async def test_right_passwords_do_not_count(door: Door) -> None:
    login = await door.user("agent")
    guest = door.as_()
    tries = [(await guest.post("/admin/auth/token", login)).status_code for _ in range(12)]
    assert set(tries) == {200}


# ---- users --------------------------------------------------------------------------------------


async def test_another_role_holds_from_the_next_request_on(door: Door) -> None:
    login = await door.user("agent")
    (user,) = (await door.get("/admin/users")).json()["users"]
    path = f"/admin/users/{user['id']}"
    assert (await door.get(path)).json()["user"] == user
    token = (await door.as_().post("/admin/auth/token", login)).json()["access_token"]
    by_token = door.as_(authorization=f"Bearer {token}")
    cookie = _by(str((await door.as_().post("/admin/auth", login)).headers["set-cookie"]))
    by_cookie = door.as_(cookie=cookie)
    for somebody in (by_token, by_cookie):
        assert (await somebody.get("/admin/users")).status_code == 403
    changed = await door.post(path, {"role": "admin"})
    assert changed.json()["user"] == {**user, "role": "admin"}
    for somebody in (by_token, by_cookie):
        assert (await somebody.get("/admin/users")).status_code == 200
    assert (await door.post("/admin/users/usr_x", {"role": "admin"})).status_code == 404
    assert (await door.post(path, {"role": "emperor"})).status_code == 400


async def test_a_new_password_ends_the_sessions(door: Door) -> None:
    login = await door.user("agent")
    (user,) = (await door.get("/admin/users")).json()["users"]
    cookie = _by(str((await door.as_().post("/admin/auth", login)).headers["set-cookie"]))
    path = f"/admin/users/{user['id']}"
    assert (await door.post(path, {"password": "short"})).status_code == 400
    assert (await door.as_(cookie=cookie).get("/admin/auth")).status_code == 200
    await door.post(path, {"password": "another pass phrase"})
    assert (await door.as_(cookie=cookie).get("/admin/auth")).status_code == 401
    assert (await door.as_().post("/admin/auth", login)).status_code == 401
    fresh = {**login, "password": "another pass phrase"}
    assert (await door.as_().post("/admin/auth", fresh)).status_code == 200


async def test_who_leaves_takes_sessions_and_tokens_along(door: Door) -> None:
    login = await door.user("admin")
    (user,) = (await door.get("/admin/users")).json()["users"]
    token = (await door.as_().post("/admin/auth/token", login)).json()["access_token"]
    cookie = _by(str((await door.as_().post("/admin/auth", login)).headers["set-cookie"]))
    by_token = door.as_(authorization=f"Bearer {token}")
    by_api_token = await by_token.with_role("ops")
    everybody = (by_token, by_api_token, door.as_(cookie=cookie))
    assert {(await one.get("/admin/orders")).status_code for one in everybody} == {200}
    gone = await door.delete(f"/admin/users/{user['id']}")
    assert gone.json() == {"id": user["id"], "object": "user", "deleted": True}
    assert {(await one.get("/admin/orders")).status_code for one in everybody} == {401}
    assert (await door.as_().post("/admin/auth/token", login)).status_code == 401
    assert (await door.delete(f"/admin/users/{user['id']}")).status_code == 404


# ---- access tokens ------------------------------------------------------------------------------


async def test_a_token_signs_in_and_carries_the_present_role(door: Door) -> None:
    login = await door.user("warehouse")
    token = (await door.as_().post("/admin/auth/token", login)).json()["access_token"]
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    assert (claims["aud"], claims["exp"] - claims["iat"]) == ("reclamo-api", 15 * 60)
    somebody = door.as_(authorization=f"Bearer {token}")
    assert (await somebody.get("/admin/auth")).json()["user"]["email"] == login["email"]
    assert (await somebody.post("/admin/import", {})).status_code == 403


def _forged() -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": auth.ISSUER, "aud": AUDIENCE, "sub": "usr", "iat": now, "exp": now + 600}
    header = {"typ": TOKEN_KIND}
    other = auth.private_key("another secret", "access")
    internal = auth.private_key(SECRET_KEY, "internal")
    public = auth.public_text(ACCESS_KEY)
    good = jwt.encode(claims, ACCESS_KEY, "EdDSA", headers=header)
    head, body, signature = good.split(".")
    return {
        "no algorithm": jwt.encode(claims, None, "none", headers=header),
        "the public key as a secret": jwt.encode(claims, public * 2, "HS256", headers=header),
        "another key": jwt.encode(claims, other, "EdDSA", headers=header),
        "the key of internal tokens": jwt.encode(claims, internal, "EdDSA", headers=header),
        "a flipped byte": f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "a key of its own": jwt.encode(
            claims,
            other,
            "EdDSA",
            headers={**header, "jku": "http://127.0.0.1:9/keys", "kid": "mine", "x5u": "http://x"},
        ),
        "an ID token": jwt.encode(claims, ACCESS_KEY, "EdDSA", headers={"typ": "JWT"}),
        "an internal token": jwt.encode(claims, internal, "EdDSA", headers={"typ": "internal+jwt"}),
        "another audience": jwt.encode({**claims, "aud": "orders"}, ACCESS_KEY, "EdDSA", header),
        "another issuer": jwt.encode({**claims, "iss": "x"}, ACCESS_KEY, "EdDSA", header),
        "expired": jwt.encode({**claims, "exp": now - 5}, ACCESS_KEY, "EdDSA", header),
        "not yet": jwt.encode({**claims, "nbf": now + 3600}, ACCESS_KEY, "EdDSA", header),
        "ten years": jwt.encode({**claims, "exp": now + 315_360_000}, ACCESS_KEY, "EdDSA", header),
        "no end": jwt.encode(
            {name: value for name, value in claims.items() if name != "exp"},
            ACCESS_KEY,
            "EdDSA",
            header,
        ),
        "no such user": good,
    }


@pytest.mark.parametrize("what", sorted(_forged()))
async def test_a_token_that_does_not_hold_is_nobody(door: Door, what: str) -> None:
    answer = await door.as_(authorization=f"Bearer {_forged()[what]}").get("/admin/orders")
    assert (answer.status_code, answer.text) == (401, "Unauthorized")


async def test_a_service_takes_neither_an_access_token_nor_anothers_internal_token(
    shop: Door,
) -> None:
    issuer = auth.Issuer(auth.private_key(SECRET_KEY, "internal"))
    for_orders = issuer.mint(auth.Principal("admin_user", "admin"), "orders")
    login = await shop.user("admin")
    access = (await shop.as_().post("/admin/auth/token", login)).json()["access_token"]
    for name, service in shop.embedded.services.items():
        direct = Door(service.app, embedded=shop.embedded, credentials={})
        path = {"orders": "/orders", "claims": "/claims", "returns": "/returns"}.get(
            name, "/variants"
        )
        assert (await direct.get(path)).status_code == 401
        assert (await direct.get("/livez")).status_code == 200
        for token in (access, ADMIN_TOKEN):
            answer = await direct.as_(authorization=f"Bearer {token}").get(path)
            assert answer.status_code == 401, name
        foreign = await direct.as_(authorization=f"Bearer {for_orders}").get(path)
        assert foreign.status_code == (200 if name == "orders" else 401)


# ---- API tokens ---------------------------------------------------------------------------------


async def test_a_token_is_shown_once_kept_hashed_and_ends_at_once(door: Door) -> None:
    made = (await door.post("/admin/tokens", {"name": "reports", "role": "ops"})).json()
    secret, token_id = made["secret"], made["token"]["id"]
    holder = door.as_(x_medusa_access_token=secret)
    assert (await holder.get("/admin/orders")).status_code == 200
    listed = await door.get("/admin/tokens")
    assert secret not in listed.text
    assert identity.digest(secret) not in listed.text
    (row,) = [token for token in listed.json()["tokens"] if token["id"] == token_id]
    assert row["last_used_at"] is not None
    async with door.embedded.gateway.database.reading() as tx:
        stored = await tx.fetch("SELECT * FROM api_tokens")
    assert secret not in str(stored)
    assert (await door.delete(f"/admin/tokens/{token_id}")).json() == {
        "id": token_id,
        "object": "token",
        "deleted": True,
    }
    assert (await holder.get("/admin/orders")).status_code == 401


async def test_a_token_may_do_what_its_role_may(door: Door) -> None:
    clerk = await door.with_role("warehouse")
    assert (await clerk.get("/admin/orders")).status_code == 200
    answer = await clerk.post("/admin/users", {})
    assert answer.status_code == 403
    assert answer.json()["type"] == "not_allowed"


async def test_an_unknown_token_id_is_not_found(door: Door) -> None:
    assert (await door.delete("/admin/tokens/apitoken_x")).status_code == 404


# ---- sessions -----------------------------------------------------------------------------------


async def _session(door: Door, role: str = "admin") -> str:
    answer = await door.as_().post("/admin/auth", await door.user(role))
    assert answer.status_code == 200, answer.text
    return str(answer.headers["set-cookie"])


def _by(cookie: str) -> str:
    return cookie.split(";")[0]


async def test_a_session_cookie_has_exactly_its_attributes(door: Door) -> None:
    cookie = await _session(door)
    name, _, value = _by(cookie).partition("=")
    attributes = {part.strip().lower().partition("=")[0] for part in cookie.split(";")[1:]}
    # Plain http, which only loopback speaks: no prefix and no Secure.
    assert name == "reclamo_session"
    assert attributes == {"httponly", "samesite", "path", "max-age"}
    assert "samesite=lax" in cookie.lower()
    assert "path=/" in cookie.lower()
    assert len(value) >= 32
    other = await door.as_().post("/admin/auth", {"email": "admin@shop.example"} | _PASSWORD)
    assert _by(str(other.headers["set-cookie"])) != _by(cookie)


_PASSWORD = {"password": PASSWORD}


async def test_over_tls_the_cookie_is_bound_to_the_host(door: Door) -> None:
    login = await door.user("admin")
    answer = await door.as_().client.post("https://gateway.test/admin/auth", json=login)
    cookie = str(answer.headers["set-cookie"])
    assert cookie.startswith("__Host-reclamo_session=")
    assert "secure" in cookie.lower()
    assert "domain" not in cookie.lower()
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    browser = door.as_(cookie=_by(cookie))
    assert (await browser.get("/admin/auth")).status_code == 200


async def test_logging_out_kills_the_session_on_the_server(door: Door) -> None:
    cookie = _by(await _session(door))
    browser = door.as_(cookie=cookie, origin=ORIGIN)
    assert (await browser.get("/admin/auth")).json()["user"]["role"] == "admin"
    gone = await browser.delete("/admin/auth")
    assert (gone.status_code, gone.text) == (200, "OK")
    assert (await browser.get("/admin/auth")).status_code == 401


async def test_an_idle_and_an_old_session_are_over(door: Door) -> None:
    for column, minutes in (("last_seen_at", 31), ("created_at", 12 * 60 + 1)):
        answer = await door.as_().post("/admin/auth", await _once(door))
        browser = door.as_(cookie=_by(str(answer.headers["set-cookie"])))
        assert (await browser.get("/admin/auth")).status_code == 200
        long_ago = clock.now() - (identity.SESSION_IDLE / 30) * minutes
        async with door.embedded.gateway.database.transaction() as tx:
            await tx.execute(f"UPDATE sessions SET {column} = :at", at=long_ago)
        assert (await browser.get("/admin/auth")).status_code == 401


async def _once(door: Door) -> dict[str, str]:
    login = {"email": "admin@shop.example", "password": PASSWORD}
    await door.post("/admin/users", {**login, "role": "admin"})
    return login


async def test_a_cookie_is_not_believed_from_another_site(shop: Door) -> None:
    cookie = _by(await _session(shop))
    body = a_claim()
    path = "/admin/orders/order_ana/claims"
    for headers in (
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": ORIGIN},
        {"sec-fetch-site": "same-site"},
    ):
        named = {name.replace("-", "_"): value for name, value in headers.items()}
        answer = await shop.as_(cookie=cookie).post(path, body, **named)
        assert answer.status_code == 403, headers
        assert answer.json()["type"] == "not_allowed"
    plain = await shop.as_(cookie=cookie, origin=ORIGIN, content_type="text/plain").client.post(
        path, content=b'{"type":"refund"}'
    )
    assert plain.status_code == 403
    assert (await shop.order())["claims"] == []
    for headers in ({"origin": ORIGIN}, {"sec_fetch_site": "same-origin"}):
        answer = await shop.as_(cookie=cookie).post(path, body, **headers)
        assert answer.status_code == 200, answer.text
    assert (await shop.as_(cookie=cookie).get("/admin/orders")).status_code == 200


async def test_nobody_is_signed_in_from_another_site(shop: Door) -> None:
    login = await shop.user("agent")
    ana = {"email": "ana@shop.example", "password": PASSWORD}
    for path, body in (("/admin/auth", login), ("/store/auth", ana)):
        answer = await shop.as_().post(path, body, origin="https://evil.example")
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


async def test_an_allowed_origin_may_use_the_cookie(open_gateway: OpenGateway) -> None:
    door = await open_gateway(allowed_origins="https://desk.example")
    cookie = _by(await _session(door))
    browser = door.as_(cookie=cookie)
    body = {"value": "v", "label": "l"}
    path = "/admin/return-reasons"
    allowed = await browser.post(
        path, body, origin="https://desk.example", sec_fetch_site="same-site"
    )
    assert allowed.status_code == 200
    for origin in ("https://desk.example.evil", "http://desk.example", "https://other.example"):
        assert (await browser.post(path, body, origin=origin)).status_code == 403


async def test_behind_tls_the_public_address_counts(open_gateway: OpenGateway) -> None:
    door = await open_gateway(public_url="https://desk.example")
    cookie = await _session(door)
    assert cookie.startswith("__Host-reclamo_session=")
    assert "secure" in cookie.lower()
    browser = door.as_(cookie=_by(cookie))
    body = {"value": "v", "label": "l"}
    answer = await browser.post("/admin/return-reasons", body, origin="https://desk.example")
    assert answer.status_code == 200


async def test_reading_with_a_cookie_changes_nothing(shop: Door) -> None:
    cookie = _by(await _session(shop))
    browser = shop.as_(cookie=cookie)
    for path in ("/admin/orders/order_ana/refund", "/admin/returns/ret_1/cancel", "/admin/import"):
        assert (await browser.get(path)).status_code == 405


# ---- customers ----------------------------------------------------------------------------------


async def test_a_customer_signs_in_with_the_imported_password(shop: Door) -> None:
    ana = await shop.customer("ana")
    assert (await ana.get("/store/orders/order_ana")).status_code == 200
    for path in ("/admin/orders", "/admin/auth", "/admin/claims"):
        assert (await ana.get(path)).status_code == 401


async def test_a_customer_has_a_session_of_the_storefront_only(shop: Door) -> None:
    login = {"email": "ana@shop.example", "password": PASSWORD}
    answer = await shop.as_().post("/store/auth", login)
    assert answer.json()["customer"]["id"] == "cus_ana"
    browser = shop.as_(cookie=_by(str(answer.headers["set-cookie"])), origin=ORIGIN)
    assert (await browser.get("/store/auth")).json()["customer"]["email"] == login["email"]
    assert (await browser.get("/store/orders/order_ana")).status_code == 200
    assert (await browser.get("/store/orders/order_ben")).status_code == 404
    assert (await browser.get("/admin/auth")).status_code == 401
    assert (await browser.delete("/store/auth")).text == "OK"
    assert (await browser.get("/store/auth")).status_code == 401


async def test_a_customers_password_opens_no_back_office(shop: Door) -> None:
    login = {"email": "ana@shop.example", "password": PASSWORD}
    assert (await shop.as_().post("/admin/auth/token", login)).status_code == 401
    await shop.user("agent")
    staff = {"email": "agent@shop.example", "password": PASSWORD}
    assert (await shop.as_().post("/store/auth/token", staff)).status_code == 401


async def test_an_imported_password_is_stored_in_no_other_place(shop: Door) -> None:
    exported = (await shop.get("/admin/export")).text
    assert PASSWORD not in exported
    async with shop.embedded.services["orders"].database.reading() as tx:
        rows = await tx.fetch("SELECT * FROM customers")
    assert PASSWORD not in str(rows)
    async with shop.embedded.gateway.database.reading() as tx:
        hashes = await tx.fetch("SELECT password_hash FROM customer_logins")
    assert len(hashes) == 2
    assert all(row["password_hash"].startswith("$argon2id$") for row in hashes)


async def _without_account(shop: Door) -> str:
    """A customer who never got a password."""
    await shop.load({"customers": [{"id": "cus_dan", "email": "dan@shop.example", "phone": "1"}]})
    return "/admin/customers/cus_dan"


async def test_a_customer_is_corrected_and_found_by_what_is_right(shop: Door) -> None:
    path = await _without_account(shop)
    agent = await shop.with_role("agent")
    change = {"email": "daniel@shop.example", "first_name": "Daniel", "phone": None}
    answer = await agent.post(path, change)
    assert answer.status_code == 200, answer.text
    customer = answer.json()["customer"]
    assert {name: customer[name] for name in change} == change
    assert (await shop.get(path)).json()["customer"] == customer
    found = [(await shop.get(f"/admin/customers?q={q}")).json() for q in ("daniel", "dan@shop")]
    assert [page["count"] for page in found] == [1, 0]


async def test_a_correction_survives_loading_the_same_document_again(shop: Door) -> None:
    path = await _without_account(shop)
    await shop.post(path, {"last_name": "Day"})
    await _without_account(shop)
    assert (await shop.get(path)).json()["customer"]["last_name"] == "Day"


async def test_the_email_of_an_account_stays(shop: Door) -> None:
    answer = await shop.post("/admin/customers/cus_ana", {"email": "other@shop.example"})
    message = "Email cannot be changed when the user has registered their account"
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "not_allowed", "message": message},
    )
    assert (await shop.post("/admin/customers/cus_ana", {"phone": "+386 1"})).status_code == 200
    assert (await (await shop.customer("ana")).get("/store/orders/order_ana")).status_code == 200


async def test_a_correction_that_makes_no_sense_changes_nothing(shop: Door) -> None:
    path = await _without_account(shop)
    before = (await shop.get(path)).json()
    for body, message in (
        ({"email": "no address"}, "email must be an email"),
        ({"phone": 1}, "phone must be a string"),
        ({"metadata": {}}, "property metadata should not exist"),
    ):
        answer = await shop.post(path, body)
        told = {"type": "invalid_data", "message": message}
        assert (answer.status_code, answer.json()) == (400, told)
    assert (await shop.post(path, {"email": None})).status_code == 200
    assert (await shop.get(path)).json() == before
    missing = await shop.post("/admin/customers/cus_x", {"phone": "1"})
    message = "Customer with id: cus_x was not found"
    assert (missing.status_code, missing.json()["message"]) == (404, message)
