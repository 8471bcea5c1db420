"""Rows of local users and their tokens."""

from node.model.access import Role, User
from node.store.engine import Read, Write

_USER = (
    "SELECT name, role, created_at, disabled_at,"
    " (SELECT count(*) FROM token WHERE token.user = user.name AND token.expires_at > ?1)"
    " FROM user"
)


async def add_user(tx: Write, name: str, role: Role, password: str | None, now: int) -> bool:
    """Add a user; False if the name is taken."""
    added = await tx.execute(
        "INSERT INTO user (name, role, password, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (name, role.value, password, now),
    )
    return added == 1


async def disable_user(tx: Write, name: str, now: int) -> None:
    """Disable a user and forget all tokens; a disabled one stays as it is."""
    await tx.execute("UPDATE user SET disabled_at = ? WHERE name = ? AND disabled_at IS NULL", (now, name))
    await tx.execute("DELETE FROM token WHERE user = ?", (name,))


async def set_password(tx: Write, name: str, password: str) -> None:
    """Keep another hash."""
    await tx.execute("UPDATE user SET password = ? WHERE name = ?", (password, name))


async def password_of(rx: Read, name: str) -> tuple[Role, str] | None:
    """Role and password hash of an active user who has a password."""
    row = await rx.fetch_one(
        "SELECT role, password FROM user WHERE name = ? AND password IS NOT NULL AND disabled_at IS NULL", (name,)
    )
    return None if row is None else (Role(row[0]), row[1])


async def get_user(rx: Read, name: str, now: int) -> User | None:
    """One user."""
    row = await rx.fetch_one(f"{_USER} WHERE name = ?2", (now, name))
    return None if row is None else User(row[0], Role(row[1]), row[2], row[3], row[4])


async def all_users(rx: Read, now: int) -> list[User]:
    """All users by name."""
    rows = await rx.fetch_all(f"{_USER} ORDER BY name", (now,))
    return [User(row[0], Role(row[1]), row[2], row[3], row[4]) for row in rows]


async def add_token(tx: Write, user: str, digest: bytes, now: int, expires_at: int) -> None:
    """Keep a new token's digest; those that have expired go."""
    await tx.execute("DELETE FROM token WHERE expires_at <= ?", (now,))
    await tx.execute(
        "INSERT INTO token (digest, user, created_at, expires_at) VALUES (?, ?, ?, ?)", (digest, user, now, expires_at)
    )


async def user_of_token(rx: Read, digest: bytes, now: int) -> tuple[str, Role, int] | None:
    """Name and role of the active user whose token this is, and when it expires."""
    row = await rx.fetch_one(
        "SELECT user.name, user.role, token.expires_at FROM token JOIN user ON user.name = token.user"
        " WHERE token.digest = ? AND token.expires_at > ? AND user.disabled_at IS NULL",
        (digest, now),
    )
    return None if row is None else (row[0], Role(row[1]), row[2])
