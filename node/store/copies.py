"""Who has copies of what was released: the copies that no revocation can call back."""

from dataclasses import dataclass

from node.model.consent import ConsentId
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.store.engine import Read, Row


@dataclass(frozen=True, slots=True)
class Copy:
    """A study that a facility signed for."""

    peer: PeerId
    request_id: RequestId
    study: StudyInstanceUID


_COPIES = (
    "SELECT t.peer, t.request_id, s.study_uid FROM transfer t JOIN transfer_study s ON s.request_id = t.request_id"
    " {} t.direction = 'out' AND t.state = 'COMPLETED' ORDER BY t.created_at DESC, t.rowid DESC"
)


async def under(rx: Read, consent_id: ConsentId) -> list[Copy]:
    """What was fetched under this consent, the last first."""
    joined = "JOIN request_received r ON r.request_id = t.request_id WHERE r.consent_id = ? AND"
    return [_copy(row) for row in await rx.fetch_all(_COPIES.format(joined), (consent_id.value,))]


async def of_patient(rx: Read, patient: PatientKey) -> list[Copy]:
    """What was fetched of this patient, the last first."""
    joined = "JOIN study x ON x.uid = s.study_uid WHERE x.issuer = ? AND x.patient_id = ? AND x.origin IS NULL AND"
    rows = await rx.fetch_all(_COPIES.format(joined), (patient.issuer, patient.patient_id))
    return [_copy(row) for row in rows]


def _copy(row: Row) -> Copy:
    return Copy(PeerId(bytes(row[0])), RequestId(bytes(row[1])), StudyInstanceUID(row[2]))
