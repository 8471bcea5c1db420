"""Rows of POSTs that were sent with an Idempotency-Key."""

from dataclasses import dataclass

from node.store.engine import Read, Write


@dataclass(frozen=True, slots=True)
class KeptCall:
    """What was said, and (``status`` not None) what was answered; ``body`` is sealed."""

    said: bytes
    status: int | None
    kind: str
    body: bytes


async def kept(rx: Read, digest: bytes, since: int) -> KeptCall | None:
    """The call of this digest, if it is not older than ``since``."""
    row = await rx.fetch_one(
        "SELECT said, status, kind, body FROM idempotent_call WHERE digest = ? AND created_at >= ?", (digest, since)
    )
    return None if row is None else KeptCall(row[0], row[1], row[2], row[3])


async def begin(tx: Write, digest: bytes, said: bytes, now: int) -> None:
    """A call begins; there is none of this digest."""
    await tx.execute("INSERT INTO idempotent_call (digest, said, created_at) VALUES (?, ?, ?)", (digest, said, now))


async def finish(tx: Write, digest: bytes, status: int, kind: str, body: bytes) -> None:
    """What was answered."""
    await tx.execute(
        "UPDATE idempotent_call SET status = ?, kind = ?, body = ? WHERE digest = ?", (status, kind, body, digest)
    )


async def forget(tx: Write, digest: bytes) -> None:
    """It came to nothing."""
    await tx.execute("DELETE FROM idempotent_call WHERE digest = ?", (digest,))


async def forget_before(tx: Write, since: int) -> None:
    """Those that are too old to be asked for again."""
    await tx.execute("DELETE FROM idempotent_call WHERE created_at < ?", (since,))
