"""``leveret doctor``: what can be found wrong from outside, one finding a check; works with and without the daemon."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.app.keys import open_keys
from node.app.lock import exclusive
from node.app.ports import check_ports
from node.app.storage import is_full, open_index
from node.config import Settings, load
from node.crypto.keystore import KeyStore
from node.errors.audit import AuditLogDamaged
from node.errors.base import LeveretError, describe
from node.errors.setup import AlreadyRunning, ClockWrong
from node.errors.storage import DiskFull
from node.sharing.audit import prove
from node.store import audit

_EARLIEST = 1_760_000_000  # October 2025: no clock that is right shows less
_CLOCK_SLACK = 60  # seconds that a clock may have been set back


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``problem`` is empty if nothing is wrong, else a line for people with the code."""

    check: str
    problem: str = ""


def examine(directory: Path) -> tuple[list[Finding], bool]:
    """Look at everything that can be looked at; also tells whether a daemon has the directory (then less can be).

    Raises:
        NotInitialised, InvalidConfig: there is nothing to look at.
    """
    settings = load(directory)
    findings = [_checked("disk", lambda: _disk(directory, settings)), _checked("clock", lambda: _clock(0))]
    try:
        with exclusive(directory):
            return findings + _at_rest(directory, settings), False
    except AlreadyRunning:
        return findings, True


def _at_rest(directory: Path, settings: Settings) -> list[Finding]:
    findings = [_checked("ports", lambda: check_ports(settings))]
    opened: list[KeyStore] = []
    findings.append(_checked("keys", lambda: opened.append(open_keys(directory, settings.node))))
    if opened:
        findings.append(_checked("log", lambda: asyncio.run(_log(directory, opened[0]))))
    return findings


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


async def _log(directory: Path, keys: KeyStore) -> None:
    async with await open_index(directory, keys) as db, db.read() as rx:
        proof = await prove(rx, keys.identity)
        newest = await audit.page(rx, before=None, limit=1)
    if not proof.ok:
        raise AuditLogDamaged(proof.problems[0])
    for row in newest:
        _clock(row.event.at)
