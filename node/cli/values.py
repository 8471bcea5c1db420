"""Values as people type them on the command line."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Duration(click.ParamType[int]):
    """``45s``, ``10m``, ``1h``, ``7d``, ``2w``: becomes seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,6})\s*([smhdw])", str(value).strip().lower())
        if match is None:
            self.fail("write it like 10m, 1h or 7d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class BirthDate(click.ParamType[str]):
    """``1961-02-03`` or ``19610203``: becomes the latter."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A DICOM date."""
        compact = str(value).replace("-", "")
        if not re.fullmatch(r"[0-9]{8}", compact):
            self.fail("write it like 1961-02-03", param, ctx)
        return compact


class Setting(click.ParamType[tuple[str, str]]):
    """``key=value``: becomes a pair."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Key and value."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail("write it like auto_release=false", param, ctx)
        return key.strip(), text.strip()


class StudyDate(BirthDate):
    """The same form for the day of a study."""


class Moment(click.ParamType[int]):
    """``2027-12-31`` (the end of that day, UTC) or a duration from now: becomes seconds since the epoch."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds since the epoch."""
        if isinstance(value, int):
            return value
        try:
            day = datetime.strptime(str(value).strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return int(time.time()) + Duration().convert(value, param, ctx)
        return int((day + timedelta(days=1)).timestamp())
