"""Every setting: what it is, where it comes from, what it means. Changed in ``leveret.toml``, not here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from node.api.console.operator.desk import Desk
from node.api.rest.access import OVERSIGHT
from node.api.routing import Call, Route
from node.config import CONFIG_NAME, Origin, Settings, load, origins
from node.errors.setup import InvalidConfig, NotInitialised

_AREA, _PLACE = "system", "/console/settings"
_SECRET = re.compile(r"(?:^|_)(?:password|passphrase|secret|token)$")  # none has one today; a file's name is no secret
_KEY = re.compile(r"([a-z0-9_]+) = ")
_SECTION = re.compile(r"\[([a-z0-9_]+)\]")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting of the running node. ``waiting``: the file says something else since the node was started."""

    key: str
    value: str
    origin: Origin
    variable: str
    says: str
    waiting: bool


class SettingsPages:
    """``/console/settings``."""

    def __init__(self, desk: Desk, settings: Settings, directory: Path, explanations: str) -> None:
        """``settings`` are those the node runs with; ``explanations`` is the text of node.example.toml."""
        self._desk = desk
        self._settings = settings
        self._directory = directory
        self._says = explained(explanations)

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [Route("GET", _PLACE, self.show, OVERSIGHT, "Every setting and its source", page=True)]

    async def show(self, call: Call) -> object:
        """All of them, by section."""
        problem = ""
        try:
            found, present = origins(self._directory), load(self._directory)
        except (InvalidConfig, NotInitialised) as error:  # broken since the start: what runs is shown all the same
            found, present, problem = {}, self._settings, error.fact
        sections = {
            section.name: [
                self._shown(section.name, key.name, found, present) for key in fields(self._of(section.name))
            ]
            for section in fields(Settings)
        }
        return self._desk.page(
            call,
            "settings.html",
            area=_AREA,
            sections=sections,
            file=str(self._directory / CONFIG_NAME),
            problem=problem,
            waiting=any(one.waiting for section in sections.values() for one in section),
        )

    def _of(self, section: str, settings: Settings | None = None) -> Any:
        return getattr(settings or self._settings, section)

    def _shown(
        self, section: str, key: str, found: Mapping[tuple[str, str], Origin], present: Settings
    ) -> ShownSetting:
        value = getattr(self._of(section), key)
        return ShownSetting(
            key,
            "(not shown)" if _SECRET.search(key) and value else _text(value),
            found.get((section, key), Origin.DEFAULT),
            f"LEVERET_{section}_{key}".upper(),
            self._says.get((section, key), ""),
            waiting=getattr(self._of(section, present), key) != value,
        )


def explained(example: str) -> dict[tuple[str, str], str]:
    """What the comments of node.example.toml say about each setting, by section and key."""
    says: dict[tuple[str, str], str] = {}
    section, comment = "", list[str]()
    for line in example.splitlines():
        if heading := _SECTION.fullmatch(line.strip()):
            section, comment = heading[1], []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif key := _KEY.match(line):
            says[section, key[1]] = " ".join(comment)
            comment = []
    return says


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)
