"""Whether a study is here as a whole, as far as this node can tell."""

from dataclasses import dataclass
from enum import StrEnum

from node.model.access import Caller
from node.model.ids import StudyInstanceUID
from node.sharing.visibility import Visibility
from node.store import transfers
from node.store.engine import Database
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery


class ArrivalState(StrEnum):
    """What can be seen of a study."""

    WHOLE = "whole"
    GROWING = "growing"  # can be seen, and more of it is coming
    COMING = "coming"  # on its way from another facility; shown when all of it is here
    ABSENT = "absent"  # not here, or not to be seen by this caller


@dataclass(frozen=True, slots=True)
class Arrival:
    """A study's state, how many of its instances are here, and of how many that are to come (0: nobody knows)."""

    state: ArrivalState
    instances: int = 0
    total: int = 0


class Arrivals:
    """Answers for viewers."""

    def __init__(self, db: Database, store: ObjectStore, visibility: Visibility) -> None:
        self._db = db
        self._store = store
        self._visibility = visibility

    async def of(self, caller: Caller, study: StudyInstanceUID) -> Arrival:
        """How far ``study`` has come, for who may see it."""
        visible = await self._visibility.of(caller)
        if visible is not None and study not in visible:
            return Arrival(ArrivalState.ABSENT)
        held = await self._store.studies(StudyQuery(study_uids=(study,)))
        async with self._db.read() as rx:
            moving = await transfers.arriving(rx, study)
        if held:
            grows = held[0].revision_open or moving is not None
            return Arrival(ArrivalState.GROWING if grows else ArrivalState.WHOLE, held[0].instances)
        if moving is not None:
            return Arrival(ArrivalState.COMING, moving.instances_done, moving.instances_total)
        return Arrival(ArrivalState.ABSENT)
