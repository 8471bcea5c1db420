"""A POST that is sent twice is done once (draft-ietf-httpapi-idempotency-key-header-07).

The answer is kept for a day, sealed under the key itself, which is not kept: a copy of the index shows no token and no
share code that was once answered. A call that fails changed nothing and is forgotten, so that it can be tried again. A
call whose client is gone is carried out to its end: the client will ask again what became of it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from node.clock import Clock
from node.crypto.seal import seal, unseal
from node.errors.access import IdempotencyKeyReused, StillRunning, UnknownOutcome
from node.store import idempotency as rows
from node.store.engine import Database

KEPT_SECONDS = 86400
MAX_ANSWER = 1 << 20  # bytes: larger answers are not kept, their calls not repeated


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    kind: str  # media type; empty without a body
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyedCall:
    """Who calls what with which key, and what is said beside it."""

    actor: str
    target: str  # method and path
    key: str
    said: bytes  # query and body

    @property
    def digest(self) -> bytes:
        """Names the call in the index."""
        return _digest(b"call", self.actor, self.target, self.key)

    @property
    def secret(self) -> bytes:
        """Seals the answer; only who repeats the key has it."""
        return _digest(b"seal", self.actor, self.target, self.key)


class Idempotency:
    """Calls with a key; while its context is open."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._running: dict[bytes, asyncio.Task[tuple[Answer, bool]]] = {}

    async def __aenter__(self) -> Self:
        """Calls may come."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for those that run."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def once(self, call: KeyedCall, work: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        """The answer of ``work``, and whether it was given before.

        Raises:
            IdempotencyKeyReused: with other words under the same key.
            StillRunning: the first one is still at work.
            UnknownOutcome: the node was stopped while the first one was at work.
            Whatever ``work`` raises; then the key is free again.
        """
        digest, said = call.digest, hashlib.sha256(call.said).digest()
        if digest in self._running:
            raise StillRunning
        # From here to its entry nothing waits: of two at once, one gets in.
        task = asyncio.get_running_loop().create_task(self._carry_out(call, digest, said, work))
        self._running[digest] = task
        task.add_done_callback(lambda done: self._end(digest, done))
        return await asyncio.shield(task)

    def _end(self, digest: bytes, task: asyncio.Task[tuple[Answer, bool]]) -> None:
        del self._running[digest]
        if not task.cancelled():
            task.exception()  # if the caller is gone, nobody else asks for it

    async def _carry_out(
        self, call: KeyedCall, digest: bytes, said: bytes, work: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, bool]:
        now = self._clock.now()
        async with self._db.write() as tx:
            await rows.forget_before(tx, now - KEPT_SECONDS)
            before = await rows.kept(tx, digest, now - KEPT_SECONDS)
            if before is None:
                await rows.begin(tx, digest, said, now)
        if before is not None:
            return _repeated(call, digest, said, before), True
        try:
            answer = await work()
        except BaseException:
            async with self._db.write() as tx:
                await rows.forget(tx, digest)
            raise
        async with self._db.write() as tx:
            if len(answer.body) > MAX_ANSWER:
                await rows.forget(tx, digest)
            else:
                sealed = seal(call.secret, answer.body, digest)
                await rows.finish(tx, digest, answer.status, answer.kind, sealed)
        return answer, False


def _repeated(call: KeyedCall, digest: bytes, said: bytes, before: rows.KeptCall) -> Answer:
    if before.said != said:
        raise IdempotencyKeyReused
    if before.status is None:
        raise UnknownOutcome
    return Answer(before.status, before.kind, unseal(call.secret, before.body, digest))


def _digest(*parts: bytes | str) -> bytes:
    whole = hashlib.sha256(b"leveret/idempotency/v1")
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        whole.update(len(raw).to_bytes(8) + raw)
    return whole.digest()
