"""Runs of `leveret import`: files come one by one, several at once; the end closes the revisions that they made."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from node.dicom.part10 import Buffer
from node.errors.access import NotFound
from node.model.ids import StudyInstanceUID
from node.sharing.ingest import Ingest, Source, Taken

MAX_OPEN = 64  # runs at once; one that never ends is forgotten, and its studies close by `stable_age`


@dataclass
class _Run:
    studies: dict[StudyInstanceUID, None] = field(default_factory=dict)  # in the order in which they appeared


class Imports:
    """The runs that are open."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def begin(self) -> str:
        """A new run's id."""
        run = secrets.token_hex(16)
        self._runs[run] = _Run()
        while len(self._runs) > MAX_OPEN:
            self._runs.popitem(last=False)
        return run

    def known(self, run: str) -> None:
        """Raises NotFound unless the run is open."""
        if run not in self._runs:
            raise NotFound("no such import")

    async def take(self, run: str, data: Buffer, *, actor: str) -> Taken:
        """Take in one file; raises as ``Ingest.take_file``."""
        self.known(run)
        taken = await self._ingest.take_file(data, source=Source.IMPORT, actor=actor)
        if run in self._runs:
            self._runs[run].studies[taken.header.study_instance_uid] = None
        return taken

    async def end(self, run: str, *, actor: str) -> list[StudyInstanceUID]:
        """Close the revisions that the run made; returns its studies. Raises NotFound."""
        self.known(run)
        studies = list(self._runs[run].studies)
        await self._ingest.close_revisions(studies, actor=actor)
        del self._runs[run]
        return studies
