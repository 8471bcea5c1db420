"""SMART Health Links on file, who opened them, and the tokens handed out under them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from node.model.consent import PurposeOfUse
from node.model.directive import Scope
from node.model.health_link import HealthLink, HealthLinkId
from node.model.ids import PatientKey, StudyInstanceUID
from node.store.engine import Read, Row, Write

ACCESSES_KEPT = 500  # of one link; the audit log has all of them

_COLUMNS = (
    "link_id, issuer, patient_id, studies, from_date, to_date, label, purpose, created_at, created_by, expires_at,"
    " consent, direct, passcode IS NOT NULL, attempts, failures, uses, used, locked_at, revoked_at"
)


class AccessOutcome(StrEnum):
    """What became of an attempt to open a link."""

    OPENED = "opened"
    PASSCODE = "passcode"  # it was wrong
    OVER = "over"  # the link had ended


@dataclass(frozen=True, slots=True)
class LinkAccess:
    """One attempt. ``recipient`` is what somebody called themselves."""

    at: int
    recipient: str = field(repr=False)
    outcome: AccessOutcome


@dataclass(frozen=True, slots=True)
class LinkSecrets:
    """What opens a link and its files. ``key`` is None when it has ended."""

    key: bytes | None = field(repr=False)
    passcode: str | None = field(repr=False)  # argon2id


async def add(tx: Write, link: HealthLink, *, url_digest: bytes, secrets: LinkSecrets) -> None:
    """Keep a new link."""
    studies = msgspec.json.encode(sorted(map(str, link.scope.studies))).decode()
    await tx.execute(
        "INSERT INTO health_link (link_id, url_digest, key, issuer, patient_id, studies, from_date, to_date, label,"
        " purpose, consent, direct, passcode, attempts, uses, created_at, created_by, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            link.link_id.value, url_digest, secrets.key, link.patient.issuer, link.patient.patient_id, studies,
            link.scope.from_date, link.scope.to_date, link.label, link.purpose.value, link.consent, int(link.direct),
            secrets.passcode, link.attempts, link.uses, link.created_at, link.created_by, link.expires_at,
        ),
    )  # fmt: skip


async def get(rx: Read, link_id: HealthLinkId) -> HealthLink | None:
    """One link."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM health_link WHERE link_id = ?", (link_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _link(row)


async def look_up(rx: Read, url_digest: bytes) -> tuple[HealthLink, LinkSecrets] | None:
    """The link at an address, and what opens it."""
    row = await rx.fetch_one(
        f"SELECT {_COLUMNS}, key, passcode FROM health_link WHERE url_digest = ?",  # noqa: S608 - fixed texts
        (url_digest,),
    )
    return None if row is None else (_link(row[:-2]), LinkSecrets(row[-2] and bytes(row[-2]), row[-1]))


async def key_of(rx: Read, link_id: HealthLinkId) -> bytes | None:
    """What a link's files are encrypted with; None when it has ended."""
    key = await rx.fetch_value("SELECT key FROM health_link WHERE link_id = ?", (link_id.value,))
    return None if key is None else bytes(key)


async def page(rx: Read, *, patient: PatientKey | None = None, limit: int = 1000) -> list[HealthLink]:
    """Links, newest first; of one patient or of all."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM health_link WHERE ?1 IS NULL OR (issuer = ?1 AND patient_id = ?2)"  # noqa: S608 - fixed texts
        " ORDER BY created_at DESC, rowid DESC LIMIT ?3",
        (patient and patient.issuer, patient and patient.patient_id, limit),
    )
    return [_link(row) for row in rows]


async def set_counts(tx: Write, link: HealthLink) -> None:
    """Keep how often it was opened, how many passcodes were wrong, and that it is locked."""
    await tx.execute(
        "UPDATE health_link SET used = ?, failures = ?, locked_at = ? WHERE link_id = ?",
        (link.used, link.failures, link.locked_at, link.link_id.value),
    )


async def end(tx: Write, link_id: HealthLinkId) -> None:
    """Forget the key of a link that has ended, and the tokens handed out under it."""
    await tx.execute("UPDATE health_link SET key = NULL WHERE link_id = ?", (link_id.value,))
    await tx.execute("DELETE FROM health_link_token WHERE link_id = ?", (link_id.value,))


async def revoke(tx: Write, link_id: HealthLinkId, at: int) -> bool:
    """Take a link back for good; False if it was already."""
    changed = await tx.execute(
        "UPDATE health_link SET revoked_at = ? WHERE link_id = ? AND revoked_at IS NULL", (at, link_id.value)
    )
    return changed == 1


async def forget_expired(tx: Write, now: int) -> None:
    """Forget the keys of links that have expired, and expired tokens."""
    await tx.execute("UPDATE health_link SET key = NULL WHERE expires_at <= ? AND key IS NOT NULL", (now,))
    await tx.execute("DELETE FROM health_link_token WHERE expires_at <= ?", (now,))


async def add_access(tx: Write, link_id: HealthLinkId, access: LinkAccess) -> None:
    """Note an attempt to open a link; the oldest beyond ACCESSES_KEPT go."""
    await tx.execute(
        "INSERT INTO health_link_access (link_id, at, recipient, outcome) VALUES (?, ?, ?, ?)",
        (link_id.value, access.at, access.recipient, access.outcome.value),
    )
    await tx.execute(
        "DELETE FROM health_link_access WHERE link_id = ?1 AND id <="
        " (SELECT id FROM health_link_access WHERE link_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (link_id.value, ACCESSES_KEPT),
    )


async def accesses(rx: Read, link_id: HealthLinkId) -> list[LinkAccess]:
    """Who tried to open a link, last first."""
    rows = await rx.fetch_all(
        "SELECT at, recipient, outcome FROM health_link_access WHERE link_id = ? ORDER BY id DESC", (link_id.value,)
    )
    return [LinkAccess(row[0], row[1], AccessOutcome(row[2])) for row in rows]


async def add_token(tx: Write, digest: bytes, link_id: HealthLinkId, expires_at: int) -> None:
    """Keep a token's digest."""
    await tx.execute(
        "INSERT INTO health_link_token (digest, link_id, expires_at) VALUES (?, ?, ?)",
        (digest, link_id.value, expires_at),
    )


async def link_of_token(rx: Read, digest: bytes, now: int) -> HealthLink | None:
    """The link under which a token was handed out that has not expired."""
    link_id = await rx.fetch_value(
        "SELECT link_id FROM health_link_token WHERE digest = ? AND expires_at > ?", (digest, now)
    )
    return None if link_id is None else await get(rx, HealthLinkId(bytes(link_id)))


async def sensitive(rx: Read, studies: Collection[StudyInstanceUID]) -> frozenset[StudyInstanceUID]:
    """Those among ``studies`` that are marked sensitive: a link shows them only if it names them."""
    rows = await rx.fetch_all(
        "SELECT study FROM sensitive_study WHERE study IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode([str(study) for study in studies]).decode(),),
    )
    return frozenset(StudyInstanceUID(row[0]) for row in rows)


def _link(row: Row) -> HealthLink:
    studies = msgspec.json.decode(row[3], type=list[str])
    return HealthLink(
        link_id=HealthLinkId(bytes(row[0])),
        patient=PatientKey(row[1], row[2]),
        scope=Scope(frozenset(StudyInstanceUID(uid) for uid in studies), from_date=row[4], to_date=row[5]),
        label=row[6],
        purpose=PurposeOfUse(row[7]),
        created_at=row[8],
        created_by=row[9],
        expires_at=row[10],
        consent=row[11],
        direct=bool(row[12]),
        has_passcode=bool(row[13]),
        attempts=row[14],
        failures=row[15],
        uses=row[16],
        used=row[17],
        locked_at=row[18],
        revoked_at=row[19],
    )
