"""Share codes on file, and who failed to prove one."""

import msgspec

from node.model.consent import DAY_SECONDS, CodeConsent, ConsentId
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.store.engine import Read, Row, Write

_COLUMNS = (
    "c.consent_id, c.issuer, c.patient_id, c.created_at, c.expires_at, c.uses, c.used, c.failures, c.locked_at,"
    " c.revoked_at, c.created_by,"
    " (SELECT json_group_array(study_uid) FROM share_code_study s WHERE s.consent_id = c.consent_id)"
)


async def add(tx: Write, consent: CodeConsent, *, lookup_id: bytes, mac_key: bytes) -> None:
    """Keep a new share code."""
    await tx.execute(
        "INSERT INTO share_code (consent_id, lookup_id, mac_key, issuer, patient_id, created_at, created_by,"
        " expires_at, uses) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            consent.consent_id.value,
            lookup_id,
            mac_key,
            consent.patient.issuer,
            consent.patient.patient_id,
            consent.created_at,
            consent.created_by,
            consent.expires_at,
            consent.uses,
        ),
    )
    await tx.execute_many(
        "INSERT INTO share_code_study (consent_id, study_uid) VALUES (?, ?)",
        [(consent.consent_id.value, str(study)) for study in sorted(consent.studies)],
    )


async def get(rx: Read, consent_id: ConsentId) -> CodeConsent | None:
    """One share code's consent."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM share_code c WHERE c.consent_id = ?", (consent_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _consent(row)


async def look_up(rx: Read, lookup_id: bytes) -> tuple[CodeConsent, bytes] | None:
    """The consent that a request names, and the key that its proof must be made with."""
    row = await rx.fetch_one(
        f"SELECT {_COLUMNS}, c.mac_key FROM share_code c WHERE c.lookup_id = ?",  # noqa: S608 - fixed texts
        (lookup_id,),
    )
    return None if row is None else (_consent(row[:-1]), bytes(row[-1]))


async def page(rx: Read, *, patient: PatientKey | None = None, limit: int = 1000) -> list[CodeConsent]:
    """Share codes, newest first."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM share_code c WHERE ?1 IS NULL OR (c.issuer = ?1 AND c.patient_id = ?2)"  # noqa: S608 - fixed texts
        " ORDER BY c.created_at DESC, c.rowid DESC LIMIT ?3",
        (patient and patient.issuer, patient and patient.patient_id, limit),
    )
    return [_consent(row) for row in rows]


async def revoke(tx: Write, consent_id: ConsentId, at: int) -> bool:
    """Revoke a code for good; False if it was already."""
    changed = await tx.execute(
        "UPDATE share_code SET revoked_at = ? WHERE consent_id = ? AND revoked_at IS NULL", (at, consent_id.value)
    )
    return changed == 1


async def consume(tx: Write, consent_id: ConsentId) -> None:
    """Count one use. The table refuses one too many, whatever was decided before."""
    await tx.execute("UPDATE share_code SET used = used + 1 WHERE consent_id = ?", (consent_id.value,))


async def count_failure(tx: Write, consent_id: ConsentId, *, at: int, limit: int) -> bool:
    """Count a wrong proof for this code; True if that locks it."""
    await tx.execute("UPDATE share_code SET failures = failures + 1 WHERE consent_id = ?", (consent_id.value,))
    changed = await tx.execute(
        "UPDATE share_code SET locked_at = ? WHERE consent_id = ? AND failures >= ? AND locked_at IS NULL",
        (at, consent_id.value, limit),
    )
    return changed == 1


async def count_peer_failure(tx: Write, peer: PeerId, at: int) -> None:
    """Count a failed proof of this peer today, and forget other days."""
    day = at // DAY_SECONDS
    await tx.execute(
        "INSERT INTO code_failure (peer, day, failures) VALUES (?, ?, 1)"
        " ON CONFLICT (peer, day) DO UPDATE SET failures = failures + 1",
        (peer.digest, day),
    )
    await tx.execute("DELETE FROM code_failure WHERE peer = ? AND day <> ?", (peer.digest, day))


async def peer_failures(rx: Read, peer: PeerId, at: int) -> int:
    """How often this peer failed today."""
    value = await rx.fetch_value(
        "SELECT failures FROM code_failure WHERE peer = ? AND day = ?", (peer.digest, at // DAY_SECONDS)
    )
    return int(value or 0)


def _consent(row: Row) -> CodeConsent:
    return CodeConsent(
        consent_id=ConsentId(bytes(row[0])),
        patient=PatientKey(row[1], row[2]),
        studies=frozenset(StudyInstanceUID(uid) for uid in msgspec.json.decode(row[11], type=list[str])),
        created_at=row[3],
        expires_at=row[4],
        uses=row[5],
        used=row[6],
        failures=row[7],
        locked_at=row[8],
        revoked_at=row[9],
        created_by=row[10],
    )
