"""What a patient may see now: the one place that decides it, for every page, picture, download and share.

An account's accesses name patients; a patient that was merged into another is that one. Their own studies, and
received ones that are linked to them, are theirs; what is withdrawn, hidden or quarantined is in no list of the index
and thus in none here. Release delays and decisions of staff come last (``model.portal.availability``). It is worked
out anew for each request: an access that ended, or a link that was taken back, counts at once.

Sensitive studies (which are never announced to other facilities) are shown to the patient, whose they are, and to no
proxy, not even as a line in the list.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from node.errors.access import NotFound
from node.errors.portal import InvalidPortalOrder
from node.errors.storage import UnknownStudy
from node.model.access import Caller, Role
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics, StudySummary
from node.model.portal import (
    Access,
    AccountId,
    Availability,
    Relation,
    ReleasePolicy,
    Ruling,
    RulingKind,
    Scope,
    Showing,
    availability,
)
from node.sharing.portal.enrolment import account_of
from node.sharing.portal.parts import PortalParts
from node.store import audit, identity
from node.store import portal as rows
from node.store import portal_records as record_rows
from node.store.engine import Read
from node.store.study_queries import StudyQuery, find_studies

MAX_REASON = 400  # characters of why a study is held


@dataclass(frozen=True, slots=True)
class Record:
    """One patient that an account stands for."""

    access: Access
    patient: PatientKey
    demographics: Demographics = field(repr=False)

    @property
    def may_share(self) -> bool:
        """Whether the account may give these studies to others."""
        return self.access.scope is Scope.SHARE


@dataclass(frozen=True, slots=True)
class OwnStudy:
    """A study of a record, with when it can be opened."""

    record: Record
    study: StudySummary
    availability: Availability

    @property
    def is_visible(self) -> bool:
        """Whether it can be opened now."""
        return self.availability.showing is Showing.VISIBLE


class Records:
    """What accounts may see. It is the source of ``Role.PATIENT`` for DICOMweb (``sharing.visibility``)."""

    def __init__(self, parts: PortalParts) -> None:
        self._parts = parts
        settings = parts.settings
        self._policy = ReleasePolicy.parse(settings.release_delay_hours, settings.release_delays)

    async def records(self, caller: Caller) -> tuple[Record, ...]:
        """For whom the caller stands now, its own record first; none for who is no patient."""
        async with self._parts.db.read() as rx:
            return await self._records(rx, caller)

    async def visible(self, caller: Caller) -> frozenset[StudyInstanceUID]:
        """The studies that the caller may open now."""
        async with self._parts.db.read() as rx:
            records = await self._accesses(rx, caller)
            return frozenset(uid for uid, _, shown in await self._judged(rx, records) if shown.showing is _VISIBLE)

    async def sharable(self, caller: Caller) -> frozenset[StudyInstanceUID]:
        """Those among them that the caller may give to others."""
        async with self._parts.db.read() as rx:
            records = [pair for pair in await self._accesses(rx, caller) if pair[0].scope is Scope.SHARE]
            return frozenset(uid for uid, _, shown in await self._judged(rx, records) if shown.showing is _VISIBLE)

    async def studies(self, caller: Caller) -> tuple[OwnStudy, ...]:
        """The list that the caller sees, newest first: also what cannot be opened yet, with from when, or why not."""
        async with self._parts.db.read() as rx:
            records = {one.access.access_id: one for one in await self._records(rx, caller)}
            judged = await self._judged(rx, [(one.access, one.patient) for one in records.values()])
            named = [one for one in judged if one[2].showing is not Showing.CONCEALED]
            summaries = await _summaries(rx, [uid for uid, _, _ in named])
        return tuple(
            OwnStudy(records[access.access_id], summaries[uid], shown)
            for uid, access, shown in named
            if uid in summaries
        )

    async def study(self, caller: Caller, study: StudyInstanceUID) -> OwnStudy:
        """One of them that can be opened; raises NotFound, whatever the reason."""
        found = next((one for one in await self.studies(caller) if one.study.study_instance_uid == study), None)
        if found is None or not found.is_visible:
            raise NotFound
        return found

    async def accounts_for(self, rx: Read, patient: PatientKey) -> set[AccountId]:
        """The accounts that stand for a patient now."""
        now = self._parts.clock.now()
        return {one.account for one in await rows.accesses_to(rx, [patient]) if one.is_live(now)}

    async def shown_to(self, patient: PatientKey) -> tuple[tuple[StudySummary, Availability], ...]:
        """For staff: a patient's studies, and when the patient sees each, with or without an account."""
        now = self._parts.clock.now()
        async with self._parts.db.read() as rx:
            patient = await identity.survivor(rx, patient)
            found = await record_rows.studies_of(rx, [patient])
            summaries = await _summaries(rx, [one.study for one in found])
        return tuple(
            (summaries[one.study], availability(one.facts, self._policy, Relation.SELF, now))
            for one in found
            if one.study in summaries
        )

    async def within(self, rx: Read, caller: Caller) -> tuple[Record, ...]:
        """The same as :meth:`records`, in a snapshot of the caller's."""
        return await self._records(rx, caller)

    async def known(self, rx: Read, caller: Caller) -> tuple[frozenset[StudyInstanceUID], frozenset[StudyInstanceUID]]:
        """The studies that the caller may know of, and those of which not even that."""
        judged = await self._judged(rx, await self._accesses(rx, caller))
        concealed = frozenset(uid for uid, _, shown in judged if shown.showing is Showing.CONCEALED)
        return frozenset(uid for uid, _, _ in judged) - concealed, concealed

    async def rule(
        self, study: StudyInstanceUID, kind: RulingKind | None, *, by: str, reason: str = "", until: int | None = None
    ) -> None:
        """Release a study at once, hold it with a reason, or (None) let the delays of the settings hold again.

        Raises:
            UnknownStudy: nothing of it is held. InvalidPortalOrder: a hold without a reason, or into the past.
        """
        now, reason = self._parts.clock.now(), reason.strip()
        if kind is RulingKind.HELD and not reason:
            raise InvalidPortalOrder("a reason that the patient can read")
        if len(reason) > MAX_REASON or not reason.isprintable() or (until is not None and until <= now):
            raise InvalidPortalOrder("the reason or the day")
        async with self._parts.db.write() as tx:
            held = await find_studies(tx, StudyQuery(study_uids=(study,)))
            if not held:
                raise UnknownStudy
            if kind is None:
                await record_rows.clear_ruling(tx, study)
            else:
                end = until if kind is RulingKind.HELD else None
                await record_rows.set_ruling(tx, Ruling(study, kind, reason, end, now, by))
            event = AuditEvent(
                AuditType.PORTAL_RULED,
                now,
                by,
                patient=held[0].linked or held[0].patient,
                study=study,
                detail={"ruling": kind.value if kind else "by settings", "reason": reason},
            )
            await audit.append(tx, event)

    async def rulings(self) -> list[Ruling]:
        """What staff decided, newest first."""
        async with self._parts.db.read() as rx:
            return await record_rows.rulings(rx)

    async def _records(self, rx: Read, caller: Caller) -> tuple[Record, ...]:
        found = []
        for access, patient in await self._accesses(rx, caller):
            said = await record_rows.demographics_of(rx, patient) or Demographics()
            found.append(Record(access, patient, said))
        return tuple(found)

    async def _accesses(self, rx: Read, caller: Caller) -> list[tuple[Access, PatientKey]]:
        """Live accesses and who the patient of each is by now; one for each patient, one's own before a proxy's."""
        if caller.role is not Role.PATIENT:
            return []
        now = self._parts.clock.now()
        found: dict[PatientKey, Access] = {}
        for access in await rows.accesses(rx, account_of(caller)):
            if access.is_live(now):
                patient = await identity.survivor(rx, access.patient)
                held = found.get(patient)
                if held is None or held.relation is Relation.PROXY:
                    found[patient] = access
        return [(access, patient) for patient, access in found.items()]

    async def _judged(
        self, rx: Read, records: Iterable[tuple[Access, PatientKey]]
    ) -> list[tuple[StudyInstanceUID, Access, Availability]]:
        by_patient = {patient: access for access, patient in records}
        if not by_patient:
            return []
        now = self._parts.clock.now()
        return [
            (
                one.study,
                by_patient[one.patient],
                availability(one.facts, self._policy, by_patient[one.patient].relation, now),
            )
            for one in await record_rows.studies_of(rx, list(by_patient))
        ]


_VISIBLE = Showing.VISIBLE


async def _summaries(rx: Read, studies: list[StudyInstanceUID]) -> dict[StudyInstanceUID, StudySummary]:
    if not studies:
        return {}
    found = await find_studies(rx, StudyQuery(study_uids=tuple(studies)))
    return {one.study_instance_uid: one for one in found}
