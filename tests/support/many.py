"""An index with very many rows, made by SQL alone: as after years of work. There are no objects behind it."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.store.engine import Database
from node.store.matching import fold

ROOT = "1.2.826.0.1.3680043.10.543.9"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
FAMILIES = ("Smith", "Smythe", "Smirnow", "Miller", "Goldsmith", "Garcia", "Nguyen", "Mueller", "Okafor", "Larsen")
GIVEN = ("Anna", "Bruno", "Chidi", "Dora", "Emil", "Fatima", "Georg", "Hana", "Ivan", "Jana")
MODALITIES = ("CT", "MR", "CR", "US", "MG")
SERIES = 2  # of each study
STUDIES_OF_PATIENT = 2


@dataclass(frozen=True)
class Made:
    """What a generated study is called. The same number gives the same study."""

    number: int

    @property
    def uid(self) -> str:
        return f"{ROOT}.{self.number}"

    @property
    def patient_id(self) -> str:
        return f"PAT-{self.number // STUDIES_OF_PATIENT:06}"

    @property
    def name(self) -> str:
        """One of 3000 families, one in ten of which sounds like Smith."""
        chosen = random.Random(self.number // STUDIES_OF_PATIENT)
        return f"{chosen.choice(FAMILIES)}{chosen.randrange(300):03}^{chosen.choice(GIVEN)}"

    @property
    def birth_date(self) -> str:
        patient = self.number // STUDIES_OF_PATIENT
        return f"{1930 + patient % 80}{1 + patient % 12:02}{1 + patient % 28:02}"

    @property
    def date(self) -> str:
        """Some day of ten years."""
        day = self.number * 7919 % 3360
        return f"{2015 + day // 336}{1 + day % 336 // 28:02}{1 + day % 28:02}"

    @property
    def accession(self) -> str:
        return f"ACC{self.number:07}"

    @property
    def modality(self) -> str:
        return MODALITIES[self.number % len(MODALITIES)]


def fill(database: Path, key: bytes, *, studies: int, instances: int) -> None:
    """Add ``studies`` studies of ``instances`` instances each to the index; it must exist, and no node serve it."""
    connection = Database(database, key).connect()
    try:
        connection.execute("BEGIN IMMEDIATE")
        first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM study").fetchone()[0]
        for number in range(studies):
            _add(connection, first + number, Made(number), instances)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _add(connection: Any, row: int, made: Made, instances: int) -> None:
    space, pack = _random(16, made.uid, "space"), _random(16, made.uid, "pack")
    connection.execute("INSERT INTO space VALUES (?, ?, 1, ?)", (space, made.uid, _random(32, made.uid, "key")))
    connection.execute(
        "INSERT INTO pack (name, space, indexed_bytes, sealed) VALUES (?, ?, ?, 1)", (pack, space, instances * 1024)
    )
    connection.execute(
        "INSERT INTO study (id, uid, space, issuer, patient_id, patient_name, patient_name_match, patient_name_raw,"
        " birth_date, sex, character_set, date, time, accession_number, study_id, description, referring_physician,"
        " series, instances, bytes, revision, revision_open, changed_at)"
        " VALUES (?, ?, ?, 'HOSPITAL', ?, ?, ?, ?, ?, 'F', 'ISO_IR 192', ?, '101500', ?, '1', 'CT chest', 'Ref^Erring',"
        " ?, ?, ?, 1, 0, 1700000000)",
        (
            row, made.uid, space, made.patient_id, made.name, fold(made.name), made.name.encode(), made.birth_date,
            made.date, made.accession, SERIES, instances, instances * 1000,
        ),
    )  # fmt: skip
    connection.execute("INSERT INTO revision (study_id, number, closed_at) VALUES (?, 1, 1700000000)", (row,))
    for series in range(SERIES):
        mine = range(series, instances, SERIES)
        one = connection.execute(
            "INSERT INTO series (study_id, uid, modality, number, description, body_part, date, time, instances)"
            " VALUES (?, ?, ?, ?, 'Axial', 'CHEST', ?, '101500', ?)",
            (row, f"{made.uid}.{series}", made.modality, str(series + 1), made.date, len(mine)),
        ).lastrowid
        connection.executemany(
            "INSERT INTO instance (series_id, study_id, uid, sop_class_uid, transfer_syntax, number, rows, columns,"
            " frames, bits_allocated, file_meta, size, digest, object_id, pack, offset, revision, stored_at)"
            f" VALUES (?, ?, ?, '{CT}', '{EXPLICIT}', ?, 512, 512, 1, 16, x'', 1000, ?, ?, ?, ?, 1, 1700000000)",
            _instances(row, int(one), f"{made.uid}.{series}", pack, mine),
        )


def _instances(study: int, series: int, uid: str, pack: bytes, numbers: range) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        name = f"{uid}.{number}"
        digest = _random(32, name, "digest")
        yield series, study, name, str(number + 1), digest, digest[:16], pack, 64 + number * 1024


def _random(length: int, *of: str) -> bytes:
    return hashlib.sha256("/".join(of).encode()).digest()[:length]
