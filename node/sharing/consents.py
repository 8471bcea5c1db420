"""Consents as the front desk keeps them: recorded, listed, revoked; the keys of patients; who wants nothing shared.

A directive closes no revision and releases nothing by itself: it is weighed when somebody asks (``model.decide``), and
shapes what announcements tell (``sharing.on_file``). What a change ends at once is the business of ``sharing.endings``.
"""

import asyncio
from dataclasses import dataclass, field, replace

from node.clock import Clock
from node.errors.base import LeveretError
from node.errors.consents import InvalidPatientKey, NoSuchConsent, NoSuchPatientKey, PatientKeyKnown
from node.log import Logger
from node.model.audit import NODE_ACTOR, AuditEvent, AuditType
from node.model.consent import SHARE_CODE_PURPOSES, CodeConsent, ConsentId, ConsentKind, PurposeOfUse
from node.model.directive import Directive, DirectiveOrder, Effect, Scope, check_order
from node.model.ids import PatientKey, PeerId, RequestId
from node.peers.messages import decode_body
from node.peers.proofs import KEY_BYTES, decode_proof
from node.sharing.endings import Effects, Endings
from node.sharing.evidence import grant_text
from node.sharing.share_codes import ShareCodes
from node.store import audit, brought, consents, directives, feeds, requests, transfers
from node.store.brought import Brought, PatientSigningKey
from node.store.engine import Database, Read, Write
from node.store.study_queries import StudyQuery, find_studies

LOOK_SECONDS = 5.0  # between looks for directives that begin or end by themselves
PATIENTS_AT_ONCE = 100  # whose announcements are looked at again in one transaction: a short hold on the writer


@dataclass(frozen=True, slots=True)
class ConsentEntry:
    """A consent of any kind, as a list shows it. Empty scope and purposes, and no recipient, are no limit."""

    consent_id: ConsentId
    kind: ConsentKind
    patient: PatientKey
    effect: Effect
    recipient: PeerId | None
    scope: Scope
    purposes: frozenset[PurposeOfUse]
    starts_at: int
    until: int | None
    created_at: int
    recorded_by: str = field(repr=False)
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A new directive, what it ended at once, and how many own studies of the patient are held (0: a typing error?)."""

    directive: Directive
    effects: Effects
    studies: int


class Consents:
    """What is on file about patients' decisions."""

    def __init__(self, *, db: Database, codes: ShareCodes, endings: Endings, clock: Clock, log: Logger) -> None:
        self._db = db
        self._codes = codes
        self._endings = endings
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Act on what begins and ends by itself, until cancelled; what did while this node was off comes first."""
        looked = 0
        while True:
            now = self._clock.now()
            try:
                await self._turn(looked, now)
                looked = now
            except LeveretError as error:
                self._log.warning("consents not looked at", component="consents", code=error.code)
            await asyncio.sleep(LOOK_SECONDS)

    async def _turn(self, after: int, now: int) -> None:
        async with self._db.read() as rx:
            turning = await directives.turning(rx, after, now)
        patients = sorted({directive.patient for directive in turning}, key=lambda one: (one.issuer, one.patient_id))
        for first in range(0, len(patients), PATIENTS_AT_ONCE):
            async with self._db.write() as tx:
                for patient in patients[first : first + PATIENTS_AT_ONCE]:
                    await feeds.reconsider(tx, patient)
        for directive in turning:
            if directive.effect is Effect.DENY and directive.refusal(now) is None:
                async with self._db.write() as tx:
                    await self._endings.denied(tx, directive, NODE_ACTOR)

    async def add(self, order: DirectiveOrder, *, by: str) -> Recorded:
        """Record a directive; a denial ends at once what it forbids.

        Raises:
            InvalidDirective: it says what cannot be, or nothing.
        """
        now = self._clock.now()
        check_order(order, now)
        directive = Directive(
            consent_id=ConsentId.new(),
            patient=order.patient,
            effect=order.effect,
            recipient=order.recipient,
            scope=order.scope,
            purposes=order.purposes,
            starts_at=now if order.starts_at is None else order.starts_at,
            until=order.until,
            created_at=now,
            recorded_by=order.recorded_by or by,
        )
        async with self._db.write() as tx:
            await directives.add(tx, directive)
            await feeds.reconsider(tx, order.patient)
            event = AuditEvent(
                AuditType.CONSENT_RECORDED, now, by, peer=order.recipient, patient=order.patient,
                detail=_facts(directive),
            )  # fmt: skip
            await audit.append(tx, event)
            effects = await self._endings.denied(tx, directive, by)
            held = len(await find_studies(tx, StudyQuery(patients=(order.patient,), own=True)))
        return Recorded(directive, effects, held)

    async def page(self, patient: PatientKey | None = None, *, by: str) -> list[ConsentEntry]:
        """Consents of all kinds, newest first; of one patient or of all. The look is logged."""
        async with self._db.write() as tx:
            found = [_directive_entry(one) for one in await directives.page(tx, patient=patient)]
            found += [_code_entry(one) for one in await consents.page(tx, patient=patient)]
            found += [await _brought_entry(tx, one) for one in await brought.page(tx, patient=patient)]
            event = AuditEvent(
                AuditType.CONSENTS_READ, self._clock.now(), by, patient=patient, detail={"count": len(found)}
            )
            await audit.append(tx, event)
        return sorted(found, key=lambda one: (-one.created_at, one.consent_id.value))

    async def directive(self, consent_id: ConsentId, *, by: str) -> Directive:
        """One directive; the look is logged. Raises NoSuchConsent."""
        async with self._db.write() as tx:
            found = await directives.get(tx, consent_id)
            if found is None:
                raise NoSuchConsent
            event = AuditEvent(
                AuditType.CONSENTS_READ, self._clock.now(), by, patient=found.patient, detail={"count": 1}
            )
            await audit.append(tx, event)
        return found

    async def revoke(self, consent_id: ConsentId, *, by: str) -> tuple[ConsentEntry, Effects]:
        """Revoke a consent of any kind, for good: nothing new under it, and what is under way ends now.

        Again is as good; then nothing more ends, and the facilities that keep copies are named once more.

        Raises:
            NoSuchConsent: there is none with this id.
        """
        now, effects = self._clock.now(), Effects()
        async with self._db.write() as tx:
            entry = await _entry(tx, consent_id)
            if entry is None:
                raise NoSuchConsent
            if entry.kind is ConsentKind.SHARE_CODE:
                effects = await self._codes.revoke_within(tx, consent_id, by)
            elif entry.kind is ConsentKind.DIRECTIVE:
                changed = await directives.revoke(tx, consent_id, now)
                effects = await self._revoked(tx, entry, now, by, changed=changed)
            else:
                changed = await brought.revoke(tx, consent_id, now)
                effects = await self._revoked(tx, entry, now, by, changed=changed)
        return replace(entry, revoked_at=entry.revoked_at or now), effects

    async def _revoked(self, tx: Write, entry: ConsentEntry, now: int, by: str, *, changed: bool) -> Effects:
        if changed:
            await feeds.reconsider(tx, entry.patient)
            detail: dict[str, str | int] = {
                "consent_id": str(entry.consent_id),
                "consent": entry.kind.value,
                "effect": entry.effect.value,
            }
            event = AuditEvent(
                AuditType.CONSENT_REVOKED, now, by, peer=entry.recipient, patient=entry.patient, detail=detail
            )
            await audit.append(tx, event)
        return await self._endings.revoked(tx, entry.consent_id, by, anew=changed)

    # Keys of patients

    async def bind_key(self, patient: PatientKey, public_key: bytes, *, by: str) -> PatientSigningKey:
        """Bind a patient's key, which was shown in person, to the record.

        Raises:
            InvalidPatientKey: it has another length. PatientKeyKnown: it is, or was, bound, to whomever.
        """
        if len(public_key) != KEY_BYTES:
            raise InvalidPatientKey
        key = PatientSigningKey(public_key, patient, self._clock.now(), by)
        async with self._db.write() as tx:
            if not await brought.bind_key(tx, key):
                raise PatientKeyKnown
            detail = {"key": public_key.hex()}
            await audit.append(
                tx, AuditEvent(AuditType.PATIENT_KEY_BOUND, key.bound_at, by, patient=patient, detail=detail)
            )
        return key

    async def keys(self, patient: PatientKey, *, by: str) -> list[PatientSigningKey]:
        """A patient's keys, revoked ones too, oldest first; the look is logged."""
        async with self._db.write() as tx:
            found = await brought.keys_of(tx, patient)
            event = AuditEvent(
                AuditType.CONSENTS_READ, self._clock.now(), by, patient=patient, detail={"keys": len(found)}
            )
            await audit.append(tx, event)
        return found

    async def revoke_key(self, public_key: bytes, *, by: str) -> tuple[PatientSigningKey, Effects]:
        """Revoke a key for good, and with it every grant that it signed; again is as good. Raises NoSuchPatientKey."""
        now, effects = self._clock.now(), Effects()
        async with self._db.write() as tx:
            changed = await brought.revoke_key(tx, public_key, now)
            key = await brought.key(tx, public_key)
            if key is None:
                raise NoSuchPatientKey
            for kept in await brought.grants_of(tx, key.patient):
                if grant_text(kept).key == public_key:
                    anew = await brought.revoke(tx, kept.consent_id, now)
                    effects += await self._endings.revoked(tx, kept.consent_id, by, anew=anew)
            if changed:
                detail = {"key": public_key.hex()}
                event = AuditEvent(AuditType.PATIENT_KEY_REVOKED, now, by, patient=key.patient, detail=detail)
                await audit.append(tx, event)
        return key, effects

    # Opting out

    async def opt_out(self, patient: PatientKey, *, by: str) -> Effects:
        """The patient wants nothing announced, and nothing shared on other facilities' word; again is as good."""
        now = self._clock.now()
        async with self._db.write() as tx:
            if not await feeds.is_opted_out(tx, patient):
                await feeds.opt_out(tx, patient, now)
                await audit.append(tx, AuditEvent(AuditType.PATIENT_OPTED_OUT, now, by, patient=patient))
            return await self._endings.opted_out(tx, patient, by)

    async def opted_out(self, patient: PatientKey) -> bool:
        """Whether the patient wants nothing shared without being asked."""
        async with self._db.read() as rx:
            return await feeds.is_opted_out(rx, patient)

    async def opt_in(self, patient: PatientKey, *, by: str) -> None:
        """The patient takes that back; again is as good."""
        async with self._db.write() as tx:
            if await feeds.is_opted_out(tx, patient):
                await feeds.opt_in(tx, patient)
                await audit.append(tx, AuditEvent(AuditType.PATIENT_OPTED_IN, self._clock.now(), by, patient=patient))


def _facts(directive: Directive) -> dict[str, str | int]:
    scope = directive.scope
    return {
        "consent_id": str(directive.consent_id),
        "consent": directive.kind.value,
        "effect": directive.effect.value,
        "to": "any" if directive.recipient is None else directive.recipient.compact,
        "studies": len(scope.studies),
        "modalities": " ".join(sorted(scope.modalities)),
        "body_parts": " ".join(sorted(scope.body_parts)),
        "dates": f"{scope.from_date}-{scope.to_date}",
        "purposes": " ".join(sorted(directive.purposes)),
        "until": directive.until or 0,
        "recorded_by": directive.recorded_by,
    }


async def _entry(rx: Read, consent_id: ConsentId) -> ConsentEntry | None:
    """The consent with this id, of whatever kind."""
    directive = await directives.get(rx, consent_id)
    if directive is not None:
        return _directive_entry(directive)
    code = await consents.get(rx, consent_id)
    if code is not None:
        return _code_entry(code)
    kept = await brought.get(rx, consent_id)
    return None if kept is None or kept.patient is None else await _brought_entry(rx, kept)


def _directive_entry(one: Directive) -> ConsentEntry:
    return ConsentEntry(
        one.consent_id, one.kind, one.patient, one.effect, one.recipient, one.scope, one.purposes, one.starts_at,
        one.until, one.created_at, one.recorded_by, one.revoked_at,
    )  # fmt: skip


def _code_entry(one: CodeConsent) -> ConsentEntry:
    return ConsentEntry(
        one.consent_id, one.kind, one.patient, Effect.PERMIT, None, Scope(one.studies), SHARE_CODE_PURPOSES,
        one.created_at, one.expires_at, one.created_at, one.created_by, one.revoked_at,
    )  # fmt: skip


async def _brought_entry(rx: Read, one: Brought) -> ConsentEntry:
    """A grant says itself what it covers; another facility's word covers the request that it came with."""
    assert one.patient is not None, "only what released something, or may, is shown"
    if one.kind is ConsentKind.PATIENT_KEY:
        text = grant_text(one)
        return ConsentEntry(
            one.consent_id, one.kind, one.patient, Effect.PERMIT, text.recipient, text.scope, text.purposes,
            text.not_before, text.expires_at, one.created_at, "the patient", one.revoked_at,
        )  # fmt: skip
    request_id = RequestId(one.consent_id.value)
    transfer, row = await transfers.get(rx, request_id), await requests.get_received(rx, request_id)
    scope = Scope(frozenset(transfer.studies if transfer is not None else ()))
    purposes = frozenset({decode_body(row.body).purpose} if row is not None else ())
    word = decode_proof(one.proof)
    said_by = getattr(word, "staff", "") or one.peer.short
    return ConsentEntry(
        one.consent_id, one.kind, one.patient, Effect.PERMIT, one.peer, scope, purposes, one.created_at, None,
        one.created_at, said_by, one.revoked_at,
    )  # fmt: skip
