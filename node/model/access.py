"""Who uses one node locally, and in which role."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person or a local system is here for."""

    CLINICIAN = "clinician"  # looks patients up, asks other facilities, sees and stores images
    OPERATOR = "operator"  # peers, users, storage, inbox; finds studies, does not open images
    AUDITOR = "auditor"  # reads the audit log and what is configured, changes nothing
    PATIENT = "patient"  # a patient, or who acts for one: their own records alone, by the portal
    RECIPIENT = "recipient"  # who opened a link that a patient gave out: what the link names alone


STAFF = frozenset({Role.CLINICIAN, Role.OPERATOR, Role.AUDITOR})  # who works here: roles of users


class Scope(StrEnum):
    """What a token is good for, within what its user's role may do anyway."""

    MONITOR = "monitor"  # metrics and status: nothing of any patient
    READ = "read"  # everything that changes nothing, but no images
    IMAGES = "images"  # DICOMweb
    SHARE = "share"  # patients, consents, requests, offers, deliveries
    ADMIN = "admin"  # peers, users, storage, corrections


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call: ``actor`` as the audit log names it.

    ``user:NAME``, ``os:UID`` (admin socket), ``patient:ACCOUNT`` (portal) or ``link:ID`` (a patient's link).
    """

    actor: str
    role: Role
    scopes: frozenset[Scope] | None = None  # None: all that the role may

    @property
    def name(self) -> str:
        """The name without its kind, which other facilities see as a pseudonym at most."""
        return self.actor.partition(":")[2]


@dataclass(frozen=True, slots=True)
class User:
    """A user of the local API. A disabled one stays, because the audit log refers to the name."""

    name: str
    role: Role
    created_at: int
    disabled_at: int | None
    tokens: int  # tokens that are still good


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, as people see it who look after tokens."""

    token_id: str
    label: str  # what it was made for
    scopes: frozenset[Scope]  # empty: all that the role may
    created_at: int
    expires_at: int
    used_at: int | None  # to the hour; None: never


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new bearer token; this is the only moment at which its text exists here."""

    text: str
    token: Token

    @property
    def expires_at(self) -> int:
        """When it ends, in seconds since the epoch."""
        return self.token.expires_at

    def __repr__(self) -> str:  # never let a traceback or a log show it
        return "IssuedToken(...)"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in with a browser. ``csrf`` is what unsafe requests must repeat."""

    caller: Caller
    csrf: str
    expires_at: int  # seconds since the epoch; idle sessions end earlier

    def __repr__(self) -> str:  # the CSRF token is a secret of the page
        return f"Session({self.caller.actor})"


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """A new session's cookie; this is the only moment at which its text exists here."""

    cookie: str
    session: Session

    def __repr__(self) -> str:
        return "IssuedSession(...)"
