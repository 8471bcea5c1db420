"""The facility's DICOM systems: entered, tried, removed."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, back, done, settle
from node.api.rest.access import CLINICAL, OPERATION
from node.api.routing import Call, Route
from node.errors.base import LeveretError
from node.model.pacs import Pacs
from node.sharing.pacs import PacsDirectory
from node.sharing.pacs_test import try_pacs

_AREA, _LIST = "system", "/console/pacs"
_SERVER_FAULT = 500
_MAX_NETWORKS = 1000  # characters


class PacsForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system as typed. ``calls_from``: further addresses or networks, separated by commas; ``ca``: PEM, for TLS."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    ae_title: Annotated[str, msgspec.Meta(max_length=16)] = ""
    host: Annotated[str, msgspec.Meta(max_length=253)] = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 104
    calls_from: Annotated[str, msgspec.Meta(max_length=_MAX_NETWORKS)] = ""
    tls: bool = False
    ca: str = ""
    same_association: bool = False


class PacsPages:
    """``/console/pacs``."""

    def __init__(self, desk: Desk, directory: PacsDirectory) -> None:
        self._desk = desk
        self._directory = directory

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{name}}"
        return [
            Route("GET", _LIST, self.list, CLINICAL, "The facility's DICOM systems", page=True),
            Route("POST", _LIST, self.add, OPERATION, "Enter one", PacsForm, page=True),
            Route("POST", f"{one}/test", self.test, OPERATION, "Call one and say what it accepts", page=True),
            Route("GET", f"{one}/remove", self.ask_remove, OPERATION, "Ask before removing", page=True),
            Route("POST", f"{one}/remove", self.remove, OPERATION, "Remove one", page=True),
        ]

    async def list(self, call: Call) -> object:
        """All by name."""
        return self._list(call)

    async def add(self, call: Call) -> object:
        """Enter one."""
        form: PacsForm = call.body
        try:
            pacs = Pacs(
                name=form.name,
                ae_title=form.ae_title,
                host=form.host,
                port=form.port,
                calls_from=tuple(part.strip() for part in form.calls_from.split(",") if part.strip()),
                tls=form.tls,
                ca=form.ca,
                same_association=form.same_association,
            )
            await self._directory.add(pacs, call.caller.actor)
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return self._list(call, error=error, typed=form)
        return done(_LIST, "pacs-added")

    async def test(self, call: Call) -> object:
        """Call it; what fails is a finding."""
        try:
            pacs = self._directory.get(call.parameter("name"))
        except LeveretError as error:
            return back(_LIST, error)
        return self._desk.page(
            call, "pacs_test.html", area=_AREA, pacs=pacs, trial=await try_pacs(self._directory, pacs)
        )

    async def ask_remove(self, call: Call) -> object:
        """It may be entered again."""
        try:
            pacs = self._directory.get(call.parameter("name"))
        except LeveretError as error:
            return back(_LIST, error)
        says = ("It can neither query nor retrieve any more, and nothing can be sent to it until it is entered again.",)
        facts = (("Name", pacs.name), ("AE title", pacs.ae_title), ("Address", f"{pacs.host}:{pacs.port}"))
        question = Question(f"Remove {pacs.name}?", says, "Remove", f"{_LIST}/{pacs.name}/remove", _LIST, facts)
        return self._desk.ask(call, question, area=_AREA)

    async def remove(self, call: Call) -> object:
        """Remove one."""
        work = self._directory.remove(call.parameter("name"), call.caller.actor)
        return await settle(work, to=_LIST, what="pacs-removed", otherwise=_LIST)

    def _list(self, call: Call, *, error: LeveretError | None = None, typed: PacsForm | None = None) -> object:
        return self._desk.page(
            call,
            "pacs.html",
            area=_AREA,
            error=error,
            systems=self._directory.all(),
            own_title=self._directory.ae_title,
            typed=typed or PacsForm(),
        )
