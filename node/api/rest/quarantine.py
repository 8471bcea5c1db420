"""What contradicts what is held: both sides, and what becomes of it."""

from collections.abc import Iterable

from node.api.paging import Window, part
from node.api.rest.access import OPERATION
from node.api.rest.shapes.images import (
    ComparisonShown,
    QuarantineAccepted,
    QuarantineDiscarded,
    QuarantinedShown,
    QuarantineList,
    SideShown,
)
from node.api.routing import Call, Route
from node.errors.lifecycle import UnknownQuarantined
from node.model.ids import Digest
from node.model.instance import InstanceHeader
from node.model.quarantine import Acceptance
from node.sharing.quarantine import Comparison, Quarantine
from node.store.quarantine import Quarantined

_MAX_DIGITS = 18


class QuarantineResource:
    """``quarantine``."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/api/v1/quarantine/{number}"
        return [
            Route(
                "GET",
                "/api/v1/quarantine",
                self.list,
                OPERATION,
                "What was put aside, last first",
                query=Window,
                answer=QuarantineList,
            ),
            Route(
                "GET",
                one,
                self.inspect,
                OPERATION,
                "Both sides of a contradiction, and where they differ",
                answer=ComparisonShown,
            ),
            Route(
                "POST",
                f"{one}/accept",
                self.accept,
                OPERATION,
                "Put it in the place of what it contradicts",
                answer=QuarantineAccepted,
            ),
            Route("POST", f"{one}/discard", self.discard, OPERATION, "Shred it", answer=QuarantineDiscarded),
        ]

    async def list(self, call: Call) -> QuarantineList:
        """Everything that waits for a decision."""
        asked: Window = call.asked
        found, more = part(call, await self._quarantine.page(limit=asked.ahead, offset=asked.offset))
        return {"quarantine": [_shown(one) for one in found], "next": more}

    async def inspect(self, call: Call) -> ComparisonShown:
        """One of them beside what is held."""
        return _compared(await self._quarantine.inspect(_number(call), by=call.caller.actor))

    async def accept(self, call: Call) -> QuarantineAccepted:
        """It is right."""
        study = await self._quarantine.accept(_number(call), by=call.caller.actor)
        return {"number": _number(call), "study_instance_uid": study, "state": "accepted"}

    async def discard(self, call: Call) -> QuarantineDiscarded:
        """It is wrong."""
        await self._quarantine.discard(_number(call), by=call.caller.actor)
        return {"number": _number(call), "state": "discarded"}


def _number(call: Call) -> int:
    text = call.parameter("number")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise UnknownQuarantined
    return int(text)


def _shown(one: Quarantined) -> QuarantinedShown:
    return {
        "number": one.number,
        "reason": one.reason,
        **_side(one.meta.header, one.meta.digest, one.meta.size),
        "source": one.meta.source,
        "origin": one.meta.origin.full if one.meta.origin else None,
        "received_at": one.meta.received_at,
    }


def _side(header: InstanceHeader, digest: Digest, size: int) -> SideShown:
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "patient_id": header.patient.patient_id,
        "issuer_of_patient_id": header.patient.issuer,
        "patient_name": header.demographics.name,
        "modality": header.modality,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "digest": str(digest),
        "bytes": size,
    }


def _compared(c: Comparison) -> ComparisonShown:
    return {
        "aside": _shown(c.aside),
        "held": None if c.held is None else _side(c.held.header, c.held.digest, c.held.size),
        "accepting": None if c.acceptance is Acceptance.IMPOSSIBLE else c.acceptance.name.lower(),
        "differences": [{"tag": d.tag, "vr": d.vr, "held": d.held, "aside": d.aside} for d in c.differences],
        "unreadable": c.unreadable or None,
    }
