"""Searches are answered from indexes. SQLite has no statistics here, so its plans do not depend on what is stored."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from support.store import opened_store, study_uid

from node.model.ids import PatientKey, SeriesInstanceUID, SOPInstanceUID
from node.store.engine import Database, Read
from node.store.study_queries import (
    InstanceQuery,
    SeriesQuery,
    StudyQuery,
    count,
    find_instances,
    find_series,
    find_studies,
)

SERIES, INSTANCE = SeriesInstanceUID("1.2.3"), SOPInstanceUID("1.2.3.4")
DAY = StudyQuery(date_from="20250101", date_to="20250101")


class Planned:
    """Stands in for a snapshot: has every statement explained instead of answered."""

    def __init__(self, rx: Read) -> None:
        self._rx = rx
        self.plan: list[str] = []

    async def fetch_all(self, sql: str, params: Sequence[object]) -> list[Any]:
        self.plan += [row[3] for row in await self._rx.fetch_all(f"EXPLAIN QUERY PLAN {sql}", params)]
        return []

    async def fetch_value(self, sql: str, params: Sequence[object]) -> int:
        await self.fetch_all(sql, params)
        return 0


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened_store(tmp_path) as (_store, opened):
        yield opened


async def plans(db: Database, query: StudyQuery | SeriesQuery | InstanceQuery) -> tuple[list[str], list[str]]:
    """How ``query`` is answered, and how its results are counted."""
    async with db.read() as rx:
        found, counted = Planned(rx), Planned(rx)
        snapshot = cast("Read", found)
        match query:
            case StudyQuery():
                await find_studies(snapshot, query)
            case SeriesQuery():
                await find_series(snapshot, query)
            case InstanceQuery():
                await find_instances(snapshot, query)
        await count(cast("Read", counted), query, 100)
    return found.plan, counted.plan


SEARCHED = [
    (StudyQuery(patient_id="P1"), "study_patient (patient_id=?)"),
    (StudyQuery(patient_id="P1*"), "study_patient (patient_id>? AND patient_id<?)"),
    (StudyQuery(patients=(PatientKey("", "P1"),)), "study_patient (patient_id=? AND issuer=?)"),
    (StudyQuery(patient_name="SMI*"), "COVERING INDEX study_name (patient_name_match>? AND patient_name_match<?)"),
    (StudyQuery(patient_name="Smith^Anna"), "COVERING INDEX study_name (patient_name_match=?)"),
    (DAY, "COVERING INDEX study_date (date>? AND date<?)"),
    (StudyQuery(date_to="20250101"), "COVERING INDEX study_date (date<?)"),
    (StudyQuery(accession_number="A1"), "study_accession (accession_number=?)"),
    (StudyQuery(study_uids=(study_uid(1),)), "sqlite_autoindex_study_1 (uid=?)"),
    (StudyQuery(modalities=("CT",), date_from="20250101"), "series_study (study_id=? AND modality=?)"),
    (SeriesQuery(studies=DAY), "study_date (date>? AND date<?)"),
    (SeriesQuery(series_uids=(SERIES,)), "sqlite_autoindex_series_1 (uid=?)"),
    (InstanceQuery(studies=DAY), "study_date (date>? AND date<?)"),
    (InstanceQuery(studies=StudyQuery(patient_id="P1")), "study_patient (patient_id=?)"),
    (InstanceQuery(series_uids=(SERIES,)), "instance_series (series_id=?)"),
    (InstanceQuery(instance_uids=(INSTANCE,)), "sqlite_autoindex_instance_1 (uid=?)"),
]


@pytest.mark.parametrize(("query", "index"), SEARCHED, ids=[index for _, index in SEARCHED])
async def test_searched_in_an_index(db: Database, query: StudyQuery | SeriesQuery | InstanceQuery, index: str) -> None:
    for plan in await plans(db, query):
        assert any(step.startswith("SEARCH") and index in step for step in plan), plan
        assert [step for step in plan if step.startswith("SCAN") and step.split()[1] in {"s", "e", "i"}] == []


async def test_a_name_with_a_wildcard_in_front_is_looked_for_in_an_index_alone(db: Database) -> None:
    found, counted = await plans(db, StudyQuery(patient_name="*SMITH*", limit=100))
    assert "SCAN s USING COVERING INDEX study_date" in found
    assert any(step.startswith("SCAN s USING COVERING INDEX") for step in counted)


@pytest.mark.parametrize("query", [SeriesQuery(limit=100), InstanceQuery(limit=100)], ids=["series", "instances"])
async def test_a_page_of_everything_is_read_in_its_order(db: Database, query: SeriesQuery | InstanceQuery) -> None:
    """Not: every instance of the archive is read and sorted for the first hundred."""
    found, _ = await plans(db, query)
    assert "SCAN s USING INDEX study_date" in found
    assert "USE TEMP B-TREE FOR ORDER BY" not in found  # only the terms below the study are sorted


async def test_what_is_skipped_costs_no_subqueries(db: Database) -> None:
    found, _ = await plans(db, StudyQuery(limit=100, offset=10_000))
    assert found.index("SCAN page") < next(at for at, step in enumerate(found) if "SUBQUERY" in step)
