"""Questions to the index about studies, series and instances: QIDO-RS matching, summaries, where an object lies.

Matching follows PS3.4 C.2.2.2 as PS3.18 8.3.4 uses it: single value, wildcards ``*`` and ``?``, ranges, lists of UIDs.
Names match without regard to case and accents (PS3.4 C.2.2.2.1 leaves that to the provider).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from node.model.ids import (
    Digest,
    ObjectId,
    PatientKey,
    PeerId,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.model.instance import Demographics, InstanceHeader, SeriesSummary, StoredInstance, StudySummary
from node.store.engine import Read, Row
from node.store.matching import Where

_ALL = -1  # SQL: no limit
_NEWEST = "s.date DESC, s.id"  # the order of studies; the index study_date has it


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """Which studies are wanted. Every field that is given must match; text fields take ``*`` and ``?``.

    ``patients`` restricts the answer to those patients, ``only`` to those studies (what a caller may see); an empty
    tuple means none.
    ``date_from``, ``date_to``, ``born_from`` and ``born_to`` are DA values, ``time_from`` and ``time_to`` TM values,
    all inclusive: 10 means until the last moment of that hour. Study Date and Time are matched as one point in time.
    ``own``: True for studies of this facility only, False for received ones only. ``linked``: only received studies
    that are linked to local patients, and ``patient_id`` and ``issuer`` are those of the local patient.
    """

    study_uids: tuple[StudyInstanceUID, ...] = ()
    only: tuple[StudyInstanceUID, ...] | None = None
    patients: tuple[PatientKey, ...] | None = None
    patient_id: str = ""
    issuer: str | None = None  # exact; "" asks for studies whose issuer is empty
    patient_name: str = ""
    birth_date: str = ""
    born_from: str = ""
    born_to: str = ""
    sex: str = ""
    accession_number: str = ""
    study_id: str = ""
    description: str = ""
    referring_physician: str = ""
    date_from: str = ""
    date_to: str = ""
    time_from: str = ""
    time_to: str = ""
    modalities: tuple[str, ...] = ()  # Modalities in Study: any of them
    own: bool | None = None
    linked: bool = False
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """Which series are wanted, of which studies."""

    studies: StudyQuery = StudyQuery()
    series_uids: tuple[SeriesInstanceUID, ...] = ()
    modalities: tuple[str, ...] = ()
    number: str = ""
    description: str = ""
    body_part: str = ""
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceQuery:
    """Which instances are wanted, of which studies and series."""

    studies: StudyQuery = StudyQuery()
    series_uids: tuple[SeriesInstanceUID, ...] = ()
    instance_uids: tuple[SOPInstanceUID, ...] = ()
    sop_class_uids: tuple[SOPClassUID, ...] = ()
    number: str = ""
    modalities: tuple[str, ...] = ()  # of their series, as are the three that follow
    series_number: str = ""
    series_description: str = ""
    body_part: str = ""
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the store holds, for ``leveret status``."""

    studies: int
    instances: int
    size: int  # bytes of data sets
    quarantined: int
    disk_bytes: int  # of the packs: packed, encrypted, with what is staged and in quarantine


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object's record lies."""

    object_id: ObjectId
    pack: bytes
    offset: int
    size: int  # of the data set
    space: bytes
    key_version: int
    wrapped_key: bytes  # the space's


async def totals(rx: Read) -> Totals:
    """The sums over everything visible."""
    row = await rx.fetch_one("SELECT count(*), coalesce(sum(instances), 0), coalesce(sum(bytes), 0) FROM study")
    quarantined = await rx.fetch_value("SELECT count(*) FROM quarantine")
    disk_bytes = await rx.fetch_value("SELECT coalesce(sum(indexed_bytes), 0) FROM pack")
    assert row is not None
    return Totals(row[0], row[1], row[2], quarantined, disk_bytes)


async def find_studies(rx: Read, query: StudyQuery) -> list[StudySummary]:
    """The studies that match, newest study date first."""
    where, params = study_where(query)
    rows = await rx.fetch_all(
        # The page is chosen first, so that the columns with subqueries are worked out for its studies only.
        f"SELECT {_STUDY_COLUMNS} FROM (SELECT s.id FROM {tables(query)} WHERE {where}"  # noqa: S608 - fixed texts
        f" ORDER BY {_NEWEST} LIMIT ? OFFSET ?) page CROSS JOIN study s ON s.id = page.id ORDER BY {_NEWEST}",
        (*params, _limit(query.limit), query.offset),
    )
    return [_study_summary(row) for row in rows]


async def find_series(rx: Read, query: SeriesQuery) -> list[SeriesSummary]:
    """The series that match, by study and series number."""
    where = _series_where(query)
    rows = await rx.fetch_all(
        "SELECT s.uid, e.uid, e.modality, e.number, e.description, e.body_part, e.date, e.time, e.instances"  # noqa: S608 - fixed texts
        f" FROM {_levels(query)} WHERE {where.sql}"
        f" ORDER BY {_NEWEST}, CAST(e.number AS INTEGER), e.id LIMIT ? OFFSET ?",
        (*where.params, _limit(query.limit), query.offset),
    )
    return [SeriesSummary(StudyInstanceUID(row[0]), SeriesInstanceUID(row[1]), *row[2:]) for row in rows]


async def find_instances(rx: Read, query: InstanceQuery) -> list[StoredInstance]:
    """The instances that match, by study, series number and instance number."""
    where = _instance_where(query)
    rows = await rx.fetch_all(
        f"SELECT {INSTANCE_COLUMNS} FROM {_levels(query)} WHERE {where.sql}"  # noqa: S608 - fixed texts
        f" ORDER BY {_NEWEST}, CAST(e.number AS INTEGER), e.id, CAST(i.number AS INTEGER), i.id"
        " LIMIT ? OFFSET ?",
        (*where.params, _limit(query.limit), query.offset),
    )
    return [stored_instance(row) for row in rows]


async def count(rx: Read, query: StudyQuery | SeriesQuery | InstanceQuery, most: int) -> int:
    """How many match, counted up to ``most``, whatever the query's own limit."""
    if isinstance(query, StudyQuery):
        source, where = tables(query), Where(*study_where(query))
    else:
        source = _levels(query)
        where = _series_where(query) if isinstance(query, SeriesQuery) else _instance_where(query)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {where.sql} LIMIT ?)"  # noqa: S608 - fixed texts
    return int(await rx.fetch_value(sql, (*where.params, most)))


async def locate(rx: Read, instances: Sequence[SOPInstanceUID]) -> dict[SOPInstanceUID, Location]:
    """Where the objects of visible ``instances`` lie; those not held are left out."""
    rows = await rx.fetch_all(
        "SELECT i.uid, i.object_id, i.pack, i.offset, i.size, p.ref, p.key_version, p.wrapped_key FROM instance i"
        " JOIN study s ON s.id = i.study_id JOIN space p ON p.ref = s.space"
        " WHERE i.uid IN (SELECT value FROM json_each(?))",
        (_json(instances),),
    )
    return {
        SOPInstanceUID(row[0]): Location(
            ObjectId(bytes(row[1])), bytes(row[2]), row[3], row[4], bytes(row[5]), row[6], bytes(row[7])
        )
        for row in rows
    }


async def digests(rx: Read, instances: Sequence[SOPInstanceUID]) -> dict[SOPInstanceUID, Digest]:
    """The digests of those among ``instances`` that are visible here and not known to be damaged.

    They need not be sent again.
    """
    rows = await rx.fetch_all(
        "SELECT uid, digest FROM instance WHERE uid IN (SELECT value FROM json_each(?))"
        " AND object_id NOT IN (SELECT object_id FROM damaged_object)",
        (_json(instances),),
    )
    return {SOPInstanceUID(row[0]): Digest(bytes(row[1])) for row in rows}


def tables(query: StudyQuery) -> str:
    """What studies are selected from, as ``s``."""
    return "study_link k JOIN study s ON s.uid = k.study" if query.linked else "study s"


def _levels(query: SeriesQuery | InstanceQuery) -> str:
    """What series ``e`` or instances ``i`` are selected from.

    SQLite, left to itself, reads every instance and sorts them all, so it is told to go from the studies downwards, in
    the answer's order; where series or instances are named, it begins with those.
    """
    named = query.series_uids or (isinstance(query, InstanceQuery) and query.instance_uids)
    join = "JOIN" if named else "CROSS JOIN"
    studies = tables(query.studies)
    if not named and query.studies == StudyQuery():
        studies += " INDEXED BY study_date"
    source = f"{studies} {join} series e ON e.study_id = s.id"
    return source if isinstance(query, SeriesQuery) else f"{source} {join} instance i ON i.series_id = e.id"


def _add_patient(where: Where, query: StudyQuery) -> None:
    """Whose they are: by the id that a study came with, or by that of the local patient it is linked to."""

    def named(alias: str) -> Where:
        condition = Where()
        condition.text(f"{alias}.patient_id", query.patient_id)
        if query.issuer is not None:
            condition.add(f"{alias}.issuer = ?", query.issuer)
        return condition

    mine = named("k" if query.linked else "s")
    if query.linked or query.own or not query.patient_id.strip("*"):
        where.add(mine.sql, *mine.params)
        return
    linked = named("k")
    either = f"({mine.sql} OR s.uid IN (SELECT k.study FROM study_link k WHERE {linked.sql}))"  # noqa: S608 - fixed names
    where.add(either, *mine.params, *linked.params)


def study_where(query: StudyQuery) -> tuple[str, list[object]]:
    """The conditions on studies, and their parameters."""
    where = Where()
    patient = "k" if query.linked else "s"
    where.any_of("s.uid", query.study_uids)
    if query.only is not None:
        where.one_of("s.uid", query.only)
    if query.patients is not None:
        keys = msgspec.json.encode([[p.issuer, p.patient_id] for p in query.patients]).decode()
        where.add(
            f"({patient}.issuer, {patient}.patient_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",  # noqa: S608 - fixed names
            keys,
        )
    _add_patient(where, query)
    where.name("s.patient_name_match", query.patient_name)
    where.exactly("s.birth_date", query.birth_date)
    where.text("s.accession_number", query.accession_number)
    where.text("s.study_id", query.study_id)
    where.text("s.description", query.description)
    where.text("s.referring_physician", query.referring_physician)
    where.dates("s.birth_date", query.born_from, query.born_to)
    where.exactly("s.sex", query.sex)
    where.moments("s.date", "s.time", (query.date_from, query.time_from), (query.date_to, query.time_to))
    if query.modalities:
        inner = Where("m.study_id = s.id")
        inner.any_like("m.modality", query.modalities)
        where.add(f"EXISTS (SELECT 1 FROM series m WHERE {inner.sql})", *inner.params)  # noqa: S608 - fixed texts
    if query.own is not None:
        where.add("s.origin IS NULL" if query.own else "s.origin IS NOT NULL")
    return where.sql, where.params


def _series_where(query: SeriesQuery) -> Where:
    where = Where(*study_where(query.studies))
    where.any_of("e.uid", query.series_uids)
    where.any_like("e.modality", query.modalities)
    where.text("e.number", query.number)
    where.text("e.description", query.description)
    where.text("e.body_part", query.body_part)
    return where


def _instance_where(query: InstanceQuery) -> Where:
    where = Where(*study_where(query.studies))
    where.any_of("e.uid", query.series_uids)
    where.any_of("i.uid", query.instance_uids)
    where.any_of("i.sop_class_uid", query.sop_class_uids)
    where.text("i.number", query.number)
    where.any_like("e.modality", query.modalities)
    where.text("e.number", query.series_number)
    where.text("e.description", query.series_description)
    where.text("e.body_part", query.body_part)
    return where


_STUDY_COLUMNS = (
    "s.uid, s.issuer, s.patient_id, s.patient_name, s.birth_date, s.sex, s.date, s.time, s.accession_number,"
    " s.study_id, s.description, s.referring_physician,"
    " (SELECT json_group_array(DISTINCT modality) FROM series WHERE study_id = s.id AND modality <> ''),"
    " (SELECT json_group_array(DISTINCT body_part) FROM series WHERE study_id = s.id AND body_part <> ''),"
    " s.series, s.instances, s.bytes, s.revision, s.revision_open, s.origin, s.has_report,"
    " CASE WHEN s.origin IS NULL THEN NULL ELSE"
    "  (SELECT json_array(l.issuer, l.patient_id) FROM study_link l WHERE l.study = s.uid) END"
)


def _study_summary(row: Row) -> StudySummary:
    return StudySummary(
        study_instance_uid=StudyInstanceUID(row[0]),
        patient=PatientKey(row[1], row[2]),
        demographics=Demographics(row[3], row[4], row[5]),
        date=row[6],
        time=row[7],
        accession_number=row[8],
        study_id=row[9],
        description=row[10],
        referring_physician=row[11],
        modalities=_texts(row[12]),
        body_parts=_texts(row[13]),
        series=row[14],
        instances=row[15],
        size=row[16],
        revision=row[17],
        revision_open=bool(row[18]),
        origin=None if row[19] is None else PeerId(bytes(row[19])),
        has_report=bool(row[20]),
        linked=None if row[21] is None else PatientKey(*msgspec.json.decode(row[21], type=tuple[str, str])),
    )


INSTANCE_COLUMNS = (  # of `study` s, `series` e and `instance` i; :func:`stored_instance` reads them
    "i.sop_class_uid, i.uid, s.uid, e.uid, i.transfer_syntax, s.issuer, s.patient_id, s.patient_name, s.birth_date,"
    " s.sex, s.date, s.time, s.accession_number, s.study_id, s.description, s.referring_physician,"
    " e.date, e.time, e.description, e.number, e.modality, e.body_part,"
    " i.number, i.rows, i.columns, i.frames, i.bits_allocated, s.character_set, s.patient_name_raw,"
    " i.object_id, i.digest, i.size, i.file_meta"
)


def stored_instance(row: Row) -> StoredInstance:
    """An instance from a row that begins with INSTANCE_COLUMNS."""
    header = InstanceHeader(
        sop_class_uid=SOPClassUID(row[0]),
        sop_instance_uid=SOPInstanceUID(row[1]),
        study_instance_uid=StudyInstanceUID(row[2]),
        series_instance_uid=SeriesInstanceUID(row[3]),
        transfer_syntax_uid=TransferSyntaxUID(row[4]),
        patient=PatientKey(row[5], row[6]),
        demographics=Demographics(row[7], row[8], row[9]),
        study_date=row[10],
        study_time=row[11],
        accession_number=row[12],
        study_id=row[13],
        study_description=row[14],
        referring_physician=row[15],
        series_date=row[16],
        series_time=row[17],
        series_description=row[18],
        series_number=row[19],
        modality=row[20],
        body_part=row[21],
        instance_number=row[22],
        rows=row[23],
        columns=row[24],
        frames=row[25],
        bits_allocated=row[26],
        specific_character_set=row[27],
        patient_name_raw=bytes(row[28]),
    )
    return StoredInstance(header, ObjectId(bytes(row[29])), Digest(bytes(row[30])), row[31], bytes(row[32]))


def _texts(json_array: str) -> tuple[str, ...]:
    return tuple(sorted(msgspec.json.decode(json_array, type=list[str])))


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode([str(value) for value in values]).decode()


def _limit(limit: int | None) -> int:
    return _ALL if limit is None else limit
