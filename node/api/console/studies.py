"""One study held here: what it is, opened in the viewer, linked to a local patient, sent to a PACS."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from node.api.console.handles import Handles, PatientRef
from node.api.dicomweb.reads import Reads
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.web.advice import words_of_error
from node.api.web.pages import Pages, see_other
from node.errors.base import LeveretError
from node.errors.delivery import LinkConflict
from node.errors.storage import UnknownStudy
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import Demographics, StudySummary
from node.sharing.deliveries import Deliveries, DeliveryOrder
from node.sharing.links import Links
from node.sharing.pacs import PacsDirectory
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore
from node.store.study_queries import SeriesQuery, StudyQuery

VIEWER = "/viewer/viewer"  # OHIF's own address, which names studies by UID
_THUMBNAIL = "/dicom-web/studies/{}/thumbnail"


class LinkForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The local patient that a received study belongs to."""

    patient_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    despite: str = ""


class SendForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To which system; ``accession``: the local accession number of a received study."""

    pacs: Annotated[str, msgspec.Meta(max_length=64)] = ""
    accession: Annotated[str, msgspec.Meta(max_length=16)] = ""


@dataclass(frozen=True, slots=True)
class StudyParts:
    """What the pages work with. ``issuer`` is this facility's Issuer of Patient ID."""

    pages: Pages
    store: ObjectStore
    links: Links
    deliveries: Deliveries
    pacs: PacsDirectory
    trust: TrustList
    reads: Reads
    patients: Handles[PatientRef]
    studies: Handles[StudyInstanceUID]
    issuer: str


class StudyPages:
    """``/console/studies/{id}``."""

    def __init__(self, parts: StudyParts) -> None:
        self._parts = parts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/console/studies/{study}"
        return [
            Route("GET", one, self.show, IMAGES, "A study held here", page=True),
            Route("GET", f"{one}/view", self.view, IMAGES, "Open a study in the viewer", page=True),
            Route("GET", f"{one}/thumbnail", self.thumbnail, IMAGES, "A study's thumbnail", quiet=True),
            Route(
                "POST",
                f"{one}/link",
                self.link,
                IMAGES,
                "Link a received study to a local patient",
                LinkForm,
                page=True,
            ),
            Route("POST", f"{one}/unlink", self.unlink, IMAGES, "Take a link back", page=True),
            Route("POST", f"{one}/send", self.send, IMAGES, "Send a study to a PACS", SendForm, page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        """The page."""
        return await self._page(call, await self._study(call))

    async def view(self, call: Call) -> web.StreamResponse:
        """Off to the viewer, whose address has to name the study."""
        study = await self._study(call)
        return see_other(f"{VIEWER}?{urlencode({'StudyInstanceUIDs': study.study_instance_uid})}")

    async def thumbnail(self, call: Call) -> web.StreamResponse:
        """Off to the picture, which is DICOMweb's."""
        uid = self._parts.studies.get(call.caller, call.parameter("study"))
        place = _THUMBNAIL.format(uid)
        return web.Response(status=302, headers={"Location": place, "Cache-Control": "no-store"})

    async def link(self, call: Call) -> web.StreamResponse:
        """It belongs to this local patient; what contradicts is shown side by side first."""
        said: LinkForm = call.body
        study = await self._study(call)
        patient = PatientKey(self._parts.issuer, said.patient_id.strip())
        try:
            await self._parts.links.link(
                study.study_instance_uid, patient, by=call.caller.actor, despite_differences=bool(said.despite)
            )
        except LeveretError as error:
            record = await self._parts.links.record_of(patient) if isinstance(error, LinkConflict) else None
            return await self._page(call, study, error=error, form="link", said=said, record=record)
        return see_other(call.request.path.removesuffix("/link"))

    async def unlink(self, call: Call) -> web.StreamResponse:
        """It does not."""
        study = await self._study(call)
        await self._parts.links.unlink(study.study_instance_uid, by=call.caller.actor)
        return see_other(call.request.path.removesuffix("/unlink"))

    async def send(self, call: Call) -> web.StreamResponse:
        """Order it; the delivery has a page of its own."""
        said: SendForm = call.body
        study = await self._study(call)
        order = DeliveryOrder(study=study.study_instance_uid, pacs=said.pacs, accession=said.accession.strip())
        try:
            delivery_id = await self._parts.deliveries.order(order, by=call.caller.actor)
        except LeveretError as error:
            return await self._page(call, study, error=error, form="send", said=said)
        return see_other(f"/console/deliveries/{delivery_id}")

    async def _study(self, call: Call) -> StudySummary:
        uid = self._parts.studies.get(call.caller, call.parameter("study"))
        found = await self._parts.store.studies(StudyQuery(study_uids=(uid,)))
        if not found:
            raise UnknownStudy
        return found[0]

    async def _page(
        self,
        call: Call,
        study: StudySummary,
        *,
        error: LeveretError | None = None,
        form: str = "",
        said: LinkForm | SendForm | None = None,
        record: Demographics | None = None,
    ) -> web.Response:
        parts = self._parts
        await parts.reads.read(call.caller, study.study_instance_uid, study.patient, "page")
        series = await parts.store.series(SeriesQuery(studies=StudyQuery(study_uids=(study.study_instance_uid,))))
        owner = study.linked or study.patient
        values: dict[str, Any] = {
            "study": study,
            "series": series,
            "handle": call.parameter("study"),
            "patient_link": parts.patients.put(call.caller, PatientRef(owner)),
            "origin": _facility(parts.trust, study.origin) if study.origin else "",
            "pacs": [(one.name, one.name) for one in parts.pacs.all()],
            "form": form,
            "words": words_of_error(error) if error else None,
            "said": said,
            "record": record,
        }
        return parts.pages.page(call, "console/clinician/study.html", status=error.status if error else 200, **values)


def _facility(trust: TrustList, peer: PeerId) -> str:
    return next((one.name for one in trust.peers() if one.peer_id == peer), peer.short)
