"""Which received studies belong to which local patients."""

import msgspec

from node.model.delivery import StudyLink
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics
from node.store.engine import Read, Row, Write

_COLUMNS = "study, issuer, patient_id, name, birth_date, sex, linked_at, linked_by"


async def add(tx: Write, link: StudyLink) -> None:
    """Link a study; ConstraintViolated if it is linked already."""
    await tx.execute(
        f"INSERT INTO study_link ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed texts
        (
            str(link.study),
            link.patient.issuer,
            link.patient.patient_id,
            link.said.name,
            link.said.birth_date,
            link.said.sex,
            link.linked_at,
            link.linked_by,
        ),
    )


async def remove(tx: Write, study: StudyInstanceUID) -> bool:
    """Take a link back; whether there was one."""
    return bool(await tx.execute("DELETE FROM study_link WHERE study = ?", (str(study),)))


async def get(rx: Read, study: StudyInstanceUID) -> StudyLink | None:
    """The link of a study."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM study_link WHERE study = ?", (str(study),))  # noqa: S608 - fixed texts
    return None if row is None else _link(row)


async def page(rx: Read, *, patient: PatientKey | None = None, limit: int = 1000) -> list[StudyLink]:
    """Links, newest first; of one local patient or of all."""
    key = None if patient is None else msgspec.json.encode([patient.issuer, patient.patient_id]).decode()
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM study_link"  # noqa: S608 - fixed texts
        " WHERE ?1 IS NULL OR (issuer, patient_id) = (?1 ->> 0, ?1 ->> 1) ORDER BY linked_at DESC, study LIMIT ?2",
        (key, limit),
    )
    return [_link(row) for row in rows]


def _link(row: Row) -> StudyLink:
    return StudyLink(
        study=StudyInstanceUID(row[0]),
        patient=PatientKey(row[1], row[2]),
        said=Demographics(row[3], row[4], row[5]),
        linked_at=row[6],
        linked_by=row[7],
    )
