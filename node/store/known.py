"""What is held under a SOP Instance UID, looked up for many at once.

Storing an instance begins with this question. Asked one by one, the trips to the index's threads cost more than hashing
the image; so whoever asks while a query runs shares the next one.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum

import msgspec

from node.model.ids import Digest, ObjectId, RequestId, SOPInstanceUID
from node.store.engine import Database, Read


class Kind(Enum):
    """How something held under a SOP Instance UID is held."""

    VISIBLE = 0
    STAGED = 1
    ASIDE = 2
    HIDDEN = 3
    SUPERSEDED = 4  # another data set was put in its place: it is known, and contradicts nothing


@dataclass(frozen=True, slots=True)
class Known:
    """Something held under the SOP Instance UID in question."""

    kind: Kind
    digest: Digest
    object_id: ObjectId
    transfer: RequestId | None = None


@dataclass(slots=True, eq=False)
class _Question:
    instance: SOPInstanceUID
    transfer: RequestId | None
    answer: list[Known] | None = None


class KnownInstances:
    """Answers from the index; what is durable but not yet indexed is the caller's to add, before it asks."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[_Question] = []
        self._turn = asyncio.Lock()

    async def find(self, instance: SOPInstanceUID, transfer: RequestId | None) -> list[Known]:
        """What is visible or put aside under ``instance``, or staged under it in ``transfer``.

        The snapshot is taken after the call began.
        """
        question = _Question(instance, transfer)
        self._waiting.append(question)
        try:
            async with self._turn:
                if question.answer is None:
                    await self._answer_all()
        finally:
            if question in self._waiting:  # cancelled, or the query failed
                self._waiting.remove(question)
        assert question.answer is not None
        return question.answer

    async def _answer_all(self) -> None:
        """Answer whoever waits now; if this is cancelled or fails, they wait on and the next one answers."""
        questions = list(self._waiting)
        found: dict[SOPInstanceUID, list[Known]] = {}
        async with self._db.read() as rx:
            await _collect_held(rx, questions, found)
            for transfer in {question.transfer for question in questions} - {None}:
                assert transfer is not None
                await _collect_staged(rx, transfer, questions, found)
        for question in questions:
            known = found.get(question.instance, [])
            question.answer = [one for one in known if one.transfer in {None, question.transfer}]
        self._waiting = [question for question in self._waiting if question.answer is None]


async def _collect_held(rx: Read, questions: list[_Question], found: dict[SOPInstanceUID, list[Known]]) -> None:
    rows = await rx.fetch_all(
        "SELECT 0, uid, digest, object_id FROM instance WHERE uid IN (SELECT value FROM json_each(?1))"
        " UNION ALL SELECT 2, uid, digest, object_id FROM quarantine WHERE uid IN (SELECT value FROM json_each(?1))"
        " UNION ALL SELECT iif(reason = 'superseded', 4, 3), uid, digest, object_id FROM hidden"
        "  WHERE uid IN (SELECT value FROM json_each(?1))",
        (_json_of(questions),),
    )
    for kind, uid, digest, object_id in rows:
        known = Known(Kind(kind), Digest(bytes(digest)), ObjectId(bytes(object_id)))
        found.setdefault(SOPInstanceUID(uid), []).append(known)


async def _collect_staged(
    rx: Read, transfer: RequestId, questions: list[_Question], found: dict[SOPInstanceUID, list[Known]]
) -> None:
    asked = [question for question in questions if question.transfer == transfer]
    rows = await rx.fetch_all(
        "SELECT uid, digest, object_id FROM staged WHERE transfer = ? AND uid IN (SELECT value FROM json_each(?))",
        (transfer.value, _json_of(asked)),
    )
    for uid, digest, object_id in rows:
        known = Known(Kind.STAGED, Digest(bytes(digest)), ObjectId(bytes(object_id)), transfer)
        found.setdefault(SOPInstanceUID(uid), []).append(known)


def _json_of(questions: list[_Question]) -> str:
    return msgspec.json.encode([str(question.instance) for question in questions]).decode()
