"""Whatever happens in whatever order: what was hidden is not seen, sums are right, closed revisions never change."""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.store import header, instance_uid, opened_store, study_uid

from node.errors.storage import UnknownStudy
from node.model.instance import Manifest
from node.model.lifecycle import HiddenReason, RevisionCause
from node.model.quarantine import Acceptance, acceptance
from node.store import hiding, quarantine, tombstones
from node.store.engine import Database
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery
from node.store.tombstones import Tombstone

STUDY = study_uid(1)
NUMBERS = st.integers(1, 3)
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), NUMBERS, st.integers(0, 1)),
    st.tuples(st.just("reject"), NUMBERS, st.just(0)),
    st.tuples(st.just("accept"), st.just(0), st.just(0)),
    st.tuples(st.just("close"), st.just(0), st.just(0)),
    st.tuples(st.just("withdraw"), st.just(0), st.just(0)),
)


@dataclass
class World:
    """A store, and what must be true of it."""

    store: ObjectStore
    db: Database
    visible: dict[int, int] = field(default_factory=dict)  # instance → which bytes
    buried: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)  # UIDs that something counts under, shown or hidden
    whole: bool = False  # the study was withdrawn
    closed: dict[int, Manifest] = field(default_factory=dict)

    async def do(self, what: str, number: int, variant: int) -> None:
        await getattr(self, f"_{what}")(number, variant)
        await self.store.indexed()
        await self._check()

    async def _put(self, number: int, variant: int) -> None:
        await self.store.put(header(instance=number), bytes([number, variant]))
        if number not in self.held:
            self.held.add(number)
            if not self.whole and number not in self.buried:
                self.visible[number] = variant

    async def _reject(self, number: int, _variant: int) -> None:
        reason = HiddenReason.REJECTED_SAFETY
        async with self.db.write() as tx:
            uid = instance_uid(1, number)
            await hiding.hide(tx, STUDY, [uid], reason, cause=RevisionCause.REJECTION, now=1)
            await tombstones.add(tx, [Tombstone(STUDY, reason, uid)], at=1)
        self.visible.pop(number, None)
        self.buried.add(number)

    async def _withdraw(self, _number: int, _variant: int) -> None:
        reason = HiddenReason.RETRACTED
        async with self.db.write() as tx:
            await hiding.hide(tx, STUDY, None, reason, cause=RevisionCause.RETRACTION, now=1)
            await tombstones.add(tx, [Tombstone(STUDY, reason)], at=1)
        self.visible.clear()
        self.whole = True

    async def _accept(self, _number: int, _variant: int) -> None:
        async with self.db.write() as tx:
            for one in await quarantine.page(tx, limit=1):
                if acceptance(await quarantine.circumstances(tx, one)) is Acceptance.REPLACE:
                    assert await quarantine.put_in_place(tx, one, now=1)
                    data = int(one.meta.header.instance_number)
                    self.visible[data] = 1 - self.visible[data]

    async def _close(self, _number: int, _variant: int) -> None:
        try:
            await self.store.close_revision(STUDY)
        except UnknownStudy:
            assert not self.visible

    async def _check(self) -> None:
        found = await self.store.instances(InstanceQuery())
        assert {int(i.header.instance_number) for i in found} == set(self.visible)
        for number, variant in self.visible.items():
            assert await (await self.store.reader(instance_uid(1, number))).read() == bytes([number, variant])
        studies = await self.store.studies()
        assert [s.instances for s in studies] == ([len(self.visible)] if self.visible else [])
        for study in studies:
            manifest = await self.store.manifest(STUDY)
            if manifest is not None:
                assert manifest.revision == study.revision
                assert self.closed.setdefault(manifest.revision, manifest).entries == manifest.entries
            for number, then in self.closed.items():
                now = await self.store.manifest(STUDY, number)
                assert now is None or now.entries == then.entries  # None: it was closed before the study had gone


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATIONS, max_size=12))
def test_in_whatever_order(operations: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with opened_store(Path(folder)) as (store, db):
                world = World(store, db)
                for operation in operations:
                    await world.do(*operation)
                visible = dict(world.visible)
            async with opened_store(Path(folder)) as (store, db):
                again = World(store, db, visible)
                await again._check()

    asyncio.run(play())
