"""Who has copies of what was released: the copies that no revocation can call back."""

from node.model.consent import ConsentId
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.store.engine import Read


async def under(rx: Read, consent_id: ConsentId) -> list[PeerId]:
    """The facilities that signed for something released under this consent."""
    rows = await rx.fetch_all(
        "SELECT DISTINCT t.peer FROM transfer t JOIN request_received r ON r.request_id = t.request_id"
        " WHERE r.consent_id = ? AND t.direction = 'out' AND t.state = 'COMPLETED' ORDER BY t.peer",
        (consent_id.value,),
    )
    return [PeerId(bytes(row[0])) for row in rows]


async def of_patient(rx: Read, patient: PatientKey) -> dict[PeerId, frozenset[StudyInstanceUID]]:
    """The facilities that signed for studies of this patient, and for which."""
    rows = await rx.fetch_all(
        "SELECT DISTINCT t.peer, s.study_uid FROM transfer t JOIN transfer_study s ON s.request_id = t.request_id"
        " JOIN study x ON x.uid = s.study_uid WHERE x.issuer = ? AND x.patient_id = ? AND x.origin IS NULL"
        " AND t.direction = 'out' AND t.state = 'COMPLETED' ORDER BY t.peer",
        (patient.issuer, patient.patient_id),
    )
    found: dict[PeerId, frozenset[StudyInstanceUID]] = {}
    for peer, study in rows:
        key = PeerId(bytes(peer))
        found[key] = found.get(key, frozenset()) | {StudyInstanceUID(study)}
    return found
