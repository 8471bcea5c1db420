"""Rejection notes (IHE IOCM): a document that says which images must not be used, received like any other instance.

It is known by what it is, an own Key Object Selection document with one of four titles, not by who sent it or how. What
it names is hidden before its sender is told that it is stored, and buried: the note may come before its objects, and a
resend resurrects nothing. Notes that a stop left unread are read at the next start.
"""

import asyncio
from collections.abc import Sequence

from node.clock import Clock
from node.config import StoreSettings
from node.dicom.keynote import KeyObjectNote
from node.dicom.pool import ParserPool
from node.errors.base import LeveretError, Retryable
from node.log import Logger
from node.model.audit import AuditEvent, AuditType
from node.model.ids import SOPInstanceUID, StudyInstanceUID
from node.model.lifecycle import REJECTION_TITLES, RETENTION_EXPIRED, HiddenReason, RevisionCause
from node.model.withdrawal import Buried, WithdrawalKind
from node.sharing.withdrawals import Matter, Withdrawals
from node.store import audit, corrections, hiding, keyobjects, tombstones
from node.store.engine import Database, Write
from node.store.keyobjects import KeyObject
from node.store.objects import ObjectStore
from node.store.tombstones import Tombstone

LOOK_SECONDS = 60.0  # between looks for notes that could not be read when they came

WORDS = {
    HiddenReason.REJECTED_QUALITY: "Rejected for Quality Reasons",
    HiddenReason.REJECTED_SAFETY: "Rejected for Patient Safety Reasons",
    HiddenReason.WRONG_WORKLIST_ENTRY: "Incorrect Modality Worklist Entry",
}


class Rejections:
    """Reads key objects and applies those that reject."""

    def __init__(
        self,
        *,
        db: Database,
        store: ObjectStore,
        pool: ParserPool,
        withdrawals: Withdrawals,
        settings: StoreSettings,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._db = db
        self._store = store
        self._pool = pool
        self._withdrawals = withdrawals
        self._settings = settings
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Read what a stop, or trouble, left unread, until cancelled."""
        while True:
            try:
                await self.read_new()
            except LeveretError as error:
                self._log.warning("key objects not read", component="rejections", code=error.code)
            await asyncio.sleep(LOOK_SECONDS)

    async def read_new(self) -> None:
        """Read every key object that was not read yet, before the sender of one hears that it is stored.

        Raises:
            Retryable: this node is in trouble; the sender sends again.
        """
        async with self._db.read() as rx:
            unread = await keyobjects.unread(rx)
        for one in unread:
            try:
                note = await self._read(one)
            except Retryable:
                raise
            except LeveretError as error:  # no document that a sane program wrote: it stays what it is, an instance
                self._log.warning("key object not readable", component="rejections", code=error.code)
                note = KeyObjectNote("", {})
            async with self._db.write() as tx:
                await self._apply(tx, one, note)

    async def _read(self, one: KeyObject) -> KeyObjectNote:
        if not one.is_own:  # a peer withdraws by a signed notice, not by a document among its images
            return KeyObjectNote("", {})
        reader = await self._store.reader(one.instance)
        return await self._pool.note(reader, one.transfer_syntax)

    async def _apply(self, tx: Write, one: KeyObject, note: KeyObjectNote) -> None:
        now, reason = self._clock.now(), self._reason(note.title)
        await keyobjects.mark_read(tx, one.instance)
        if reason is None and note.title not in {*REJECTION_TITLES, RETENTION_EXPIRED}:
            return
        await hiding.hide(  # first: what is left of the study then is what was rejected
            tx, one.study, [one.instance], HiddenReason.REJECTION_NOTE, cause=RevisionCause.REJECTION, now=now,
            words=WORDS[reason] if reason else "", close=False,
        )  # fmt: skip
        hidden = 0
        if reason is not None:
            for study, instances in note.references.items():
                hidden += await self._reject(tx, study, instances, reason)
        named = sum(map(len, note.references.values()))
        detail: dict[str, str | int] = {"title": note.title, "instances": named, "hidden": hidden}
        await audit.append(tx, AuditEvent(AuditType.REJECTION_NOTE_APPLIED, now, study=one.study, detail=detail))
        self._log.info("rejection note", code=note.title, count=hidden)

    def _reason(self, title: str) -> HiddenReason | None:
        """What a document of that title does to what it names; None: nothing."""
        reason = REJECTION_TITLES.get(title)
        if reason is HiddenReason.REJECTED_QUALITY and not self._settings.hide_poor_quality:
            return None
        return reason

    async def _reject(
        self, tx: Write, study: StudyInstanceUID, instances: Sequence[SOPInstanceUID], reason: HiddenReason
    ) -> int:
        """Hide and bury own instances; whoever got the study is told of them."""
        now = self._clock.now()
        held = await corrections.own_study(tx, study)
        await tombstones.add(tx, [Tombstone(study, reason, instance) for instance in instances], at=now)
        if held is None or not held[1]:
            return 0
        hidden = await hiding.hide(
            tx, study, instances, reason, cause=RevisionCause.REJECTION, now=now, words=WORDS[reason]
        )
        if hidden:
            matter = Matter(study, WithdrawalKind.REJECTION, reason, WORDS[reason], tuple(map(Buried, hidden)))
            await self._withdrawals.tell(tx, matter, count=len(hidden), by="node")
        return len(hidden)
