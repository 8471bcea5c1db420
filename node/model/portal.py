"""The portal: accounts, whom they stand for, and when a study may be seen. Pure.

An *account* is a person with credentials. An *access* says for which patient an account stands: for oneself, or as a
*proxy* (a parent, a carer) for somebody else. What an account may see follows from its accesses alone, at the moment
of each request, so that an access that ends, or a study that is moved to another patient, shows at once.
"""

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from node.errors.portal import InvalidReleaseDelay
from node.model.ids import PatientKey, RandomId, StudyInstanceUID

HOUR = 3600
_DA_LENGTH = 8  # YYYYMMDD
REPORTS = "REPORT"  # in the table of delays: what holds for reports, whatever the modality


class AccountId(RandomId):
    """A person in the portal; ``patient:ID`` in the audit log, and the user handle of passkeys."""


class AccessId(RandomId):
    """One account stands for one patient."""


class PortalInvitationId(RandomId):
    """A letter with a code."""


class Relation(StrEnum):
    """Why an account may see a record."""

    SELF = "self"
    PROXY = "proxy"  # a parent, a guardian, a carer


class Scope(StrEnum):
    """What an account may do with a record."""

    SEE = "see"
    SHARE = "share"  # and give it to others


@dataclass(frozen=True, slots=True)
class Access:
    """An account stands for a patient. ``name``: who a proxy is, as staff wrote it down. Times in seconds."""

    access_id: AccessId
    account: AccountId
    patient: PatientKey
    relation: Relation
    scope: Scope
    name: str = field(repr=False)
    since: int
    until: int | None  # None: until somebody ends it
    given_by: str
    ended_at: int | None = None

    def is_live(self, now: int) -> bool:
        """Whether it holds."""
        return self.ended_at is None and self.since <= now and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True)
class Account:
    """What is shown of an account; its secrets stay in the store."""

    account_id: AccountId
    sign_in_name: str = field(repr=False)  # empty: by passkey alone
    has_passphrase: bool
    passkeys: int
    language: str
    created_at: int
    closed_at: int | None

    @property
    def actor(self) -> str:
        """Its name in the audit log and in sessions."""
        return f"patient:{self.account_id}"


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as its owner sees it."""

    credential: bytes = field(repr=False)
    name: str
    created_at: int
    used_at: int | None


class InvitationState(StrEnum):
    """Whether a letter is still good."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"
    LOCKED = "locked"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class PortalInvitation:
    """A letter with a code. ``account``: it gives this account new credentials, and nothing else."""

    invitation_id: PortalInvitationId
    patient: PatientKey
    relation: Relation
    scope: Scope
    name: str = field(repr=False)
    access_until: int | None
    account: AccountId | None
    created_at: int
    created_by: str
    expires_at: int
    failures: int = 0
    locked_at: int | None = None
    used_at: int | None = None
    withdrawn_at: int | None = None

    def state(self, now: int) -> InvitationState:
        """Whether it is still good."""
        if self.used_at is not None:
            return InvitationState.USED
        if self.withdrawn_at is not None:
            return InvitationState.WITHDRAWN
        if self.locked_at is not None:
            return InvitationState.LOCKED
        return InvitationState.EXPIRED if now >= self.expires_at else InvitationState.OPEN


class AlertMode(StrEnum):
    """When an account is told by e-mail that something happened."""

    OFF = "off"
    EACH = "each"  # soon, but not more often than the settings allow
    DAILY = "daily"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where an account is told. ``stop`` ends the mails without signing in."""

    account: AccountId
    address: str = field(repr=False)
    mode: AlertMode
    verified_at: int | None
    stop: str = field(repr=False)
    pending: int = 0
    told_at: int = 0


class RulingKind(StrEnum):
    """What staff decided about one study."""

    RELEASED = "released"  # at once, whatever the delay
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision about one study. ``reason`` is read by the patient."""

    study: StudyInstanceUID
    kind: RulingKind
    reason: str = field(repr=False)
    until: int | None  # of a hold; None: until it is taken back
    at: int
    by: str


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """How long studies wait before patients see them, in hours: by modality, for reports, and for all others."""

    default: int = 0
    by_modality: Mapping[str, int] = field(default_factory=dict)
    reports: int | None = None  # None: as everything else

    @classmethod
    def parse(cls, default: int, entries: Iterable[str]) -> Self:
        """From ``CT=72``, ``REPORT=24``; raises InvalidReleaseDelay."""
        table: dict[str, int] = {}
        for entry in entries:
            name, equals, hours = entry.partition("=")
            if not (equals and name.strip() and hours.strip().isascii() and hours.strip().isdigit()):
                raise InvalidReleaseDelay(entry[:40])
            table[name.strip().upper()] = int(hours)
        return cls(default, {k: v for k, v in table.items() if k != REPORTS}, table.get(REPORTS))

    def seconds(self, modalities: Iterable[str]) -> int:
        """The longest delay of these modalities."""
        return HOUR * max((self.by_modality.get(m, self.default) for m in modalities), default=self.default)

    def report_seconds(self) -> int:
        """The delay of a report."""
        return 0 if self.reports is None else HOUR * self.reports


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What decides whether a patient sees a study now. Times in seconds since the epoch."""

    complete_at: int  # when its first revision closed
    modalities: tuple[str, ...]
    report_at: int | None  # when its last report came; None: there is none
    is_sensitive: bool
    ruling: Ruling | None


class Showing(StrEnum):
    """Whether a patient sees a study."""

    VISIBLE = "visible"
    DELAYED = "delayed"  # named in the list, with the moment from which it can be opened
    HELD = "held"  # named in the list, with the reason
    CONCEALED = "concealed"  # not even named


@dataclass(frozen=True, slots=True)
class Availability:
    """The answer for one study: ``since`` when it can be opened, or from when, or until when it is held."""

    showing: Showing
    since: int | None = None
    reason: str = field(default="", repr=False)


def availability(facts: StudyFacts, policy: ReleasePolicy, relation: Relation, now: int) -> Availability:
    """Whether who stands in ``relation`` to the patient sees the study now.

    A proxy is never shown a study that was marked sensitive, not even that there is one; the patient is. A decision of
    staff goes before the delays; a hold that has run out counts no more. A study waits as a whole: for the longest
    delay of its modalities, and for its last report.
    """
    if facts.is_sensitive and relation is Relation.PROXY:
        return Availability(Showing.CONCEALED)
    ruling = facts.ruling
    if ruling is not None and ruling.kind is RulingKind.HELD and (ruling.until is None or now < ruling.until):
        return Availability(Showing.HELD, ruling.until, ruling.reason)
    if ruling is not None and ruling.kind is RulingKind.RELEASED:
        return Availability(Showing.VISIBLE, ruling.at)
    since = facts.complete_at + policy.seconds(facts.modalities)
    if facts.report_at is not None and policy.report_seconds():
        since = max(since, facts.report_at + policy.report_seconds())
    return Availability(Showing.VISIBLE if since <= now else Showing.DELAYED, since)


def birthday(birth_date: str, years: int) -> int | None:
    """The first second (UTC) of the birthday at which ``years`` are full; None if the date is no whole date.

    Who was born on 29 February has it on 1 March.
    """
    if len(birth_date) != _DA_LENGTH or not (birth_date.isascii() and birth_date.isdigit()):
        return None
    year, month, day = int(birth_date[:4]) + years, int(birth_date[4:6]), int(birth_date[6:])
    if (month, day) == (2, 29) and calendar.isleap(year - years) and not calendar.isleap(year):
        month, day = 3, 1
    try:
        return int(datetime(year, month, day, tzinfo=UTC).timestamp())
    except ValueError:
        return None


def given_name(name: str) -> str:
    """The given name of a DICOM person name (PS3.5 section 6.2.1), empty if it has none."""
    parts = name.split("=", 1)[0].split("^")
    return parts[1].strip() if len(parts) > 1 else ""
