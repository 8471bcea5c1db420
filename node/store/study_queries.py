"""Questions to the index about studies, series and instances: QIDO-RS matching, summaries, where an object lies.

Matching follows PS3.4 C.2.2.2 as PS3.18 8.3.4 uses it: single value, wildcards ``*`` and ``?``, ranges, lists of UIDs.
Names match without regard to case and accents (PS3.4 C.2.2.2.1 leaves that to the provider).
"""

import unicodedata
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

_ALL = -1  # SQL: no limit
_AFTER_EVERY_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """Which studies are wanted. Every field that is given must match; text fields take ``*`` and ``?``.

    ``patients`` restricts the answer to those patients (what a caller may see); an empty tuple means nobody's.
    ``date_from`` and ``date_to`` are DA values, both inclusive. ``own``: True for studies of this facility only, False
    for received ones only.
    """

    study_uids: tuple[StudyInstanceUID, ...] = ()
    patients: tuple[PatientKey, ...] | None = None
    patient_id: str = ""
    issuer: str | None = None  # exact; "" asks for studies whose issuer is empty
    patient_name: str = ""
    birth_date: str = ""
    accession_number: str = ""
    study_id: str = ""
    description: str = ""
    referring_physician: str = ""
    date_from: str = ""
    date_to: str = ""
    modalities: tuple[str, ...] = ()  # Modalities in Study: any of them
    own: bool | None = None
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


def fold(text: str) -> str:
    """``text`` without case and accents, for matching names."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


async def totals(rx: Read) -> Totals:
    """The sums over everything visible."""
    row = await rx.fetch_one("SELECT count(*), coalesce(sum(instances), 0), coalesce(sum(bytes), 0) FROM study")
    quarantined = await rx.fetch_value("SELECT count(*) FROM quarantine")
    disk_bytes = await rx.fetch_value("SELECT coalesce(sum(indexed_bytes), 0) FROM pack")
    assert row is not None
    return Totals(row[0], row[1], row[2], quarantined, disk_bytes)


async def find_studies(rx: Read, query: StudyQuery) -> list[StudySummary]:
    """The studies that match, newest study date first."""
    where, params = _study_where(query)
    sql = f"SELECT {_STUDY_COLUMNS} FROM study s WHERE {where} ORDER BY s.date DESC, s.id LIMIT ? OFFSET ?"  # noqa: S608 - fixed texts
    rows = await rx.fetch_all(sql, (*params, _limit(query.limit), query.offset))
    return [_study_summary(row) for row in rows]


async def find_series(rx: Read, query: SeriesQuery) -> list[SeriesSummary]:
    """The series that match, by study and series number."""
    where = _Where(*_study_where(query.studies))
    where.any_of("e.uid", query.series_uids)
    where.any_of("e.modality", query.modalities)
    where.text("e.number", query.number)
    where.text("e.description", query.description)
    where.text("e.body_part", query.body_part)
    rows = await rx.fetch_all(
        "SELECT s.uid, e.uid, e.modality, e.number, e.description, e.body_part, e.date, e.time, e.instances"  # noqa: S608
        f" FROM study s JOIN series e ON e.study_id = s.id WHERE {where.sql}"
        " ORDER BY s.date DESC, s.id, CAST(e.number AS INTEGER), e.id LIMIT ? OFFSET ?",
        (*where.params, _limit(query.limit), query.offset),
    )
    return [SeriesSummary(StudyInstanceUID(row[0]), SeriesInstanceUID(row[1]), *row[2:]) for row in rows]


async def find_instances(rx: Read, query: InstanceQuery) -> list[StoredInstance]:
    """The instances that match, by study, series number and instance number."""
    where = _Where(*_study_where(query.studies))
    where.any_of("e.uid", query.series_uids)
    where.any_of("i.uid", query.instance_uids)
    where.any_of("i.sop_class_uid", query.sop_class_uids)
    where.text("i.number", query.number)
    rows = await rx.fetch_all(
        f"SELECT {INSTANCE_COLUMNS} FROM study s JOIN series e ON e.study_id = s.id"  # noqa: S608
        f" JOIN instance i ON i.series_id = e.id WHERE {where.sql}"
        " ORDER BY s.date DESC, s.id, CAST(e.number AS INTEGER), e.id, CAST(i.number AS INTEGER), i.id"
        " LIMIT ? OFFSET ?",
        (*where.params, _limit(query.limit), query.offset),
    )
    return [stored_instance(row) for row in rows]


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
    """The digests of those among ``instances`` that are visible here (what need not be sent again)."""
    rows = await rx.fetch_all(
        "SELECT uid, digest FROM instance WHERE uid IN (SELECT value FROM json_each(?))", (_json(instances),)
    )
    return {SOPInstanceUID(row[0]): Digest(bytes(row[1])) for row in rows}


class _Where:
    """Conditions joined by AND, with their parameters."""

    def __init__(self, sql: str = "1", params: Sequence[object] = ()) -> None:
        self.sql = sql
        self.params = list(params)

    def add(self, condition: str, *params: object) -> None:
        self.sql += f" AND {condition}"
        self.params.extend(params)

    def exactly(self, column: str, value: str) -> None:
        if value:
            self.add(f"{column} = ?", value)

    def any_of(self, column: str, values: Sequence[str]) -> None:
        if values:
            self.add(f"{column} IN (SELECT value FROM json_each(?))", _json(values))  # noqa: S608 - fixed column names

    def text(self, column: str, pattern: str) -> None:
        """Single value or wildcard matching; ``*`` alone is universal matching (PS3.4 C.2.2.2.3)."""
        if not pattern.strip("*"):
            return
        if "*" not in pattern and "?" not in pattern:
            self.add(f"{column} = ?", pattern)
            return
        prefix = pattern.split("*", 1)[0].split("?", 1)[0]
        if prefix:  # lets SQLite walk the column's index instead of every row
            self.add(f"{column} >= ? AND {column} < ?", prefix, prefix + _AFTER_EVERY_CHARACTER)
        self.add(f"{column} GLOB ?", pattern.replace("[", "[[]"))

    def name(self, column: str, pattern: str) -> None:
        """A person's name: the whole value or its first component group, folded."""
        folded = fold(pattern)
        if folded and "*" not in folded and "?" not in folded:
            self.add(f"({column} = ? OR {column} >= ? AND {column} < ?)", folded, f"{folded}=", f"{folded}>")
        else:
            self.text(column, folded)


def _study_where(query: StudyQuery) -> tuple[str, list[object]]:
    where = _Where()
    where.any_of("s.uid", query.study_uids)
    if query.patients is not None:
        keys = msgspec.json.encode([[p.issuer, p.patient_id] for p in query.patients]).decode()
        where.add(
            "(s.issuer, s.patient_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
            keys,
        )
    where.text("s.patient_id", query.patient_id)
    if query.issuer is not None:
        where.add("s.issuer = ?", query.issuer)
    where.name("s.patient_name_match", query.patient_name)
    where.exactly("s.birth_date", query.birth_date)
    where.text("s.accession_number", query.accession_number)
    where.text("s.study_id", query.study_id)
    where.text("s.description", query.description)
    where.text("s.referring_physician", query.referring_physician)
    if query.date_from:
        where.add("s.date >= ?", query.date_from)
    if query.date_to:
        where.add("s.date <= ? AND s.date <> ''", query.date_to)
    if query.modalities:
        where.add(
            "EXISTS (SELECT 1 FROM series m WHERE m.study_id = s.id"
            " AND m.modality IN (SELECT value FROM json_each(?)))",
            _json(query.modalities),
        )
    if query.own is not None:
        where.add("s.origin IS NULL" if query.own else "s.origin IS NOT NULL")
    return where.sql, where.params


_STUDY_COLUMNS = (
    "s.uid, s.issuer, s.patient_id, s.patient_name, s.birth_date, s.sex, s.date, s.time, s.accession_number,"
    " s.study_id, s.description, s.referring_physician,"
    " (SELECT json_group_array(DISTINCT modality) FROM series WHERE study_id = s.id AND modality <> ''),"
    " (SELECT json_group_array(DISTINCT body_part) FROM series WHERE study_id = s.id AND body_part <> ''),"
    " s.series, s.instances, s.bytes, s.revision, s.revision_open, s.origin, s.has_report"
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
