"""Other facilities: who they are, how they stand, what they are allowed, and shutting them out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from node.api.console.operator.desk import Desk, Question, done, settle
from node.api.console.operator.overview import map_of, standing
from node.api.rest.access import EVERYBODY, OPERATION
from node.api.routing import Call, Route
from node.errors.base import LeveretError
from node.errors.trust import InvalidPolicy, UnknownPeer
from node.model.ids import PeerId
from node.model.trust import PeerPolicy
from node.peers.discovery import NearbyNode
from node.sharing.overview import Overview, PeerGlance
from node.sharing.trust import TrustList

_AREA, _LIST = "peers", "/console/peers"
_MAX_VALUE = 64  # characters of a typed setting


@dataclass(frozen=True, slots=True)
class _Setting:
    """One setting of a policy as the form shows it."""

    name: str
    label: str
    hint: str


# Which consents count, then what goes out, then what comes in.
SETTINGS: Mapping[str, Sequence[_Setting]] = {
    "Consents that count for this facility": (
        _Setting("accept_share_code", "Share codes", "The patient handed out a code that this facility made."),
        _Setting("accept_patient_key", "Grants signed by the patient", "By a key that was bound to the record here."),
        _Setting("accept_directive", "Directives on file here", "Recorded by staff or by the patient in the portal."),
        _Setting(
            "accept_attested",
            "Forms that are signed there",
            "Their word that the patient signed is enough. For facilities whose front desk you trust like your own.",
        ),
        _Setting(
            "accept_emergency",
            "Break-glass",
            "Their clinician's word that the patient cannot be asked. Also needs [consent] emergency_daily above 0;"
            " every release must be reviewed.",
        ),
    ),
    "What goes out to it": (
        _Setting(
            "auto_release",
            "Release by itself where the consent is valid and the patient is certain",
            "Off: a person here decides about every request, in the inbox.",
        ),
        _Setting(
            "hours",
            "Only between",
            "Such as 07:00-19:00, the facility's time; outside, a person decides. Empty: always.",
        ),
        _Setting(
            "purposes",
            "Only for these purposes",
            "Codes such as TREAT,ETREAT. Empty: any purpose that the consent covers.",
        ),
        _Setting("daily_releases", "Releases a day at most", "0: no limit."),
        _Setting("max_rate", "Bytes a second at most", "Such as 20MB. 0: no limit."),
    ),
    "What it is told, and what comes in": (
        _Setting("daily_questions", "Questions about patients a day at most", "Each patient looked up costs a few."),
        _Setting(
            "label_detail",
            "Tell date, description and study UID in announcements",
            "Off: only for patients with a consent for this facility on file.",
        ),
        _Setting("auto_accept", "Take what it offers without asking", "Never for patients of this facility."),
    ),
}


class PolicyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as typed; a box that is not ticked is not sent."""

    accept_share_code: bool = False
    accept_patient_key: bool = False
    accept_directive: bool = False
    accept_attested: bool = False
    accept_emergency: bool = False
    auto_release: bool = False
    label_detail: bool = False
    auto_accept: bool = False
    max_rate: Annotated[str, msgspec.Meta(max_length=_MAX_VALUE)] = "0"
    daily_questions: Annotated[str, msgspec.Meta(max_length=_MAX_VALUE)] = "0"
    daily_releases: Annotated[str, msgspec.Meta(max_length=_MAX_VALUE)] = "0"
    purposes: Annotated[str, msgspec.Meta(max_length=_MAX_VALUE)] = ""
    hours: Annotated[str, msgspec.Meta(max_length=_MAX_VALUE)] = ""


class PeersPages:
    """``/console/peers``."""

    def __init__(
        self, desk: Desk, trust: TrustList, overview: Overview, nearby: Callable[[], Sequence[NearbyNode]], *, name: str
    ) -> None:
        """``name`` is this facility's."""
        self._desk = desk
        self._trust = trust
        self._overview = overview
        self._nearby = nearby
        self._name = name

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{_LIST}/{{peer}}"
        return [
            Route("GET", _LIST, self.list, EVERYBODY, "Facilities and how they stand", page=True),
            Route("GET", one, self.show, EVERYBODY, "One facility", page=True),
            Route("POST", f"{one}/policy", self.set_policy, OPERATION, "Change its policy", PolicyForm, page=True),
            Route("POST", f"{one}/confirm", self.confirm, OPERATION, "Trust it", page=True),
            Route("POST", f"{one}/resume", self.resume, OPERATION, "Trust it again", page=True),
            Route("GET", f"{one}/suspend", self.ask_suspend, OPERATION, "Ask before suspending", page=True),
            Route("POST", f"{one}/suspend", self.suspend, OPERATION, "Shut it out for now", page=True),
            Route("GET", f"{one}/revoke", self.ask_revoke, OPERATION, "Ask before revoking", page=True),
            Route("POST", f"{one}/revoke", self.revoke, OPERATION, "Shut it out for good", page=True),
        ]

    async def list(self, call: Call) -> object:
        """All, and who is on the local network."""
        peers = self._overview.peers()
        known = {glance.peer.peer_id for glance in peers}
        nearby = [node for node in self._nearby() if node.peer_id not in known]
        return self._desk.page(
            call,
            "peers.html",
            area=_AREA,
            peers=[(glance, *standing(glance)) for glance in peers],
            nearby=nearby,
            map=map_of(self._name, peers),
        )

    async def show(self, call: Call) -> object:
        """One."""
        return self._show(call, self._named(call))

    async def set_policy(self, call: Call) -> object:
        """Change it."""
        peer, form = self._named(call), call.body
        typed = {name: str(value) for name, value in msgspec.structs.asdict(form).items()}
        try:
            await self._trust.set_policy(peer, typed, actor=call.caller.actor)
        except InvalidPolicy as error:
            return self._show(call, peer, error=error, typed=typed)
        return done(_place(peer), "policy")

    async def confirm(self, call: Call) -> object:
        """PENDING → TRUSTED."""
        peer = self._named(call)
        work = self._trust.confirm(peer, actor=call.caller.actor)
        return await settle(work, to=_place(peer), what="confirmed", otherwise=_place(peer))

    async def resume(self, call: Call) -> object:
        """SUSPENDED → TRUSTED."""
        peer = self._named(call)
        work = self._trust.resume(peer, actor=call.caller.actor)
        return await settle(work, to=_place(peer), what="resumed", otherwise=_place(peer))

    async def ask_suspend(self, call: Call) -> object:
        """For now: it can be lifted."""
        peer = self._named(call)
        says = (
            "Its connections end at once, and nothing passes in either direction.",
            "Transfers stand still and go on when it is resumed. Consents and its policy stay as they are.",
        )
        question = self._question(peer, f"Suspend {self._desk.facility(peer)}?", says, "Suspend", "suspend")
        return self._desk.ask(call, question, area=_AREA)

    async def suspend(self, call: Call) -> object:
        """TRUSTED → SUSPENDED."""
        peer = self._named(call)
        work = self._trust.suspend(peer, actor=call.caller.actor)
        return await settle(work, to=_place(peer), what="suspended", otherwise=_place(peer))

    async def ask_revoke(self, call: Call) -> object:
        """For good."""
        peer = self._named(call)
        says = (
            "It is shut out for good: its connections end, running transfers fail, what waits in the inbox is refused.",
            "The keys made for it are destroyed. To trust it again, both of you pair anew.",
            "Images that it has already stay there: nobody can call copies back. Withdraw a study to tell it so.",
        )
        question = self._question(peer, f"Revoke {self._desk.facility(peer)}?", says, "Revoke for good", "revoke")
        return self._desk.ask(call, question, area=_AREA)

    async def revoke(self, call: Call) -> object:
        """→ REVOKED."""
        peer = self._named(call)
        work = self._trust.revoke(peer, actor=call.caller.actor)
        return await settle(work, to=_place(peer), what="revoked", otherwise=_place(peer))

    def _show(
        self, call: Call, peer: PeerId, *, error: LeveretError | None = None, typed: Mapping[str, str] | None = None
    ) -> object:
        glance = self._glance(peer)
        return self._desk.page(
            call,
            "peer.html",
            area=_AREA,
            error=error,
            peer=glance.peer,
            glance=glance,
            standing=standing(glance),
            sections=SETTINGS,
            policy=policy_as_typed(glance.peer.policy) if typed is None else typed,
        )

    def _glance(self, peer: PeerId) -> PeerGlance:
        return next(glance for glance in self._overview.peers() if glance.peer.peer_id == peer)

    def _question(self, peer: PeerId, title: str, says: Sequence[str], label: str, what: str) -> Question:
        facts = (("Facility", self._desk.facility(peer)), ("PeerId", peer.full))
        return Question(title, says, label, f"{_place(peer)}/{what}", _place(peer), facts)

    def _named(self, call: Call) -> PeerId:
        """The peer of the path, by its whole PeerId; raises UnknownPeer."""
        try:
            return self._trust.get(PeerId.parse(call.parameter("peer"))).peer_id
        except LeveretError as exc:
            raise UnknownPeer from exc


def policy_as_typed(policy: PeerPolicy) -> dict[str, str]:
    """The values of the form."""
    return {name: str(getattr(policy, name)) for section in SETTINGS.values() for name in (s.name for s in section)}


def _place(peer: PeerId) -> str:
    return f"{_LIST}/{peer.full}"
