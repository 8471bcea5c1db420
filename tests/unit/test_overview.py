"""What deserves attention, and in which order; the settings' explanations."""

from dataclasses import replace
from pathlib import Path

from node.api.console.operator.overview import _ADVICE
from node.api.console.operator.settings import explained
from node.api.console.operator.words import MARKS, REASONS
from node.config import Settings, load, origins
from node.model.decide import ReviewReason
from node.model.delivery import DeliveryState
from node.model.ids import PeerId
from node.model.transfer import Direction, TransferState
from node.model.trust import Card, Peer, PeerPolicy, TrustState
from node.sharing.overview import DAYS, Alert, AlertKind, PeerGlance, Snapshot, alerts, moved_by_day
from node.store.overview import Moved
from node.store.study_queries import Totals

NOW = 1_764_000_000
CALM = Snapshot(
    at=NOW, totals=Totals(0, 0, 0, 0, 0), free=1, peers=(), transfers={}, failed_today=0, deliveries={}, inbox=0,
    offers=0, emergencies=0, damaged=0, log_conflicts=0, forked_feeds=0, is_restored=False,
    notices_waiting=0, notices_refused=0, moved=(), problems=(),
)  # fmt: skip


def glance(state: TrustState, *, connected: bool = False, since: int = 0, seen: int | None = None) -> PeerGlance:
    card = Card(b"", "north", (), 1, 0, 0)
    peer = Peer(PeerId(bytes(32)), "north", state, since, b"", "words", card, PeerPolicy(), seen)
    return PeerGlance(peer, connected, "")


def test_nothing_to_say() -> None:
    assert alerts(CALM) == []
    assert alerts(replace(CALM, transfers={TransferState.COMPLETED: 9, TransferState.TRANSFERRING: 1})) == []


def test_each_thing_is_said_most_pressing_first() -> None:
    busy = replace(
        CALM,
        totals=Totals(1, 1, 1, 2, 1),
        peers=(glance(TrustState.PENDING), glance(TrustState.TRUSTED), glance(TrustState.REVOKED)),
        transfers={TransferState.SUSPENDED: 3, TransferState.FAILED: 4},
        failed_today=4,
        deliveries={DeliveryState.UNLINKED: 5, DeliveryState.SUSPENDED: 6},
        inbox=7, offers=8, emergencies=9, damaged=10, log_conflicts=11, forked_feeds=13, is_restored=True,
        notices_refused=12, problems=("disk_full",),
    )  # fmt: skip
    assert alerts(busy) == [
        Alert(AlertKind.DISK_FULL, 1), Alert(AlertKind.RESTORED, 1), Alert(AlertKind.LOG_CONFLICT, 11),
        Alert(AlertKind.FEED_FORKED, 13), Alert(AlertKind.DAMAGED, 10),
        Alert(AlertKind.EMERGENCY, 9), Alert(AlertKind.QUARANTINE, 2), Alert(AlertKind.INBOX, 7),
        Alert(AlertKind.OFFERS, 8), Alert(AlertKind.PEER_PENDING, 1), Alert(AlertKind.PEER_AWAY, 1),
        Alert(AlertKind.NOTICE_REFUSED, 12), Alert(AlertKind.TRANSFERS_SUSPENDED, 3),
        Alert(AlertKind.TRANSFERS_FAILED, 4), Alert(AlertKind.DELIVERY_UNLINKED, 5),
        Alert(AlertKind.DELIVERY_SUSPENDED, 6),
    ]  # fmt: skip
    assert set(_ADVICE) == set(AlertKind), "each has words and a next step"


def test_a_facility_is_away_only_after_a_while() -> None:
    for peer in (
        glance(TrustState.TRUSTED, connected=True),
        glance(TrustState.TRUSTED, since=NOW - 10),
        glance(TrustState.TRUSTED, seen=NOW - 10),
    ):
        assert alerts(replace(CALM, peers=(peer,))) == []
    assert alerts(replace(CALM, peers=(glance(TrustState.TRUSTED, seen=NOW - 3600),)))[0].kind is AlertKind.PEER_AWAY


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(ReviewReason)
    assert {reason for marks in MARKS.values() for reason in marks} <= set(ReviewReason)


def test_every_day_has_its_bar() -> None:
    today = moved_by_day(CALM)[-1][0]
    days = moved_by_day(
        replace(CALM, moved=(Moved(today, Direction.OUT, 1, 5), Moved("1999-01-01", Direction.IN, 1, 7)))
    )
    assert len({day for day, _, _ in days}) == len(days) == DAYS
    assert [day for day, _, _ in days] == sorted(day for day, _, _ in days)
    assert days[-1] == (today, 0, 5)
    assert sum(came + went for _, came, went in days) == 5


def test_every_setting_is_explained() -> None:
    text = (Path(__file__).parents[2] / "node.example.toml").read_text()
    says = explained(text)
    known = {(s, k) for s in Settings.__dataclass_fields__ for k in getattr(Settings(), s).__dataclass_fields__}
    assert set(says) == known
    assert all(len(words) > 8 for words in says.values())


def test_where_settings_come_from(tmp_path: Path) -> None:
    (tmp_path / "leveret.toml").write_text("[store]\nscrub_days = 9\nreserve = 1\n")
    environ = {"LEVERET_STORE_RESERVE": "2"}
    found = origins(tmp_path, environ)
    assert found["store", "scrub_days"] == "file"
    assert found["store", "reserve"] == "environment"
    assert found["store", "parsers"] == "default"
    assert load(tmp_path, environ).store.reserve == 2
