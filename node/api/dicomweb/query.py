"""Query parameters of QIDO-RS (PS3.18 section 8.3.4) as questions to the index. Pure."""

import re
from collections.abc import Iterable, Sequence

from node.errors.access import InvalidInput
from node.sharing.search import ALL_FIELDS, MAX_RESULTS, MAX_VALUE, TAGS, Search, set_attribute

_NAME = re.compile(r"[0-9A-Za-z]{1,64}(?:\.[0-9A-Za-z]{1,64}){0,7}")  # a keyword or a tag, or a path of them


def parse_search(parameters: Iterable[tuple[str, str]], levels: Sequence[str]) -> Search:
    """Read query parameters; attributes of levels other than ``levels`` are ignored, and named.

    Raises:
        InvalidInput, InvalidUid: a value that cannot be matched.
    """
    search = Search()
    seen: set[str] = set()
    for name, value in parameters:
        if len(value) > MAX_VALUE * 64:
            raise InvalidInput("a value is too long")
        lower = name.lower()
        if lower != "includefield" and lower in seen:
            raise InvalidInput("a parameter is given twice")
        seen.add(lower)
        if lower in {"limit", "offset"}:
            _set_page(search, lower, value)
        elif lower == "includefield":
            search.fields |= {_field(name) for name in value.split(",") if name}
        elif lower == "fuzzymatching":
            search.fuzzy = _boolean(value)
        elif lower == "emptyvaluematching":
            search.ignored += ["emptyvaluematching"] if _boolean(value) else []
        elif lower != "accept":
            if not _NAME.fullmatch(lower):
                raise InvalidInput("the name of an attribute")
            set_attribute(search, lower, value, levels)
    return search


def _field(name: str) -> str:
    """The tag of an attribute that shall be told, ``all``, or the name itself where nothing can be told."""
    if not _NAME.fullmatch(name):
        raise InvalidInput("includefield")
    lower = name.lower()
    return TAGS.get(lower, ALL_FIELDS if lower == ALL_FIELDS else name.upper())


def _boolean(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise InvalidInput("true or false")
    return value.lower() == "true"


def _set_page(search: Search, name: str, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) < 18):  # noqa: PLR2004 - fits into 64 bits
        raise InvalidInput(name)
    if name == "limit":
        search.limit = min(int(value), MAX_RESULTS)
    else:
        search.offset = int(value)
