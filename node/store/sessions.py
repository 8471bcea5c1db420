"""Rows of browser sessions and of failed attempts to sign in."""

from node.model.access import Role, Session
from node.store.engine import Read, Write


async def add_session(tx: Write, digest: bytes, session: Session, now: int) -> None:
    """Keep a new session by its cookie's digest; those that have expired go."""
    await tx.execute("DELETE FROM session WHERE expires_at <= ?", (now,))
    await tx.execute(
        "INSERT INTO session (digest, actor, role, csrf, created_at, seen_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (digest, session.caller.actor, session.caller.role.value, session.csrf, now, now, session.expires_at),
    )


async def session_of(rx: Read, digest: bytes, now: int, idle: int) -> tuple[str, Role, str, int, int] | None:
    """Actor, role, CSRF token, last use and end of a session that is good, and was used within ``idle`` seconds."""
    row = await rx.fetch_one(
        "SELECT actor, role, csrf, seen_at, expires_at FROM session"
        " WHERE digest = ? AND expires_at > ? AND seen_at > ?",
        (digest, now, now - idle),
    )
    return None if row is None else (row[0], Role(row[1]), row[2], row[3], row[4])


async def seen(tx: Write, digest: bytes, now: int) -> None:
    """The session was used."""
    await tx.execute("UPDATE session SET seen_at = ? WHERE digest = ?", (now, digest))


async def end_session(tx: Write, digest: bytes) -> None:
    """Forget one session."""
    await tx.execute("DELETE FROM session WHERE digest = ?", (digest,))


async def end_sessions_of(tx: Write, actor: str) -> None:
    """Forget all sessions of somebody."""
    await tx.execute("DELETE FROM session WHERE actor = ?", (actor,))


async def end_other_sessions(tx: Write, session: Session) -> None:
    """Forget all sessions of who has ``session``, but not that one."""
    await tx.execute("DELETE FROM session WHERE actor = ? AND csrf <> ?", (session.caller.actor, session.csrf))


async def failures_of(rx: Read, account: str) -> tuple[int, int]:
    """How often signing in failed since it last succeeded, and when it failed last (0, 0: never)."""
    row = await rx.fetch_one("SELECT failures, last_at FROM login_failure WHERE account = ?", (account,))
    return (0, 0) if row is None else (row[0], row[1])


async def add_failure(tx: Write, account: str, now: int) -> None:
    """One more failed attempt."""
    await tx.execute(
        "INSERT INTO login_failure (account, failures, last_at) VALUES (?, 1, ?)"
        " ON CONFLICT (account) DO UPDATE SET failures = failures + 1, last_at = excluded.last_at",
        (account, now),
    )


async def forget_old_failures(tx: Write, prefix: str, before: int) -> None:
    """Accounts of this kind at which nothing failed since ``before`` start anew: names that nobody has pile up else."""
    await tx.execute(
        "DELETE FROM login_failure WHERE account >= ?1 AND account < ?1 || char(1114111) AND last_at < ?2",
        (prefix, before),
    )


async def forget_failures(tx: Write, account: str) -> None:
    """Signing in succeeded, or somebody in charge reset it."""
    await tx.execute("DELETE FROM login_failure WHERE account = ?", (account,))
