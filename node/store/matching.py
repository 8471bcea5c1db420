"""Conditions of a search as SQL: single value, wildcards, lists, ranges (PS3.4 C.2.2.2). Columns are fixed names."""

import unicodedata
from collections.abc import Sequence

import msgspec

_AFTER_EVERY_CHARACTER = "\U0010ffff"


def fold(text: str) -> str:
    """``text`` without case and accents, for matching names."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


class Where:
    """Conditions joined by AND, with their parameters."""

    def __init__(self, sql: str = "1", params: Sequence[object] = ()) -> None:
        self.sql = sql
        self.params = list(params)

    def add(self, condition: str, *params: object) -> None:
        """One more condition."""
        self.sql += f" AND {condition}"
        self.params.extend(params)

    def exactly(self, column: str, value: str) -> None:
        """Single value matching; nothing given matches everything."""
        if value:
            self.add(f"{column} = ?", value)

    def any_of(self, column: str, values: Sequence[str]) -> None:
        """Any of a list; an empty one matches everything."""
        if values:
            self.one_of(column, values)

    def one_of(self, column: str, values: Sequence[str]) -> None:
        """One of a list; an empty one matches nothing."""
        self.add(f"{column} IN (SELECT value FROM json_each(?))", _json(values))  # noqa: S608 - fixed column names

    def any_like(self, column: str, patterns: Sequence[str]) -> None:
        """Any of some coded values, each perhaps with wildcards."""
        if not any("*" in pattern or "?" in pattern for pattern in patterns):
            self.any_of(column, patterns)
        else:
            escaped = [pattern.replace("[", "[[]") for pattern in patterns]
            self.add(f"EXISTS (SELECT 1 FROM json_each(?) WHERE {column} GLOB value)", _json(escaped))  # noqa: S608 - fixed column names

    def dates(self, column: str, first: str, last: str) -> None:
        """A range of DA values, both ends inclusive and either of them open."""
        if first:
            self.add(f"{column} >= ?", first)
        if last:
            self.add(f"{column} <= ? AND {column} <> ''", last)

    def moments(self, date: str, time: str, first: tuple[str, str], last: tuple[str, str]) -> None:
        """A range of points in time (PS3.4 C.2.2.2.5); a time without a date is matched on every day.

        A time that is known to the hour lies in every minute of it.
        """
        self.dates(date, first[0], last[0])
        low, high = _earliest(first[1]), last[1] + _AFTER_EVERY_CHARACTER
        if first[1] and first[0]:
            self.add(f"({date} > ? OR {time} >= ?)", first[0], low)
        elif first[1]:
            self.add(f"{time} >= ?", low)
        if last[1] and last[0]:
            self.add(f"({date} < ? OR {time} <= ?)", last[0], high)
        elif last[1]:
            self.add(f"{time} <= ?", high)
        if first[1] or last[1]:
            self.add(f"{time} <> ''")

    def text(self, column: str, pattern: str) -> None:
        """Single value or wildcard matching; ``*`` alone is universal matching (PS3.4 C.2.2.2.3)."""
        if not pattern.strip("*"):
            return
        if "*" not in pattern and "?" not in pattern:
            self.add(f"{column} = ?", pattern)
            return
        prefix = pattern.split("*", 1)[0].split("?", 1)[0]
        if prefix:  # lets SQLite walk the column's index instead of every row
            self.add(f"{column} >= ? AND {column} < ?", prefix, prefix + _AFTER_EVERY_CHARACTER)
        self.add(f"{column} GLOB ?", pattern.replace("[", "[[]"))

    def name(self, column: str, pattern: str) -> None:
        """A person's name: the whole value or its first component group, folded."""
        folded = fold(pattern)
        if folded and "*" not in folded and "?" not in folded:
            self.add(f"({column} = ? OR {column} >= ? AND {column} < ?)", folded, f"{folded}=", f"{folded}>")
        else:
            self.text(column, folded)


def _earliest(time: str) -> str:
    """A TM value without the zeros that it may be written without: 1000 is no later than 10."""
    while len(time) > len("HH") and time.endswith("00") and "." not in time:
        time = time[: -len("00")]
    return time


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode([str(value) for value in values]).decode()
