"""Patients give their images to others, forbid it, and take it back.

Nothing is decided here: a consent, a code and a link are made by the same use cases that staff use (``consents``,
``share_codes``, ``health_links``), in the patient's name. What is added is whose they may be: the caller's own, or of
somebody for whom the caller may share; everything else does not exist for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from node.clock import Clock
from node.errors.access import NotFound
from node.errors.portal_pages import NothingChosen, NotYoursToShare
from node.model.access import Caller
from node.model.consent import CodeConsent, CodeState, ConsentId, ConsentKind, PurposeOfUse, code_state
from node.model.directive import DirectiveOrder, Effect, Scope
from node.model.directive import check_order as check_directive
from node.model.health_link import HealthLink, HealthLinkId, LinkOrder, LinkState
from node.model.health_link import check_order as check_link
from node.model.ids import PatientKey, PeerId
from node.model.instance import StudySummary
from node.model.trust import Peer, TrustState
from node.sharing.consents import ConsentEntry, Consents, Recorded
from node.sharing.endings import Effects
from node.sharing.health_links.keeping import CreatedLink, HealthLinks
from node.sharing.portal.gallery import Gallery, Held
from node.sharing.portal.records import Record, Records
from node.sharing.share_codes import CreatedCode, ShareCodes
from node.sharing.trust import TrustList
from node.store import feeds
from node.store.engine import Database

_OVER = frozenset({LinkState.EXPIRED, LinkState.REVOKED})


class Way(StrEnum):
    """How something is shared, or kept from being shared."""

    FACILITY = "facility"  # a facility on the trust list may fetch it
    CODE = "code"  # whoever is shown the code may fetch it
    LINK = "link"  # whoever has the link may look at it
    DENY = "deny"  # nobody, or one facility, may not


@dataclass(frozen=True, slots=True)
class Given:
    """One thing that is shared or forbidden now. Empty ``studies`` in ``scope``: all of them, later ones too."""

    way: Way
    name: str  # by which it is stopped
    record: Record
    recipient: PeerId | None
    scope: Scope
    purposes: frozenset[PurposeOfUse]
    since: int
    until: int | None
    by_me: bool  # given in the portal by this account; else by staff, or by whom they act for
    used: int = 0
    uses: int | None = None
    is_locked: bool = False
    has_passcode: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants to share. ``studies`` empty: everything in the period, later studies too."""

    record: Record
    studies: tuple[Held, ...]
    from_date: str = ""  # DA
    to_date: str = ""
    recipient: PeerId | None = None
    purposes: frozenset[PurposeOfUse] = frozenset()
    lifetime: int | None = None  # seconds
    uses: int | None = None
    label: str = ""
    passcode: str = field(default="", repr=False)

    @property
    def scope(self) -> Scope:
        """As a directive or a link says it."""
        return Scope(
            frozenset(one.study.study_instance_uid for one in self.studies),
            from_date=self.from_date,
            to_date=self.to_date,
        )


@dataclass(frozen=True, slots=True)
class GivingParts:
    """What sharing works with."""

    db: Database
    records: Records
    gallery: Gallery
    consents: Consents
    codes: ShareCodes
    links: HealthLinks
    trust: TrustList
    clock: Clock


class Giving:
    """What patients do about sharing."""

    def __init__(self, parts: GivingParts) -> None:
        self._parts = parts

    async def records(self, caller: Caller) -> list[Record]:
        """The records that the caller may share."""
        return [one for one in await self._parts.records.records(caller) if one.may_share]

    async def record(self, caller: Caller, access: str) -> Record:
        """The one that is named so, or the first; raises NotYoursToShare if there is none."""
        found = await self.records(caller)
        record = next((one for one in found if str(one.access.access_id) == access), None)
        if access and record is None:
            raise NotFound
        if not found:
            raise NotYoursToShare
        return record or found[0]

    async def sharable(self, caller: Caller, record: Record) -> list[Held]:
        """The studies of a record that can be handed on: this facility's own, which the caller may see."""
        held = await self._parts.gallery.studies(caller)
        return [one for one in held if one.record.patient == record.patient and one.study.origin is None]

    async def choose(self, caller: Caller, record: Record, handles: Sequence[str]) -> tuple[Held, ...]:
        """The sharable studies of these names.

        Raises:
            NothingChosen: none is named. NotFound: one is not the caller's to share.
        """
        sharable = {one.handle: one for one in await self.sharable(caller, record)}
        if not handles:
            raise NothingChosen
        if not sharable.keys() >= set(handles):
            raise NotFound
        return tuple(one for handle, one in sharable.items() if handle in set(handles))

    def facilities(self) -> list[Peer]:
        """Those that may be given something: trusted, and asking by what is on file here."""
        return [
            one for one in self._parts.trust.peers() if one.state is TrustState.TRUSTED and one.policy.accept_directive
        ]

    def facility(self, name: str) -> Peer:
        """The one of this PeerId; raises NotFound."""
        found = next((one for one in self.facilities() if one.peer_id.compact == name), None)
        if found is None:
            raise NotFound
        return found

    async def seen(self, order: Order, caller: Caller) -> list[StudySummary]:
        """The studies that the other side would see now, newest first."""
        if order.studies:
            return [one.study for one in order.studies]
        scope = order.scope
        held = [one.study for one in await self.sharable(caller, order.record)]
        return [
            one
            for one in held
            if (not scope.from_date or scope.from_date <= one.date) and (not scope.to_date or one.date <= scope.to_date)
        ]

    # Giving

    async def permit(self, caller: Caller, order: Order) -> Recorded:
        """A facility may fetch it. Raises InvalidDirective."""
        return await self._direct(caller, order, Effect.PERMIT)

    async def deny(self, caller: Caller, order: Order) -> Recorded:
        """A facility, or none at all, may have it; that wins over everything. Raises InvalidDirective."""
        return await self._direct(caller, order, Effect.DENY)

    def check(self, order: Order, way: Way) -> None:
        """Whether it can be given at all, before anything is. Raises as :meth:`permit` and :meth:`link`."""
        if way is Way.LINK:
            check_link(link_order(order), order.record.demographics)
        elif way is not Way.CODE:
            check_directive(self._directive(order, Effect.PERMIT), self._parts.clock.now())

    async def _direct(self, caller: Caller, order: Order, effect: Effect) -> Recorded:
        return await self._parts.consents.add(self._directive(order, effect), by=caller.actor)

    def _directive(self, order: Order, effect: Effect) -> DirectiveOrder:
        until = None if order.lifetime is None else self._parts.clock.now() + order.lifetime
        return DirectiveOrder(order.record.patient, effect, order.recipient, order.scope, order.purposes, until=until)

    async def code(self, caller: Caller, order: Order) -> CreatedCode:
        """A code for the next doctor. Raises InvalidShareCodeOrder, NothingToShare."""
        return await self._parts.codes.create(
            order.record.patient,
            by=caller.actor,
            studies=[one.study.study_instance_uid for one in order.studies],
            lifetime=order.lifetime or 0,
            uses=order.uses or 0,
        )

    async def link(self, caller: Caller, order: Order) -> CreatedLink:
        """A link for a person. Raises InvalidHealthLink, LabelNamesPatient, NothingToLink."""
        return await self._parts.links.create(link_order(order), by=caller.actor)

    # What is given now, and taking it back

    async def current(self, caller: Caller) -> list[Given]:
        """Everything that is shared or forbidden now, newest first."""
        now = self._parts.clock.now()
        found: list[Given] = []
        for record in await self.records(caller):
            entries = await self._parts.consents.page(record.patient, by=caller.actor)
            found += [_entry(one, record, caller) for one in entries if _is_on(one, now)]
            codes = await self._parts.codes.page(record.patient)
            shown = {CodeState.OPEN, CodeState.LOCKED, CodeState.USED}  # revoking a used one still tells who has a copy
            found += [_code(one, record, caller, now) for one in codes if code_state(one, now) in shown]
            links = await self._parts.links.page(record.patient)
            found += [_link(one, record, caller, now) for one in links if one.state(now) not in _OVER]
        return sorted(found, key=lambda one: -one.since)

    async def stop(self, caller: Caller, way: Way, name: str) -> tuple[Given, Effects]:
        """End one of them now: nothing new under it, and what is under way is cut off. Raises NotFound."""
        given = next((one for one in await self.current(caller) if (one.way, one.name) == (way, name)), None)
        if given is None:
            raise NotFound
        if way is Way.LINK:
            await self._parts.links.revoke(HealthLinkId.parse(name), by=caller.actor, patient=given.record.patient)
            return given, Effects()
        _, effects = await self._parts.consents.revoke(ConsentId.parse(name), by=caller.actor)
        return given, effects

    # Announcements

    async def opted_out(self, patient: PatientKey) -> bool:
        """Whether other facilities are told nothing of this patient's studies."""
        async with self._parts.db.read() as rx:
            return await feeds.is_opted_out(rx, patient)

    async def announce(self, caller: Caller, record: Record, *, wanted: bool) -> None:
        """Let other facilities be told that something exists, or not."""
        if wanted:
            await self._parts.consents.opt_in(record.patient, by=caller.actor)
        else:
            await self._parts.consents.opt_out(record.patient, by=caller.actor)


def link_order(order: Order) -> LinkOrder:
    """A link as ``health_links`` makes it."""
    return LinkOrder(
        patient=order.record.patient,
        scope=order.scope,
        label=order.label,
        passcode=order.passcode,
        lifetime=order.lifetime or 0,
        uses=order.uses,
        purpose=PurposeOfUse.PATRQT,
    )


def _is_on(entry: ConsentEntry, now: int) -> bool:
    """Whether a list of what holds now shows it; codes are listed with their uses."""
    ended = entry.revoked_at is not None or (entry.until is not None and entry.until <= now)
    return not ended and entry.kind is not ConsentKind.SHARE_CODE


def _entry(one: ConsentEntry, record: Record, caller: Caller) -> Given:
    way = Way.DENY if one.effect is Effect.DENY else Way.FACILITY
    return Given(
        way, str(one.consent_id), record, one.recipient, one.scope, one.purposes, one.created_at, one.until,
        one.recorded_by == caller.actor,
    )  # fmt: skip


def _code(one: CodeConsent, record: Record, caller: Caller, now: int) -> Given:
    return Given(
        Way.CODE, str(one.consent_id), record, None, Scope(one.studies), frozenset(), one.created_at, one.expires_at,
        one.created_by == caller.actor, one.used, one.uses, code_state(one, now) is CodeState.LOCKED,
    )  # fmt: skip


def _link(one: HealthLink, record: Record, caller: Caller, now: int) -> Given:
    return Given(
        Way.LINK, str(one.link_id), record, None, one.scope, frozenset(), one.created_at, one.expires_at,
        one.created_by == caller.actor, one.used, one.uses, one.state(now) is LinkState.LOCKED, one.has_passcode,
        one.label,
    )  # fmt: skip
