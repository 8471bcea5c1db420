"""What a patient sees of the studies that are theirs to see: by name, in series, pictures and documents apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from node.errors.access import NotFound
from node.model.access import Caller
from node.model.ids import SeriesInstanceUID, StudyInstanceUID
from node.model.instance import StoredInstance, StudySummary
from node.sharing.portal.handles import Handles
from node.sharing.portal.plain_words import Words, modality_name, name_of
from node.sharing.reading import caught_up
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ENCAPSULATED = frozenset({f"{_STORAGE}104.{n}" for n in (1, 2)})  # PDF, CDA
_STRUCTURED = f"{_STORAGE}88."
_SELECTION = f"{_STORAGE}88.59"


class Records(Protocol):
    """Which studies a caller may see (``sharing.portal.records``)."""

    async def visible(self, caller: Caller) -> frozenset[StudyInstanceUID]:
        """Their UIDs."""


@dataclass(frozen=True, slots=True)
class Held:
    """A study that the caller may see; ``handle`` is its name in addresses."""

    handle: str
    study: StudySummary
    name: Words


@dataclass(frozen=True, slots=True)
class Series:
    """A series as a patient meets it. ``pictures``: instance and frame number of each, in order."""

    number: int  # from 1, in the study
    uid: SeriesInstanceUID
    name: Words
    description: str
    pictures: tuple[tuple[StoredInstance, int], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A report or another document of a study."""

    number: int  # from 1, in the study
    instance: StoredInstance = field(repr=False)
    is_file: bool  # an encapsulated PDF or the like, not a structured report
    title: str


@dataclass(frozen=True, slots=True)
class Contents:
    """A study opened."""

    held: Held
    instances: Sequence[StoredInstance] = field(repr=False)
    series: tuple[Series, ...]
    documents: tuple[Document, ...]


class Gallery:
    """Looks."""

    def __init__(self, store: ObjectStore, records: Records, handles: Handles) -> None:
        self._store = store
        self._records = records
        self._handles = handles

    async def studies(self, caller: Caller) -> list[Held]:
        """All that the caller may see, newest first."""
        await caught_up(self._store)
        visible = await self._records.visible(caller)
        if not visible:
            return []
        found = await self._store.studies(StudyQuery(study_uids=tuple(visible)))
        return [Held(await self._handles.of(caller, one.study_instance_uid), one, name_of(one)) for one in found]

    async def find(self, caller: Caller, handle: str) -> Held:
        """The study of this name; raises NotFound, also for one that the caller may not see."""
        await caught_up(self._store)
        uid = await self._handles.find(caller, handle, await self._records.visible(caller))
        found = await self._store.studies(StudyQuery(study_uids=(uid,)))
        if not found:
            raise NotFound
        return Held(handle, found[0], name_of(found[0]))

    async def open(self, caller: Caller, handle: str) -> Contents:
        """A study with what is in it; raises NotFound."""
        held = await self.find(caller, handle)
        query = InstanceQuery(studies=StudyQuery(study_uids=(held.study.study_instance_uid,)))
        instances = await self._store.instances(query)
        return Contents(held, instances, tuple(_series(instances)), tuple(_documents(instances)))


def _series(instances: Sequence[StoredInstance]) -> list[Series]:
    grouped: dict[SeriesInstanceUID, list[tuple[StoredInstance, int]]] = {}
    for instance in instances:
        header = instance.header
        if header.rows and header.columns:
            pictures = grouped.setdefault(header.series_instance_uid, [])
            pictures += [(instance, number) for number in range(1, max(1, header.frames) + 1)]
    return [
        Series(
            number, uid, modality_name(pictures[0][0].header.modality), pictures[0][0].header.series_description,
            tuple(pictures),
        )
        for number, (uid, pictures) in enumerate(grouped.items(), 1)
    ]  # fmt: skip


def _documents(instances: Sequence[StoredInstance]) -> list[Document]:
    found = [instance for instance in instances if is_document(instance)]
    return [
        Document(number, one, one.header.sop_class_uid in _ENCAPSULATED, one.header.series_description)
        for number, one in enumerate(found, 1)
    ]


def is_document(instance: StoredInstance) -> bool:
    """Whether it is something to read."""
    kind = instance.header.sop_class_uid
    return kind in _ENCAPSULATED or (kind.startswith(_STRUCTURED) and kind != _SELECTION)
