"""``leveret import``: files from here into the daemon, several in flight."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from node.cli import show
from node.cli.client import Daemon, DaemonRefused
from node.cli.command import Session, command
from node.dicom.sources import RefusedSource, SourceFile, find_sources
from node.errors.base import LeveretError, describe
from node.errors.dicom import UnreadableSource

_IN_FLIGHT = 24  # files being read, sent or stored at once: measured, with 8 the disk's flushes are not shared enough
_IN_FLIGHT_BYTES = 256 * 1024 * 1024  # of files in memory here; one larger than that goes alone
# What is wrong with one file; every other error is the node's, and ends the import.
_FILE_PROBLEMS = frozenset({400, 404, 409, 413, 415})


@dataclass
class _Totals:
    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    @property
    def taken(self) -> int:
        """Instances that are in the node now."""
        return self.counts["stored"] + self.counts["same"] + self.counts["quarantined"]


class _Lines:
    """A connection for each sending thread."""

    def __init__(self, session: Session, import_id: str) -> None:
        self._session = session
        self._path = f"/imports/{import_id}/files"
        self._local = threading.local()

    def send(self, source: SourceFile) -> dict[str, Any]:
        """Read one file and hand it to the daemon."""
        data = source.read()
        line = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = self._session.daemon()
        assert isinstance(line, Daemon)
        answer = line.send(self._path, data)
        return {**answer, "bytes": len(data)}


@command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_obj
def import_files(session: Session, paths: tuple[Path, ...]) -> None:
    """Take in DICOM files, folders, ZIP archives and media with a DICOMDIR."""
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UnreadableSource(str(missing[0]))
    daemon = session.daemon()
    import_id = daemon.post("/imports")["import_id"]
    totals = _Totals()
    try:
        with show.Bar("importing", live=session.live) as bar:
            _send_all(_Lines(session, import_id), find_sources(paths), totals, bar)
    except (DaemonRefused, LeveretError) as exc:
        why = exc.line if isinstance(exc, DaemonRefused) else describe(exc)
        taken = show.plural(totals.taken, "instance")
        raise click.ClickException(f"Stopped with {taken} taken in (they are kept): {why}") from exc
    document = daemon.post(f"/imports/{import_id}/end")
    result = {name: totals.counts[name] for name in ("stored", "same", "quarantined", "refused")}
    session.show({**result, "studies": document["studies"]}, _for_people)


def _for_people(result: Any) -> None:
    parts = [f"{result['stored']} stored", f"{result['same']} held already"]
    parts += [f"{result[name]} {name}" for name in ("quarantined", "refused") if result[name]]
    click.echo(f"{', '.join(parts)}; {show.plural(len(result['studies']), 'study')}.")
    if result["quarantined"]:
        click.echo("Quarantined instances contradict ones that are held; the ones held stay as they are.")


def _send_all(lines: _Lines, sources: Iterator[SourceFile | RefusedSource], totals: _Totals, bar: show.Bar) -> None:
    pending: dict[Future[dict[str, Any]], SourceFile] = {}
    with ThreadPoolExecutor(_IN_FLIGHT, "import") as pool, contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        for source in sources:
            if isinstance(source, RefusedSource):
                _refuse(source.display_name, describe(source.error), totals)
                continue
            while len(pending) >= _IN_FLIGHT or _bytes_of(pending) + source.size > max(_IN_FLIGHT_BYTES, source.size):
                _collect(pending, totals, bar)
            pending[pool.submit(lines.send, source)] = source
        while pending:
            _collect(pending, totals, bar)


def _bytes_of(pending: dict[Future[dict[str, Any]], SourceFile]) -> int:
    return sum(source.size for source in pending.values())


def _collect(pending: dict[Future[dict[str, Any]], SourceFile], totals: _Totals, bar: show.Bar) -> None:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        source = pending.pop(future)
        try:
            answer = future.result()
        except DaemonRefused as exc:
            if exc.status not in _FILE_PROBLEMS:
                raise
            _refuse(source.display_name, exc.line, totals)
            continue
        except LeveretError as exc:
            if exc.status not in _FILE_PROBLEMS:
                raise
            _refuse(source.display_name, describe(exc), totals)
            continue
        totals.counts[answer["outcome"]] += 1
        if answer["outcome"] == "quarantined":
            click.echo(f"{show.printable(source.display_name)}: put in quarantine", err=True)
        totals.bytes += answer["bytes"]
        bar.update(totals.bytes, 0, totals.taken)


def _refuse(name: str, why: str, totals: _Totals) -> None:
    totals.counts["refused"] += 1
    click.echo(f"{show.printable(name)}: {why}", err=True)
