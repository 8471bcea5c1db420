"""SMART Health Links (HL7 SMART Health Cards and Links 1.0.0, links specification): what one says and allows. Pure.

A link is the patient's consent in a form that a person can be handed: whoever has it, and its passcode if there is
one, sees the studies it was made for until it ends. What stands in it (the payload) is known when it is made and never
again: of the address a hash is kept, and the key only until the link ends.
"""

import base64
import json
import re
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from urllib.parse import urlsplit

from node.errors.health_links import InvalidHealthLink, LabelNamesPatient, NoSuchHealthLink
from node.model.consent import DAY_SECONDS, PurposeOfUse
from node.model.directive import Scope
from node.model.ids import PatientKey, RandomId
from node.model.instance import Demographics

PREFIX = "shlink:/"
VERSION = 1
SECRET_BYTES = 32  # of the address: the specification wants 256 bits
KEY_BYTES = 32
MAX_URL = 128  # characters, by the specification
MAX_LABEL = 80  # characters, by the specification
MAX_RECIPIENT = 100  # characters kept of what somebody who opens a link calls themselves
MAX_CONSENT = 200  # characters: how staff know that the patient wants it
MAX_LINK_DAYS = 366  # until the yearly control, as share codes
DEFAULT_LINK_DAYS = 30
MAX_LINK_STUDIES = 200
MAX_USES = 1000
MIN_PASSCODE, MAX_PASSCODE = 6, 64  # characters: six digits and five attempts leave a guesser 1 in 200,000
DEFAULT_ATTEMPTS = 5
_DATE_DIGITS = 8
_SHORTEST_NAME = 3  # letters: shorter parts of names are in too many words


class HealthLinkId(RandomId):
    """A link on file. It stands in lists and the audit log and tells nothing about the link's address."""


class LinkFlag(StrEnum):
    """What a receiving application must know."""

    LONG_TERM = "L"  # what is behind it may change: later studies come along
    PASSCODE = "P"
    DIRECT = "U"  # the address is that of one file; never with a passcode


class LinkState(StrEnum):
    """Where a link stands. All but the first are for good."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"
    LOCKED = "LOCKED"  # too many wrong passcodes
    USED = "USED"  # opened as often as it may be; what was opened stays open for its hour


_ALIVE = frozenset({LinkState.ACTIVE, LinkState.USED})


@dataclass(frozen=True, slots=True)
class HealthLink:
    """A link as it stands; times in seconds since the epoch."""

    link_id: HealthLinkId
    patient: PatientKey
    scope: Scope  # studies and period; no studies named: all own ones, later ones too
    label: str
    purpose: PurposeOfUse
    created_at: int
    created_by: str  # actor, as in audit events
    expires_at: int
    consent: str = field(default="", repr=False)  # how staff know that the patient wants it
    direct: bool = False
    has_passcode: bool = False
    attempts: int = DEFAULT_ATTEMPTS  # wrong passcodes that close it, over its whole life
    failures: int = 0
    uses: int | None = None  # None: as often as wanted
    used: int = 0
    locked_at: int | None = None
    revoked_at: int | None = None

    def state(self, now: int) -> LinkState:
        """Where it stands at ``now``."""
        if self.revoked_at is not None:
            return LinkState.REVOKED
        if now >= self.expires_at:
            return LinkState.EXPIRED
        if self.locked_at is not None:
            return LinkState.LOCKED
        if self.uses is not None and self.used >= self.uses:
            return LinkState.USED
        return LinkState.ACTIVE

    def is_alive(self, now: int) -> bool:
        """Whether what was handed out under it still holds."""
        return self.state(now) in _ALIVE

    @property
    def remaining(self) -> int:
        """Wrong passcodes that it will still bear."""
        return max(0, self.attempts - self.failures)

    @property
    def flags(self) -> frozenset[LinkFlag]:
        """What its payload says."""
        said = {
            LinkFlag.LONG_TERM: not self.scope.studies,
            LinkFlag.PASSCODE: self.has_passcode,
            LinkFlag.DIRECT: self.direct,
        }
        return frozenset(flag for flag, holds in said.items() if holds)


def opened(link: HealthLink, now: int) -> HealthLink:
    """The link after one more opening; raises NoSuchHealthLink, as who opens it hears it, if it is over."""
    _require_active(link, now)
    return replace(link, used=link.used + 1)


def failed(link: HealthLink, now: int) -> HealthLink:
    """The link after a wrong passcode, perhaps locked; raises NoSuchHealthLink if it is over."""
    _require_active(link, now)
    counted = replace(link, failures=link.failures + 1)
    return replace(counted, locked_at=now) if counted.remaining == 0 else counted


def revoked(link: HealthLink, now: int) -> HealthLink:
    """The link taken back, from whichever state; the first time counts."""
    return link if link.revoked_at is not None else replace(link, revoked_at=now)


def _require_active(link: HealthLink, now: int) -> None:
    if link.state(now) is not LinkState.ACTIVE:
        raise NoSuchHealthLink


@dataclass(frozen=True, slots=True)
class LinkPayload:
    """What a link says to a receiving application."""

    url: str = field(repr=False)
    key: bytes = field(repr=False)
    exp: int
    flags: frozenset[LinkFlag]
    label: str = ""

    def __post_init__(self) -> None:
        """Raises InvalidHealthLink for what the specification forbids."""
        if urlsplit(self.url).scheme not in {"http", "https"} or not self.url.isascii() or len(self.url) > MAX_URL:
            raise InvalidHealthLink(f"the address must be at most {MAX_URL} characters: shorten [api] public_url")
        if len(self.key) != KEY_BYTES:
            raise InvalidHealthLink("key")
        if {LinkFlag.DIRECT, LinkFlag.PASSCODE} <= self.flags:
            raise InvalidHealthLink("a link to one file has no passcode")
        if len(self.label) > MAX_LABEL:
            raise InvalidHealthLink("label")

    @property
    def text(self) -> str:
        """``shlink:/`` and the minified JSON in base64url."""
        said: dict[str, str | int] = {"url": self.url, "key": _encode(self.key), "exp": self.exp}
        if self.flags:
            said["flag"] = "".join(sorted(self.flags))
        if self.label:
            said["label"] = self.label
        body = json.dumps(said | {"v": VERSION}, separators=(",", ":"), ensure_ascii=False)
        return PREFIX + _encode(body.encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@dataclass(frozen=True, slots=True)
class LinkOrder:
    """A link that somebody wants: ``lifetime`` in seconds, ``uses`` None for as often as wanted."""

    patient: PatientKey
    scope: Scope = field(default_factory=Scope)
    label: str = ""
    passcode: str = field(default="", repr=False)  # empty: none
    lifetime: int = DEFAULT_LINK_DAYS * DAY_SECONDS
    uses: int | None = None
    purpose: PurposeOfUse = PurposeOfUse.TREAT
    direct: bool = False
    consent: str = field(default="", repr=False)


def check_order(order: LinkOrder, patient: Demographics) -> None:
    """Whether a link may be made like that for a patient called so.

    Raises:
        InvalidHealthLink: out of bounds.
        LabelNamesPatient: who sees the link would read who the patient is, or could guess the passcode from that.
    """
    _check_bounds(order)
    _check_texts(order)
    if order.passcode and (order.direct or not MIN_PASSCODE <= len(order.passcode) <= MAX_PASSCODE):
        raise InvalidHealthLink("passcode")
    names = {part for part in re.split(r"[\^= ]+", _folded(patient.name)) if len(part) >= _SHORTEST_NAME}
    number, dates = _squeezed(order.patient.patient_id), _written_dates(patient.birth_date)
    label, passcode = _squeezed(order.label), _squeezed(order.passcode)
    facts = dates | ({number} if len(number) >= _SHORTEST_NAME else set())
    if any(fact in label for fact in facts) or not names.isdisjoint(re.split(r"[\W_]+", _folded(order.label))):
        raise LabelNamesPatient("label")
    if passcode in facts or _folded(order.passcode) in names:
        raise LabelNamesPatient("passcode")


def _check_bounds(order: LinkOrder) -> None:
    if not 1 <= order.lifetime <= MAX_LINK_DAYS * DAY_SECONDS:
        raise InvalidHealthLink("expiry")
    if order.uses is not None and not 1 <= order.uses <= MAX_USES:
        raise InvalidHealthLink("uses")
    scope = order.scope
    if len(scope.studies) > MAX_LINK_STUDIES or scope.modalities or scope.body_parts:
        raise InvalidHealthLink("studies")
    days = [day for day in (scope.from_date, scope.to_date) if day]
    if not all(_is_date(day) for day in days) or days != sorted(days):
        raise InvalidHealthLink("period")


def _is_date(text: str) -> bool:
    """Whether this is a day as DICOM writes it (DA)."""
    try:
        return bool(re.fullmatch(r"[0-9]{8}", text) and date.fromisoformat(text))
    except ValueError:
        return False


def _check_texts(order: LinkOrder) -> None:
    for name, text, most in (("label", order.label, MAX_LABEL), ("consent", order.consent, MAX_CONSENT)):
        if len(text) > most or not text.isprintable():
            raise InvalidHealthLink(name)


def clean_recipient(text: str) -> str:
    """What somebody calls themselves, as data: one line of printable characters, cut to MAX_RECIPIENT."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_RECIPIENT]).split())
    return line[:MAX_RECIPIENT].strip()


def _folded(text: str) -> str:
    """Without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(c)).strip()


def _squeezed(text: str) -> str:
    """Letters and digits alone."""
    return re.sub(r"[\W_]+", "", _folded(text))


def _written_dates(birth_date: str) -> frozenset[str]:
    """A birth date (DA) as people write it in digits: year, month and day in any usual order."""
    if len(birth_date) != _DATE_DIGITS or not birth_date.isdigit():
        return frozenset()
    year, month, day = birth_date[:4], birth_date[4:6], birth_date[6:]
    short = year[2:]
    return frozenset({
        year + month + day, day + month + year, month + day + year,
        short + month + day, day + month + short, month + day + short,
    })  # fmt: skip
