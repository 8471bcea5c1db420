"""Rows of local users."""

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


async def enable_user(tx: Write, name: str) -> bool:
    """Let a disabled user in again; False if it was not disabled."""
    return (
        await tx.execute("UPDATE user SET disabled_at = NULL WHERE name = ? AND disabled_at IS NOT NULL", (name,)) > 0
    )


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
