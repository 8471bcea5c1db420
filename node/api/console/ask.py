"""Asking a facility for studies, with the consent at hand."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from node.api.console.handles import Handles
from node.api.console.sheets import Sheet
from node.api.multipart import parts as parts_of
from node.api.multipart import pieces, text_of
from node.api.rest.access import IMAGES
from node.api.routing import Call, Route
from node.api.web.advice import words_of_error
from node.api.web.pages import Pages, see_other
from node.errors.base import LeveretError
from node.model.consent import PurposeOfUse
from node.model.evidence import MAX_REASON
from node.model.ids import RequestId
from node.model.request import AttestedProof, EmergencyProof
from node.sharing.deliveries import Deliveries, DeliveryWish
from node.sharing.pacs import PacsDirectory
from node.sharing.requests import Also, Offered, RequestOrder, Requests, TypedCode
from node.sharing.subjects import subject_of
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore

MAX_FORM_FILE = 32 * 1024 * 1024  # a scanned form of several pages
_MAX_TICKS = 200
_UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class AskParts:
    """What the page works with."""

    pages: Pages
    requests: Requests
    deliveries: Deliveries
    pacs: PacsDirectory
    trust: TrustList
    store: ObjectStore
    sheets: Handles[Sheet]


@dataclass(slots=True)
class _Said:
    """The form as it was filled in. The code is a secret of the patient: it is not shown again."""

    studies: list[int] = field(default_factory=list)
    consent: str = ""
    code: str = field(default="", repr=False)
    staff: str = ""
    reason: str = field(default="", repr=False)
    deliver: str = ""
    accession: str = ""
    form_digest: bytes = b""


class AskPages:
    """``/console/ask/{id}``."""

    def __init__(self, parts: AskParts) -> None:
        self._parts = parts

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/console/ask/{sheet}"
        return [
            Route("GET", one, self.form, IMAGES, "The form to ask a facility for studies", page=True),
            Route("POST", one, self.ask, IMAGES, "Ask a facility for studies", page=True),
        ]

    async def form(self, call: Call) -> web.StreamResponse:
        """The form, with the study ticked that was clicked on."""
        sheet = self._sheet(call)
        said = _Said([call.number("study", 0, len(sheet.priors) - 1)])
        said.consent = "on_file" if sheet.priors[said.studies[0]].consent_on_file else "code"
        return self._page(call, sheet, said)

    async def ask(self, call: Call) -> web.StreamResponse:
        """Write the request down and watch it go."""
        sheet = self._sheet(call)
        said = await _read(call)
        errors = _errors(said, sheet)
        if errors:
            return self._page(call, sheet, said, errors, status=_UNPROCESSABLE)
        try:
            request_id = await self._send(call, sheet, said)
        except LeveretError as error:
            words = words_of_error(error)
            where = "code" if said.consent == "code" and error.code.startswith("share_code") else ""
            return self._page(call, sheet, said, [(where, f"{words.title}. {words.advice}")], status=error.status)
        return see_other(f"/console/requests/{request_id}")

    async def _send(self, call: Call, sheet: Sheet, said: _Said) -> RequestId:
        ref, caller = sheet.patient, call.caller
        emergency = said.consent == "emergency"
        order = RequestOrder(
            peer=sheet.peer,
            targets=[sheet.priors[i].ref for i in said.studies],
            consent=_consent(said),
            user=caller.name,
            role=caller.role.value,
            subject=await subject_of(self._parts.store, ref.patient, ref.demographics),
            purpose=PurposeOfUse.ETREAT if emergency else PurposeOfUse.TREAT,
        )
        return await self._parts.requests.ask(order, by=caller.actor, also=self._delivery(call, sheet, said))

    def _delivery(self, call: Call, sheet: Sheet, said: _Said) -> Also | None:
        if not said.deliver:
            return None
        wish, patient, by = DeliveryWish(said.deliver, said.accession), sheet.patient.patient, call.caller.actor
        return lambda tx, request_id: self._parts.deliveries.expect(tx, request_id, wish, patient, by=by)

    def _sheet(self, call: Call) -> Sheet:
        return self._parts.sheets.get(call.caller, call.parameter("sheet"))

    def _page(
        self, call: Call, sheet: Sheet, said: _Said, errors: Iterable[tuple[str, str]] = (), *, status: int = 200
    ) -> web.Response:
        values: dict[str, Any] = {
            "sheet": sheet,
            "said": said,
            "facility": self._parts.trust.get(sheet.peer).name,
            "pacs": [("", "Do not send it on"), *((one.name, one.name) for one in self._parts.pacs.all())],
            "errors": list(errors),
            "wrong": dict(errors),
            "on_file": any(prior.consent_on_file for prior in sheet.priors),
            "handle": call.parameter("sheet"),
        }
        return self._parts.pages.page(call, "console/clinician/ask.html", status=status, **values)


async def _read(call: Call) -> _Said:
    """The form; of the signed form only the digest is kept."""
    said = _Said()
    async for part in parts_of(call.request):
        name = part.name or ""
        if name == "form":
            digest, size = hashlib.sha256(), 0
            async for piece in pieces(part, MAX_FORM_FILE):
                digest.update(piece)
                size += len(piece)
            said.form_digest = digest.digest() if size else b""
            continue
        text = (await text_of(part)).strip()
        if name == "study":
            if text.isascii() and text.isdigit() and len(said.studies) < _MAX_TICKS:
                said.studies.append(int(text[:6]))
        elif name in {"consent", "code", "staff", "reason", "deliver", "accession"}:
            setattr(said, name, text)
    return said


def _errors(said: _Said, sheet: Sheet) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    said.studies = [i for i in dict.fromkeys(said.studies) if i < len(sheet.priors)]
    if not said.studies:
        errors.append(("study", "Choose at least one study"))
    match said.consent:
        case "code" if not said.code:
            errors.append(("code", "Enter the patient's code"))
        case "attest":
            if not said.staff:
                errors.append(("staff", "Enter who saw the patient sign"))
            if not said.form_digest:
                errors.append(("form", "Choose the signed form, scanned or photographed"))
        case "emergency" if not said.reason:
            errors.append(("reason", "Say why the patient cannot be asked"))
        case "code" | "emergency" | "on_file":
            pass
        case _:
            errors.append(("consent", "Choose the consent that you have"))
    if len(said.reason) > MAX_REASON:
        errors.append(("reason", f"Use {MAX_REASON} characters at most"))
    return errors


def _consent(said: _Said) -> Offered:
    match said.consent:
        case "code":
            return TypedCode(said.code)
        case "attest":
            return AttestedProof(said.form_digest, said.staff)
        case "emergency":
            return EmergencyProof(said.reason)
    return None
