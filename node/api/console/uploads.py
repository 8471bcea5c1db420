"""The staff's page about what patients brought: identities side by side, accepted under a local patient, or refused."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.base import LeveretError
from node.errors.delivery import InvalidLocalPatient
from node.errors.portal_pages import UploadIdentityDiffers
from node.model.ids import PatientKey
from node.sharing.portal.reviewing import MAX_REASON, UploadDesk

UPLOADS = "/console/uploads"
DIFFERENCES = {
    "name_conflict": "another name",
    "birth_date_conflict": "another birth date",
    "birth_date_swapped": "day and month swapped",
    "sex_conflict": "another sex",
    "patient_id_conflict": "another patient ID",
}
_ID = Annotated[str, msgspec.Meta(max_length=64)]


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under whom, and that differences are known."""

    patient_id: _ID = ""
    sure: bool = False


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; the patient reads it."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


class UploadReviewPages:
    """``/console/uploads``."""

    def __init__(self, pages: Pages, desk: UploadDesk, *, issuer: str) -> None:
        """``issuer`` is this facility's Issuer of Patient ID."""
        self._pages = pages
        self._desk = desk
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{UPLOADS}/{{upload}}"
        return [
            Route("GET", UPLOADS, self.list, CLINICAL, "What patients brought and nobody has looked at", page=True),
            Route("GET", one, self.show, CLINICAL, "One upload beside the record", page=True),
            Route("POST", f"{one}/compare", self.compare, CLINICAL, "Beside another record", Acceptance, page=True),
            Route("POST", f"{one}/accept", self.accept, CLINICAL, "Store it under a patient", Acceptance, page=True),
            Route("POST", f"{one}/refuse", self.refuse, CLINICAL, "Destroy it, and say why", Refusal, page=True),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        """What waits."""
        found = await self._desk.page(by=call.caller.actor)
        return self._pages.page(call, "console/portal/uploads.html", uploads=found, done=call.query("done"))

    async def show(self, call: Call) -> web.StreamResponse:
        """Both sides."""
        return await self._review(call, "")

    async def compare(self, call: Call) -> web.StreamResponse:
        """Both sides, with another record."""
        return await self._review(call, call.body.patient_id)

    async def accept(self, call: Call) -> web.StreamResponse:
        """Stored."""
        said: Acceptance = call.body
        patient = PatientKey(self._issuer, said.patient_id.strip())
        try:
            await self._desk.accept(
                call.parameter("upload"), patient, by=call.caller.actor, despite_differences=said.sure
            )
        except (UploadIdentityDiffers, InvalidLocalPatient) as error:
            return await self._review(call, said.patient_id, error)
        return see_other(f"{UPLOADS}?done=accepted")

    async def refuse(self, call: Call) -> web.StreamResponse:
        """Gone."""
        said: Refusal = call.body
        if not said.reason.strip():
            return await self._review(call, "", needs_reason=True)
        await self._desk.refuse(call.parameter("upload"), said.reason, by=call.caller.actor)
        return see_other(f"{UPLOADS}?done=refused")

    async def _review(
        self, call: Call, patient_id: str, error: LeveretError | None = None, *, needs_reason: bool = False
    ) -> web.StreamResponse:
        patient = PatientKey(self._issuer, patient_id.strip()) if patient_id.strip() else None
        review = await self._desk.review(call.parameter("upload"), patient, by=call.caller.actor)
        return self._pages.page(
            call, "console/portal/upload.html", review=review, error=error, needs_reason=needs_reason,
            words=DIFFERENCES, status=400 if error or needs_reason else 200,
        )  # fmt: skip
