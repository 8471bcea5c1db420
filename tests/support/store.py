"""A store to test against, and headers of instances that never were."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from blockbuster import blockbuster_ctx

from node.clock import Clock, SystemClock
from node.crypto.identity import Identity
from node.crypto.keystore import KeyStore
from node.log import make_logger
from node.model.ids import (
    PatientKey,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.model.instance import Demographics, InstanceHeader
from node.store.engine import Database
from node.store.indexer import Observer
from node.store.objects import ObjectStore
from node.store.packs import Disk

ROOT = "1.2.826.0.1.3680043.10.543"
MASTER = bytes(range(32))
INDEX_KEY = bytes(range(32, 64))


def keys(master: bytes = MASTER) -> KeyStore:
    """Keys that are the same in every run, so that a store can be opened again."""
    return KeyStore(Identity.from_seed(bytes(32)), master, 1, INDEX_KEY)


def study_uid(study: int) -> StudyInstanceUID:
    return StudyInstanceUID.parse(f"{ROOT}.{study}")


def instance_uid(study: int, instance: int) -> SOPInstanceUID:
    return SOPInstanceUID.parse(f"{ROOT}.{study}.3.{instance}")


def header(
    *, study: int = 1, series: int = 1, instance: int = 1, patient: PatientKey | None = None, **changes: object
) -> InstanceHeader:
    """The header of a CT instance; ``changes`` replace single fields."""
    made = InstanceHeader(
        sop_class_uid=SOPClassUID("1.2.840.10008.5.1.4.1.1.2"),
        sop_instance_uid=instance_uid(study, instance),
        study_instance_uid=study_uid(study),
        series_instance_uid=SeriesInstanceUID.parse(f"{ROOT}.{study}.2.{series}"),
        transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.1"),
        patient=patient or PatientKey("LEVERET-TEST", "PAT-0042"),
        demographics=Demographics("Müller^Änne", "19700131", "F"),
        study_date="20260102",
        study_time="101112",
        accession_number=f"ACC{study}",
        study_id=f"S{study}",
        study_description="CT thorax",
        series_number=str(series),
        modality="CT",
        body_part="CHEST",
        instance_number=str(instance),
        rows=512,
        columns=512,
        bits_allocated=16,
        specific_character_set="ISO_IR 100",
        patient_name_raw="Müller^Änne".encode("latin-1"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def opened_store(
    directory: Path,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    observer: Observer | None = None,
    reserve: int = 0,
    master: bytes = MASTER,
    compress: bool = True,
) -> AsyncIterator[tuple[ObjectStore, Database]]:
    """The store of ``directory``, made on first use. A call of it that blocks the event loop fails the test."""
    own = keys(master)
    with blockbuster_ctx("node"):
        async with _opened(
            directory, own, clock=clock, disk=disk, observer=observer, reserve=reserve, compress=compress
        ) as both:
            yield both


@asynccontextmanager
async def _opened(
    directory: Path,
    own: KeyStore,
    *,
    clock: Clock | None,
    disk: Disk | None,
    observer: Observer | None,
    reserve: int,
    compress: bool,
) -> AsyncIterator[tuple[ObjectStore, Database]]:
    async with (
        await Database.open(directory / "index.db", own.index_key()) as db,
        await ObjectStore.open(
            directory,
            db,
            own,
            clock or SystemClock(),
            make_logger(io.StringIO()),
            reserve_bytes=reserve,
            disk=disk,
            observer=observer,
            compress=compress,
        ) as store,
    ):
        yield store, db
