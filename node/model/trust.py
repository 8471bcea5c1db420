"""Whom this node trusts: states, the table of changes, policies, addresses. Pure.

A peer enters by an invitation. Who *imports* one trusts its maker at once: an operator chose to import it, and it
pins the maker's certificate. Who *made* it sees the joiner as PENDING until an operator confirms (after comparing the
safety phrase), or at once if the invitation said so. SUSPENDED is meant to be lifted again; REVOKED is left only
through a new invitation, and then never without a confirmation.
"""

import difflib
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from node.errors.trust import IllegalTrustChange, InvalidAddress, InvalidPolicy
from node.model.consent import ConsentKind, PurposeOfUse
from node.model.ids import PeerId


class TrustState(StrEnum):
    """What a peer may do. Only TRUSTED peers get through the TLS handshake."""

    PENDING = "PENDING"  # redeemed an invitation; an operator must confirm
    TRUSTED = "TRUSTED"
    SUSPENDED = "SUSPENDED"  # shut out for now, everything about it is kept
    REVOKED = "REVOKED"  # shut out for good; keys made for it are destroyed


class TrustEvent(StrEnum):
    """What changes the state."""

    IMPORT = "import"  # this node's operator imported the peer's invitation, and the peer took its join
    REDEEM = "redeem"  # the peer redeemed an invitation of this node
    REDEEM_AUTO = "redeem_auto"  # the same, and the invitation confirms by itself
    CONFIRM = "confirm"
    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"


_P, _T, _S, _R = TrustState.PENDING, TrustState.TRUSTED, TrustState.SUSPENDED, TrustState.REVOKED
_E = TrustEvent

TRANSITIONS: Mapping[tuple[TrustState | None, TrustEvent], TrustState] = {
    (None, _E.IMPORT): _T,
    (None, _E.REDEEM): _P,
    (None, _E.REDEEM_AUTO): _T,
    (_P, _E.IMPORT): _T,
    (_P, _E.REDEEM): _P,
    (_P, _E.REDEEM_AUTO): _P,  # whoever waits for a person (perhaps after a revocation) goes on waiting
    (_P, _E.CONFIRM): _T,
    (_P, _E.REVOKE): _R,
    (_T, _E.IMPORT): _T,
    (_T, _E.REDEEM): _T,
    (_T, _E.REDEEM_AUTO): _T,
    (_T, _E.CONFIRM): _T,  # a second click does no harm
    (_T, _E.SUSPEND): _S,
    (_T, _E.REVOKE): _R,
    (_S, _E.REDEEM): _S,  # an invitation does not lift a suspension, only resume does
    (_S, _E.REDEEM_AUTO): _S,
    (_S, _E.SUSPEND): _S,
    (_S, _E.RESUME): _T,
    (_S, _E.REVOKE): _R,
    (_R, _E.IMPORT): _T,  # the operator deliberately joins again
    (_R, _E.REDEEM): _P,
    (_R, _E.REDEEM_AUTO): _P,  # once revoked, never trusted again without a person
    (_R, _E.REVOKE): _R,
}


def next_state(state: TrustState | None, event: TrustEvent) -> TrustState:
    """The state after ``event``; ``None`` is a peer never heard of.

    Raises:
        IllegalTrustChange: the table has no such row.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTrustChange(f"{event.value} while {state.value if state else 'unknown'}") from None


_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
MAX_ADDRESS_LENGTH = 128  # characters; keeps a card within one pairing message
MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens: a host name or IP literal (IPv6 without brackets), and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, allow_any_port: bool = False) -> Self:
        """Read ``host:port``, ``[v6]:port`` or ``https://host:port[/]``.

        ``allow_any_port`` lets port 0 through, which only a listener can use.

        Raises:
            InvalidAddress: anything else.
        """
        bare = text.strip()
        if bare.lower().startswith("https://"):
            bare = bare[8:].removesuffix("/")
        host, colon, port = bare.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        if len(bare) > MAX_ADDRESS_LENGTH or not colon or not re.fullmatch(r"[0-9]{1,5}", port):
            raise InvalidAddress
        if not (_is_v6(host) if bracketed else _HOST.fullmatch(host)):
            raise InvalidAddress
        if not (0 if allow_any_port else 1) <= int(port) <= MAX_PORT:
            raise InvalidAddress
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_v6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return "%" not in host


DEFAULT_DAILY_QUESTIONS = 2000  # evaluations of linkage tokens a peer may ask for in a day


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """What the operator allows one peer; ``leveret peers policy PEER key=value``."""

    accept_share_code: bool = True
    accept_patient_key: bool = True
    accept_directive: bool = True
    accept_attested: bool = False  # consent attested by the requesting facility is enough
    accept_emergency: bool = False  # break-glass requests are answered
    auto_release: bool = True  # a request with valid consent is released without an operator
    label_detail: bool = False  # announcements to it carry date, description and UID
    max_rate: int = 0  # bytes a second sent to it; 0: no limit
    daily_questions: int = DEFAULT_DAILY_QUESTIONS
    daily_releases: int = 0  # requests of it released in a day; 0: no limit
    purposes: str = ""  # purpose-of-use codes it may have images for, comma-separated; empty: all
    auto_accept: bool = False  # what it offers is taken without a person
    hours: str = ""  # HH:MM-HH:MM, the facility's time, when releases go out unseen; empty: always

    def accepts(self, kind: ConsentKind) -> bool:
        """Whether consent of this kind counts for this peer."""
        return {
            ConsentKind.SHARE_CODE: self.accept_share_code,
            ConsentKind.PATIENT_KEY: self.accept_patient_key,
            ConsentKind.DIRECTIVE: self.accept_directive,
            ConsentKind.ATTESTED: self.accept_attested,
            ConsentKind.EMERGENCY: self.accept_emergency,
        }[kind]

    def allows_purpose(self, purpose: PurposeOfUse) -> bool:
        """Whether it may have images for this purpose at all."""
        return not self.purposes or purpose.value in self.purposes.split(",")

    def is_within_hours(self, minute: int) -> bool:
        """Whether ``minute`` of the facility's day lies within its hours; they may run past midnight."""
        if not self.hours:
            return True
        start, end = (int(text[:2]) * 60 + int(text[3:]) for text in self.hours.split("-"))
        return start <= minute < end if start <= end else minute >= start or minute < end

    def changed(self, settings: Mapping[str, str]) -> "PeerPolicy":
        """This policy with ``settings`` (as typed) applied.

        Raises:
            InvalidPolicy: an unknown key or a value it cannot have.
        """
        known = {f.name for f in fields(self)}
        values: dict[str, bool | int | str] = {}
        for key, text in settings.items():
            if key not in known:
                raise InvalidPolicy(_unknown(key, known))
            values[key] = _value(key, getattr(self, key), text)
        return replace(self, **values)  # type: ignore[arg-type]  # the field names and types were checked above


def _unknown(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"{key[:40]!r} is no key" + (f"; did you mean {near[0]}?" if near else "")


def _value(key: str, present: object, text: str) -> bool | int | str:
    if isinstance(present, bool):
        return _flag(text)
    if key == "hours":
        return _hours(text)
    return _purposes(text) if key == "purposes" else _amount(key, text)


def _hours(text: str) -> str:
    bare = text.strip()
    if bare and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]", bare):
        raise InvalidPolicy("hours are such as 07:00-19:00, or empty for always")
    return bare


def _purposes(text: str) -> str:
    wanted = [word.strip().upper() for word in text.split(",") if word.strip()]
    if not set(wanted) <= set(PurposeOfUse):
        raise InvalidPolicy("purposes are of " + ", ".join(PurposeOfUse))
    return ",".join(dict.fromkeys(wanted))


def _flag(text: str) -> bool:
    match text.strip().lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
    raise InvalidPolicy("true or false is wanted")


_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
MAX_AMOUNT = 10**15


def _amount(key: str, text: str) -> int:
    pattern = r"([0-9]{1,15})\s*([KMG]?)B?" if key == "max_rate" else r"([0-9]{1,15})()"
    match = re.fullmatch(pattern, text.strip().upper())
    if match is None or (value := int(match[1]) * _UNITS[match[2]]) > MAX_AMOUNT:
        raise InvalidPolicy(f"{key} cannot be that")
    return value


@dataclass(frozen=True, slots=True)
class Card:
    """What a node says about itself, signed: the address record of DESIGN's pairing and discovery.

    ``certificate`` is DER; ``sequence`` grows with each new card, an older one never replaces a newer one.
    """

    certificate: bytes
    name: str
    addresses: tuple[Address, ...]
    sequence: int
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the trust list."""

    peer_id: PeerId
    name: str
    state: TrustState
    since: int  # when the state was entered
    certificate: bytes  # DER, exactly the bytes that its TLS presents
    safety_phrase: str
    card: Card
    policy: PeerPolicy
    last_seen: int | None = None  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that this node made. The secret is kept until it expires, to tell a late joiner what happened."""

    invitation_id: bytes
    secret: bytes
    created_at: int
    expires_at: int
    auto_confirm: bool
    bound_to: PeerId | None = None
    redeemed_by: PeerId | None = None
    withdrawn: bool = False

    def __repr__(self) -> str:  # the secret stays out of tracebacks and logs
        return f"Invitation({self.invitation_id.hex()})"

    def is_open(self, now: int) -> bool:
        """Whether somebody may still redeem it."""
        return now < self.expires_at and self.redeemed_by is None and not self.withdrawn
