"""Tables of the gateway and every statement on them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Row, Tx, metadata
from chassis.inbox import inbox_table

METADATA = metadata()
audit_table(METADATA)
inbox_table(METADATA)

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

WEBHOOKS = sa.Table(
    "webhooks",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("url", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text),
    sa.Column("events", Json, nullable=False),
    # Its secret is derived from the gateway's, its id and this number: none is stored.
    sa.Column("secret_number", sa.Integer, nullable=False),
    sa.Column("previous_until", Instant),
    # Since when it hears what ``events`` says.
    sa.Column("enabled_since", Instant, nullable=False),
    sa.Column("disabled_at", Instant),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("failing_since", Instant),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

WEBHOOK_DELIVERIES = sa.Table(
    "webhook_deliveries",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("webhook_id", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    # Kept as it was first sent: a repeat is the same bytes.
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", Instant),
    sa.Column("tries", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.UniqueConstraint("webhook_id", "event_id"),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
    sa.CheckConstraint("(state = 'pending') = (next_at IS NOT NULL)", name="next_at"),
    sa.Index("ix_webhook_deliveries_webhook", "webhook_id", "created_at"),
    sa.Index(
        "ix_webhook_deliveries_due",
        "next_at",
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    ),
    sa.Index("ix_webhook_deliveries_ended", "state", "ended_at"),
)

BATCH_JOBS = sa.Table(
    "batch_jobs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("context", Json, nullable=False),
    sa.Column("dry_run", sa.Boolean, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    # With whose rights it reads.
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("result", Json),
    # How far it has come: the last id that was read, and how many pieces of the file there are.
    sa.Column("after_id", sa.Text, nullable=False),
    sa.Column("pieces", sa.Integer, nullable=False),
    # When to go on; null where nothing is to be done.
    sa.Column("next_at", Instant),
    *(
        sa.Column(f"{name}_at", Instant)
        for name in ("pre_processed", "confirmed", "processing", "completed", "canceled", "failed")
    ),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint(
        "status IN ('created', 'pre_processed', 'confirmed', 'processing', 'completed',"
        " 'canceled', 'failed')",
        name="status",
    ),
    sa.Index("ix_batch_jobs_created_by", "created_by", "created_at"),
    sa.Index(
        "ix_batch_jobs_due",
        "next_at",
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    ),
)

FILE_PIECES = sa.Table(
    "file_pieces",
    METADATA,
    sa.Column("file", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_file_pieces_created", "created_at"),
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


# ---- webhooks --------------------------------------------------------------------------------

_WEBHOOK = (
    "SELECT id, url, description, events, secret_number, previous_until, enabled_since,"
    " disabled_at, disabled_reason, failing_since, created_by, created_at, updated_at FROM webhooks"
)


async def add_webhook(tx: Tx, *, row: Row) -> None:
    """A new webhook; raises DuplicateRow when there is one for its URL."""
    await tx.insert(WEBHOOKS, [row])


async def webhook(tx: Tx, *, webhook_id: str) -> Row | None:
    """One webhook."""
    return await tx.fetch_one(f"{_WEBHOOK} WHERE id = :id", id=webhook_id)


async def lock_webhook(tx: Tx, *, webhook_id: str) -> Row | None:
    """One webhook, locked until the end of the transaction."""
    return await tx.fetch_one(f"{_WEBHOOK} WHERE id = :id FOR UPDATE", id=webhook_id)


async def webhooks(tx: Tx) -> list[Row]:
    """All of them, the oldest first: there are never many."""
    return await tx.fetch(f"{_WEBHOOK} ORDER BY created_at, id")


async def somebody_listens(tx: Tx) -> bool:
    """Whether any webhook is enabled."""
    found = await tx.fetch_value("SELECT 1 FROM webhooks WHERE disabled_at IS NULL LIMIT 1")
    return found is not None


async def listeners(tx: Tx) -> list[Row]:
    """id, events and enabled_since of the enabled webhooks."""
    return await tx.fetch(
        "SELECT id, events, enabled_since FROM webhooks WHERE disabled_at IS NULL ORDER BY id"
    )


async def save_webhook(tx: Tx, *, row: Row) -> None:
    """Write what may change of a webhook; raises DuplicateRow for another's URL."""
    await tx.execute(
        "UPDATE webhooks SET url = :url, description = :description, events = :events,"
        " secret_number = :secret_number, previous_until = :previous_until,"
        " enabled_since = :enabled_since, disabled_at = :disabled_at,"
        " disabled_reason = :disabled_reason, failing_since = :failing_since,"
        " updated_at = :updated_at WHERE id = :id",
        **{name: row[name] for name in row if name not in ("created_by", "created_at")},
    )


async def remove_webhook(tx: Tx, *, webhook_id: str) -> None:
    """Forget a webhook and its deliveries."""
    await tx.execute("DELETE FROM webhook_deliveries WHERE webhook_id = :id", id=webhook_id)
    await tx.execute("DELETE FROM webhooks WHERE id = :id", id=webhook_id)


async def webhook_works(tx: Tx, *, webhook_id: str) -> None:
    """It took something: it does not fail any more."""
    await tx.execute(
        "UPDATE webhooks SET failing_since = NULL WHERE id = :id AND failing_since IS NOT NULL",
        id=webhook_id,
    )


async def add_deliveries(tx: Tx, *, rows: list[Row]) -> int:
    """What is to be sent; an event is sent to a webhook once, however often it is heard."""
    return await tx.insert(WEBHOOK_DELIVERIES, rows, ignore_conflicts=True)


async def due_deliveries(tx: Tx, *, now: datetime, passed_over: list[str], limit: int) -> list[Row]:
    """id and webhook_id of what is due, the longest due first; not for webhooks passed over."""
    return await tx.fetch(
        "SELECT d.id, d.webhook_id FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id"
        " WHERE d.state = 'pending' AND d.next_at <= :now AND w.disabled_at IS NULL"
        + (" AND d.webhook_id NOT IN :passed_over" if passed_over else "")
        + " ORDER BY d.next_at LIMIT :limit",
        now=now,
        limit=limit,
        **({"passed_over": passed_over} if passed_over else {}),
    )


async def take_deliveries(tx: Tx, *, ids: list[str], now: datetime, until: datetime) -> list[Row]:
    """Those that no other process took first, as tried once more and due again only after
    ``until``, if nobody tells before then how the try went."""
    taken = await tx.fetch(
        "UPDATE webhook_deliveries SET attempts = attempts + 1, next_at = :until"
        " WHERE id IN :ids AND state = 'pending' AND next_at <= :now RETURNING id",
        ids=ids,
        now=now,
        until=until,
    )
    if not taken:
        return []
    return await tx.fetch(
        "SELECT d.id, d.webhook_id, d.event_id, d.body, d.attempts, w.url, w.secret_number,"
        " w.previous_until FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id"
        " WHERE d.id IN :ids ORDER BY d.created_at, d.id",
        ids=[row["id"] for row in taken],
    )


async def lock_delivery(tx: Tx, *, delivery_id: str) -> Row | None:
    """state, attempts, tries of a delivery, locked; None if it is gone."""
    return await tx.fetch_one(
        "SELECT id, webhook_id, state, attempts, next_at, tries FROM webhook_deliveries"
        " WHERE id = :id FOR UPDATE",
        id=delivery_id,
    )


async def save_delivery(
    tx: Tx,
    *,
    delivery_id: str,
    state: str,
    attempts: int,
    next_at: datetime | None,
    tries: list[Row],
    ended_at: datetime | None,
) -> None:
    """How a delivery stands after a try, or when it is to be sent again."""
    await tx.execute(
        "UPDATE webhook_deliveries SET state = :state, attempts = :attempts, next_at = :next_at,"
        " tries = :tries, ended_at = :ended_at WHERE id = :id",
        id=delivery_id,
        state=state,
        attempts=attempts,
        next_at=next_at,
        tries=tries,
        ended_at=ended_at,
    )


async def hasten_deliveries(tx: Tx, *, webhook_id: str, now: datetime) -> None:
    """Let all that a webhook still has to be sent come due."""
    await tx.execute(
        "UPDATE webhook_deliveries SET next_at = :now"
        " WHERE webhook_id = :webhook_id AND state = 'pending'",
        webhook_id=webhook_id,
        now=now,
    )


async def forget_deliveries(tx: Tx, *, state: str, before: datetime, limit: int) -> int:
    """Remove what ended in a state before then, some at a time; how many."""
    return await tx.execute(
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries"
        " WHERE state = :state AND ended_at < :before ORDER BY ended_at LIMIT :limit)",
        state=state,
        before=before,
        limit=limit,
    )


# ---- batch jobs and their files --------------------------------------------------------------


async def add_job(tx: Tx, *, row: Row) -> None:
    """A new batch job."""
    await tx.insert(BATCH_JOBS, [row])


async def job(tx: Tx, *, job_id: str) -> Row | None:
    """One batch job."""
    return await tx.fetch_one("SELECT * FROM batch_jobs WHERE id = :id", id=job_id)


async def lock_job(tx: Tx, *, job_id: str) -> Row | None:
    """One batch job, locked until the end of the transaction."""
    return await tx.fetch_one("SELECT * FROM batch_jobs WHERE id = :id FOR UPDATE", id=job_id)


async def jobs_under_way(tx: Tx, *, created_by: str) -> int:
    """How many jobs of somebody are not over."""
    many = await tx.fetch_value(
        "SELECT COUNT(*) FROM batch_jobs WHERE created_by = :created_by"
        " AND status NOT IN ('completed', 'canceled', 'failed')",
        created_by=created_by,
    )
    return int(many)


async def due_job(tx: Tx, *, now: datetime) -> str | None:
    """Whether anything is due: the id of a job, or None."""
    found = await tx.fetch_value(
        "SELECT id FROM batch_jobs WHERE next_at <= :now ORDER BY next_at LIMIT 1", now=now
    )
    return None if found is None else str(found)


async def take_job(tx: Tx, *, now: datetime, until: datetime) -> Row | None:
    """The job that has been due for the longest time, as nobody else's until then; or None."""
    row = await tx.fetch_one(
        "SELECT * FROM batch_jobs WHERE next_at <= :now ORDER BY next_at, id LIMIT 1"
        " FOR UPDATE SKIP LOCKED",
        now=now,
    )
    if row is not None:
        await tx.execute(
            "UPDATE batch_jobs SET next_at = :until WHERE id = :id", id=row["id"], until=until
        )
    return row


async def save_job(tx: Tx, *, row: Row) -> None:
    """Write how far a job has come."""
    await tx.execute(
        "UPDATE batch_jobs SET status = :status, result = :result, after_id = :after_id,"
        " pieces = :pieces, next_at = :next_at, pre_processed_at = :pre_processed_at,"
        " confirmed_at = :confirmed_at, processing_at = :processing_at,"
        " completed_at = :completed_at, canceled_at = :canceled_at, failed_at = :failed_at,"
        " updated_at = :updated_at WHERE id = :id",
        **{name: row[name] for name in row if name not in _FIXED_OF_JOB},
    )


_FIXED_OF_JOB = ("type", "context", "dry_run", "created_by", "role", "created_at")


async def add_piece(tx: Tx, *, file: str, number: int, text: str, now: datetime) -> None:
    """The next piece of a file; raises DuplicateRow when there is one of this number."""
    row = {"file": file, "number": number, "text": text, "created_at": now}
    await tx.insert(FILE_PIECES, [row])


async def piece(tx: Tx, *, file: str, number: int) -> str | None:
    """A piece of a file, or None."""
    found = await tx.fetch_value(
        "SELECT text FROM file_pieces WHERE file = :file AND number = :number",
        file=file,
        number=number,
    )
    return None if found is None else str(found)


async def remove_pieces(tx: Tx, *, file: str) -> None:
    """Remove a file."""
    await tx.execute("DELETE FROM file_pieces WHERE file = :file", file=file)


async def remove_old_pieces(tx: Tx, *, before: datetime) -> int:
    """Remove files whose pieces were written before then, some at a time; how many pieces."""
    return await tx.execute(
        "DELETE FROM file_pieces WHERE file IN (SELECT file FROM file_pieces"
        " WHERE created_at < :before ORDER BY created_at LIMIT 10)",
        before=before,
    )
