"""The languages of the pages for patients: catalogues, who gets which, dates and names as each language writes them.

A catalogue (``api/portal/locale/LANGUAGE.json``) has the English text as the key, and per key either a text or two, for
one and for several. Which language somebody gets is what they chose (a cookie), else what the browser asks for.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import msgspec
from aiohttp import web

from node.sharing.portal.plain_words import Day, Moment, Person, Value, Words

COOKIE = "leveret_language"
COOKIE_SECONDS = 365 * 86400
DEFAULT = "en"
_MAX_HEADER = 200  # characters of Accept-Language that are looked at
_WEIGHTED = re.compile(r"([a-z]{2,3})(?:-[a-z0-9-]+)?(?:;q=([01](?:\.[0-9]{1,3})?))?")
_DATE = re.compile(r"[0-9]{8}")
_UNITS = ("B", "kB", "MB", "GB", "TB")
_KILO, _TEN = 1000, 10


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One language. ``day`` and ``moment`` are formats of {day}, {month}, {year}, {hour} and {minute}."""

    language: str  # BCP 47
    name: str  # what its speakers call it
    months: tuple[str, ...]
    day: str
    moment: str
    decimal: str
    thousands: str
    messages: dict[str, str | tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Tongue:
    """Says things in one language; templates know it as ``t``."""

    catalogue: Catalogue

    @property
    def language(self) -> str:
        """For the ``lang`` attribute."""
        return self.catalogue.language

    def __call__(self, said: str | Words, /, **values: Value) -> str:
        """A text in this language, its values filled in; ``n`` among them chooses the form."""
        text = said.text if isinstance(said, Words) else said
        if isinstance(said, Words):
            values = {**said.values, **values}
        found = self.catalogue.messages.get(text, text)
        if not isinstance(found, str):
            found = found[0 if values.get("n") == 1 else 1]
        return found.format_map({name: self.value(value) for name, value in values.items()})

    def value(self, value: Value) -> str:
        """One value as this language writes it."""
        match value:
            case Words():
                return self(value)
            case Day(da):
                return self.date(da)
            case Moment(at):
                return self.moment(at)
            case Person(pn):
                return self.person(pn)
            case int():
                return self.number(value)
            case str():
                return value

    def date(self, da: str) -> str:
        """A day (DA, YYYYMMDD); as it stands if it is none."""
        if not _DATE.fullmatch(da) or not 1 <= int(da[4:6]) <= len(self.catalogue.months):
            return da
        month = self.catalogue.months[int(da[4:6]) - 1]
        return self.catalogue.day.format(day=int(da[6:]), month=month, year=int(da[:4]))

    def moment(self, at: int) -> str:
        """A point in time, on the clock of this facility."""
        local = time.localtime(at)
        day = self.date(time.strftime("%Y%m%d", local))
        return self.catalogue.moment.format(day=day, hour=f"{local.tm_hour:02}", minute=f"{local.tm_min:02}")

    def day_of(self, at: int) -> str:
        """The day of a point in time."""
        return self.date(time.strftime("%Y%m%d", time.localtime(at)))

    def person(self, pn: str) -> str:
        """A name (PN) as people say it: given, middle, family; the alphabetic group, or the first that is there."""
        group = next((text for text in pn.split("=") if text.strip("^ ")), "")
        family, given, middle, prefix, suffix = (part.strip() for part in [*group.split("^"), *[""] * 4][:5])
        return " ".join(part for part in (prefix, given, middle, family, suffix) if part)

    def number(self, value: int) -> str:
        """A whole number with its thousands apart."""
        return f"{value:,}".replace(",", self.catalogue.thousands)

    def size(self, count: int) -> str:
        """Bytes as people read them."""
        amount, unit = float(count), 0
        while amount >= _KILO and unit + 1 < len(_UNITS):
            amount, unit = amount / _KILO, unit + 1
        text = f"{amount:.1f}" if unit and amount < _TEN else f"{amount:.0f}"
        return f"{text.replace('.', self.catalogue.decimal)} {_UNITS[unit]}"


class Languages:
    """The catalogues, read once."""

    def __init__(self) -> None:
        folder = files("node.api.portal") / "locale"
        found = [
            msgspec.json.decode(file.read_bytes(), type=Catalogue)
            for file in folder.iterdir()
            if file.name.endswith(".json")
        ]
        self._tongues: Mapping[str, Tongue] = {
            one.language: Tongue(one) for one in sorted(found, key=lambda one: (one.language != DEFAULT, one.language))
        }

    def __contains__(self, language: object) -> bool:
        return language in self._tongues

    @property
    def offered(self) -> list[tuple[str, str]]:
        """Code and own name of each, the default first."""
        return [(code, tongue.catalogue.name) for code, tongue in self._tongues.items()]

    @property
    def all(self) -> list[Tongue]:
        """Every language, the default first."""
        return list(self._tongues.values())

    def named(self, language: str) -> Tongue:
        """A language by its code; English if there is none of that code."""
        return self._tongues.get(language, self._tongues[DEFAULT])

    def of(self, request: web.Request) -> Tongue:
        """The language for whoever sends ``request``."""
        chosen = request.cookies.get(COOKIE, "")
        if chosen in self._tongues:
            return self._tongues[chosen]
        return self._tongues[preferred(request.headers.get("Accept-Language", ""), self._tongues)]


def preferred(header: str, offered: Mapping[str, object]) -> str:
    """The best language of an Accept-Language header (RFC 9110 section 12.5.4) that is offered, else English."""
    best, most = DEFAULT, 0.0
    for part in header[:_MAX_HEADER].lower().replace(" ", "").split(","):
        match = _WEIGHTED.fullmatch(part)
        if match is not None and match[1] in offered:
            weight = float(match[2] or 1)
            if weight > most:
                best, most = match[1], weight
    return best
