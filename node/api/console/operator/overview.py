"""The first page of an operator: what is wrong and what to do about it, who is there, what moves."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from node.api.console.operator.desk import Desk
from node.api.console.operator.live import stream
from node.api.rest.access import OVERSIGHT
from node.api.routing import Call, Route
from node.api.web.charts import Series, Spot, bars, federation
from node.api.web.words import counted, day, size
from node.model.access import Caller, Role
from node.model.trust import TrustState
from node.sharing.overview import (
    BROKEN,
    TO_DECIDE,
    Alert,
    AlertKind,
    Overview,
    PeerGlance,
    Snapshot,
    alerts,
    moved_by_day,
)

Problems = Callable[[], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class _Advice:
    """What is said of one kind of alert: what it counts, what to do, where."""

    one: str
    several: str
    advice: str
    href: str
    label: str
    for_auditors: bool = False  # whether the place is theirs, too


_ADVICE: Mapping[AlertKind, _Advice] = {
    AlertKind.DISK_FULL: _Advice(
        "thing keeps this node from taking images",
        "things keep this node from taking images",
        "The disk is full: make room, or let retention make it. What is stored stays readable.",
        "/console/storage", "Storage", for_auditors=True,
    ),
    AlertKind.LOG_CONFLICT: _Advice(
        "contradiction in a facility's audit log",
        "contradictions in facilities' audit logs",
        "Its log shrank or forked: it was restored from a backup, or rewritten. Call its operator.",
        "/console/audit?type=peer_log_conflict", "Audit log", for_auditors=True,
    ),
    AlertKind.RESTORED: _Advice(
        "restore from a backup to look through",
        "restores from a backup to look through",
        "Nothing is announced, and every release waits for a person, until somebody has.",
        "/console/restored", "Look through", for_auditors=True,
    ),
    AlertKind.FEED_FORKED: _Advice(
        "facility announced two different things as one",
        "facilities announced two different things as one",
        "Its announcements are not followed any more. Call its operator: it may have been restored, or tampered with.",
        "/console/peers", "Look", for_auditors=True,
    ),
    AlertKind.DAMAGED: _Advice(
        "stored object is damaged",
        "stored objects are damaged",
        "Restore the packs from a backup, or delete the study and have it sent again.",
        "/console/storage", "Storage", for_auditors=True,
    ),
    AlertKind.EMERGENCY: _Advice(
        "release by break-glass to review",
        "releases by break-glass to review",
        "Say whether each was justified, and tell the patient.",
        "/console/emergencies", "Review", for_auditors=True,
    ),
    AlertKind.QUARANTINE: _Advice(
        "image in quarantine",
        "images in quarantine",
        "They contradict what is held. Compare both sides, then accept or shred.",
        "/console/quarantine", "Compare",
    ),
    AlertKind.INBOX: _Advice(
        "request waits for a decision",
        "requests wait for a decision",
        "A clinician at another facility waits. Compare the identities, then release or refuse.",
        "/console/inbox", "Decide",
    ),
    AlertKind.OFFERS: _Advice(
        "offer waits for a decision",
        "offers wait for a decision",
        "Another facility wants to send images of a patient here.",
        "/console/operator/offers", "Decide",
    ),
    AlertKind.PEER_PENDING: _Advice(
        "facility waits to be confirmed",
        "facilities wait to be confirmed",
        "Read the safety phrase to each other on the telephone, then confirm.",
        "/console/peers", "Confirm", for_auditors=True,
    ),
    AlertKind.PEER_AWAY: _Advice(
        "trusted facility cannot be reached",
        "trusted facilities cannot be reached",
        "What is under way goes on when it is back. Its page says what went wrong at the last attempt.",
        "/console/peers", "Look", for_auditors=True,
    ),
    AlertKind.NOTICE_REFUSED: _Advice(
        "withdrawal was refused by a recipient",
        "withdrawals were refused by a recipient",
        "Call its operator: the images may still be used there.",
        "/console/withdrawals", "Withdrawals",
    ),
    AlertKind.TRANSFERS_SUSPENDED: _Advice(
        "transfer stands still",
        "transfers stand still",
        "They resume by themselves when the other facility can be reached.",
        "/console/transfers", "Transfers", for_auditors=True,
    ),
    AlertKind.TRANSFERS_FAILED: _Advice(
        "transfer failed since yesterday",
        "transfers failed since yesterday",
        "Each one says why, and what to do.",
        "/console/transfers", "Transfers", for_auditors=True,
    ),
    AlertKind.DELIVERY_UNLINKED: _Advice(
        "delivery waits for its study to be linked",
        "deliveries wait for their studies to be linked",
        "A clinician links the received study to a local patient; then it goes on by itself.",
        "/console/operator/deliveries", "Deliveries",
    ),
    AlertKind.DELIVERY_SUSPENDED: _Advice(
        "delivery waits for a PACS",
        "deliveries wait for a PACS",
        "The PACS cannot be reached or is busy. Try it, and call its administrator.",
        "/console/pacs", "PACS",
    ),
}  # fmt: skip


class OverviewPages:
    """``/console/overview``."""

    def __init__(self, desk: Desk, overview: Overview, problems: Problems, *, name: str) -> None:
        """``name`` is this facility's; ``problems`` lists, as error codes, what keeps the node from working."""
        self._desk = desk
        self._overview = overview
        self._problems = problems
        self._name = name

    def routes(self) -> Iterable[Route]:
        """The routes."""
        place = "/console/overview"
        return [
            Route("GET", place, self.show, OVERSIGHT, "The node at a glance", page=True),
            Route("GET", f"{place}/events", self.events, OVERSIGHT, "The same as it changes", page=True, quiet=True),
        ]

    async def show(self, call: Call) -> object:
        """Everything."""
        return self._desk.page(call, "overview.html", area="overview", **await self._values(call.caller))

    async def events(self, call: Call) -> object:
        """The changing part, as server-sent events."""
        template = self._desk.pages.environment.get_template("console/operator/_overview.html")

        async def render() -> str:
            return template.render(**await self._values(call.caller))

        return await stream(call, "overview", render)

    async def _values(self, caller: Caller) -> dict[str, Any]:
        snapshot = await self._overview.look(await self._problems())
        return {
            "s": snapshot,
            "alerts": [_shown(alert, caller.role) for alert in alerts(snapshot)],
            "is_fresh": not snapshot.peers and not snapshot.totals.studies,
            "map": map_of(self._name, snapshot.peers),
            "chart": _chart(snapshot),
            "days": list(reversed(moved_by_day(snapshot))),
            "trusted": snapshot.in_state(TrustState.TRUSTED),
            "is_operator": caller.role is Role.OPERATOR,
        }


def standing(glance: PeerGlance) -> tuple[str, str]:
    """How a peer stands, as the map knows it, and in words."""
    match glance.peer.state:
        case TrustState.PENDING:
            return "pending", "to be confirmed"
        case TrustState.SUSPENDED:
            return "suspended", "suspended"
        case TrustState.REVOKED:
            return "revoked", "revoked"
    return ("connected", "connected") if glance.connected else ("away", "trusted, cannot be reached")


def map_of(name: str, peers: Iterable[PeerGlance]) -> Markup:
    """The federation as this facility sees it; revoked ones are none of it."""
    spots = [
        Spot(g.peer.name, *standing(g), f"/console/peers/{g.peer.peer_id.full}")
        for g in peers
        if g.peer.state is not TrustState.REVOKED
    ]
    return federation("map", "Facilities that this one is paired with", name, spots)


def _shown(alert: Alert, role: Role) -> dict[str, Any]:
    advice = _ADVICE[alert.kind]
    is_theirs = role is Role.OPERATOR or advice.for_auditors
    return {
        "kind": alert.kind.value,
        "level": "error" if alert.kind in BROKEN else "warning" if alert.kind in TO_DECIDE else "info",
        "words": counted(alert.count, advice.one, advice.several),
        "advice": advice.advice,
        "href": advice.href if is_theirs else "",
        "label": advice.label,
    }


def _chart(snapshot: Snapshot) -> Markup:
    days = moved_by_day(snapshot)
    labels = [day(one[0].replace("-", "")).rpartition(" ")[0] for one in days]
    series = [Series("received", "a", [one[1] for one in days]), Series("sent", "b", [one[2] for one in days])]
    return bars("moved", "Images exchanged in the last two weeks", labels, series, size)
