"""Rows of bearer tokens."""

from node.model.access import Role, Scope, Token
from node.store.engine import Read, Write

_ID_BYTES = 8  # of the digest: names a token to people; says nothing of its text
_TOKEN = "SELECT token.digest, label, scopes, token.created_at, expires_at, used_at"  # noqa: S105 - columns


def id_of(digest: bytes) -> str:
    """What people call a token."""
    return digest[:_ID_BYTES].hex()


async def add_token(tx: Write, user: str, digest: bytes, token: Token) -> None:
    """Keep a new token's digest; those that have expired go."""
    await tx.execute("DELETE FROM token WHERE expires_at <= ?", (token.created_at,))
    await tx.execute(
        "INSERT INTO token (digest, user, created_at, expires_at, label, scopes) VALUES (?, ?, ?, ?, ?, ?)",
        (digest, user, token.created_at, token.expires_at, token.label, " ".join(sorted(token.scopes))),
    )


async def user_of_token(rx: Read, digest: bytes, now: int) -> tuple[str, Role, Token] | None:
    """Name and role of the active user whose token this is, and what it is good for."""
    row = await rx.fetch_one(
        f"{_TOKEN}, user.name, user.role FROM token JOIN user ON user.name = token.user"
        " WHERE token.digest = ? AND token.expires_at > ? AND user.disabled_at IS NULL",
        (digest, now),
    )
    return None if row is None else (row[6], Role(row[7]), _token(row))


async def tokens_of(rx: Read, user: str, now: int) -> list[Token]:
    """Those that are still good, newest first."""
    rows = await rx.fetch_all(
        f"{_TOKEN} FROM token WHERE user = ? AND expires_at > ? ORDER BY created_at DESC, digest", (user, now)
    )
    return [_token(row) for row in rows]


async def remove_token(tx: Write, user: str, token_id: str) -> bool:
    """Forget one; False if the user has none of that name."""
    removed = await tx.execute(
        "DELETE FROM token WHERE user = ? AND hex(substr(digest, 1, 8)) = upper(?)", (user, token_id)
    )
    return removed > 0


async def used(tx: Write, digest: bytes, now: int) -> None:
    """Note that it is in use."""
    await tx.execute("UPDATE token SET used_at = ? WHERE digest = ?", (now, digest))


def _token(row: tuple) -> Token:  # type: ignore[type-arg]  # as the engine gives rows
    return Token(id_of(row[0]), row[1], frozenset(Scope(word) for word in row[2].split()), row[3], row[4], row[5])
