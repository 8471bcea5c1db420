"""Finding a patient: here by ID, name or accession number, or described for a search elsewhere."""

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.console.handles import Handles, PatientRef
from node.api.console.requests import STATES
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.sharing.finding import MAX_TEXT, FoundPatients, PatientFinder
from node.sharing.requests import Requests
from node.sharing.trust import TrustList

_DAY = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})")
_SEXES = ("F", "M", "O")
SHOWN = 40  # patients on one page; whoever gets more types more
RECENT = 5  # one's own last requests, to go on with them


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was typed or scanned."""

    q: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""


class Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A patient who has no images here."""

    family: Annotated[str, msgspec.Meta(max_length=64)] = ""
    given: Annotated[str, msgspec.Meta(max_length=64)] = ""
    birth_date: Annotated[str, msgspec.Meta(max_length=10)] = ""
    sex: Annotated[str, msgspec.Meta(max_length=1)] = ""
    patient_id: Annotated[str, msgspec.Meta(max_length=64)] = ""


class FindPages:
    """``/console/find``. A search is sent as a form and gets an address of its own, which says nothing."""

    def __init__(
        self,
        pages: Pages,
        finder: PatientFinder,
        requests: Requests,
        trust: TrustList,
        *,
        patients: Handles[PatientRef],
        searches: Handles[str],
        issuer: str,
    ) -> None:
        """``issuer`` is this facility's Issuer of Patient ID."""
        self._pages = pages
        self._finder = finder
        self._requests = requests
        self._trust = trust
        self._patients = patients
        self._searches = searches
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        find = "/console/find"
        return [
            Route("GET", find, self.ask, IMAGES, "The form to find a patient", page=True),
            Route("POST", find, self.search, IMAGES, "Find a patient", Search, page=True),
            Route(
                "POST",
                f"{find}/elsewhere",
                self.elsewhere,
                IMAGES,
                "Describe a patient unknown here",
                Described,
                page=True,
            ),
            Route("GET", f"{find}/{{search}}", self.results, IMAGES, "What a search found", page=True),
        ]

    async def ask(self, call: Call) -> web.StreamResponse:
        """The form."""
        return await self._page(call, "", None)

    async def search(self, call: Call) -> web.StreamResponse:
        """Search; a single patient is opened at once."""
        said: Search = call.body
        text, actor = said.q.strip(), call.caller.actor
        if not text:
            return see_other("/console/find")
        found = await self._finder.find(text, actor=actor)
        if len(found.patients) == 1:
            return see_other(self._address(call, found.patients[0].patient))
        return see_other(f"/console/find/{self._searches.put(call.caller, text)}")

    async def results(self, call: Call) -> web.StreamResponse:
        """The patients that were found."""
        text = self._searches.get(call.caller, call.parameter("search"))
        return await self._page(call, text, await self._finder.find(text, actor=call.caller.actor))

    async def elsewhere(self, call: Call) -> web.StreamResponse:
        """Somebody of whom nothing is held here."""
        said: Described = call.body
        born = _DAY.fullmatch(said.birth_date.strip())
        errors: list[tuple[str, str]] = []
        if not said.family.strip():
            errors.append(("family", "Enter the family name"))
        if born is None:
            errors.append(("birth_date", "Enter the birth date as year, month, day"))
        if said.sex not in _SEXES:
            errors.append(("sex", "Choose the sex that the record says"))
        if errors or born is None:
            return await self._page(call, "", None, said, errors, status=422)
        name = "^".join(
            part.replace("^", " ").replace("=", " ").replace("\\", " ").strip() for part in (said.family, said.given)
        ).rstrip("^")
        patient = PatientKey(self._issuer, said.patient_id.strip()) if said.patient_id.strip() else None
        ref = PatientRef(patient, Demographics(name, "".join(born.groups()), said.sex))
        return see_other(f"/console/patients/{self._patients.put(call.caller, ref)}")

    def _address(self, call: Call, patient: PatientKey) -> str:
        return f"/console/patients/{self._patients.put(call.caller, PatientRef(patient))}"

    async def _page(
        self,
        call: Call,
        text: str,
        found: FoundPatients | None,
        described: Described | None = None,
        errors: Iterable[tuple[str, str]] = (),
        *,
        status: int = 200,
    ) -> web.Response:
        recent = [] if found else await self._requests.sent_by(call.caller.name, limit=RECENT)
        rows = [] if found is None else [(one, self._address(call, one.patient)) for one in found.patients[:SHOWN]]
        return self._pages.page(
            call,
            "console/clinician/find.html",
            status=status,
            text=text,
            found=found,
            rows=rows,
            described=described or Described(),
            errors=list(errors),
            wrong=dict(errors),
            recent=recent,
            names={peer.peer_id: peer.name for peer in self._trust.peers()},
            states=STATES,
        )
