"""C-FIND of Query/Retrieve (PS3.4 section C.4.1): Patient Root and Study Root, at every level.

Matching is QIDO-RS's (``search``). Attributes of the levels above may be asked for and matched too, where the standard
leaves that to be negotiated: real callers do it. Unique keys of the levels above must be given, unless the caller
negotiated relational queries.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from node.clock import Clock
from node.dicom.identifier import (
    AVAILABILITY,
    CHARACTER_SET,
    LEVEL,
    RETRIEVE_AE,
    Identifier,
    Value,
    encode_elements,
    read_identifier,
    result_elements,
)
from node.dicom.jsonmodel import DicomJson, instance_result, patient_result, series_result, study_result
from node.dicom.received import Status
from node.dicom.services import PATIENT_ROOT
from node.dicom.upper_layer.operation import Operation
from node.dicom.upper_layer.service import Outcome
from node.errors import LeveretError
from node.errors.dimse import IdentifierMismatch, QueryTooLarge
from node.model.audit import AuditEvent, AuditType
from node.model.ids import SeriesInstanceUID, StudyInstanceUID
from node.sharing.audit import AuditLog
from node.sharing.outward import Outward
from node.sharing.reading import caught_up
from node.sharing.search import Search, set_attribute
from node.store.objects import ObjectStore
from node.store.study_queries import SeriesQuery, StudyQuery

MAX_MATCHES = 10_000  # told at once; whoever wants more has asked too broadly
QUERY_SECONDS = 30.0  # for the index to answer

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE_KEYS: Mapping[str, int] = {
    "PATIENT": 0x00100020, "STUDY": 0x0020000D, "SERIES": 0x0020000E, "IMAGE": 0x00080018,
}  # fmt: skip
_SEARCH_LEVELS: Mapping[str, tuple[str, ...]] = {
    "PATIENT": ("study",), "STUDY": ("study",), "SERIES": ("study", "series"),
    "IMAGE": ("study", "series", "instance"),
}  # fmt: skip
_NO_MATCHING = frozenset("*?\\")


class Find:
    """The service. ``ae_title``: where what is found can be retrieved."""

    def __init__(self, *, outward: Outward, store: ObjectStore, audit: AuditLog, ae_title: str, clock: Clock) -> None:
        self._outward = outward
        self._store = store
        self._audit = audit
        self._ae_title = ae_title
        self._clock = clock

    async def answer(self, operation: Operation, dataset: bytes) -> Outcome:
        """Answer a C-FIND."""
        context = operation.context
        try:
            identifier = read_identifier(dataset, context.transfer_syntax)
            is_patient_root = context.abstract_syntax in PATIENT_ROOT
            check_hierarchy(identifier, is_patient_root=is_patient_root, is_relational=context.relational)
            search, ignored = read_search(identifier)
            async with asyncio.timeout(QUERY_SECONDS):
                await caught_up(self._store)
                results = await self._results(identifier.level, search)
            if len(results) > MAX_MATCHES:
                raise QueryTooLarge
        except TimeoutError:
            return Outcome(Status.OUT_OF_RESOURCES, "the query takes too long")
        except LeveretError as error:
            return Outcome(status_of_query(error), error.code)
        await self._record(operation, identifier.level, len(results))
        tags = self._wanted(identifier, is_patient_root=is_patient_root)
        for result in results:
            if operation.is_cancelled:
                return Outcome(Status.CANCELLED)
            elements = self._elements(identifier, result, tags)
            is_all = not ignored and tags <= elements.keys()
            status = Status.PENDING if is_all else Status.PENDING_KEYS_NOT_SUPPORTED
            await operation.pending(status, encode_elements(elements, context.transfer_syntax))
        return Outcome(Status.SUCCESS)

    async def _results(self, level: str, search: Search) -> Sequence[DicomJson]:
        most = MAX_MATCHES + 1
        if level == "PATIENT":
            return [patient_result(one) for one in await self._outward.patients(search.studies(), most)]
        if level == "STUDY":
            return [study_result(study, "") for study in await self._outward.studies(search.studies(), most)]
        if level == "SERIES":
            series = await self._outward.series(search.series(), most)
            above = await self._studies({one.study_instance_uid for one in series})
            return [above[one.study_instance_uid] | series_result(one, "") for one in series]
        instances = await self._outward.instances(search.instances(), most)
        above = await self._studies({one.header.study_instance_uid for one in instances})
        of_series = await self._series({one.header.series_instance_uid for one in instances})
        return [
            above[one.header.study_instance_uid] | of_series[one.header.series_instance_uid] | instance_result(one, "")
            for one in instances
        ]

    async def _studies(self, uids: Iterable[StudyInstanceUID]) -> Mapping[StudyInstanceUID, DicomJson]:
        wanted = tuple(uids)  # one that is not there any more, because it was withdrawn a moment ago, says nothing
        found = await self._outward.studies(StudyQuery(study_uids=wanted), len(wanted)) if wanted else []
        return defaultdict(dict, {study.study_instance_uid: study_result(study, "") for study in found})

    async def _series(self, uids: Iterable[SeriesInstanceUID]) -> Mapping[SeriesInstanceUID, DicomJson]:
        wanted = tuple(uids)
        found = await self._outward.series(SeriesQuery(series_uids=wanted), len(wanted)) if wanted else []
        return defaultdict(dict, {series.series_instance_uid: series_result(series, "") for series in found})

    def _wanted(self, identifier: Identifier, *, is_patient_root: bool) -> set[int]:
        """The keys that were asked for, and the unique ones of this level and those above."""
        above = LEVELS[0 if is_patient_root else 1 : LEVELS.index(identifier.level) + 1]
        return {*identifier.keys, *(UNIQUE_KEYS[level] for level in above)}

    def _elements(self, identifier: Identifier, result: DicomJson, tags: Iterable[int]) -> dict[int, Value]:
        elements = result_elements(result, tags)
        return elements | {
            CHARACTER_SET: "ISO_IR 192",
            LEVEL: identifier.level,
            RETRIEVE_AE: self._ae_title,
            AVAILABILITY: "ONLINE",
        }

    async def _record(self, operation: Operation, level: str, found: int) -> None:
        detail: dict[str, str | int] = {"found": found, "level": level.lower(), "address": operation.caller.address}
        actor = actor_of(operation)
        await self._audit.record(AuditEvent(AuditType.STUDIES_SEARCHED, self._clock.now(), actor, detail=detail))


def actor_of(operation: Operation) -> str:
    """Who is on record."""
    return f"ae:{operation.caller.ae_title}"


def check_hierarchy(identifier: Identifier, *, is_patient_root: bool, is_relational: bool) -> None:
    """Raise IdentifierMismatch unless the level is one of the root and each unique key above it has one value."""
    levels = LEVELS if is_patient_root else LEVELS[1:]
    if identifier.level not in levels:
        raise IdentifierMismatch("query level")
    if is_relational:
        return
    for level in levels[: levels.index(identifier.level)]:
        value = identifier.keys.get(UNIQUE_KEYS[level], "")
        if not value or _NO_MATCHING & set(value):
            raise IdentifierMismatch("unique key of a level above")


def read_search(identifier: Identifier) -> tuple[Search, bool]:
    """The search, and whether there is something in it that is not matched here."""
    search = Search()
    levels = _SEARCH_LEVELS[identifier.level]
    for tag, value in identifier.keys.items():
        if value:
            set_attribute(search, f"{tag:08x}", value, levels)
    return search, bool(search.ignored)


def status_of_query(error: LeveretError) -> int:
    """What the caller is told (PS3.4 tables C.4-1 to C.4-3)."""
    match error:
        case IdentifierMismatch():
            return Status.MISMATCH
        case QueryTooLarge():
            return Status.OUT_OF_RESOURCES
    return Status.CANNOT_UNDERSTAND
