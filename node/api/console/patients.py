"""A patient's page: one list of studies here and elsewhere, the most relevant first.

What is held here is shown at once. The other facilities are asked by a second request, which htmx makes as soon as the
page stands; without JavaScript a link does.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from node.api.console.handles import Handles, PatientRef
from node.api.console.priors import MODALITIES, REGIONS, Current, Shown, examined, show
from node.api.console.sheets import Sheet
from node.api.console.timeline import timeline
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.web.pages import Pages
from node.clock import Clock
from node.model.ids import PeerId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics, StudySummary
from node.model.label import NO_REGION, BodyRegion
from node.model.relevance import NOT_IMAGES, Examination
from node.sharing.locate import Locator, PeerPriors
from node.sharing.requests import Requests, SentView
from node.sharing.trust import TrustList

_REGIONS = {region.name: region for region in BodyRegion}
_MAX_MODALITY = 16
_WISHES = ("for", "region", "modality", "all")  # queries that say what is being read, and how much is shown
READING_DAYS = 3  # an own study of these days is taken for the one that is being read


@dataclass(frozen=True, slots=True)
class PatientParts:
    """What the page works with."""

    pages: Pages
    locator: Locator
    requests: Requests
    trust: TrustList
    patients: Handles[PatientRef]
    studies: Handles[StudyInstanceUID]
    sheets: Handles[Sheet]
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is being read, as far as it was said: a study, or region and modality."""

    study: StudyInstanceUID | None = None
    region: str = ""
    modality: str = ""

    @property
    def examination(self) -> Examination:
        """For comparing."""
        region = _REGIONS.get(self.region, NO_REGION)
        return Examination((self.modality,) if self.modality else (), region)


class PatientPages:
    """``/console/patients/{id}`` and its list alone."""

    def __init__(self, parts: PatientParts) -> None:
        self._parts = parts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/console/patients/{patient}"
        return [
            Route("GET", one, self.show, IMAGES, "A patient's studies here; with ask=1 elsewhere too", page=True),
            Route("GET", f"{one}/priors", self.priors, IMAGES, "The list of studies here and elsewhere", page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        """The page."""
        ref = self._ref(call)
        asked = call.query("ask") == "1"
        values = await self._values(call, ref, is_asked=asked)
        return self._parts.pages.page(call, "console/clinician/patient.html", **values)

    async def priors(self, call: Call) -> web.StreamResponse:
        """The list alone, everybody asked."""
        values = await self._values(call, self._ref(call), is_asked=True)
        return self._parts.pages.page(call, "console/clinician/priors.html", **values)

    def _ref(self, call: Call) -> PatientRef:
        return self._parts.patients.get(call.caller, call.parameter("patient"))

    async def _values(self, call: Call, ref: PatientRef, *, is_asked: bool) -> dict[str, Any]:
        parts, peers, who = self._parts, None, ref.demographics
        if is_asked:
            found = await parts.locator.priors(
                demographics=ref.demographics, patient=ref.patient, actor=call.caller.actor
            )
            local: Sequence[StudySummary] = found.local
            peers = found.peers
        else:
            local, who = await parts.locator.held(
                demographics=ref.demographics, patient=ref.patient, actor=call.caller.actor
            )
        who = who or _newest_name(local)
        today = time.strftime("%Y%m%d", time.localtime(parts.clock.now()))
        choice, current = self._current(call, local, today)
        shown = show(
            local,
            peers,
            Current(current, choice.study),
            today=today,
            names=self._names(),
            underway=await self._underway(ref, who),
            every=call.query("all") == "1",
        )
        return {
            "ref": ref,
            "who": who,
            "shown": shown,
            "picture": timeline([*shown.first, *shown.others], today=today),
            "handle": call.parameter("patient"),
            "choice": choice,
            "current": current,
            "regions": REGIONS,
            "modalities": MODALITIES,
            "wish": urlencode({key: call.query(key) for key in _WISHES if key in call.request.query}),
            "facilities": len(parts.trust.trusted()),
            **self._links(call, ref, who, shown, peers or ()),
        }

    def _links(
        self, call: Call, ref: PatientRef, who: Demographics, shown: Shown, peers: Sequence[PeerPriors]
    ) -> dict[str, Any]:
        """Opaque addresses: of each study held here, and of the sheet on which each facility is asked."""
        caller, parts = call.caller, self._parts
        everything = (*shown.first, *shown.others)
        studies = {
            prior.local.study_instance_uid: parts.studies.put(caller, prior.local.study_instance_uid)
            for prior in everything
            if prior.local is not None
        }
        sheets = {}
        for peer in peers:
            wanted = tuple(
                prior.remote
                for prior in everything
                if prior.peer == peer.peer_id and prior.remote is not None and prior.can_be_asked
            )
            if wanted:
                sheet = Sheet(peer.peer_id, ref, who, wanted)
                sheets[peer.peer_id] = (parts.sheets.put(caller, sheet), [prior.ref for prior in wanted])
        return {"study_links": studies, "sheets": sheets}

    def _current(self, call: Call, local: Sequence[StudySummary], today: str) -> tuple[_Choice, Examination]:
        """What is being read: as was said, else the newest study of this facility, or one like it."""
        if handle := call.query("for"):
            uid = self._parts.studies.get(call.caller, handle)
            study = next((one for one in local if one.study_instance_uid == uid), None)
            if study is not None:
                return _choice_of(study, study.study_instance_uid), examined(study)
        if "region" in call.request.query or "modality" in call.request.query:
            modality = call.query("modality")[:_MAX_MODALITY]
            choice = _Choice(region=call.query("region") if call.query("region") in _REGIONS else "", modality=modality)
            return choice, choice.examination
        own = next((study for study in local if study.origin is None), None)
        if own is None:
            return _Choice(), Examination()
        is_read = _days_before(today, READING_DAYS) <= own.date <= today
        return _choice_of(own, own.study_instance_uid if is_read else None), examined(own)

    def _names(self) -> Mapping[PeerId, str]:
        return {peer.peer_id: peer.name for peer in self._parts.trust.peers()}

    async def _underway(
        self, ref: PatientRef, who: Demographics
    ) -> dict[tuple[PeerId, StudyInstanceUID | StudyRef], str]:
        """Which requests for this patient are bringing what."""
        found: dict[tuple[PeerId, StudyInstanceUID | StudyRef], str] = {}
        for sent in await self._parts.requests.underway():
            if _is_about(sent, ref, who):
                for target in sent.asked.targets:
                    found[sent.asked.holder, target] = str(sent.asked.request_id)
        return found


def _choice_of(study: StudySummary, reading: StudyInstanceUID | None) -> _Choice:
    known = examined(study)
    region = next((one.name or "" for one in known.regions), "")
    return _Choice(reading, region, next((kind for kind in study.modalities if kind not in NOT_IMAGES), ""))


def _days_before(today: str, days: int) -> str:
    return (datetime.strptime(today, "%Y%m%d").replace(tzinfo=UTC) - timedelta(days=days)).strftime("%Y%m%d")


def _is_about(sent: SentView, ref: PatientRef, who: Demographics) -> bool:
    subject = sent.asked.subject
    return (ref.patient is not None and subject.patient == ref.patient) or bool(
        who.name and subject.demographics == who
    )


def _newest_name(local: Sequence[StudySummary]) -> Demographics:
    return next((study.demographics for study in local if study.demographics.name), Demographics())
