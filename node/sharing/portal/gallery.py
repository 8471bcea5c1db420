"""What a patient sees of the studies that are theirs to see: by name, in series, pictures and documents apart."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from node.model.access import Caller
from node.model.ids import SeriesInstanceUID, StudyInstanceUID
from node.model.instance import StoredInstance, StudySummary
from node.sharing.portal.handles import Handles
from node.sharing.portal.plain_words import Words, modality_name, name_of
from node.sharing.portal.records import OwnStudy, Record, Records
from node.sharing.reading import caught_up
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ENCAPSULATED = frozenset({f"{_STORAGE}104.{n}" for n in (1, 2)})  # PDF, CDA
_STRUCTURED = f"{_STORAGE}88."
_SELECTION = f"{_STORAGE}88.59"
_REMEMBERED = 8  # studies


@dataclass(frozen=True, slots=True)
class Held:
    """A study that the caller may see; ``handle`` is its name in addresses, ``record`` whose it is."""

    handle: str
    study: StudySummary
    name: Words
    record: Record


@dataclass(frozen=True, slots=True)
class Waiting:
    """A study that cannot be opened yet: ``own.availability`` says until when, or why."""

    own: OwnStudy
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


_Version: TypeAlias = tuple[StudyInstanceUID, int, int, int]  # UID, revision, instances, bytes
_Inside: TypeAlias = tuple[Sequence[StoredInstance], tuple[Series, ...], tuple[Document, ...]]


class Gallery:
    """Looks."""

    def __init__(self, store: ObjectStore, records: Records, handles: Handles) -> None:
        self._store = store
        self._records = records
        self._handles = handles
        # What was found in a study as it is now: a viewer asks for it with every image. Who may see it is asked anew.
        self._opened: OrderedDict[_Version, _Inside] = OrderedDict()

    async def page(self, caller: Caller) -> tuple[list[Held], list[Waiting]]:
        """All that the caller may see, newest first, and what waits."""
        await caught_up(self._store)
        held, waiting = [], []
        for one in await self._records.studies(caller):
            if one.is_visible:
                handle = await self._handles.of(caller, one.study.study_instance_uid)
                held.append(Held(handle, one.study, name_of(one.study), one.record))
            else:
                waiting.append(Waiting(one, name_of(one.study)))
        return held, waiting

    async def studies(self, caller: Caller) -> list[Held]:
        """All that the caller may see, newest first."""
        return (await self.page(caller))[0]

    async def find(self, caller: Caller, handle: str) -> Held:
        """The study of this name; raises NotFound, also for one that the caller may not see."""
        await caught_up(self._store)
        uid = await self._handles.find(caller, handle, await self._records.visible(caller))
        own = await self._records.study(caller, uid)
        return Held(handle, own.study, name_of(own.study), own.record)

    async def open(self, caller: Caller, handle: str) -> Contents:
        """A study with what is in it; raises NotFound."""
        held = await self.find(caller, handle)
        key = (held.study.study_instance_uid, held.study.revision, held.study.instances, held.study.size)
        known = self._opened.get(key)
        if known is None:
            query = InstanceQuery(studies=StudyQuery(study_uids=(held.study.study_instance_uid,)))
            instances = await self._store.instances(query)
            known = self._opened[key] = (instances, tuple(_series(instances)), tuple(_documents(instances)))
        self._opened.move_to_end(key)
        while len(self._opened) > _REMEMBERED:
            self._opened.popitem(last=False)
        return Contents(held, *known)


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
