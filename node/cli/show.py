"""Tables, sizes, times and bars for people."""

import importlib
import pkgutil
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import click
import segno

import node.errors
from node.errors import all_codes, describe_class

_THOUSAND = 1000.0
_BAR_WIDTH = 30
_LEAST_BAR = 5  # shorter tells nothing
_REDRAW_SECONDS = 0.1
_DA_LENGTH = 8  # YYYYMMDD


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print rows in columns that line up; ``empty`` says so if there are none."""
    texts = [[printable(cell) for cell in row] for row in rows]
    if not texts:
        click.echo(empty)
        return
    widths = [max(len(line[i]) for line in (list(headings), *texts)) for i in range(len(headings))]
    click.secho("  ".join(h.ljust(w) for h, w in zip(headings, widths, strict=True)).rstrip(), bold=True)
    for line in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(value: Any) -> str:
    """One line of text without control characters: a patient's name must not move the cursor."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(printable(v) for v in value) or "-"
    return "".join(c if c.isprintable() else "?" for c in str(value)) or "-"


def size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _THOUSAND:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _THOUSAND
    return f"{count:.1f} TB"


def moment(seconds: int | None) -> str:
    """A time in this machine's zone."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def words(code: str) -> str:
    """One line for people about an error that came as its code alone: what is wrong, what to do, the code."""
    for module in pkgutil.iter_modules(node.errors.__path__):
        importlib.import_module(f"node.errors.{module.name}")
    error = all_codes().get(code)
    return describe_class(error) if error else f"[{printable(code)}]"  # one of a later version


def date(value: str | None) -> str:
    """A DICOM date (YYYYMMDD) with dashes."""
    if value and len(value) == _DA_LENGTH and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return printable(value)


def plural(count: int, noun: str) -> str:
    """``1 study``, ``2 studies``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def qr(text: str) -> None:
    """A QR code on the terminal."""
    segno.make(text, error="m", micro=False).terminal(sys.stdout, compact=True)


class Bar:
    """A progress bar on stderr; draws nothing unless ``live``."""

    def __init__(self, label: str, *, live: bool) -> None:
        self._label = label
        self._live = live
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._drawn:
            click.echo("\r\x1b[K", nl=False, err=True)

    def update(self, done: int, total: int, count: int, note: str = "") -> None:
        """Show ``done`` of ``total`` bytes (0: not known), ``count`` instances so far."""
        now = time.monotonic()
        if not self._live or now - self._drawn < _REDRAW_SECONDS:
            return
        self._drawn = now
        rate = done / max(now - self._started, 0.001)
        of = f" of {size(total)}" if total else ""
        figures = f"{plural(count, 'instance')}, {size(done)}{of}, {size(rate)}/s {note}".rstrip()
        columns = shutil.get_terminal_size().columns - 1
        # The figures matter more than the bar: it takes what they leave.
        width = min(_BAR_WIDTH, columns - len(self._label) - len(figures) - len(" [] "))
        filled = int(width * min(1.0, done / total)) if total else 0
        bar = f"[{'#' * filled}{'.' * (width - filled)}] " if total and width >= _LEAST_BAR else ""
        click.echo(f"\r\x1b[K{f'{self._label} {bar}{figures}'[:columns]}", nl=False, err=True)
