"""Questions to the index about patients: who has studies that match."""

from node.model.ids import PatientKey
from node.model.instance import Demographics, PatientSummary
from node.store.engine import Read
from node.store.study_queries import StudyQuery, study_where, tables


async def find_patients(rx: Read, query: StudyQuery) -> list[PatientSummary]:
    """The patients of the studies that match, by name. With ``linked`` they are the local ones."""
    where, params = study_where(query)
    key = "k" if query.linked else "s"
    rows = await rx.fetch_all(
        # Columns without an aggregate are of the row that has the maximum (a rule of SQLite's).
        f"SELECT {key}.issuer, {key}.patient_id, s.patient_name, s.birth_date, s.sex, count(*), sum(s.series),"  # noqa: S608 - fixed texts
        f" sum(s.instances), max(s.date) FROM {tables(query)} WHERE {where}"
        f" GROUP BY {key}.issuer, {key}.patient_id ORDER BY s.patient_name_match, {key}.patient_id LIMIT ? OFFSET ?",
        (*params, -1 if query.limit is None else query.limit, query.offset),
    )
    return [
        PatientSummary(PatientKey(row[0], row[1]), Demographics(row[2], row[3], row[4]), row[5], row[6], row[7])
        for row in rows
    ]
