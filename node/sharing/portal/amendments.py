"""Patients ask for a correction or an amendment, staff answer: a queue in which nothing gets lost."""

from dataclasses import dataclass, replace

from node.clock import Clock
from node.errors.access import NotFound
from node.errors.portal_pages import InvalidMessage, MessageAnswered, NoSuchMessage, TooManyMessages
from node.model.access import Caller
from node.model.audit import AuditEvent, AuditType
from node.model.ids import StudyInstanceUID
from node.model.instance import Demographics, StudySummary
from node.model.message import Message, MessageId, MessageKind, MessageOutcome, is_text
from node.sharing.links import local_record
from node.sharing.portal.records import Record, Records
from node.store import audit
from node.store import portal_pages as rows
from node.store.engine import Database
from node.store.study_queries import StudyQuery, find_studies

MAX_OPEN = 10  # messages of one account that wait for an answer


@dataclass(frozen=True, slots=True)
class Shown:
    """A message with what it is about, as staff see it."""

    message: Message
    demographics: Demographics
    study: StudySummary | None


class Amendments:
    """The queue."""

    def __init__(self, *, db: Database, records: Records, clock: Clock) -> None:
        self._db = db
        self._records = records
        self._clock = clock

    async def records(self, caller: Caller) -> tuple[Record, ...]:
        """About whom the caller may write."""
        return await self._records.records(caller)

    async def mine(self, caller: Caller) -> list[Message]:
        """What the caller sent, newest first; its answers count as seen from now on."""
        async with self._db.write() as tx:
            found = await rows.messages_of(tx, caller.actor)
            if any(one.answered_at is not None and one.seen_at is None for one in found):
                await rows.seen(tx, caller.actor, self._clock.now())
        return found

    async def send(
        self, caller: Caller, access: str, kind: MessageKind, text: str, study: StudyInstanceUID | None = None
    ) -> Message:
        """Ask something about one of the caller's records.

        Raises:
            NotFound: no such record. InvalidMessage: nothing is said, or too much. TooManyMessages: others wait.
        """
        record = next((one for one in await self.records(caller) if str(one.access.access_id) == access), None)
        if record is None:
            raise NotFound
        if not is_text(text):
            raise InvalidMessage
        now = self._clock.now()
        message = Message(MessageId.new(), caller.actor, record.patient, study, kind, text.strip(), now)
        async with self._db.write() as tx:
            held = await rows.messages_of(tx, caller.actor)
            if sum(one.answered_at is None for one in held) >= MAX_OPEN:
                raise TooManyMessages
            await rows.add_message(tx, message)
            event = AuditEvent(
                AuditType.PORTAL_MESSAGE_SENT, now, caller.actor, patient=record.patient, study=study,
                detail={"message": str(message.message_id), "kind": kind.value},
            )  # fmt: skip
            await audit.append(tx, event)
        return message

    async def page(self, *, is_open: bool, by: str) -> list[Shown]:
        """What waits for staff, oldest first, or what was answered; the look is on record."""
        async with self._db.write() as tx:
            found = await rows.messages(tx, is_open=is_open)
            shown = []
            for one in found:
                said = await local_record(tx, one.patient, Demographics())
                studies = await find_studies(tx, StudyQuery(study_uids=(one.study,))) if one.study else []
                shown.append(Shown(one, said, studies[0] if studies else None))
            detail: dict[str, str | int] = {"messages": len(found)}
            await audit.append(tx, AuditEvent(AuditType.PORTAL_INBOX_READ, self._clock.now(), by, detail=detail))
        return shown

    async def answer(self, name: str, outcome: MessageOutcome, text: str, *, by: str) -> Message:
        """Answer one; the patient reads it.

        Raises:
            NoSuchMessage, MessageAnswered, InvalidMessage: nothing was changed.
        """
        if not is_text(text):
            raise InvalidMessage
        now = self._clock.now()
        async with self._db.write() as tx:
            try:
                message = await rows.get_message(tx, MessageId.parse(name))
            except ValueError as exc:
                raise NoSuchMessage from exc
            if message is None:
                raise NoSuchMessage
            answered = replace(message, answer=text.strip(), outcome=outcome, answered_at=now, answered_by=by)
            if not await rows.answer(tx, answered):
                raise MessageAnswered
            event = AuditEvent(
                AuditType.PORTAL_MESSAGE_ANSWERED, now, by, patient=message.patient, study=message.study,
                detail={"message": str(message.message_id), "outcome": outcome.value},
            )  # fmt: skip
            await audit.append(tx, event)
        return answered
