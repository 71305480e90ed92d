"""Who are you: passwords, API tokens, access tokens, sessions."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error

from chassis import audit, auth, clock
from chassis.auth import Principal, Unauthorized
from chassis.db import Database, DuplicateRow, Row
from chassis.errors import Invalid, NotAllowed, NotFound
from chassis.values import new_id, random_token
from gateway import store

TOKEN_KIND = "at+jwt"
AUDIENCE = "reclamo-api"
ACCESS_TOKEN_S = 15 * 60
SESSION_IDLE = timedelta(minutes=30)
SESSION_LIFE = timedelta(hours=12)
REMEMBER_S = 5.0  # how long a looked-up token is believed: a revocation is effective after that
PASSWORD_MIN = 8
PASSWORD_MAX = 256
TRIES_PER_MINUTE = 10
_COMMON_WORDS = """
12345678 123456789 1234567890 password password1 password123 qwertyuiop qwerty123
11111111 00000000 iloveyou sunshine princess football baseball superman trustno1
letmein1 welcome1 admin123 administrator changeme changeme1 abcd1234 1q2w3e4r 1qaz2wsx
qwer1234 asdfghjkl passw0rd p@ssw0rd master123 dragon123 monkey123 shadow123 michael1
computer internet whatever starwars 87654321 987654321 aaaaaaaa secret123 test1234
testtest reclamo1
"""
_COMMON = frozenset(_COMMON_WORDS.split())
# 19 MiB and two passes: OWASP's setting for servers that have other things to do as well.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Two at a time: a crowd of guesses waits here, not in our memory and not on every core.
_threads = ThreadPoolExecutor(2, thread_name_prefix="password")
_NOBODY = _hasher.hash("a user who does not exist costs as much as one who does")


class TooManyTries(Exception):
    """Too many wrong passwords; ``retry_after_s`` says when to try again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many attempts. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Caller:
    """Who calls and by what: ``via`` is token, jwt, cookie."""

    principal: Principal
    via: str


def digest(secret: str) -> str:
    """What is stored of a random secret. No salt is needed: it has 128 bits or more."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def hash_password(password: str) -> str:
    """argon2id; raises Invalid for a password that is too short, too long or too well known."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise Invalid(
            "password_length",
            f"password must be between {PASSWORD_MIN} and {PASSWORD_MAX} characters long;"
            " 15 or more are recommended",
        )
    if password.lower() in _COMMON:
        raise Invalid("password_common", "password is one of the most common ones: choose another")
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def password_fits(password_hash: str | None, password: str) -> bool:
    """Whether it is the password; takes as long when there is no such user."""

    def verify() -> bool:
        try:
            return _hasher.verify(password_hash or _NOBODY, password) and password_hash is not None
        except Argon2Error:
            return False

    return await asyncio.get_running_loop().run_in_executor(_threads, verify)


class Throttle:
    """Counts wrong passwords per account and address, in memory."""

    def __init__(self) -> None:
        self._tries: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def begin(self, account: str, address: str) -> None:
        """A password is about to be checked; raises TooManyTries after too many in a minute.

        It counts at once, as if it were wrong: else a burst of guesses would outrun the count.
        """
        tries = self._tries.setdefault((account, address), deque())
        self._tries.move_to_end((account, address))
        now = clock.monotonic_s()
        while tries and now - tries[0] > 60:
            tries.popleft()
        if len(tries) >= TRIES_PER_MINUTE:
            raise TooManyTries(max(1, int(60 - (now - tries[0])) + 1))
        tries.append(now)
        while len(self._tries) > 10_000:
            self._tries.popitem(last=False)

    def right(self, account: str, address: str) -> None:
        """The newest try had the right password: it does not count."""
        tries = self._tries.get((account, address))
        if tries:
            tries.pop()


class Identity:
    """Signs people in and recognizes them again."""

    def __init__(self, database: Database, secret_key: str) -> None:
        self._database = database
        self._access_key = auth.private_key(secret_key, "access")
        self._throttle = Throttle()
        self._known: dict[str, tuple[float, Caller]] = {}

    async def bootstrap(self, admin_token: str | None) -> None:
        """The first API token, of the user ``admin_user``; once made, it stays."""
        if admin_token:
            async with self._database.transaction() as tx:
                await store.add_token(
                    tx,
                    row={
                        "id": "apitoken_admin",
                        "token_hash": digest(admin_token),
                        "name": "first admin token",
                        "user_id": "admin_user",
                        "role": "admin",
                        "created_at": clock.now(),
                    },
                )

    # ---- recognizing -----------------------------------------------------------------------

    async def by_api_token(self, token: str) -> Caller:
        """Who holds this API token; raises Unauthorized."""
        known = self._remembered(token)
        if known:
            return known
        now = clock.now()
        async with self._database.reading() as tx:
            row = await store.token_by_hash(tx, token_hash=digest(token))
        if row is None:
            raise Unauthorized("unknown token")
        if row["last_used_at"] is None or now - row["last_used_at"] > timedelta(minutes=1):
            async with self._database.transaction() as tx:
                await store.token_used(tx, token_id=row["id"], now=now)
        return self._remember(token, Caller(Principal(row["user_id"], row["role"]), "token"))

    async def by_access_token(self, token: str) -> Caller:
        """Who this JWT was given to; raises Unauthorized."""
        claims = auth.decode(
            token,
            key=self._access_key.public_key(),
            audience=AUDIENCE,
            issuer=auth.ISSUER,
            kind=TOKEN_KIND,
        )
        if claims["exp"] - claims["iat"] > ACCESS_TOKEN_S:
            raise Unauthorized("lives too long")
        customer_id = claims.get("customer_id")
        if customer_id:
            return Caller(Principal(customer_id, "customer", customer_id), "jwt")
        known = self._remembered(token)
        if known:
            return known
        # The role is the user's present one, not the one of the day the token was made.
        caller = await self._user(claims["sub"], "jwt")
        return self._remember(token, caller)

    async def by_session(self, cookie: str) -> Caller:
        """Whose session this is; raises Unauthorized when it is over."""
        hashed, now = digest(cookie), clock.now()
        async with self._database.reading() as tx:
            row = await store.session_by_hash(tx, token_hash=hashed)
        if row is None or not _alive(row, now):
            raise Unauthorized("no such session")
        if now - row["last_seen_at"] > timedelta(minutes=1):
            async with self._database.transaction() as tx:
                await store.session_seen(tx, token_hash=hashed, now=now)
        if row["customer_id"]:
            who = Principal(row["customer_id"], "customer", row["customer_id"])
            return Caller(who, "cookie")
        return await self._user(row["user_id"], "cookie")

    async def _user(self, user_id: str, via: str) -> Caller:
        async with self._database.reading() as tx:
            user = await store.user_by_id(tx, user_id=user_id)
        if user is None:
            raise Unauthorized("no such user")
        return Caller(Principal(user["id"], user["role"]), via)

    def _remembered(self, secret: str) -> Caller | None:
        until, caller = self._known.get(digest(secret), (0.0, None))
        return caller if clock.monotonic_s() < until else None

    def _remember(self, secret: str, caller: Caller) -> Caller:
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[digest(secret)] = (clock.monotonic_s() + REMEMBER_S, caller)
        return caller

    def forget(self) -> None:
        """Something changed: look everybody up again."""
        self._known.clear()

    # ---- signing in ------------------------------------------------------------------------

    async def sign_in(self, *, email: str, password: str, address: str) -> Row:
        """The user with this password; raises Unauthorized, TooManyTries."""
        async with self._database.reading() as tx:
            user = await store.user_by_email(tx, email=email.lower())
        about = f"user/{user['id']}" if user else "user/unknown"
        await self._check(user, email, password, address, about)
        assert user is not None
        return user

    async def sign_in_customer(self, *, email: str, password: str, address: str) -> str:
        """The customer's id; raises Unauthorized, TooManyTries."""
        async with self._database.reading() as tx:
            login = await store.customer_login(tx, email=email.lower())
        about = f"customer/{login['customer_id']}" if login else "customer/unknown"
        await self._check(login, email, password, address, about)
        assert login is not None
        return str(login["customer_id"])

    async def _check(
        self, row: Row | None, email: str, password: str, address: str, about: str
    ) -> None:
        self._throttle.begin(email.lower(), address)
        fits = await password_fits(row["password_hash"] if row else None, password)
        async with self._database.transaction() as tx:
            # Not the e-mail as typed: it may be a password in the wrong field.
            action = "login.accepted" if fits else "login.failed"
            await audit.record(tx, action=action, about=about, note=f"from {address}")
        if not fits:
            raise Unauthorized("wrong e-mail or password")
        self._throttle.right(email.lower(), address)

    def access_token(self, subject: str, *, customer_id: str | None = None) -> str:
        """A JWT of 15 minutes."""
        now = int(clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": auth.ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + ACCESS_TOKEN_S,
            "jti": new_id("jti"),
        }
        if customer_id:
            claims["customer_id"] = customer_id
        return jwt.encode(claims, self._access_key, algorithm="EdDSA", headers={"typ": TOKEN_KIND})

    async def open_session(self, user_id: str, *, customer_id: str | None = None) -> str:
        """A new session's cookie value: 256 random bits."""
        cookie = random_token(32)
        async with self._database.transaction() as tx:
            await store.add_session(
                tx,
                token_hash=digest(cookie),
                user_id=user_id,
                customer_id=customer_id,
                now=clock.now(),
            )
        return cookie

    async def close_session(self, cookie: str) -> None:
        """Kill the session on the server."""
        async with self._database.transaction() as tx:
            await store.end_session(tx, token_hash=digest(cookie))

    # ---- managing --------------------------------------------------------------------------

    async def add_user(self, *, email: str, password: str, role: str) -> Row:
        """A new user, without secrets; raises DuplicateRow when the e-mail is taken."""
        hashed = await hash_password(password)
        user = {"id": new_id("usr"), "email": email.lower(), "role": role}
        now = clock.now()
        async with self._database.transaction() as tx:
            await store.add_user(
                tx,
                user_id=user["id"],
                email=user["email"],
                role=role,
                password_hash=hashed,
                now=now,
            )
            await audit.record(
                tx, action="user.added", about=f"user/{user['id']}", after={"role": role}
            )
        return {**user, "created_at": now}

    async def change_user(self, user_id: str, *, role: str | None, password: str | None) -> Row:
        """Change what is given. A new password ends the sessions; raises NotFound, Invalid."""
        hashed = None if password is None else await hash_password(password)
        async with self._database.transaction() as tx:
            before = await store.user_by_id(tx, user_id=user_id)
            user = await store.change_user(tx, user_id=user_id, role=role, password_hash=hashed)
            if before is None or user is None:
                raise _no_user(user_id)
            await audit.record(
                tx,
                action="user.changed",
                about=f"user/{user_id}",
                before={"role": before["role"]},
                after={"role": user["role"]},
                note="with a new password" if hashed else None,
            )
            if hashed:
                await store.end_sessions(tx, user_id=user_id)
        self.forget()
        return user

    async def remove_user(self, user_id: str) -> None:
        """The user is gone, with sessions and API tokens; raises NotFound."""
        async with self._database.transaction() as tx:
            if not await store.remove_user(tx, user_id=user_id):
                raise _no_user(user_id)
            await store.end_sessions(tx, user_id=user_id)
            await store.revoke_tokens(tx, user_id=user_id, now=clock.now())
            await audit.record(tx, action="user.removed", about=f"user/{user_id}")
        self.forget()

    async def check_email_is_free(self, customer_id: str) -> None:
        """Raises NotAllowed for a customer who signs in with the e-mail."""
        async with self._database.glance() as tx:
            known = await store.customers_with_login(tx, customer_ids=[customer_id])
        if customer_id in known:
            raise NotAllowed(
                "customer_has_account",
                "Email cannot be changed when the user has registered their account",
            )

    async def set_customer_password(self, *, customer_id: str, email: str, password: str) -> bool:
        """Give a customer a login; False when it already is exactly that."""
        async with self._database.reading() as tx:
            known = await store.customers_with_login(tx, customer_ids=[customer_id])
        login = known.get(customer_id)
        same = login is not None and login["email"] == email.lower()
        if login and same and await password_fits(login["password_hash"], password):
            return False
        hashed = await hash_password(password)
        try:
            async with self._database.transaction() as tx:
                await store.set_customer_login(
                    tx,
                    customer_id=customer_id,
                    email=email.lower(),
                    password_hash=hashed,
                    now=clock.now(),
                )
                about = f"customer/{customer_id}"
                await audit.record(tx, action="customer.login_set", about=about)
        except DuplicateRow:
            raise Invalid("email_taken", f"Another customer signs in with {email}.") from None
        return True

    async def make_token(self, *, name: str, role: str, user_id: str) -> tuple[Row, str]:
        """A new API token and its secret, which is shown this once."""
        secret = f"rk_{random_token(24)}"
        row = {
            "id": new_id("apitoken"),
            "token_hash": digest(secret),
            "name": name,
            "user_id": user_id,
            "role": role,
            "created_at": clock.now(),
        }
        async with self._database.transaction() as tx:
            await store.add_token(tx, row=row)
            await audit.record(
                tx,
                action="token.made",
                about=f"token/{row['id']}",
                after={"name": name, "role": role, "user_id": user_id},
            )
        return {key: value for key, value in row.items() if key != "token_hash"}, secret


def _no_user(user_id: str) -> NotFound:
    return NotFound("user_not_found", f"User with id: {user_id} was not found")


def _alive(session: Row, now: datetime) -> bool:
    idle = now - session["last_seen_at"] <= SESSION_IDLE
    return bool(idle and now - session["created_at"] <= SESSION_LIFE)
