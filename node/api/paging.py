"""Lists in parts: ``limit`` and ``offset`` in the query, the address of the next part in ``next``."""

from collections.abc import Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlencode

import msgspec

from node.api.routing import Call

MAX_PAGE = 1000
MAX_OFFSET = 2**53 - 1  # what JavaScript counts exactly

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE, description="at most so many in one answer")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET, description="how many to leave out before them")]
_T = TypeVar("_T")


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which part of a list."""

    limit: Limit = MAX_PAGE
    offset: Offset = 0

    @property
    def ahead(self) -> int:
        """How many to fetch: one more, which tells whether there is a next part."""
        return self.limit + 1


def part(call: Call, found: Sequence[_T]) -> tuple[Sequence[_T], str | None]:
    """What to show of ``found``, which begins at the window's offset and goes one beyond it; where it goes on."""
    window: Window = call.asked
    if len(found) <= window.limit:
        return found, None
    return found[: window.limit], following(call, offset=window.offset + window.limit)


def cut(call: Call, found: Sequence[_T]) -> tuple[Sequence[_T], str | None]:
    """The same of a list that is whole."""
    window: Window = call.asked
    return part(call, found[window.offset : window.offset + window.ahead])


def given(value: _T | msgspec.UnsetType) -> _T | None:
    """A parameter, None if it was not sent; a field that may be None would take the text ``null`` for it."""
    return None if isinstance(value, msgspec.UnsetType) else value


def following(call: Call, **changes: int) -> str:
    """The address of the same list with other numbers."""
    query = {**call.request.query, **{name: str(value) for name, value in changes.items()}}
    return f"{call.request.path}?{urlencode(query)}"
