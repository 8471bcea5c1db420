"""Which studies a caller may see. What is not visible is answered exactly as if it did not exist.

Staff see every study. Patients and recipients of links see those that their source names, asked anew for every call, so
that a revoked link or a delayed release takes effect at once; without a source they see none. Nothing is kept between
calls, so that no caller can be answered with what another may see.
"""

from collections.abc import Mapping
from typing import Protocol

from node.model.access import STAFF, Caller, Role
from node.model.ids import StudyInstanceUID


class Source(Protocol):
    """Knows which studies belong to callers of one role."""

    async def visible(self, caller: Caller) -> frozenset[StudyInstanceUID]:
        """The studies that ``caller`` may see now, whether they are held here or not."""
        ...


class Visibility:
    """The rule for one node."""

    def __init__(self, sources: Mapping[Role, Source]) -> None:
        self._sources = sources

    async def of(self, caller: Caller) -> frozenset[StudyInstanceUID] | None:
        """The studies that ``caller`` may see; None stands for all of them."""
        if caller.role in STAFF:
            return None
        source = self._sources.get(caller.role)
        return frozenset() if source is None else await source.visible(caller)
