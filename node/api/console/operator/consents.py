"""What patients allowed and forbade, and who wants nothing shared unasked: looked up, recorded, revoked."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from node.api.console.handles import Handles, PatientRef
from node.api.console.operator.desk import Desk, Question, back, done, settle
from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.api.web.pages import see_other
from node.errors.base import LeveretError
from node.errors.consents import InvalidDirective, NoSuchConsent
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import MAX_DIRECTIVE_STUDIES, MAX_STAFF, DirectiveOrder, Effect, Scope
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import Demographics, StudySummary
from node.model.trust import TrustState
from node.sharing.consents import Consents
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery

_AREA, _LIST = "patients", "/console/consents"
_SERVER_FAULT = 500
_SHORT = msgspec.Meta(max_length=64)  # DICOM's LO
MAX_STUDIES = 200  # of one patient that the form lists
ANYBODY = "any"
_PURPOSES = (PurposeOfUse.TREAT, PurposeOfUse.ETREAT, PurposeOfUse.HOPERAT, PurposeOfUse.HPAYMT, PurposeOfUse.HRESCH)


class Whose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The patient as typed; without ``issuer`` one of this facility."""

    patient_id: Annotated[str, _SHORT] = ""
    issuer: Annotated[str, _SHORT] = ""


class DirectiveForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A directive as typed; what is left out is no limit. Dates as the browser's date field gives them."""

    effect: Effect = Effect.PERMIT
    to: Annotated[str, msgspec.Meta(max_length=100)] = ANYBODY
    studies: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_DIRECTIVE_STUDIES)] = ()
    modalities: Annotated[str, msgspec.Meta(max_length=200)] = ""
    body_parts: Annotated[str, msgspec.Meta(max_length=400)] = ""
    from_date: Annotated[str, msgspec.Meta(max_length=10)] = ""
    to_date: Annotated[str, msgspec.Meta(max_length=10)] = ""
    purposes: Annotated[tuple[PurposeOfUse, ...], msgspec.Meta(max_length=8)] = ()
    until: Annotated[str, msgspec.Meta(max_length=10)] = ""
    recorded_by: Annotated[str, msgspec.Meta(max_length=MAX_STAFF)] = ""


class ConsentsPages:
    """``/console/consents``."""

    def __init__(
        self,
        desk: Desk,
        consents: Consents,
        *,
        trust: TrustList,
        store: ObjectStore,
        patients: Handles[PatientRef],
    ) -> None:
        self._desk = desk
        self._consents = consents
        self._trust = trust
        self._store = store
        self._patients = patients

    def routes(self) -> Iterable[Route]:
        """The routes."""
        patient, one = f"{_LIST}/patients/{{handle}}", f"{_LIST}/{{consent_id}}"
        return [
            Route("GET", _LIST, self.list, CLINICAL, "Consents of every kind", page=True),
            Route("POST", _LIST, self.find, CLINICAL, "Look a patient up", Whose, page=True),
            Route("GET", patient, self.of_patient, CLINICAL, "A patient's consents", page=True),
            Route("POST", patient, self.add, CLINICAL, "Record a directive", DirectiveForm, page=True),
            Route("POST", f"{patient}/opt-out", self.opt_out, CLINICAL, "Share nothing unasked", page=True),
            Route("POST", f"{patient}/opt-in", self.opt_in, CLINICAL, "Take that back", page=True),
            Route("GET", f"{one}/revoke", self.ask_revoke, CLINICAL, "Ask before revoking", page=True),
            Route("POST", f"{one}/revoke", self.revoke, CLINICAL, "Revoke a consent", page=True),
        ]

    async def list(self, call: Call) -> object:
        """The newest of all patients."""
        entries = await self._consents.page(by=call.caller.actor)
        return self._desk.page(call, "consents.html", area=_AREA, entries=entries[:100], own_issuer=self._desk.issuer)

    async def find(self, call: Call) -> object:
        """To the patient's page, under an opaque address."""
        whose: Whose = call.body
        if not whose.patient_id.strip():
            return back(_LIST, InvalidDirective())
        key = self._desk.patient(whose.patient_id, whose.issuer)
        return see_other(f"{_LIST}/patients/{self._patients.put(call.caller, PatientRef(key))}")

    async def of_patient(self, call: Call) -> object:
        """All kinds, and the form for another directive."""
        return await self._show(call, self._key(call))

    async def add(self, call: Call) -> object:
        """A denial ends at once what it forbids."""
        key, form = self._key(call), call.body
        try:
            await self._consents.add(self._order(key, form), by=call.caller.actor)
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return await self._show(call, key, error=error, typed=form)
        return done(self._place(call), "consent-added")

    async def opt_out(self, call: Call) -> object:
        """Nothing announced, nothing on another facility's word."""
        work = self._consents.opt_out(self._key(call), by=call.caller.actor)
        return await settle(work, to=self._place(call), what="opted-out", otherwise=self._place(call))

    async def opt_in(self, call: Call) -> object:
        """As before."""
        work = self._consents.opt_in(self._key(call), by=call.caller.actor)
        return await settle(work, to=self._place(call), what="opted-in", otherwise=self._place(call))

    async def ask_revoke(self, call: Call) -> object:
        """For good."""
        says = (
            "Nothing new is released under it, transfers under it stop at once, and requests that wait are refused.",
            "Facilities that have a copy are told. Nobody can call copies back: tell the patient so.",
        )
        place = f"{_LIST}/{_named(call)}/revoke"
        question = Question("Revoke this consent?", says, "Revoke", place, _LIST)
        return self._desk.ask(call, question, area=_AREA)

    async def revoke(self, call: Call) -> object:
        """Of whatever kind; then to the patient it was about."""
        try:
            entry, effects = await self._consents.revoke(_named(call), by=call.caller.actor)
        except NoSuchConsent as error:
            return back(_LIST, error)
        copies = [self._desk.facility(peer) for peer in effects.copies]
        place = f"{_LIST}/patients/{self._patients.put(call.caller, PatientRef(entry.patient))}"
        return self._desk.page(call, "consent_revoked.html", area=_AREA, effects=effects, copies=copies, place=place)

    async def _show(
        self, call: Call, key: PatientKey, *, error: LeveretError | None = None, typed: DirectiveForm | None = None
    ) -> object:
        entries = await self._consents.page(key, by=call.caller.actor)
        studies: Sequence[StudySummary] = await self._store.studies(
            StudyQuery(patients=(key,), own=True, limit=MAX_STUDIES)
        )
        return self._desk.page(
            call,
            "consents_patient.html",
            area=_AREA,
            error=error,
            typed=typed or DirectiveForm(),
            entries=entries,
            patient=key,
            said=studies[0].demographics if studies else Demographics(),
            studies=studies,
            opted_out=await self._consents.opted_out(key),
            recipients=self._recipients(),
            purposes=_PURPOSES,
            place=self._place(call),
        )

    def _recipients(self) -> Sequence[tuple[str, str]]:
        trusted = [peer for peer in self._trust.peers() if peer.state is not TrustState.REVOKED]
        return [(ANYBODY, "any facility"), *((peer.peer_id.full, peer.name) for peer in trusted)]

    def _order(self, key: PatientKey, form: DirectiveForm) -> DirectiveOrder:
        return DirectiveOrder(
            patient=key,
            effect=form.effect,
            recipient=None if form.to == ANYBODY else self._trust.get(PeerId.parse(form.to)).peer_id,
            scope=Scope(
                frozenset(StudyInstanceUID.parse(uid) for uid in form.studies),
                _values(form.modalities),
                _values(form.body_parts),
                form.from_date.replace("-", ""),
                form.to_date.replace("-", ""),
            ),
            purposes=frozenset(form.purposes),
            until=end_of(form.until),
            recorded_by=form.recorded_by,
        )

    def _key(self, call: Call) -> PatientKey:
        ref = self._patients.get(call.caller, call.parameter("handle"))
        assert ref.patient is not None, "only these are put here"
        return ref.patient

    @staticmethod
    def _place(call: Call) -> str:
        return f"{_LIST}/patients/{call.parameter('handle')}"


def end_of(date: str) -> int | None:
    """The end of a day (YYYY-MM-DD) on this facility's clock, in seconds since the epoch; None for no day.

    Raises:
        InvalidDirective: it is none.
    """
    if not date:
        return None
    try:
        return int(datetime.strptime(f"{date} 23:59:59", "%Y-%m-%d %H:%M:%S").astimezone().timestamp())
    except (ValueError, OverflowError) as exc:
        raise InvalidDirective("until") from exc


def _values(text: str) -> frozenset[str]:
    return frozenset(part.strip().upper() for part in text.split(",") if part.strip())


def _named(call: Call) -> ConsentId:
    try:
        return ConsentId.parse(call.parameter("consent_id"))
    except ValueError as exc:
        raise NoSuchConsent from exc
