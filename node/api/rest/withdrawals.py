"""What was withdrawn here, whom it was told, and what others withdrew."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut, given
from node.api.rest.access import CLINICAL, OPERATION
from node.api.rest.shapes.images import (
    NoticeShown,
    ReceivedNoticeList,
    ReceivedNoticeShown,
    RevisionShown,
    RevisionsShown,
    WithdrawalList,
    WithdrawalShown,
    WithdrawnStudyList,
    WithdrawnStudyShown,
)
from node.api.routing import Call, Route
from node.model.ids import StudyInstanceUID
from node.model.withdrawal import MAX_WORDS
from node.sharing.history import History
from node.sharing.withdrawals import Told, Withdrawals
from node.store.hiding import WithdrawnStudy
from node.store.revisions import ClosedRevision
from node.store.withdrawals import QueuedNotice, ReceivedNotice


class NewWithdrawal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An own study, and why nobody may use it any more; every recipient is told."""

    study: Annotated[str, msgspec.Meta(max_length=64)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORDS)]


class WhichWithdrawals(Window, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All, or that of one ``study``."""

    study: Annotated[str, msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET


class OneStudy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study."""

    study: Annotated[str, msgspec.Meta(max_length=64)]


class WithdrawalsResource:
    """``withdrawals`` and ``revisions``."""

    def __init__(self, withdrawals: Withdrawals, history: History) -> None:
        self._withdrawals = withdrawals
        self._history = history

    def routes(self) -> Iterable[Route]:
        """The routes."""
        path = "/api/v1/withdrawals"
        withdraw = "Withdraw an own study, here and at every recipient"
        return [
            Route(
                "GET",
                path,
                self.list,
                CLINICAL,
                "What was withdrawn, by whom, and who acknowledged it",
                query=WhichWithdrawals,
                answer=WithdrawalList,
            ),
            Route("POST", path, self.withdraw, OPERATION, withdraw, NewWithdrawal, 201, answer=WithdrawalShown),
            Route(
                "GET",
                f"{path}/received",
                self.received,
                CLINICAL,
                "What other facilities withdrew",
                query=Window,
                answer=ReceivedNoticeList,
            ),
            Route(
                "GET",
                f"{path}/studies",
                self.studies,
                CLINICAL,
                "Studies of which nothing is shown any more",
                query=Window,
                answer=WithdrawnStudyList,
            ),
            Route(
                "GET",
                "/api/v1/revisions",
                self.revisions,
                CLINICAL,
                "The revisions of a study",
                query=OneStudy,
                errors=(404,),
                answer=RevisionsShown,
            ),
        ]

    async def list(self, call: Call) -> WithdrawalList:
        """Last first."""
        asked: WhichWithdrawals = call.asked
        named = given(asked.study)
        study = None if named is None else StudyInstanceUID.parse(named)
        found, more = cut(call, await self._withdrawals.page(study=study))
        return {"withdrawals": [shown_withdrawal(one) for one in found], "next": more}

    async def withdraw(self, call: Call) -> WithdrawalShown:
        """Nobody here sees it from this moment on."""
        wanted: NewWithdrawal = call.body
        study = StudyInstanceUID.parse(wanted.study)
        return shown_withdrawal(await self._withdrawals.withdraw(study, wanted.reason, by=call.caller.actor))

    async def received(self, call: Call) -> ReceivedNoticeList:
        """Last first."""
        found, more = cut(call, await self._withdrawals.received())
        return {"withdrawals": [_shown_received(one) for one in found], "next": more}

    async def studies(self, call: Call) -> WithdrawnStudyList:
        """Last first; that somebody looked goes on record."""
        found, more = cut(call, await self._history.withdrawn(by=call.caller.actor))
        return {"studies": [_shown_study(one) for one in found], "next": more}

    async def revisions(self, call: Call) -> RevisionsShown:
        """Last first, and what of it is hidden."""
        study = StudyInstanceUID.parse(call.asked.study)
        found = await self._history.of(study, by=call.caller.actor)
        return {
            "study_instance_uid": study,
            "revisions": [_shown_revision(one) for one in found.revisions],
            "hidden": {reason.value: count for reason, count in found.hidden.items()},
        }


def shown_withdrawal(told: Told) -> WithdrawalShown:
    """A withdrawal with the state at each recipient."""
    w = told.withdrawal
    return {
        "withdrawal_id": str(w.withdrawal_id),
        "study_instance_uid": w.study,
        "kind": w.kind,
        "reason": w.reason,
        "words": w.words,
        "instances": w.instances,
        "at": w.made_at,
        "by": w.made_by,
        "recipients": [_shown_notice(n) for n in told.notices],
    }


def _shown_notice(n: QueuedNotice) -> NoticeShown:
    return {
        "peer_id": n.peer.full,
        "state": n.state,
        "outcome": n.outcome,
        "code": n.code or None,
        "settled_at": n.settled_at,
        "attempts": n.attempts,
        "next_attempt_at": n.attempt_at,
    }


def _shown_received(n: ReceivedNotice) -> ReceivedNoticeShown:
    return {
        "notice_id": str(n.notice_id),
        "peer_id": n.peer.full,
        "study_instance_uid": n.study,
        "kind": n.kind,
        "reason": n.reason,
        "words": n.words,
        "instances": n.instances,
        "outcome": n.outcome,
        "received_at": n.received_at,
    }


def _shown_study(s: WithdrawnStudy) -> WithdrawnStudyShown:
    return {
        "study_instance_uid": s.study,
        "patient_id": s.patient.patient_id,
        "issuer_of_patient_id": s.patient.issuer,
        "patient_name": s.demographics.name,
        "study_date": s.date,
        "modalities": list(s.modalities),
        "description": s.description,
        "instances": s.instances,
        "revision": s.revision,
        "origin": s.origin.full if s.origin else None,
        "reason": s.reason,
        "words": s.words,
        "withdrawn_at": s.at,
    }


def _shown_revision(r: ClosedRevision) -> RevisionShown:
    return {
        "revision": r.number,
        "closed_at": r.closed_at,
        "cause": r.cause,
        "instances": r.instances,
        "bytes": r.size,
    }
