"""The facility's DICOM systems: entered, listed, tried, removed."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import CLINICAL, OPERATION
from node.api.rest.shapes.system import FindingShown, PacsList, PacsRemoved, PacsShown, PacsTested
from node.api.routing import Call, Route
from node.errors.dimse import NotAccepted
from node.model.pacs import Pacs
from node.sharing.pacs import PacsDirectory
from node.sharing.pacs_test import Finding, try_pacs

_MAX_CA = 32 * 1024  # characters of PEM: a dozen certificates
_MAX_NETWORKS = 32


class NewPacs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system. ``calls_from``: further addresses or networks it calls from; ``ca``: PEM, needed for ``tls``."""

    name: str
    ae_title: str
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    calls_from: Annotated[list[str], msgspec.Meta(max_length=_MAX_NETWORKS)] = []
    tls: bool = False
    ca: Annotated[str, msgspec.Meta(max_length=_MAX_CA)] = ""
    same_association: bool = False


class PacsResource:
    """``pacs``."""

    def __init__(self, directory: PacsDirectory) -> None:
        self._directory = directory

    def routes(self) -> Iterable[Route]:
        """The routes."""
        every, one = "/api/v1/pacs", "/api/v1/pacs/{name}"
        return [
            Route("GET", every, self.list, CLINICAL, "The facility's DICOM systems", query=Window, answer=PacsList),
            Route("POST", every, self.add, OPERATION, "Enter a DICOM system", NewPacs, 201, answer=PacsShown),
            Route("POST", f"{one}/remove", self.remove, OPERATION, "Remove a DICOM system", answer=PacsRemoved),
            Route(
                "POST",
                f"{one}/test",
                self.test,
                OPERATION,
                "Call a DICOM system and say what it accepts",
                answer=PacsTested,
            ),
        ]

    async def list(self, call: Call) -> PacsList:
        """All by name."""
        found, more = cut(call, self._directory.all())
        return {"pacs": [_shown(pacs) for pacs in found], "ae_title": self._directory.ae_title, "next": more}

    async def add(self, call: Call) -> PacsShown:
        """Enter one."""
        new: NewPacs = call.body
        pacs = Pacs(
            name=new.name,
            ae_title=new.ae_title,
            host=new.host,
            port=new.port,
            calls_from=tuple(new.calls_from),
            tls=new.tls,
            ca=new.ca,
            same_association=new.same_association,
        )
        return _shown(await self._directory.add(pacs, call.caller.actor))

    async def remove(self, call: Call) -> PacsRemoved:
        """Remove one."""
        name = call.parameter("name")
        await self._directory.remove(name, call.caller.actor)
        return {"name": name, "removed": True}

    async def test(self, call: Call) -> PacsTested:
        """Call it."""
        result = await try_pacs(self._directory, self._directory.get(call.parameter("name")))
        return {
            "name": call.parameter("name"),
            "ok": result.ok,
            "code": result.code or ("" if result.ok else NotAccepted.code),
            "findings": [_finding(finding) for finding in result.findings],
        }


def _finding(finding: Finding) -> FindingShown:
    return {"what": finding.what, "ok": finding.ok, "said": finding.said, "advice": finding.advice}


def _shown(pacs: Pacs) -> PacsShown:
    return {
        "name": pacs.name,
        "ae_title": pacs.ae_title,
        "host": pacs.host,
        "port": pacs.port,
        "calls_from": list(pacs.calls_from),
        "tls": pacs.tls,
        "same_association": pacs.same_association,
        "added_at": pacs.added_at,
    }
