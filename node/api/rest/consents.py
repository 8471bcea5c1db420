"""Consents on file, of every kind; the keys of patients; who opted out; what break-glass left to look at."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec

from node.api.paging import Window, cut, given
from node.api.rest.access import CLINICAL, OVERSIGHT
from node.api.rest.inbox import named_request
from node.api.rest.shapes.sharing import (
    ConsentList,
    ConsentRecorded,
    ConsentRevoked,
    ConsentShown,
    EffectsShown,
    EmergencyList,
    EmergencyReviewed,
    EmergencyShown,
    FhirConsent,
    PatientKeyList,
    PatientKeyRevoked,
    PatientKeyShown,
)
from node.api.routing import Call, Route
from node.errors.consents import InvalidPatientKey, NoSuchConsent
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import (
    MAX_DIRECTIVE_STUDIES,
    MAX_DIRECTIVE_VALUES,
    MAX_STAFF,
    DirectiveOrder,
    Effect,
    Scope,
)
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.sharing.consents import ConsentEntry, Consents
from node.sharing.emergencies import MAX_NOTE, Emergencies, EmergencyEntry
from node.sharing.endings import Effects
from node.sharing.fhir_consent import from_fhir, to_fhir
from node.sharing.trust import TrustList
from node.store.brought import PatientSigningKey

_SHORT = msgspec.Meta(min_length=1, max_length=64)  # DICOM's LO
_VALUES = msgspec.Meta(max_length=MAX_DIRECTIVE_VALUES)
ANY = "any"


class WhosePatient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A patient of this facility, or of ``issuer``."""

    patient_id: Annotated[str, _SHORT]
    issuer: Annotated[str, _SHORT] | None = None


class NewConsent(WhosePatient, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A directive: who may have what, for what purpose, until when. What is left out is no limit; times in seconds."""

    effect: Effect
    to: Annotated[str, msgspec.Meta(max_length=200)] = ANY
    studies: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_DIRECTIVE_STUDIES)] = ()
    modalities: Annotated[tuple[str, ...], _VALUES] = ()
    body_parts: Annotated[tuple[str, ...], _VALUES] = ()
    from_date: str = ""
    to_date: str = ""
    purposes: Annotated[tuple[PurposeOfUse, ...], msgspec.Meta(max_length=8)] = ()
    starts_at: int | None = None
    until: int | None = None
    recorded_by: Annotated[str, msgspec.Meta(max_length=MAX_STAFF)] = ""


class ImportedConsent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A FHIR R4 Consent; ``patient_id`` says whose it is here, if its own identifier does not."""

    resource: dict[str, Any]
    patient_id: Annotated[str, _SHORT] | None = None
    issuer: Annotated[str, _SHORT] | None = None


class NewPatientKey(WhosePatient, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that the patient showed in person; 64 hexadecimal digits."""

    public_key: Annotated[str, msgspec.Meta(max_length=64)]


class OldPatientKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to revoke."""

    public_key: Annotated[str, msgspec.Meta(max_length=64)]


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody found who looked at a release by break-glass."""

    justified: bool
    note: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NOTE)]
    patient_told: bool = False


class WhoseConsents(Window, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Consents of one patient (of this facility, or of ``issuer``), or of all."""

    patient_id: Annotated[str, _SHORT] | msgspec.UnsetType = msgspec.UNSET
    issuer: Annotated[str, _SHORT] | msgspec.UnsetType = msgspec.UNSET


class WhoseKeys(Window, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of one patient (of this facility, or of ``issuer``)."""

    patient_id: Annotated[str, _SHORT]
    issuer: Annotated[str, _SHORT] | msgspec.UnsetType = msgspec.UNSET


class WhichEmergencies(Window, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``all=1``: those too that somebody looked at."""

    all: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0


class ConsentsResource:
    """``consents``, ``patient-keys``, ``opt-outs`` and ``emergencies``."""

    def __init__(
        self, consents: Consents, emergencies: Emergencies, *, trust: TrustList, me: PeerId, issuer: str
    ) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._consents = consents
        self._emergencies = emergencies
        self._trust = trust
        self._me = me
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        consents, keys, opted = "/api/v1/consents", "/api/v1/patient-keys", "/api/v1/opt-outs"
        emergencies = "/api/v1/emergencies"
        return [
            Route(
                "POST",
                consents,
                self.add,
                CLINICAL,
                "Record what a patient allows or forbids",
                NewConsent,
                201,
                answer=ConsentRecorded,
            ),
            Route(
                "GET",
                consents,
                self.list,
                CLINICAL,
                "Consents of every kind, newest first",
                query=WhoseConsents,
                answer=ConsentList,
            ),
            Route(
                "POST",
                f"{consents}/fhir",
                self.take,
                CLINICAL,
                "Record a FHIR R4 Consent",
                ImportedConsent,
                201,
                answer=ConsentRecorded,
            ),
            Route(
                "GET",
                f"{consents}/{{consent_id}}/fhir",
                self.export,
                CLINICAL,
                "A directive as FHIR R4 Consent",
                answer=FhirConsent,
            ),
            Route(
                "POST",
                f"{consents}/{{consent_id}}/revoke",
                self.revoke,
                CLINICAL,
                "Revoke a consent of any kind",
                answer=ConsentRevoked,
            ),
            Route(
                "POST",
                keys,
                self.bind_key,
                CLINICAL,
                "Bind a patient's key",
                NewPatientKey,
                201,
                answer=PatientKeyShown,
            ),
            Route("GET", keys, self.keys, CLINICAL, "The keys of a patient", query=WhoseKeys, answer=PatientKeyList),
            Route(
                "POST",
                f"{keys}/revoke",
                self.revoke_key,
                CLINICAL,
                "Revoke a patient's key",
                OldPatientKey,
                answer=PatientKeyRevoked,
            ),
            Route(
                "POST",
                opted,
                self.opt_out,
                CLINICAL,
                "A patient wants nothing shared unasked",
                WhosePatient,
                201,
                answer=EffectsShown,
            ),
            Route("POST", f"{opted}/remove", self.opt_in, CLINICAL, "A patient takes that back", WhosePatient, 204),
            Route(
                "GET",
                emergencies,
                self.emergencies,
                OVERSIGHT,
                "Releases by break-glass, newest first",
                query=WhichEmergencies,
                answer=EmergencyList,
            ),
            Route(
                "POST",
                f"{emergencies}/{{request_id}}/review",
                self.review,
                OVERSIGHT,
                "Judge one",
                Verdict,
                answer=EmergencyReviewed,
            ),
        ]

    async def add(self, call: Call) -> ConsentRecorded:
        """A new directive."""
        new: NewConsent = call.body
        order = DirectiveOrder(
            patient=self._patient(new.patient_id, new.issuer),
            effect=new.effect,
            recipient=None if new.to == ANY else self._trust.find(new.to),
            scope=Scope(
                frozenset(StudyInstanceUID.parse(uid) for uid in new.studies),
                _upper(new.modalities),
                _upper(new.body_parts),
                new.from_date,
                new.to_date,
            ),
            purposes=frozenset(new.purposes),
            starts_at=new.starts_at,
            until=new.until,
            recorded_by=new.recorded_by,
        )
        return await self._record(order, call)

    async def take(self, call: Call) -> ConsentRecorded:
        """A directive from a FHIR Consent."""
        new: ImportedConsent = call.body
        said = None if new.patient_id is None else self._patient(new.patient_id, new.issuer)
        return await self._record(from_fhir(new.resource, issuer=self._issuer, patient=said), call)

    async def _record(self, order: DirectiveOrder, call: Call) -> ConsentRecorded:
        recorded = await self._consents.add(order, by=call.caller.actor)
        return {
            "consent_id": str(recorded.directive.consent_id),
            "studies_held": recorded.studies,
            **_effects(recorded.effects),
        }

    async def export(self, call: Call) -> object:
        """One as FHIR has it."""
        return to_fhir(await self._consents.directive(_named(call), by=call.caller.actor), self._me)

    async def list(self, call: Call) -> ConsentList:
        """All, or those of one patient."""
        asked: WhoseConsents = call.asked
        named = given(asked.patient_id)
        patient = None if named is None else self._patient(named, given(asked.issuer))
        found, more = cut(call, await self._consents.page(patient, by=call.caller.actor))
        return {"consents": [_shown(one) for one in found], "next": more}

    async def revoke(self, call: Call) -> ConsentRevoked:
        """Nothing new under it, and what is under way ends."""
        entry, effects = await self._consents.revoke(_named(call), by=call.caller.actor)
        return {**_shown(entry), **_effects(effects)}

    async def bind_key(self, call: Call) -> PatientKeyShown:
        """From now on grants that it signs count."""
        new: NewPatientKey = call.body
        patient = self._patient(new.patient_id, new.issuer)
        return _shown_key(await self._consents.bind_key(patient, _key(new.public_key), by=call.caller.actor))

    async def keys(self, call: Call) -> PatientKeyList:
        """Keys of one patient."""
        asked: WhoseKeys = call.asked
        patient = self._patient(asked.patient_id, given(asked.issuer))
        found, more = cut(call, await self._consents.keys(patient, by=call.caller.actor))
        return {"keys": [_shown_key(key) for key in found], "next": more}

    async def revoke_key(self, call: Call) -> PatientKeyRevoked:
        """Every grant that it signed goes with it."""
        old: OldPatientKey = call.body
        key, effects = await self._consents.revoke_key(_key(old.public_key), by=call.caller.actor)
        return {**_shown_key(key), **_effects(effects)}

    async def opt_out(self, call: Call) -> EffectsShown:
        """Nothing announced, nothing shared on another facility's word."""
        who: WhosePatient = call.body
        return _effects(await self._consents.opt_out(self._patient(who.patient_id, who.issuer), by=call.caller.actor))

    async def opt_in(self, call: Call) -> None:
        """As before."""
        who: WhosePatient = call.body
        await self._consents.opt_in(self._patient(who.patient_id, who.issuer), by=call.caller.actor)

    async def emergencies(self, call: Call) -> EmergencyList:
        """Those that nobody looked at yet, or all of them."""
        asked: WhichEmergencies = call.asked
        found, more = cut(call, await self._emergencies.page(pending=not asked.all, by=call.caller.actor))
        return {"emergencies": [_shown_emergency(one) for one in found], "next": more}

    async def review(self, call: Call) -> EmergencyReviewed:
        """The verdict stands."""
        verdict: Verdict = call.body
        review = await self._emergencies.review(
            named_request(call),
            justified=verdict.justified,
            note=verdict.note,
            patient_told=verdict.patient_told,
            by=call.caller.actor,
        )
        return {"request_id": str(review.request_id), "verdict": review.verdict, "reviewed_at": review.reviewed_at}

    def _patient(self, patient_id: str, issuer: str | None) -> PatientKey:
        return PatientKey(issuer or self._issuer, patient_id)


def _named(call: Call) -> ConsentId:
    try:
        return ConsentId.parse(call.parameter("consent_id"))
    except ValueError as exc:
        raise NoSuchConsent from exc


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise InvalidPatientKey from exc


def _upper(values: Sequence[str]) -> frozenset[str]:
    return frozenset(value.strip().upper() for value in values)


def _shown(one: ConsentEntry) -> ConsentShown:
    scope = one.scope
    return {
        "consent_id": str(one.consent_id),
        "kind": one.kind,
        "patient_id": one.patient.patient_id,
        "issuer_of_patient_id": one.patient.issuer,
        "effect": one.effect,
        "to": ANY if one.recipient is None else one.recipient.full,
        "scope": {
            "studies": sorted(scope.studies),
            "modalities": sorted(scope.modalities),
            "body_parts": sorted(scope.body_parts),
            "from_date": scope.from_date or None,
            "to_date": scope.to_date or None,
        },
        "purpose": ",".join(sorted(one.purposes)) or None,
        "starts_at": one.starts_at,
        "until": one.until,
        "recorded_at": one.created_at,
        "recorded_by": one.recorded_by,
        "revoked_at": one.revoked_at,
    }


def _effects(effects: Effects) -> EffectsShown:
    """What ended at once; ``copies_at`` are the facilities whose copies nobody can call back."""
    return {
        "transfers_stopped": effects.stopped,
        "requests_refused": effects.refused,
        "copies_at": [peer.full for peer in effects.copies],
    }


def _shown_key(key: PatientSigningKey) -> PatientKeyShown:
    return {
        "public_key": key.public_key.hex(),
        "patient_id": key.patient.patient_id,
        "issuer_of_patient_id": key.patient.issuer,
        "bound_at": key.bound_at,
        "bound_by": key.bound_by,
        "revoked_at": key.revoked_at,
    }


def _shown_emergency(one: EmergencyEntry) -> EmergencyShown:
    review = one.review
    return {
        "request_id": str(review.request_id),
        "consent_id": str(review.consent_id),
        "peer_id": review.peer.full,
        "user": one.user,
        "reason": one.reason,
        "patient_id": one.patient.patient_id if one.patient else None,
        "studies": sorted(one.studies),
        "released_at": review.released_at,
        "reviewed_at": review.reviewed_at,
        "reviewed_by": review.reviewed_by,
        "verdict": review.verdict or None,
        "note": review.note,
        "patient_told_at": review.told_at,
    }
