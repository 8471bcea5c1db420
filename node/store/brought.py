"""Consents that requests brought along, the keys of patients, and what break-glass left to look at."""

from dataclasses import dataclass, field

from node.model.consent import ConsentId, ConsentKind
from node.model.ids import PatientKey, PeerId, RequestId
from node.store.engine import Read, Row, Write


@dataclass(frozen=True, slots=True)
class PatientSigningKey:
    """A patient's Ed25519 public key, bound to the record in person."""

    public_key: bytes
    patient: PatientKey
    bound_at: int
    bound_by: str
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """A grant, an attestation or an emergency as it came; ``proof`` as ``peers.proofs`` encodes it."""

    consent_id: ConsentId
    kind: ConsentKind
    peer: PeerId
    patient: PatientKey | None  # whose images it released; None: none yet
    proof: bytes = field(repr=False)
    created_at: int = 0
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class EmergencyReview:
    """A release by break-glass and what became of it."""

    request_id: RequestId
    consent_id: ConsentId
    peer: PeerId
    released_at: int
    reviewed_at: int | None = None
    reviewed_by: str = ""
    verdict: str = ""  # justified or unjustified
    note: str = field(default="", repr=False)
    told_at: int | None = None  # when the patient was told


async def bind_key(tx: Write, key: PatientSigningKey) -> bool:
    """Bind a key; False if it is known already, whomever it belongs to."""
    changed = await tx.execute(
        "INSERT INTO patient_key (public_key, issuer, patient_id, bound_at, bound_by) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (key.public_key, key.patient.issuer, key.patient.patient_id, key.bound_at, key.bound_by),
    )
    return changed == 1


async def key(rx: Read, public_key: bytes) -> PatientSigningKey | None:
    """A bound key, revoked ones too."""
    row = await rx.fetch_one(
        "SELECT public_key, issuer, patient_id, bound_at, bound_by, revoked_at FROM patient_key WHERE public_key = ?",
        (public_key,),
    )
    return None if row is None else _key(row)


async def keys_of(rx: Read, patient: PatientKey) -> list[PatientSigningKey]:
    """All keys of a patient."""
    rows = await rx.fetch_all(
        "SELECT public_key, issuer, patient_id, bound_at, bound_by, revoked_at FROM patient_key"
        " WHERE issuer = ? AND patient_id = ? ORDER BY bound_at",
        (patient.issuer, patient.patient_id),
    )
    return [_key(row) for row in rows]


async def revoke_key(tx: Write, public_key: bytes, at: int) -> bool:
    """Revoke a key for good; False if there is none to revoke."""
    changed = await tx.execute(
        "UPDATE patient_key SET revoked_at = ? WHERE public_key = ? AND revoked_at IS NULL", (at, public_key)
    )
    return changed == 1


_BROUGHT = "consent_id, kind, peer, issuer, patient_id, token, created_at, revoked_at"


async def keep(tx: Write, one: Brought) -> None:
    """Keep a consent that a request brought; the same one again changes nothing."""
    await tx.execute(
        f"INSERT INTO brought_consent ({_BROUGHT}) VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING",  # noqa: S608 - fixed texts
        (
            one.consent_id.value,
            one.kind.value,
            one.peer.digest,
            one.patient.issuer if one.patient else "",
            one.patient.patient_id if one.patient else "",
            one.proof,
            one.created_at,
        ),
    )


async def get(rx: Read, consent_id: ConsentId) -> Brought | None:
    """A consent that a request brought."""
    row = await rx.fetch_one(f"SELECT {_BROUGHT} FROM brought_consent WHERE consent_id = ?", (consent_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _brought(row)


async def page(rx: Read, *, patient: PatientKey | None = None, limit: int = 1000) -> list[Brought]:
    """Those that released something, newest first."""
    rows = await rx.fetch_all(
        f"SELECT {_BROUGHT} FROM brought_consent WHERE patient_id <> ''"  # noqa: S608 - fixed texts
        " AND (?1 IS NULL OR (issuer = ?1 AND patient_id = ?2)) ORDER BY created_at DESC, consent_id LIMIT ?3",
        (patient and patient.issuer, patient and patient.patient_id, limit),
    )
    return [_brought(row) for row in rows]


async def revoke(tx: Write, consent_id: ConsentId, at: int) -> bool:
    """Revoke it for good; False if it was already, or is none."""
    changed = await tx.execute(
        "UPDATE brought_consent SET revoked_at = ? WHERE consent_id = ? AND revoked_at IS NULL", (at, consent_id.value)
    )
    return changed == 1


async def grants_of(rx: Read, patient: PatientKey) -> list[Brought]:
    """The grants of a patient that requests brought."""
    rows = await rx.fetch_all(
        f"SELECT {_BROUGHT} FROM brought_consent WHERE issuer = ? AND patient_id = ? AND kind = 'patient_key'",  # noqa: S608 - fixed texts
        (patient.issuer, patient.patient_id),
    )
    return [_brought(row) for row in rows]


_REVIEW = "request_id, consent_id, peer, released_at, reviewed_at, reviewed_by, verdict, note, told_at"


async def add_review(tx: Write, review: EmergencyReview) -> None:
    """Put a release by break-glass up for review."""
    await tx.execute(
        "INSERT INTO emergency_review (request_id, consent_id, peer, released_at) VALUES (?, ?, ?, ?)",
        (review.request_id.value, review.consent_id.value, review.peer.digest, review.released_at),
    )


async def emergencies_since(rx: Read, since: int) -> int:
    """Releases by break-glass since then, to whomever."""
    value = await rx.fetch_value("SELECT COUNT(*) FROM emergency_review WHERE released_at >= ?", (since,))
    return int(value or 0)


async def reviews(rx: Read, *, pending: bool, limit: int = 1000) -> list[EmergencyReview]:
    """Releases by break-glass, newest first; those that nobody looked at yet, or all."""
    rows = await rx.fetch_all(
        f"SELECT {_REVIEW} FROM emergency_review WHERE NOT ?1 OR reviewed_at IS NULL"  # noqa: S608 - fixed texts
        " ORDER BY released_at DESC LIMIT ?2",
        (int(pending), limit),
    )
    return [_review(row) for row in rows]


async def count_reviews(rx: Read) -> int:
    """How many releases by break-glass nobody looked at yet."""
    return int(await rx.fetch_value("SELECT COUNT(*) FROM emergency_review WHERE reviewed_at IS NULL") or 0)


async def get_review(rx: Read, request_id: RequestId) -> EmergencyReview | None:
    """One release by break-glass."""
    row = await rx.fetch_one(f"SELECT {_REVIEW} FROM emergency_review WHERE request_id = ?", (request_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _review(row)


async def close_review(tx: Write, review: EmergencyReview) -> bool:
    """Write down what somebody found; False if there is nothing to review."""
    changed = await tx.execute(
        "UPDATE emergency_review SET reviewed_at = ?, reviewed_by = ?, verdict = ?, note = ?, told_at = ?"
        " WHERE request_id = ? AND reviewed_at IS NULL",
        (review.reviewed_at, review.reviewed_by, review.verdict, review.note, review.told_at, review.request_id.value),
    )
    return changed == 1


def _key(row: Row) -> PatientSigningKey:
    return PatientSigningKey(bytes(row[0]), PatientKey(row[1], row[2]), row[3], row[4], row[5])


def _brought(row: Row) -> Brought:
    patient = PatientKey(row[3], row[4]) if row[4] else None
    return Brought(
        ConsentId(bytes(row[0])), ConsentKind(row[1]), PeerId(bytes(row[2])), patient, bytes(row[5]), row[6], row[7]
    )


def _review(row: Row) -> EmergencyReview:
    ids = RequestId(bytes(row[0])), ConsentId(bytes(row[1])), PeerId(bytes(row[2]))
    return EmergencyReview(*ids, row[3], row[4], row[5], row[6], row[7], row[8])
