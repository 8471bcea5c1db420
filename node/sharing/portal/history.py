"""Who looked, who received, when, why and under which consent: the audit log as its subject may read it.

An entry is structured; :mod:`node.sharing.portal.history_words` says it to people. What is told: events about the
account's patients and their studies, and what was done with the account itself. What is not: events about a study that
turned out to be somebody else's, and, to a proxy, anything about a study marked sensitive. Staff appear by their role,
and by name where the facility's settings say so; other facilities by name; people who act for a patient by the name
that staff wrote down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from node.model.access import Caller, Role
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import StudySummary
from node.model.portal import Relation
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.records import Record, Records
from node.store import audit, audit_about, users
from node.store import portal as rows
from node.store import portal_records as record_rows
from node.store.audit import AuditRow
from node.store.engine import Read
from node.store.study_queries import StudyQuery, find_studies

MAX_PAGE = 200
ONE_LOOK_SECONDS = 3600  # a viewer reads pictures and data apart: within an hour that is one look


class Kind(StrEnum):
    """What happened, as a patient would put it."""

    LOOKED = "looked"
    TAKEN = "taken"  # a system of the facility fetched the images, or got them
    CAME = "came"  # from another facility
    STORED = "stored"
    ASKED = "asked"  # another facility asked
    SENT = "sent"  # and got
    ARRIVED = "arrived"
    CODE_MADE = "code made"
    CODE_ENDED = "code ended"
    CODE_LOCKED = "code locked"
    CONSENT_GIVEN = "consent given"
    CONSENT_ENDED = "consent ended"
    OPTED_OUT = "opted out"
    OPTED_IN = "opted in"
    LINK_MADE = "link made"
    LINK_OPENED = "link opened"
    LINK_REFUSED = "link refused"
    LINK_ENDED = "link ended"
    LINKED = "linked"  # a received study, to the patient
    UNLINKED = "unlinked"
    WITHDRAWN = "withdrawn"
    DELETED = "deleted"
    CORRECTED = "corrected"
    RULED = "ruled"
    INVITED = "invited"
    ENROLLED = "enrolled"
    ENROLMENT_FAILED = "enrolment failed"
    SIGNED_IN = "signed in"
    SIGN_IN_FAILED = "sign-in failed"
    CREDENTIALS = "credentials"
    ACCESS_GIVEN = "access given"
    ACCESS_ENDED = "access ended"
    RESET = "reset"
    CLOSED = "closed"
    ALERTS = "alerts"


_T = AuditType
KINDS: Mapping[AuditType, Kind] = {
    _T.STUDY_READ: Kind.LOOKED,
    _T.STUDY_RETRIEVED: Kind.TAKEN,
    _T.STUDY_DELIVERED: Kind.TAKEN,
    _T.STUDY_RECEIVED: Kind.CAME,
    _T.STUDY_STORED: Kind.STORED,
    _T.REQUEST_DECIDED: Kind.ASKED,
    _T.RELEASED: Kind.SENT,
    _T.RECEIPT_RECEIVED: Kind.ARRIVED,
    _T.SHARE_CODE_CREATED: Kind.CODE_MADE,
    _T.SHARE_CODE_REVOKED: Kind.CODE_ENDED,
    _T.SHARE_CODE_LOCKED: Kind.CODE_LOCKED,
    _T.CONSENT_RECORDED: Kind.CONSENT_GIVEN,
    _T.CONSENT_REVOKED: Kind.CONSENT_ENDED,
    _T.PATIENT_OPTED_OUT: Kind.OPTED_OUT,
    _T.PATIENT_OPTED_IN: Kind.OPTED_IN,
    _T.LINK_CREATED: Kind.LINK_MADE,
    _T.LINK_OPENED: Kind.LINK_OPENED,
    _T.LINK_REFUSED: Kind.LINK_REFUSED,
    _T.LINK_REVOKED: Kind.LINK_ENDED,
    _T.STUDY_LINKED: Kind.LINKED,
    _T.STUDY_UNLINKED: Kind.UNLINKED,
    _T.STUDY_WITHDRAWN: Kind.WITHDRAWN,
    _T.STUDY_DELETED: Kind.DELETED,
    _T.IDENTITY_CORRECTED: Kind.CORRECTED,
    _T.PORTAL_RULED: Kind.RULED,
    _T.PORTAL_INVITED: Kind.INVITED,
    _T.PORTAL_ENROLLED: Kind.ENROLLED,
    _T.PORTAL_ENROLMENT_FAILED: Kind.ENROLMENT_FAILED,
    _T.SIGNED_IN: Kind.SIGNED_IN,
    _T.SIGN_IN_FAILED: Kind.SIGN_IN_FAILED,
    _T.PORTAL_CREDENTIALS_CHANGED: Kind.CREDENTIALS,
    _T.PORTAL_ACCESS_GIVEN: Kind.ACCESS_GIVEN,
    _T.PORTAL_ACCESS_ENDED: Kind.ACCESS_ENDED,
    _T.PORTAL_ACCOUNT_RESET: Kind.RESET,
    _T.PORTAL_ACCOUNT_CLOSED: Kind.CLOSED,
    _T.PORTAL_ALERTS_CHANGED: Kind.ALERTS,
}


class WhoKind(StrEnum):
    """What somebody is to the patient."""

    YOU = "you"
    PATIENT = "patient"  # for a proxy: the patient themself
    PROXY = "proxy"
    STAFF = "staff"
    FACILITY = "facility"
    SYSTEM = "system"  # a device or archive of this facility
    LINK = "link"  # whoever has a link that the patient gave out
    NODE = "node"  # by itself
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody. ``name``: of a facility, a proxy, a system; of staff only if the settings say so."""

    kind: WhoKind
    name: str = ""
    role: Role | None = None  # of staff


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. ``until`` and ``times`` tell of several looks that are one."""

    position: int
    at: int
    kind: Kind
    who: Who
    record: Record | None = field(repr=False)
    study: StudySummary | None = field(repr=False)
    facility: str = ""  # the other one, where there is one
    outcome: Outcome = Outcome.SUCCESS
    purpose: str = ""
    consent: str = ""  # what a release rested on: share_code, directive, attested, emergency, ...
    detail: Mapping[str, str | int] = field(default_factory=dict, repr=False)
    times: int = 1
    is_about_reader: bool = False  # the account that it names is the reader's


class PortalHistory:
    """Looks back for patients."""

    def __init__(self, parts: PortalParts, records: Records, facility_of: Callable[[PeerId], str]) -> None:
        """``facility_of`` names another facility."""
        self._parts = parts
        self._records = records
        self._facility_of = facility_of

    async def page(
        self, caller: Caller, *, before: int | None = None, limit: int = 50
    ) -> tuple[list[Entry], int | None]:
        """Entries newest first, and before which position the next page begins; that it was read is on record."""
        async with self._parts.db.read() as rx:
            subject = await _subject(rx, self._records, caller)
            found = await audit_about.about(
                rx,
                patients=subject.keys,
                studies=subject.studies,
                actor=caller.actor,
                types=KINDS,
                before=before,
                limit=min(limit, MAX_PAGE),
            )
            entries = await self._entries(rx, subject, caller, found)
        event = AuditEvent(
            AuditType.PORTAL_HISTORY_READ,
            self._parts.clock.now(),
            caller.actor,
            patient=subject.first,
            detail={"entries": len(entries)},
        )
        async with self._parts.db.write() as tx:
            await audit.append(tx, event)
        more = found[-1].position if len(found) == min(limit, MAX_PAGE) else None
        return entries, more

    async def _entries(self, rx: Read, subject: "_Subject", caller: Caller, found: list[AuditRow]) -> list[Entry]:
        uids = {row.event.study for row in found if row.event.study is not None}
        owners = await audit_about.owners(rx, uids)
        summaries = {
            one.study_instance_uid: one
            for one in (await find_studies(rx, StudyQuery(study_uids=tuple(uids))) if uids else [])
        }
        names = await self._names(rx, caller, subject)
        entries: list[Entry] = []
        for row in found:
            event = row.event
            if event.study in subject.concealed or _is_elsewhere(event, owners, subject):
                continue
            study = summaries.get(event.study) if event.study in subject.studies else None
            entry = Entry(
                row.position,
                event.at,
                KINDS[event.type],
                await names.who(rx, event),
                subject.record_of(event, owners),
                study,
                self._facility_of(event.peer) if event.peer is not None else "",
                event.outcome,
                event.purpose,
                str(event.detail.get("consent", "")),
                event.detail,
                is_about_reader=event.detail.get("account") == caller.name,
            )
            _add(entries, entry)
        return entries

    async def _names(self, rx: Read, caller: Caller, subject: "_Subject") -> "_Names":
        accesses = await rows.accesses_to(rx, subject.keys)
        return _Names(
            caller,
            self._facility_of,
            proxies={f"patient:{one.account}": one.name for one in accesses if one.relation is Relation.PROXY},
            patients=frozenset(f"patient:{one.account}" for one in accesses if one.relation is Relation.SELF),
            show_staff=self._parts.settings.staff_names,
        )


@dataclass(frozen=True, slots=True)
class _Subject:
    """Whose history it is: every key under which events of the records may stand, and the studies."""

    by_key: Mapping[PatientKey, Record]
    studies: frozenset[StudyInstanceUID]  # that the account may know of
    concealed: frozenset[StudyInstanceUID]

    @property
    def keys(self) -> list[PatientKey]:
        """All the keys."""
        return list(self.by_key)

    @property
    def first(self) -> PatientKey | None:
        """The account's own record, or the first that it acts for."""
        return next((record.patient for record in self.by_key.values()), None)

    def record_of(self, event: AuditEvent, owners: Mapping[StudyInstanceUID, PatientKey]) -> Record | None:
        """Whose record an event is about."""
        named = (owners.get(event.study) if event.study is not None else None, event.patient)
        return next((self.by_key[key] for key in named if key is not None and key in self.by_key), None)


async def _subject(rx: Read, records: Records, caller: Caller) -> _Subject:
    by_key: dict[PatientKey, Record] = {}
    for record in await records.within(rx, caller):
        for key in (record.patient, *await record_rows.aliases_of(rx, record.patient)):
            by_key.setdefault(key, record)
    told, concealed = await records.known(rx, caller)
    withdrawn = await record_rows.withdrawn_of(rx, list(by_key))
    return _Subject(by_key, told | frozenset(withdrawn), concealed)


def _is_elsewhere(event: AuditEvent, owners: Mapping[StudyInstanceUID, PatientKey], subject: _Subject) -> bool:
    """Whether the event is about a study that is, as is known by now, another patient's."""
    if event.study is None or event.study in subject.studies:
        return False
    owner = owners.get(event.study)
    return owner is not None and owner not in subject.by_key


def _add(entries: list[Entry], entry: Entry) -> None:
    """Append; a look that belongs to the one before it (which is the later one) joins it."""
    last = entries[-1] if entries else None
    if (
        last is not None
        and entry.kind is Kind.LOOKED
        and (last.kind, last.who, last.study, last.record) == (entry.kind, entry.who, entry.study, entry.record)
        and last.at - entry.at < ONE_LOOK_SECONDS
    ):
        entries[-1] = replace(last, position=entry.position, at=entry.at, times=last.times + 1)
        return
    entries.append(entry)


@dataclass(slots=True)
class _Names:
    """Who actors are, as the reader may know it."""

    caller: Caller
    facility_of: Callable[[PeerId], str]
    proxies: Mapping[str, str]  # actor -> name, of who acts for one of the reader's records
    patients: frozenset[str]  # actors that are the patient, where the reader acts for them
    show_staff: bool
    roles: dict[str, Role | None] = field(default_factory=dict)

    async def who(self, rx: Read, event: AuditEvent) -> Who:
        """Who did it."""
        kind, _, name = event.actor.partition(":")
        if kind == "patient":
            return self._patient(event.actor)
        if kind == "user":
            return Who(WhoKind.STAFF, name if self.show_staff else "", await self._role(rx, name))
        if kind == "peer":
            return Who(WhoKind.FACILITY, self.facility_of(event.peer) if event.peer is not None else "")
        return _OTHERS.get(kind, Who(WhoKind.NODE)) if kind != "ae" else Who(WhoKind.SYSTEM, name)

    def _patient(self, actor: str) -> Who:
        if actor == self.caller.actor:
            return Who(WhoKind.YOU)
        if actor in self.patients:
            return Who(WhoKind.PATIENT)
        known = self.proxies.get(actor)
        return Who(WhoKind.UNKNOWN) if known is None else Who(WhoKind.PROXY, known)

    async def _role(self, rx: Read, name: str) -> Role | None:
        if name not in self.roles:
            user = await users.get_user(rx, name, 0)
            self.roles[name] = None if user is None else user.role
        return self.roles[name]


_OTHERS: Mapping[str, Who] = {"os": Who(WhoKind.STAFF, "", Role.OPERATOR), "link": Who(WhoKind.LINK)}
