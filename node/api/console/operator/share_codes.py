"""Share codes: made for a patient, shown once to be printed, listed, revoked."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, settle
from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.api.web.qr import qr_svg
from node.errors.base import LeveretError
from node.errors.sharing import NoSuchShareCode
from node.model.consent import DAY_SECONDS, DEFAULT_CODE_DAYS, MAX_CODE_USES, ConsentId, code_state
from node.sharing.share_codes import ShareCodes

_AREA, _LIST = "patients", "/console/share-codes"
_SHORT = msgspec.Meta(max_length=64)  # DICOM's LO
_SERVER_FAULT = 500
LIFETIMES = ((1, "one day"), (7, "a week"), (DEFAULT_CODE_DAYS, "30 days"), (90, "90 days"), (365, "a year"))


class CodeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code for all own studies of a patient."""

    patient_id: Annotated[str, _SHORT] = ""
    issuer: Annotated[str, _SHORT] = ""
    days: int = DEFAULT_CODE_DAYS
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_CODE_USES)] = 1


class ShareCodesPages:
    """``/console/share-codes``."""

    def __init__(self, desk: Desk, codes: ShareCodes) -> None:
        self._desk = desk
        self._codes = codes

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{code_id}}/revoke"
        return [
            Route("GET", _LIST, self.list, CLINICAL, "Share codes, newest first", page=True),
            Route("POST", _LIST, self.create, CLINICAL, "Make one and show it once", CodeForm, page=True),
            Route("GET", one, self.ask_revoke, CLINICAL, "Ask before revoking", page=True),
            Route("POST", one, self.revoke, CLINICAL, "Take one back", page=True),
        ]

    async def list(self, call: Call) -> object:
        """The form, and all codes without their text, which is not kept."""
        return await self._list(call)

    async def create(self, call: Call) -> object:
        """The code, shown this once: so the answer to the form is the page itself."""
        form: CodeForm = call.body
        try:
            made = await self._codes.create(
                self._desk.patient(form.patient_id, form.issuer),
                by=call.caller.actor,
                lifetime=form.days * DAY_SECONDS,
                uses=form.uses,
            )
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return await self._list(call, error=error, typed=form)
        qr = qr_svg(made.code.url, title="The share code as a QR code")
        return self._desk.page(call, "share_code.html", area=_AREA, made=made, qr=qr)

    async def ask_revoke(self, call: Call) -> object:
        """For good."""
        says = (
            "The paper that the patient has is worthless from then on, and what is being sent under it stops at once.",
            "Facilities that have the images already keep them, and are told.",
        )
        question = Question("Take this code back?", says, "Revoke the code", f"{_LIST}/{_named(call)}/revoke", _LIST)
        return self._desk.ask(call, question, area=_AREA)

    async def revoke(self, call: Call) -> object:
        """Nothing new under it."""
        work = self._codes.revoke(_named(call), by=call.caller.actor)
        return await settle(work, to=_LIST, what="code-revoked", otherwise=_LIST)

    async def _list(self, call: Call, *, error: LeveretError | None = None, typed: CodeForm | None = None) -> object:
        now = self._desk.clock.now()
        codes = [(code, code_state(code, now).value) for code in await self._codes.page()]
        return self._desk.page(
            call,
            "share_codes.html",
            area=_AREA,
            error=error,
            codes=codes,
            typed=typed or CodeForm(),
            lifetimes=LIFETIMES,
            own_issuer=self._desk.issuer,
        )


def _named(call: Call) -> ConsentId:
    try:
        return ConsentId.parse(call.parameter("code_id"))
    except ValueError as exc:
        raise NoSuchShareCode from exc
