"""Tables of the gateway and every statement on them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Row, Tx, metadata

METADATA = metadata()
audit_table(METADATA)

USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint("role IN ('admin', 'agent', 'warehouse', 'finance', 'ops')", name="role"),
)

CUSTOMER_LOGINS = sa.Table(
    "customer_logins",
    METADATA,
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

API_TOKENS = sa.Table(
    "api_tokens",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("token_hash", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("last_used_at", Instant),
    sa.Column("revoked_at", Instant),
)

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    # Set for a customer's session; then ``user_id`` is the same.
    sa.Column("customer_id", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("last_seen_at", Instant, nullable=False),
)

ANSWERS = sa.Table(
    "answers",
    METADATA,
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

FINDINGS = sa.Table(
    "findings",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    # Whose books: a service, "books" (several compared), "messages", "audit".
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("invariant", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("facts", Json, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("first_seen_at", Instant, nullable=False),
    sa.Column("last_seen_at", Instant, nullable=False),
    sa.Column("closed_at", Instant),
    sa.Column("repaired_at", Instant),
    sa.Column("repairs", sa.Integer, nullable=False, default=0),
    sa.Column("note", sa.Text),
    sa.UniqueConstraint("source", "invariant", "about"),
    sa.CheckConstraint("state IN ('open', 'resolved', 'repaired', 'dismissed')", name="state"),
    sa.Index("ix_findings_state", "state", "last_seen_at"),
)

# How far the search for drift has come: cursors by name.
DRIFT_MARKS = sa.Table(
    "drift_marks",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", Json, nullable=False),
)

_USER = "SELECT id, email, role, password_hash, created_at FROM users"


async def add_user(
    tx: Tx, *, user_id: str, email: str, role: str, password_hash: str, now: datetime
) -> None:
    """A new user; raises DuplicateRow when the e-mail is taken."""
    row = {
        "id": user_id,
        "email": email,
        "role": role,
        "password_hash": password_hash,
        "created_at": now,
    }
    await tx.insert(USERS, [row])


async def user_by_email(tx: Tx, *, email: str) -> Row | None:
    """A user with the password's hash."""
    return await tx.fetch_one(f"{_USER} WHERE email = :email", email=email)


async def user_by_id(tx: Tx, *, user_id: str) -> Row | None:
    """A user with the password's hash."""
    return await tx.fetch_one(f"{_USER} WHERE id = :id", id=user_id)


async def users(tx: Tx) -> list[Row]:
    """Everybody, without secrets."""
    return await tx.fetch("SELECT id, email, role, created_at FROM users ORDER BY created_at, id")


async def users_by_id(tx: Tx, *, user_ids: list[str]) -> list[Row]:
    """Those of these users that there still are, without secrets."""
    return await tx.fetch(
        "SELECT id, email, role, created_at FROM users WHERE id IN :ids", ids=user_ids
    )


async def change_user(
    tx: Tx, *, user_id: str, role: str | None, password_hash: str | None
) -> Row | None:
    """Change what is not None; the user without secrets, None if there is none."""
    return await tx.fetch_one(
        "UPDATE users SET role = COALESCE(CAST(:role AS TEXT), role),"
        " password_hash = COALESCE(CAST(:password_hash AS TEXT), password_hash)"
        " WHERE id = :id RETURNING id, email, role, created_at",
        id=user_id,
        role=role,
        password_hash=password_hash,
    )


async def remove_user(tx: Tx, *, user_id: str) -> bool:
    """Forget a user; False if there is none."""
    return bool(await tx.execute("DELETE FROM users WHERE id = :id", id=user_id))


async def set_customer_login(
    tx: Tx, *, customer_id: str, email: str, password_hash: str, now: datetime
) -> None:
    """Give a customer a password, or a new one."""
    await tx.execute(
        "INSERT INTO customer_logins (customer_id, email, password_hash, created_at)"
        " VALUES (:customer_id, :email, :password_hash, :now)"
        " ON CONFLICT (customer_id) DO UPDATE SET email = excluded.email,"
        " password_hash = excluded.password_hash",
        customer_id=customer_id,
        email=email,
        password_hash=password_hash,
        now=now,
    )


async def customer_login(tx: Tx, *, email: str) -> Row | None:
    """A customer's id and password hash by e-mail."""
    return await tx.fetch_one(
        "SELECT customer_id, password_hash FROM customer_logins WHERE email = :email", email=email
    )


async def customers_with_login(tx: Tx, *, customer_ids: list[str]) -> dict[str, Row]:
    """customer_id -> {email, password_hash} of those who have a password."""
    rows = await tx.fetch(
        "SELECT customer_id, email, password_hash FROM customer_logins WHERE customer_id IN :ids",
        ids=customer_ids,
    )
    return {row["customer_id"]: row for row in rows}


async def add_token(tx: Tx, *, row: Row) -> None:
    """A new API token, hashed."""
    await tx.insert(API_TOKENS, [row], ignore_conflicts=True)


async def token_by_hash(tx: Tx, *, token_hash: str) -> Row | None:
    """A token that was not revoked."""
    return await tx.fetch_one(
        "SELECT id, user_id, role, last_used_at FROM api_tokens"
        " WHERE token_hash = :hash AND revoked_at IS NULL",
        hash=token_hash,
    )


async def tokens(tx: Tx) -> list[Row]:
    """All tokens, without their hashes."""
    return await tx.fetch(
        "SELECT id, name, user_id, role, created_at, last_used_at, revoked_at FROM api_tokens"
        " ORDER BY created_at, id"
    )


async def revoke_token(tx: Tx, *, token_id: str, now: datetime) -> bool:
    """End a token; False if there is none."""
    return bool(
        await tx.execute(
            "UPDATE api_tokens SET revoked_at = COALESCE(revoked_at, :now) WHERE id = :id",
            id=token_id,
            now=now,
        )
    )


async def revoke_tokens(tx: Tx, *, user_id: str, now: datetime) -> None:
    """End every token that somebody holds."""
    await tx.execute(
        "UPDATE api_tokens SET revoked_at = :now WHERE user_id = :user_id AND revoked_at IS NULL",
        user_id=user_id,
        now=now,
    )


async def token_used(tx: Tx, *, token_id: str, now: datetime) -> None:
    """Remember when it was last used."""
    await tx.execute(
        "UPDATE api_tokens SET last_used_at = :now WHERE id = :id", id=token_id, now=now
    )


async def add_session(
    tx: Tx, *, token_hash: str, user_id: str, customer_id: str | None, now: datetime
) -> None:
    """A new session."""
    row = {
        "token_hash": token_hash,
        "user_id": user_id,
        "customer_id": customer_id,
        "created_at": now,
        "last_seen_at": now,
    }
    await tx.insert(SESSIONS, [row])


async def session_by_hash(tx: Tx, *, token_hash: str) -> Row | None:
    """user_id, customer_id, created_at, last_seen_at."""
    return await tx.fetch_one(
        "SELECT user_id, customer_id, created_at, last_seen_at FROM sessions"
        " WHERE token_hash = :hash",
        hash=token_hash,
    )


async def session_seen(tx: Tx, *, token_hash: str, now: datetime) -> None:
    """The session was used."""
    await tx.execute(
        "UPDATE sessions SET last_seen_at = :now WHERE token_hash = :hash",
        hash=token_hash,
        now=now,
    )


async def end_session(tx: Tx, *, token_hash: str) -> None:
    """Kill it on the server."""
    await tx.execute("DELETE FROM sessions WHERE token_hash = :hash", hash=token_hash)


async def end_sessions(tx: Tx, *, user_id: str) -> None:
    """Kill all sessions of somebody."""
    await tx.execute("DELETE FROM sessions WHERE user_id = :user_id", user_id=user_id)


async def answer(tx: Tx, *, principal: str, key: str) -> Row | None:
    """fingerprint, status and body stored under a key."""
    return await tx.fetch_one(
        "SELECT fingerprint, status, body FROM answers WHERE principal = :principal AND key = :key",
        principal=principal,
        key=key,
    )


async def keep_answer(tx: Tx, *, row: Row) -> bool:
    """Store an answer; False when another request stored one first."""
    return bool(await tx.insert(ANSWERS, [row], ignore_conflicts=True))


# ---- findings --------------------------------------------------------------------------------


async def put_finding(tx: Tx, *, row: Row) -> None:
    """A finding was seen: a new one, or again. One that was over opens anew; one that somebody
    dismissed stays so."""
    await tx.execute(
        "INSERT INTO findings (id, source, invariant, about, message, facts, state,"
        " first_seen_at, last_seen_at, repairs) VALUES (:id, :source, :invariant, :about, :message,"
        " :facts, 'open', :now, :now, 0) ON CONFLICT (source, invariant, about) DO UPDATE SET"
        " message = excluded.message, facts = excluded.facts, last_seen_at = excluded.last_seen_at,"
        " first_seen_at = CASE WHEN findings.state IN ('resolved', 'repaired')"
        " THEN excluded.first_seen_at ELSE findings.first_seen_at END,"
        " repairs = CASE WHEN findings.state IN ('resolved', 'repaired')"
        " THEN 0 ELSE findings.repairs END,"
        " closed_at = CASE WHEN findings.state = 'dismissed' THEN findings.closed_at END,"
        " state = CASE WHEN findings.state = 'dismissed' THEN 'dismissed' ELSE 'open' END",
        **row,
    )


async def close_findings(tx: Tx, *, ids: list[str], now: datetime) -> None:
    """They are gone: by a repair of ours, or by themselves."""
    await tx.execute(
        "UPDATE findings SET closed_at = :now,"
        " state = CASE WHEN repairs > 0 THEN 'repaired' ELSE 'resolved' END WHERE id IN :ids",
        ids=ids,
        now=now,
    )


async def live_findings(tx: Tx, *, source: str) -> list[Row]:
    """Open and dismissed findings of a source: id, invariant, about, facts, state."""
    return await tx.fetch(
        "SELECT id, invariant, about, facts, state FROM findings"
        " WHERE source = :source AND state IN ('open', 'dismissed')",
        source=source,
    )


async def findings(
    tx: Tx, *, state: str | None, invariant: str | None, limit: int, offset: int
) -> tuple[list[Row], int]:
    """A page of findings, the newest first, and how many there are."""
    wanted = {"state": state, "invariant": invariant}
    given = {name: value for name, value in wanted.items() if value is not None}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "1 = 1"
    rows = await tx.fetch(
        f"SELECT * FROM findings WHERE {where} ORDER BY last_seen_at DESC, id LIMIT :limit"
        " OFFSET :offset",
        limit=limit,
        offset=offset,
        **given,
    )
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM findings WHERE {where}", **given)
    return rows, int(count)


async def finding(tx: Tx, *, finding_id: str) -> Row | None:
    """One finding, or None."""
    return await tx.fetch_one("SELECT * FROM findings WHERE id = :id", id=finding_id)


async def finding_repaired(tx: Tx, *, finding_id: str, now: datetime) -> None:
    """A repair was sent on its way; that it helped is seen at the next look."""
    await tx.execute(
        "UPDATE findings SET repaired_at = :now, repairs = repairs + 1 WHERE id = :id",
        id=finding_id,
        now=now,
    )


async def dismiss_finding(tx: Tx, *, finding_id: str, note: str | None, now: datetime) -> None:
    """Somebody has looked and wants no more of it."""
    await tx.execute(
        "UPDATE findings SET state = 'dismissed', closed_at = :now, note = :note WHERE id = :id",
        id=finding_id,
        note=note,
        now=now,
    )


async def open_findings(tx: Tx) -> dict[str, int]:
    """Invariant -> how many findings are open."""
    rows = await tx.fetch(
        "SELECT invariant, COUNT(*) AS many FROM findings WHERE state = 'open' GROUP BY invariant"
    )
    return {row["invariant"]: row["many"] for row in rows}


async def drift_mark(tx: Tx, *, name: str) -> Row | None:
    """Where a search stands; None at its beginning."""
    row = await tx.fetch_one("SELECT value FROM drift_marks WHERE name = :name", name=name)
    return row["value"] if row else None


async def set_drift_mark(tx: Tx, *, name: str, value: Row) -> None:
    """Remember where a search stands."""
    await tx.execute(
        "INSERT INTO drift_marks (name, value) VALUES (:name, :value)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name=name,
        value=value,
    )
