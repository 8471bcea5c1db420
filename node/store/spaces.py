"""Spaces: for each study a random name, a key, and what must not be contradicted while its instances come in.

The row with the wrapped key is committed before the study's first object is written: no object can become durable whose
key is not.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.crypto.keystore import KeyStore
from node.crypto.seal import KEY_BYTES
from node.model.ids import PatientKey, SeriesInstanceUID, StudyInstanceUID, StudyRef
from node.store import identity
from node.store.engine import Database
from node.store.pack_format import QuarantineReason, SpaceKey
from node.store.waiting import Turns

MAX_CACHED = 512  # studies whose key stays in memory while nobody writes to them
_FIRST_VERSION = 1


class Space:
    """One study's space while it is in use."""

    def __init__(self, key: SpaceKey, study: StudyInstanceUID, patient: PatientKey | None) -> None:
        self.key = key
        self.study = study
        self.patient = patient  # whose study it is; None until its first visible instance claims it
        self.is_received: bool | None = None  # whether it is another facility's; None: to be looked up
        self.unindexed = 0  # records queued or durable that the index does not know yet
        self.idle = asyncio.Event()  # no put is under way
        self.idle.set()
        self._users = 0
        self.series: set[SeriesInstanceUID] = set()  # of this study, as far as puts have asked
        self._settled = patient is not None
        self._claims = 0

    def enter(self) -> None:
        """A put begins."""
        self._users += 1
        self.idle.clear()

    def leave(self) -> None:
        """A put has ended."""
        self._users -= 1
        if not self._users:
            self.idle.set()

    def claim(self, patient: PatientKey) -> bool:
        """Say that an instance of ``patient`` is about to be stored; False if the study is somebody else's."""
        if self.patient is None:
            self.patient = patient
        if self.patient != patient:
            return False
        self._claims += 1
        return True

    def settle(self) -> None:
        """An instance under the claim is durable: from now on the study is this patient's."""
        self._settled = True

    def unclaim(self) -> None:
        """The put that made the claim has ended; if nothing under any claim was stored, the study is nobody's again."""
        self._claims -= 1
        if not self._claims and not self._settled:
            self.patient = None


class Spaces:
    """The spaces of one store."""

    def __init__(self, db: Database, keys: KeyStore) -> None:
        self._db = db
        self._keys = keys
        self._cached: dict[StudyInstanceUID, Space] = {}
        self._series: dict[SeriesInstanceUID, StudyInstanceUID] = {}
        self._turns: Turns[StudyInstanceUID] = Turns()
        self._closing: set[StudyInstanceUID] = set()  # being deleted

    @asynccontextmanager
    async def use(self, study: StudyInstanceUID) -> AsyncIterator[Space]:
        """The space of ``study``, made if there is none; waits while the study is being deleted."""
        space = self._cached.get(study)
        while space is None or study in self._closing:
            async with self._turns.turn(study):
                space = self._cached.get(study)
                if space is None:
                    space = await self._load_or_make(study)
                    self._cached[study] = space
        space.enter()
        try:
            yield space
        finally:
            space.leave()
            if len(self._cached) > MAX_CACHED:
                self._forget_idle()

    @asynccontextmanager
    async def close_for_good(self, study: StudyInstanceUID) -> AsyncIterator[None]:
        """Keep everybody out of the space of ``study`` and forget it: the block removes the study."""
        async with self._turns.turn(study):
            self._closing.add(study)
            try:
                space = self._cached.get(study)
                if space is not None:
                    await space.idle.wait()
                yield
                if space is not None:
                    self._forget(space)
            finally:
                self._closing.discard(study)

    async def contradiction(
        self, space: Space, patient: PatientKey, series: SeriesInstanceUID
    ) -> QuarantineReason | None:
        """Why an instance of ``patient`` in ``series`` cannot be part of this study; if it can, its claim is noted."""
        owner = self._series.get(series)
        if owner is None:
            async with self._db.read() as rx:
                held = await rx.fetch_value(
                    "SELECT s.uid FROM series e JOIN study s ON s.id = e.study_id WHERE e.uid = ?", (str(series),)
                )
            owner = self._series.get(series) or (space.study if held is None else StudyInstanceUID(held))
        if owner != space.study:
            return QuarantineReason.SERIES_DIFFERS
        if space.is_received is None:
            space.is_received = await self._is_received(space.study)
        if space.is_received:  # what has a contradiction to fear came by no transfer: it is one's own
            return QuarantineReason.ORIGIN_DIFFERS
        if not space.claim(patient) and not await self._claim_as_former(space, patient):
            return QuarantineReason.PATIENT_DIFFERS
        self._series[series] = space.study
        space.series.add(series)
        return None

    async def key_of(self, space: bytes) -> SpaceKey | None:
        """The key of the space named ``space``; None if its study was deleted."""
        async with self._db.read() as rx:
            row = await rx.fetch_one("SELECT key_version, wrapped_key FROM space WHERE ref = ?", (space,))
        return None if row is None else self.unwrap(space, row[0], bytes(row[1]))

    def unwrap(self, space: bytes, version: int, wrapped: bytes) -> SpaceKey:
        """A space's key. Raises WrongKeyOrDamaged if the row is not what was written under this master key."""
        return SpaceKey(space, version, self._keys.unwrap_study_key(wrapped, space, version))

    def admitted(self, study: StudyInstanceUID, patient: PatientKey) -> None:
        """The study has become visible by admission: from now on it is this patient's."""
        space = self._cached.get(study)
        if space is None:
            return
        space.is_received = None
        if space.claim(patient):
            space.settle()

    def corrected(self, study: StudyInstanceUID, patient: PatientKey) -> None:
        """From now on the study is this patient's."""
        space = self._cached.get(study)
        if space is not None and space.patient is not None:
            space.patient = patient

    async def _is_received(self, study: StudyInstanceUID) -> bool:
        async with self._db.read() as rx:
            return bool(await rx.fetch_value("SELECT origin IS NOT NULL FROM study WHERE uid = ?", (str(study),)))

    async def _claim_as_former(self, space: Space, patient: PatientKey) -> bool:
        """Claim the study for its patient in the name of one who turned out to be the same."""
        async with self._db.read() as rx:
            if not await identity.is_same(rx, space.study, patient, space.patient):
                return False
        return space.patient is not None and space.claim(space.patient)

    async def _load_or_make(self, study: StudyInstanceUID) -> Space:
        async with self._db.read() as rx:
            row = await rx.fetch_one(
                "SELECT ref, key_version, wrapped_key FROM space WHERE study_uid = ?", (str(study),)
            )
            owner = await rx.fetch_one("SELECT issuer, patient_id FROM study WHERE uid = ?", (str(study),))
        if row is not None:
            patient = None if owner is None else PatientKey(owner[0], owner[1])
            return Space(self.unwrap(bytes(row[0]), row[1], bytes(row[2])), study, patient)
        key = SpaceKey(StudyRef.new().value, _FIRST_VERSION, os.urandom(KEY_BYTES))
        async with self._db.write() as tx:
            # In here: no change of the master key comes between the wrapping and the row.
            wrapped = self._keys.wrap_study_key(key.key, key.space, key.version)
            await tx.execute(
                "INSERT INTO space (ref, study_uid, key_version, wrapped_key) VALUES (?, ?, ?, ?)",
                (key.space, str(study), key.version, wrapped),
            )
        return Space(key, study, None)

    def _forget_idle(self) -> None:
        for space in list(self._cached.values()):
            if space.idle.is_set() and not space.unindexed:
                self._forget(space)

    def _forget(self, space: Space) -> None:
        self._cached.pop(space.study, None)
        for series in space.series:
            self._series.pop(series, None)
