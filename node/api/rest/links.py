"""Received studies and the local patients that they belong to. UIDs and patients stand in bodies only."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import CLINICAL
from node.api.rest.patients import Person, described
from node.api.rest.shapes.images import LinkList, LinkMade, LinkShown, StudyNamed
from node.api.routing import Call, Route
from node.errors.access import InvalidInput
from node.model.ids import StudyInstanceUID
from node.model.instance import Demographics
from node.sharing.links import Linked, Links

_UID = msgspec.Meta(max_length=64)


class NewLink(Person, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``study`` belongs to the local patient ``patient_id``; name, birth date and sex if no own study says them."""

    study: Annotated[str, _UID]
    despite_differences: bool = False


class OldLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The link of ``study``."""

    study: Annotated[str, _UID]


class LinksResource:
    """``links``."""

    def __init__(self, links: Links, *, issuer: str) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._links = links
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        links = "/api/v1/links"
        return [
            Route(
                "GET",
                links,
                self.list,
                CLINICAL,
                "Received studies linked to local patients, newest first",
                query=Window,
                answer=LinkList,
            ),
            Route(
                "POST",
                links,
                self.link,
                CLINICAL,
                "Link a received study to a local patient",
                NewLink,
                201,
                answer=LinkMade,
            ),
            Route("POST", f"{links}/remove", self.unlink, CLINICAL, "Take a link back", OldLink, answer=StudyNamed),
        ]

    async def list(self, call: Call) -> LinkList:
        """All links."""
        found, more = cut(call, await self._links.page())
        return {"links": [_shown(linked) for linked in found], "next": more}

    async def link(self, call: Call) -> LinkMade:
        """Link; the study as it came is shown beside it."""
        new: NewLink = call.body
        patient, said = described(new, self._issuer)
        if patient is None:
            raise InvalidInput("patient_id")
        linked = await self._links.link(
            StudyInstanceUID.parse(new.study),
            patient,
            said,
            by=call.caller.actor,
            despite_differences=new.despite_differences,
        )
        known = await self._links.record_of(patient) != Demographics()
        return {**_shown(linked), "known_here": known}

    async def unlink(self, call: Call) -> StudyNamed:
        """Take it back; what was delivered under it stays on record."""
        old: OldLink = call.body
        link = await self._links.unlink(StudyInstanceUID.parse(old.study), by=call.caller.actor)
        return {"study_instance_uid": link.study}


def _shown(linked: Linked) -> LinkShown:
    link, study = linked.link, linked.study
    return {
        "study_instance_uid": link.study,
        "patient_id": link.patient.patient_id,
        "issuer_of_patient_id": link.patient.issuer,
        "linked_at": link.linked_at,
        "linked_by": link.linked_by,
        "origin": study.origin.full if study.origin else None,
        "origin_patient_id": study.patient.patient_id,
        "origin_issuer_of_patient_id": study.patient.issuer,
        "origin_patient_name": study.demographics.name,
        "study_date": study.date,
        "modalities": list(study.modalities),
        "description": study.description,
    }
