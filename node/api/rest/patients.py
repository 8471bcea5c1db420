"""Patients, under names that tell nothing: a path with a real Patient ID in it would end up in logs and histories.

``POST patients`` says whom the caller means and returns a random id for it, which is good for an hour, for this caller.
"""

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from node.api.rest.access import CLINICAL
from node.api.rest.shapes.images import HandleShown, PeerPriorsShown, PersonShown, PriorShown, PriorsShown
from node.api.rest.studies import shown_study
from node.api.routing import Call, Route
from node.clock import Clock
from node.errors.access import InvalidInput, NotFound
from node.model.consent import PurposeOfUse
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.sharing.locate import Locator, PeerPriors, PriorStudy

HANDLE_SECONDS = 3600
MAX_HANDLES = 10_000  # the oldest are forgotten

_ID = msgspec.Meta(min_length=1, max_length=64)  # DICOM's LO
_NAME = msgspec.Meta(min_length=1, max_length=324)  # DICOM's PN: three groups of 64 characters and delimiters
_DATE = msgspec.Meta(pattern="^[0-9]{8}$")
_SEX = msgspec.Meta(pattern="^[MFO]$")


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is meant: a local patient, or name, birth date (YYYYMMDD) and sex, or both."""

    patient_id: Annotated[str, _ID] | None = None
    issuer: Annotated[str, _ID] | None = None
    name: Annotated[str, _NAME] | None = None
    birth_date: Annotated[str, _DATE] | None = None
    sex: Annotated[str, _SEX] | None = None


def described(person: Person, own_issuer: str) -> tuple[PatientKey | None, Demographics | None]:
    """A person as the use cases want it; raises InvalidInput for half a description."""
    parts = (person.name, person.birth_date, person.sex)
    if any(parts) and not all(parts):
        raise InvalidInput("name, birth_date and sex go together")
    key = PatientKey(person.issuer or own_issuer, person.patient_id) if person.patient_id else None
    demographics = Demographics(*(part or "" for part in parts)) if any(parts) else None
    return key, demographics


def shown_person(patient: PatientKey | None, demographics: Demographics) -> PersonShown:
    """A person as the command line and the console show one."""
    return {
        "patient_id": patient.patient_id if patient else None,
        "issuer_of_patient_id": patient.issuer if patient else None,
        "name": demographics.name,
        "birth_date": demographics.birth_date,
        "sex": demographics.sex,
    }


class WhatFor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The purpose of use, which peers are told."""

    purpose: PurposeOfUse = PurposeOfUse.TREAT


@dataclass(frozen=True, slots=True)
class _Handle:
    actor: str
    expires: float  # monotonic
    patient: PatientKey | None
    demographics: Demographics | None


class PatientsResource:
    """``patients`` and ``patients/{id}/priors``."""

    def __init__(self, locator: Locator, *, issuer: str, clock: Clock) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._locator = locator
        self._issuer = issuer
        self._clock = clock
        self._handles: OrderedDict[str, _Handle] = OrderedDict()

    def routes(self) -> Iterable[Route]:
        """The routes."""
        patients = "/api/v1/patients"
        return [
            Route("POST", patients, self.name, CLINICAL, "An opaque id for a patient", Person, 201, answer=HandleShown),
            Route(
                "GET",
                f"{patients}/{{id}}/priors",
                self.priors,
                CLINICAL,
                "Studies here and at the peers",
                query=WhatFor,
                answer=PriorsShown,
            ),
        ]

    async def name(self, call: Call) -> HandleShown:
        """An id for the patient."""
        patient, demographics = described(call.body, self._issuer)
        if patient is None and demographics is None:
            raise InvalidInput("nobody is described")
        handle = secrets.token_urlsafe(16)
        expires = self._clock.monotonic() + HANDLE_SECONDS
        self._handles[handle] = _Handle(call.caller.actor, expires, patient, demographics)
        while len(self._handles) > MAX_HANDLES:
            self._handles.popitem(last=False)
        return {"id": handle}

    async def priors(self, call: Call) -> PriorsShown:
        """What is held here and what the peers announced."""
        asked: WhatFor = call.asked
        handle = self._handles.get(call.parameter("id"))
        if handle is None or handle.actor != call.caller.actor or handle.expires < self._clock.monotonic():
            raise NotFound
        found = await self._locator.priors(
            demographics=handle.demographics, patient=handle.patient, actor=call.caller.actor, purpose=asked.purpose
        )
        return {
            "local": [shown_study(study) for study in found.local],
            "peers": [_shown_peer(peer) for peer in found.peers],
        }


def _shown_peer(peer: PeerPriors) -> PeerPriorsShown:
    return {
        "peer_id": peer.peer_id.full,
        "name": peer.name,
        "status": peer.status,
        "studies": [_shown_prior(study) for study in peer.studies],
    }


def _shown_prior(study: PriorStudy) -> PriorShown:
    return {
        "ref": str(study.ref),
        "study_instance_uid": study.study_instance_uid,
        "study_date": study.study_date,
        "year": study.year,
        "modalities": list(study.modalities),
        "regions": list(study.regions),
        "description": study.description,
        "instances": study.instances,
        "report": study.report,
        "revision": study.revision,
        "match": study.match,
        "consent_on_file": study.consent_on_file,
        "held": study.held,
    }
