"""``leveret doctor``: what can be found wrong from outside, one finding a check; works with and without the daemon."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.api.rest.retention import shown_damage
from node.api.rest.shapes.images import DamageShown
from node.app.keys import open_keys
from node.app.lock import exclusive
from node.app.ports import check_answering, check_ports
from node.app.storage import is_full, open_index
from node.config import Settings, load
from node.crypto.keystore import KeyStore
from node.errors.audit import AuditLogDamaged
from node.errors.base import LeveretError, describe
from node.errors.setup import AlreadyRunning, ClockWrong
from node.errors.storage import DiskFull
from node.errors.vault import RestoreNotReviewed, RotationUnfinished
from node.sharing.audit import prove
from node.store import audit, restored, scrub
from node.store.objects import PACKS_FOLDER
from node.store.spaces import Spaces

_EARLIEST = 1_760_000_000  # October 2025: no clock that is right shows less
_CLOCK_SLACK = 60  # seconds that a clock may have been set back


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``problem`` is empty if nothing is wrong, else a line for people with the code."""

    check: str
    problem: str = ""


def examine(directory: Path, *, deep: bool = False) -> tuple[list[Finding], bool, list[DamageShown]]:
    """Look at everything that can be looked at; also tells whether a daemon has the directory (then less can be).

    ``deep``: read every stored object, too; the third of the answers is what is damaged, as the daemon would tell it.

    Raises:
        NotInitialised, InvalidConfig: there is nothing to look at.
    """
    settings = load(directory)
    findings = [_checked("disk", lambda: _disk(directory, settings)), _checked("clock", lambda: _clock(0))]
    try:
        with exclusive(directory):
            at_rest, damaged = _at_rest(directory, settings, deep=deep)
            return findings + at_rest, False, damaged
    except AlreadyRunning:
        findings.append(_checked("ports", lambda: check_answering(settings)))
        findings.append(_checked("keys", lambda: _try_keys(directory, settings)))
        return findings, True, []


def _at_rest(directory: Path, settings: Settings, *, deep: bool) -> tuple[list[Finding], list[DamageShown]]:
    findings = [_checked("ports", lambda: check_ports(settings))]
    opened: list[KeyStore] = []
    damaged: list[DamageShown] = []
    findings.append(_checked("keys", lambda: opened.append(_keys(directory, settings))))
    if opened:
        rare = (
            _checked("restore", lambda: asyncio.run(_restored(directory, opened[0]))),
            _checked("rotation", lambda: _rotation(opened[0])),
        )
        findings += [finding for finding in rare if finding.problem]
        findings.append(_checked("log", lambda: asyncio.run(_log(directory, opened[0]))))
        if deep:
            found = _checked("index", lambda: damaged.extend(asyncio.run(_verify(directory, opened[0]))))
            findings.append(found)
    return findings, damaged


def _try_keys(directory: Path, settings: Settings) -> None:
    if _keys(directory, settings).is_rotating:
        raise RotationUnfinished


def _keys(directory: Path, settings: Settings) -> KeyStore:
    return open_keys(directory, settings.node)


async def _verify(directory: Path, keys: KeyStore) -> list[DamageShown]:
    """Read every object; what is damaged. Noted in the index, so that `leveret status` tells it too."""
    async with await open_index(directory, keys) as db:
        spaces, position, now = Spaces(db, keys), b"", int(time.time())
        while True:
            async with db.read() as rx:
                pack = await scrub.next_pack(rx, position)
            if pack is None:
                break
            key = spaces.unwrap(pack.space, pack.key_version, pack.wrapped_key)
            size, flaws = await asyncio.to_thread(scrub.verify_all, directory / PACKS_FOLDER, pack, key)
            async with db.write() as tx:
                await scrub.done(tx, pack, flaws, size=size, at=now)
            position = pack.name
        async with db.read() as rx:
            return [shown_damage(one) for one in await scrub.damaged(rx)]


def _checked(check: str, look: Callable[[], None]) -> Finding:
    try:
        look()
    except LeveretError as error:
        return Finding(check, describe(error))
    return Finding(check)


def _disk(directory: Path, settings: Settings) -> None:
    if is_full(directory, settings.store.reserve):
        raise DiskFull


def _clock(last_event: int) -> None:
    now = time.time()
    if now < max(_EARLIEST, last_event - _CLOCK_SLACK):
        raise ClockWrong


def _rotation(keys: KeyStore) -> None:
    if keys.is_rotating:
        raise RotationUnfinished


async def _restored(directory: Path, keys: KeyStore) -> None:
    async with await open_index(directory, keys) as db, db.read() as rx:
        if await restored.is_under_review(rx):
            raise RestoreNotReviewed


async def _log(directory: Path, keys: KeyStore) -> None:
    async with await open_index(directory, keys) as db, db.read() as rx:
        proof = await prove(rx, keys.identity)
        newest = await audit.page(rx, before=None, limit=1)
    if not proof.ok:
        raise AuditLogDamaged(proof.problems[0])
    for row in newest:
        _clock(row.event.at)
