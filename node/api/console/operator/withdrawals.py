"""Studies that nobody may use any more: withdrawn here, by others, and who has acknowledged it."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, done
from node.api.rest.access import CLINICAL, OPERATION
from node.api.routing import Call, Route
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.model.audit import AuditEvent, AuditType
from node.model.ids import StudyInstanceUID
from node.model.instance import StudySummary
from node.model.withdrawal import MAX_WORDS
from node.sharing.audit import AuditLog
from node.sharing.history import History
from node.sharing.withdrawals import Withdrawals
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery

_AREA, _LIST = "patients", "/console/withdrawals"
_SERVER_FAULT = 500
_SHOWN = 200


class WithdrawForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose study; which of them, and why nobody may use it any more; ``sure``: it was asked again."""

    patient_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    study: Annotated[str, msgspec.Meta(max_length=64)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_WORDS)] = ""
    sure: bool = False


class WithdrawalsPages:
    """``/console/withdrawals``."""

    def __init__(
        self, desk: Desk, withdrawals: Withdrawals, *, history: History, store: ObjectStore, audit: AuditLog
    ) -> None:
        self._audit = audit
        self._desk = desk
        self._withdrawals = withdrawals
        self._history = history
        self._store = store

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", _LIST, self.list, CLINICAL, "Withdrawn studies", page=True),
            Route("POST", _LIST, self.withdraw, OPERATION, "Withdraw an own study", WithdrawForm, page=True),
        ]

    async def list(self, call: Call) -> object:
        """What was withdrawn here, whom it was told, what others withdrew, what cannot be seen any more."""
        return await self._list(call)

    async def withdraw(self, call: Call) -> object:
        """The patient's studies to choose from; then asked again, with the study in words; then done."""
        form: WithdrawForm = call.body
        if not form.study:
            return await self._list(call, typed=form, studies=await self._studies(call, form))
        try:
            study = StudyInstanceUID.parse(form.study)
            if not form.reason.strip():
                raise InvalidInput("a reason is needed: every recipient reads it")
            if form.sure:
                await self._withdrawals.withdraw(study, form.reason, by=call.caller.actor)
                return done(_LIST, "withdrawn")
            question = await self._question(study, form)
        except LeveretError as error:
            if error.status >= _SERVER_FAULT:
                raise
            return await self._list(call, error=error, typed=form, studies=await self._studies(call, form))
        return self._desk.ask(call, question, area=_AREA)

    async def _studies(self, call: Call, form: WithdrawForm) -> Sequence[StudySummary]:
        """The patient's own studies; the look is logged."""
        key = self._desk.patient(form.patient_id)
        found = await self._store.studies(StudyQuery(patients=(key,), own=True, limit=_SHOWN))
        detail = {"found": len(found)}
        event = AuditEvent(
            AuditType.STUDIES_SEARCHED, self._desk.clock.now(), call.caller.actor, patient=key, detail=detail
        )
        await self._audit.record(event)
        return found

    async def _question(self, study: StudyInstanceUID, form: WithdrawForm) -> Question:
        found = await self._store.studies(StudyQuery(study_uids=(study,), own=True))
        if not found:
            raise InvalidInput("no study of this facility has that UID")
        one = found[0]
        says = (
            "Nobody here sees it from then on, and what is being sent stops.",
            "Every facility that has it is told, hides it and acknowledges that.",
            "It cannot be undone: the same images may be stored again only under other UIDs.",
        )
        facts = (
            ("Patient", f"{one.demographics.name.replace('^', ' ')} ({one.patient.patient_id})"),
            ("Study", f"{one.date} {', '.join(one.modalities)} {one.description}"),
            ("Images", str(one.instances)),
            ("Why", form.reason),
        )
        hidden = {"patient_id": form.patient_id, "study": form.study, "reason": form.reason, "sure": "true"}
        return Question("Withdraw this study?", says, "Withdraw it everywhere", _LIST, _LIST, facts, hidden=hidden)

    async def _list(
        self,
        call: Call,
        *,
        error: LeveretError | None = None,
        typed: WithdrawForm | None = None,
        studies: Sequence[StudySummary] | None = None,
    ) -> object:
        return self._desk.page(
            call,
            "withdrawals.html",
            area=_AREA,
            error=error,
            typed=typed or WithdrawForm(),
            studies=studies,
            made=await self._withdrawals.page(limit=_SHOWN),
            received=await self._withdrawals.received(limit=_SHOWN),
            hidden=await self._history.withdrawn(by=call.caller.actor),
            max_reason=MAX_WORDS,
        )
