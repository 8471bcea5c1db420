"""Who uses one node locally, and in which role."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person or a local system is here for."""

    CLINICIAN = "clinician"  # looks patients up, asks other facilities, sees and stores images
    OPERATOR = "operator"  # peers, users, storage, inbox; finds studies, does not open images
    AUDITOR = "auditor"  # reads the audit log and what is configured, changes nothing


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call: ``actor`` as the audit log names it (``user:NAME`` or ``os:UID``)."""

    actor: str
    role: Role

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
class IssuedToken:
    """A new bearer token; this is the only moment at which its text exists here."""

    text: str
    expires_at: int

    def __repr__(self) -> str:  # never let a traceback or a log show it
        return "IssuedToken(...)"
