"""How the pages for staff write dates, names, sizes and times: filters of the templates."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"([0-9]{4})(0[1-9]|1[0-2])([0-3][0-9])")
_UNITS = ("B", "kB", "MB", "GB", "TB")
_KILO, _TEN = 1000, 10
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SEXES = {"F": "female", "M": "male", "O": "other"}  # PS3.3 C.7.1.1, Patient's Sex


def moment(seconds: int) -> str:
    """A point in time (seconds since the epoch), on the clock of this facility: ``24 Nov 2026, 12:47``."""
    local = time.localtime(seconds)
    return f"{local.tm_mday} {_MONTHS[local.tm_mon - 1]} {local.tm_year}, {local.tm_hour:02}:{local.tm_min:02}"


def iso(seconds: int) -> str:
    """The same for machines."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(da: str | None) -> str:
    """A date (DA, YYYYMMDD) as ``3 Apr 2019``; a hyphen for none, and what is no date as it stands."""
    if not da:
        return "-"
    match = _DATE.fullmatch(da)
    if match is None:
        return da
    return f"{int(match[3])} {_MONTHS[int(match[2]) - 1]} {match[1]}"


def person(pn: str | None) -> str:
    """A name (PN, PS3.5 section 6.2.1) as lists have it: ``Bellweather, Ada``; the first group that is there."""
    group = next((text for text in (pn or "").split("=") if text.strip("^ ")), "")
    family, given, middle, prefix, suffix = (part.strip() for part in [*group.split("^"), *[""] * 5][:5])
    first = " ".join(part for part in (given, middle) if part)
    name = ", ".join(part for part in (family, first) if part)
    rest = ", ".join(part for part in (prefix, suffix) if part)
    return f"{name} ({rest})" if name and rest else name or rest or "no name"


def size(count: int) -> str:
    """Bytes as people read them: ``4.1 MB``."""
    amount, unit = float(count), 0
    while amount >= _KILO and unit + 1 < len(_UNITS):
        amount, unit = amount / _KILO, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit and amount < _TEN else f"{amount:.0f} {_UNITS[unit]}"


def lasting(seconds: float) -> str:
    """A length of time: ``45 s``, ``3 min``, ``5 h``, ``12 days``."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h"
    return f"{whole // _DAY} days"


def number(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def counted(value: int, one: str, several: str = "") -> str:
    """``1 study``, ``20,000 studies``; ``several`` is ``one`` with an s where it is not given."""
    return f"{number(value)} {one if value == 1 else several or one + 's'}"


def sex(code: str | None) -> str:
    """A Patient's Sex in words; nothing for none."""
    return _SEXES.get(code or "", "")


FILTERS: dict[str, Callable[..., str]] = {
    "moment": moment,
    "iso": iso,
    "day": day,
    "person": person,
    "size": size,
    "lasting": lasting,
    "number": number,
    "counted": counted,
    "sex": sex,
}
