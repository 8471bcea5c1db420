"""Deleting studies, protecting them, and whether what is stored is still whole."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import CLINICAL, OPERATION, OVERSIGHT
from node.api.rest.shapes.images import DamageShown, ProtectionList, ProtectionShown, ScrubShown, StudyNamed
from node.api.routing import Call, Route
from node.model.ids import StudyInstanceUID
from node.sharing.retention import MAX_REASON, Retention
from node.sharing.scrub import Scrub, ScrubState
from node.store.retention import Protection
from node.store.scrub import DamagedStudy

_UID = msgspec.Meta(max_length=64)


class StudyAndReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study, and why."""

    study: Annotated[str, _UID]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study."""

    study: Annotated[str, _UID]


class RetentionResource:
    """``deletions``, ``protections`` and ``scrub``."""

    def __init__(self, retention: Retention, scrub: Scrub) -> None:
        self._retention = retention
        self._scrub = scrub

    def routes(self) -> Iterable[Route]:
        """The routes."""
        protections = "/api/v1/protections"
        delete = "Delete a study: nobody can read it again"
        return [
            Route("POST", "/api/v1/deletions", self.delete, OPERATION, delete, StudyAndReason, answer=StudyNamed),
            Route(
                "GET",
                protections,
                self.protected,
                CLINICAL,
                "Studies that must not be deleted",
                query=Window,
                answer=ProtectionList,
            ),
            Route(
                "POST",
                protections,
                self.protect,
                OPERATION,
                "Protect a study",
                StudyAndReason,
                201,
                answer=ProtectionShown,
            ),
            Route(
                "POST",
                f"{protections}/end",
                self.unprotect,
                OPERATION,
                "Protect a study no more",
                Study,
                answer=StudyNamed,
            ),
            Route(
                "GET",
                "/api/v1/scrub",
                self.state,
                OVERSIGHT,
                "How far stored objects are verified, what is damaged",
                answer=ScrubShown,
            ),
            Route(
                "POST",
                "/api/v1/scrub",
                self.verify,
                OPERATION,
                "Verify all stored objects now",
                status=202,
                answer=ScrubShown,
            ),
        ]

    async def delete(self, call: Call) -> StudyNamed:
        """It may be stored again."""
        wanted: StudyAndReason = call.body
        study = StudyInstanceUID.parse(wanted.study)
        await self._retention.delete(study, wanted.reason, by=call.caller.actor)
        return {"study_instance_uid": study}

    async def protected(self, call: Call) -> ProtectionList:
        """Newest first."""
        found, more = cut(call, await self._retention.protections())
        return {"protections": [_shown(one) for one in found], "next": more}

    async def protect(self, call: Call) -> ProtectionShown:
        """It need not be held yet."""
        wanted: StudyAndReason = call.body
        study = StudyInstanceUID.parse(wanted.study)
        return _shown(await self._retention.protect(study, wanted.reason, by=call.caller.actor))

    async def unprotect(self, call: Call) -> StudyNamed:
        """It may be deleted again."""
        wanted: Study = call.body
        study = StudyInstanceUID.parse(wanted.study)
        await self._retention.unprotect(study, by=call.caller.actor)
        return {"study_instance_uid": study}

    async def state(self, _call: Call) -> ScrubShown:
        """Where it is."""
        return shown_scrub(await self._scrub.state())

    async def verify(self, _call: Call) -> ScrubShown:
        """From the first object on."""
        await self._scrub.begin()
        return shown_scrub(await self._scrub.state())


def _shown(one: Protection) -> ProtectionShown:
    return {"study_instance_uid": one.study, "reason": one.reason, "at": one.at, "by": one.by}


def shown_scrub(state: ScrubState) -> ScrubShown:
    """The state of the look through the packs."""
    p = state.progress
    return {
        "running": p.ended_at is None,
        "began_at": p.began_at or None,
        "ended_at": p.ended_at or None,
        "objects": p.objects,
        "bytes": p.size,
        "total_bytes": state.total,
        "damaged": [shown_damage(one) for one in state.damaged],
    }


def shown_damage(one: DamagedStudy) -> DamageShown:
    """A study with damaged objects."""
    return {
        "ref": one.ref,
        "study_instance_uid": one.study,
        "origin": one.origin.full if one.origin else None,
        "flaw": one.flaw,
        "objects": one.objects,
        "found_at": one.found_at,
    }
