"""Which studies may be deleted, which must not be, and which are the first to go."""

from dataclasses import dataclass

from node.model.ids import PeerId, StudyInstanceUID
from node.store.engine import Read, Write


@dataclass(frozen=True, slots=True)
class Protection:
    """That a study must stay, who said so and why."""

    study: StudyInstanceUID
    reason: str
    at: int
    by: str


@dataclass(frozen=True, slots=True)
class OldStudy:
    """A study whose time has come."""

    study: StudyInstanceUID
    size: int  # bytes of its data sets
    changed_at: int  # when its last instance came
    origin: PeerId | None


async def protect(tx: Write, protection: Protection) -> None:
    """Nobody may delete it from now on; the newest reason counts."""
    await tx.execute(
        "INSERT INTO protected_study (study_uid, reason, at, by) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (study_uid) DO UPDATE SET reason = excluded.reason, at = excluded.at, by = excluded.by",
        (str(protection.study), protection.reason, protection.at, protection.by),
    )


async def unprotect(tx: Write, study: StudyInstanceUID) -> bool:
    """It may be deleted again; False if it might anyway."""
    return bool(await tx.execute_many("DELETE FROM protected_study WHERE study_uid = ?", [(str(study),)]))


async def protections(rx: Read) -> list[Protection]:
    """All of them, newest first."""
    rows = await rx.fetch_all("SELECT study_uid, reason, at, by FROM protected_study ORDER BY at DESC, study_uid")
    return [Protection(StudyInstanceUID(row[0]), row[1], row[2], row[3]) for row in rows]


async def is_protected(rx: Read, study: StudyInstanceUID) -> bool:
    """Whether it must stay."""
    return bool(await rx.fetch_value("SELECT count(*) FROM protected_study WHERE study_uid = ?", (str(study),)))


async def use_of(rx: Read, study: StudyInstanceUID) -> str:
    """What needs a study at this moment, in one word; empty if nothing does."""
    uses = {
        "revision": "SELECT 1 FROM study WHERE uid = ?1 AND revision_open = 1",
        "transfer": "SELECT 1 FROM transfer t JOIN transfer_study s USING (request_id) WHERE s.study_uid = ?1 "  # noqa: S608 - fixed texts
        + _RUNS,
        "arriving": "SELECT 1 FROM staged WHERE study_uid = ?1",
        "delivery": "SELECT 1 FROM delivery WHERE study = ?1"
        " AND state NOT IN ('COMPLETED', 'INCOMPLETE', 'FAILED', 'CANCELLED')",
        "offer": "SELECT 1 FROM offer o, json_each(o.studies) e WHERE o.direction = 'out' AND e.value = ?1"
        " AND o.state IN ('QUEUED', 'OFFERED')",
    }
    for use, question in uses.items():
        if await rx.fetch_value(f"SELECT EXISTS ({question})", (str(study),)):  # fixed texts
            return use
    return ""


async def oldest(rx: Read, *, own: bool, before: int, limit: int) -> list[OldStudy]:
    """Studies to which nothing came since ``before`` and that may go, those that rest longest first."""
    rows = await rx.fetch_all(
        f"SELECT uid, bytes, changed_at, origin FROM study WHERE {_KEPT[own]} AND changed_at < ? AND revision_open = 0"  # noqa: S608 - fixed texts
        " AND NOT EXISTS (SELECT 1 FROM protected_study p WHERE p.study_uid = study.uid)"
        " AND NOT EXISTS (SELECT 1 FROM staged g WHERE g.study_uid = study.uid)"
        " AND NOT EXISTS (SELECT 1 FROM transfer t JOIN transfer_study s USING (request_id)"
        f" WHERE s.study_uid = study.uid {_RUNS})"
        " ORDER BY changed_at, id LIMIT ?",
        (before, limit),
    )
    return [OldStudy(StudyInstanceUID(r[0]), r[1], r[2], PeerId(bytes(r[3])) if r[3] else None) for r in rows]


_RUNS = "AND t.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
_KEPT = {True: "origin IS NULL", False: "origin IS NOT NULL"}
