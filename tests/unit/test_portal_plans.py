"""What patients ask is answered from indexes: neither the whole log nor all studies are read for one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from support.store import opened_store, study_uid

from node.model.audit import AuditType
from node.model.ids import PatientKey
from node.store import audit_about, portal_records
from node.store.engine import Read

ANA = PatientKey("NORTH", "ANA-1")


class Planned:
    """Stands in for a snapshot: has every statement explained instead of answered."""

    def __init__(self, rx: Read) -> None:
        self._rx = rx
        self.plan: list[str] = []

    async def fetch_all(self, sql: str, params: Sequence[object]) -> list[Any]:
        self.plan += [row[3] for row in await self._rx.fetch_all(f"EXPLAIN QUERY PLAN {sql}", params)]
        return []

    async def fetch_one(self, sql: str, params: Sequence[object]) -> None:
        await self.fetch_all(sql, params)


async def test_no_page_of_a_patient_reads_a_whole_table(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as (_store, db), db.read() as rx:
        planned = Planned(rx)
        snapshot = cast("Read", planned)
        await audit_about.about(
            snapshot, patients=[ANA], studies=[study_uid(1)], actor="patient:1", types=[AuditType.STUDY_READ],
            before=None, limit=10,
        )  # fmt: skip
        await audit_about.owners(snapshot, [study_uid(1)])
        await audit_about.after(snapshot, 5, types=[AuditType.STUDY_READ], limit=10)
        await portal_records.studies_of(snapshot, [ANA])
        await portal_records.aliases_of(snapshot, ANA)
        await portal_records.demographics_of(snapshot, ANA)
    tables = ("audit_event", "study", "instance", "series", "revision", " s", " k", " e", " i", " r", " u", " x")
    scanned = [
        step for step in planned.plan if step.startswith("SCAN") and step.split()[1] in {t.strip() for t in tables}
    ]
    assert scanned == [], planned.plan
    for index in ("audit_event_patient", "audit_event_study", "audit_event_in_portal", "study_patient"):
        assert any(index in step for step in planned.plan), f"{index}: {planned.plan}"
