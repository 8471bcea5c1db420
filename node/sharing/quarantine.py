"""What contradicts what is held: looked at from both sides, then accepted in its place, or shredded."""

from dataclasses import dataclass
from typing import Any

import msgspec

from node.clock import Clock
from node.dicom.pool import ByteSource, ParserPool
from node.errors.base import LeveretError
from node.errors.lifecycle import QuarantineNotAcceptable
from node.log import Logger
from node.model.audit import AuditEvent, AuditType
from node.model.ids import StudyInstanceUID, TransferSyntaxUID
from node.model.instance import StoredInstance
from node.model.lifecycle import HiddenReason
from node.model.quarantine import Acceptance, acceptance
from node.model.withdrawal import Buried, WithdrawalKind
from node.sharing.withdrawals import Matter, Withdrawals
from node.store import audit, quarantine
from node.store.engine import Database, Write
from node.store.objects import ObjectStore
from node.store.quarantine import Quarantined
from node.store.study_queries import InstanceQuery

MAX_DIFFERENCES = 200  # elements shown; who sees that many needs no more
MAX_SHOWN = 200  # characters of a value
_WORDS = "Replaced by a corrected image"

Elements = dict[str, dict[str, Any]]
_decode = msgspec.json.Decoder(Elements).decode


@dataclass(frozen=True, slots=True)
class Difference:
    """An element of the data sets before their pixels that is not the same in both; empty: it is not there."""

    tag: str
    vr: str
    held: str
    aside: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides of one contradiction."""

    aside: Quarantined
    held: StoredInstance | None  # visible under the same SOP Instance UID
    acceptance: Acceptance
    differences: tuple[Difference, ...]
    unreadable: str = ""  # the code of what keeps the data sets from being compared


class Quarantine:
    """Decides about what was put aside."""

    def __init__(
        self,
        *,
        db: Database,
        store: ObjectStore,
        pool: ParserPool,
        withdrawals: Withdrawals,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._db = db
        self._store = store
        self._pool = pool
        self._withdrawals = withdrawals
        self._clock = clock
        self._log = log

    async def page(self, *, limit: int = 1000, offset: int = 0) -> list[Quarantined]:
        """What was put aside, last first."""
        await self._store.indexed()
        async with self._db.read() as rx:
            return await quarantine.page(rx, limit=limit, offset=offset)

    async def inspect(self, number: int, *, by: str) -> Comparison:
        """Both sides, and where they differ; that they were looked at goes on record. Raises UnknownQuarantined."""
        await self._store.indexed()
        async with self._db.read() as rx:
            one = await quarantine.get(rx, number)
            where = await quarantine.locate(rx, one)
            possible = acceptance(await quarantine.circumstances(rx, one))
        uid = one.meta.header.sop_instance_uid
        found = await self._store.instances(InstanceQuery(instance_uids=(uid,)))
        held = found[0] if found else None
        await self._record(one, by, "inspected")
        if held is None:
            return Comparison(one, None, possible, ())
        try:
            aside = await self._elements(self._store.reader_at(where), one.meta.header.transfer_syntax_uid)
            beside = await self._elements(await self._store.reader(uid), held.header.transfer_syntax_uid)
        except LeveretError as error:  # one of them is damaged, or cannot be read: that is worth knowing
            return Comparison(one, held, possible, (), error.code)
        return Comparison(one, held, possible, tuple(differences(beside, aside))[:MAX_DIFFERENCES])

    async def accept(self, number: int, *, by: str) -> StudyInstanceUID:
        """It is right: it takes the place of what is held, or joins its study; the study's new revision has it.

        Raises:
            UnknownQuarantined. QuarantineNotAcceptable: there is no place where it would contradict nothing.
        """
        await self._store.indexed()
        now = self._clock.now()
        async with self._db.write() as tx:
            one = await quarantine.get(tx, number)
            if acceptance(await quarantine.circumstances(tx, one)) is Acceptance.IMPOSSIBLE:
                raise QuarantineNotAcceptable
            held = await quarantine.held_beside(tx, one)
            if not await quarantine.put_in_place(tx, one, now=now):
                raise QuarantineNotAcceptable
            if held is not None:
                gone = Buried(one.meta.header.sop_instance_uid, held[1])
                matter = Matter(held[0], WithdrawalKind.REPLACEMENT, HiddenReason.SUPERSEDED, _WORDS, (gone,))
                await self._withdrawals.tell(tx, matter, count=1, by=by)
            await self._write_down(tx, one, by, "accepted")
        self._log.info("quarantine", state="accepted", reason=one.reason.value)
        return one.meta.header.study_instance_uid

    async def discard(self, number: int, *, by: str) -> None:
        """It is wrong: nobody can read it again. Raises UnknownQuarantined."""
        await self._store.indexed()
        async with self._db.read() as rx:
            one = await quarantine.get(rx, number)
        await self._store.shred(one, lambda tx: self._write_down(tx, one, by, "discarded"))
        self._log.info("quarantine", state="discarded", reason=one.reason.value)

    async def _elements(self, source: ByteSource, syntax: TransferSyntaxUID) -> Elements:
        return _decode(await self._pool.to_json(source, syntax, ""))

    async def _record(self, one: Quarantined, by: str, what: str) -> None:
        async with self._db.write() as tx:
            await self._write_down(tx, one, by, what)

    async def _write_down(self, tx: Write, one: Quarantined, by: str, what: str) -> None:
        header = one.meta.header
        detail: dict[str, str | int] = {"decision": what, "reason": one.reason.value, "digest": str(one.meta.digest)}
        event = AuditEvent(
            AuditType.QUARANTINE_DECIDED, self._clock.now(), by, patient=header.patient,
            study=header.study_instance_uid, detail=detail,
        )  # fmt: skip
        await audit.append(tx, event)


def differences(held: Elements, aside: Elements) -> list[Difference]:
    """The top-level elements that are not the same, by tag."""
    found = []
    for tag in sorted(held.keys() | aside.keys()):
        here, there = held.get(tag), aside.get(tag)
        if here == there:
            continue
        vr = str((here or there or {}).get("vr", ""))
        found.append(Difference(tag, vr, _shown(here), _shown(there)))
    return found


def _shown(element: dict[str, Any] | None) -> str:
    if element is None:
        return ""
    values = element.get("Value", element.get("InlineBinary", ""))
    plain = (
        [v.get("Alphabetic", v) if isinstance(v, dict) else v for v in values] if isinstance(values, list) else values
    )
    text = "\\".join(map(str, plain)) if isinstance(plain, list) else str(plain)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
