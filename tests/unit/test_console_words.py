"""What the console's pages are made of: words, places to go, opaque ids, the picture of the years."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import HandClock

from node.api.console.handles import MAX_HANDLES, Handles
from node.api.console.login import HOME, local_place
from node.api.console.priors import MORE, SHORT, Current, Prior, show
from node.api.console.timeline import WIDTH, timeline
from node.api.web.advice import words_of
from node.api.web.words import counted, day, lasting, number, person, sex, size
from node.errors import all_codes
from node.errors.console import AddressEnded
from node.model.access import Caller, Role
from node.model.ids import PeerId, StudyRef
from node.model.relevance import Examination
from node.sharing.locate import MatchKind, PeerPriors, PriorStudy

ADA, BEN = Caller("user:ada", Role.CLINICIAN), Caller("user:ben", Role.CLINICIAN)


@pytest.mark.parametrize(
    ("pn", "name"),
    [
        ("Garcia^Elena", "Garcia, Elena"),
        ("Garcia^Elena^Maria^Dr^PhD", "Garcia, Elena Maria (Dr, PhD)"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("^Elena", "Elena"),
        ("^^^Dr", "Dr"),
        ("", "no name"),
        (None, "no name"),
        ("^^^^", "no name"),
        ("a^b^c^d^e^f^g", "a, b c (d, e)"),
    ],
)
def test_names(pn: str | None, name: str) -> None:
    assert person(pn) == name


@given(st.text(max_size=40))
def test_any_name_and_date_can_be_shown(text: str) -> None:
    assert person(text)
    assert day(text)


def test_dates_sizes_and_numbers() -> None:
    assert [day("20190403"), day(""), day(None), day("2019"), day("20191303")] == [
        "3 Apr 2019",
        "-",
        "-",
        "2019",
        "20191303",
    ]
    assert [size(0), size(999), size(1000), size(4_140_000), size(55_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "4.1 MB",
        "55 MB",
    ]
    assert [lasting(45.9), lasting(180), lasting(7200), lasting(86400 * 12)] == ["45 s", "3 min", "2 h", "12 days"]
    assert [counted(1, "study", "studies"), counted(20_000, "study", "studies"), counted(0, "image")] == [
        "1 study", "20,000 studies", "0 images",
    ]  # fmt: skip
    assert [number(1234567), sex("F"), sex("X"), sex(None)] == ["1,234,567", "female", "", ""]


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example/", "/\\evil.example", "https://evil.example/console", "/console//evil.example", "/portal/",
        "/console/../../portal", "/console/x?next=//evil", "/consolex", "javascript:alert(1)", "/console\n/x", "",
        "/console/%2e%2e/x", "/console/" + "x" * 600, "\t/console/x", "/console/x#y", "/viewer@evil.example",
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_signing_in(place: str) -> None:
    assert local_place(place) == HOME


@pytest.mark.parametrize(
    "place", ["/console/", "/console/find", "/console/patients/Ab_-9", "/viewer/", "/viewer/viewer"]
)
def test_own_places_are_gone_to(place: str) -> None:
    assert local_place(place) == place


@given(st.text(alphabet="/\\.:@?#%cvonsleiwr \t\n", max_size=40))
def test_whatever_is_said_the_place_is_a_path_of_this_node(text: str) -> None:
    sent = local_place(text)
    assert sent == HOME or (sent.startswith(("/console", "/viewer")) and "//" not in sent and ".." not in sent)


def test_handles_are_the_same_for_the_same_person_and_nobody_elses() -> None:
    clock = HandClock()
    handles = Handles[str](clock)
    first = handles.put(ADA, "1.2.3")
    assert handles.put(ADA, "1.2.3") == first
    assert handles.put(BEN, "1.2.3") != first
    assert "1.2.3" not in first
    assert handles.get(ADA, first) == "1.2.3"
    with pytest.raises(AddressEnded):
        handles.get(BEN, first)
    with pytest.raises(AddressEnded):
        handles.get(ADA, "nothing")
    clock.time += 12 * 3600 + 1
    with pytest.raises(AddressEnded):
        handles.get(ADA, first)


def test_the_oldest_handles_are_forgotten() -> None:
    handles = Handles[int](HandClock())
    first = handles.put(ADA, 0)
    again = handles.put(ADA, 1)
    for value in range(2, MAX_HANDLES):
        handles.put(ADA, value)
    assert handles.put(ADA, 0) == first  # used again: not the oldest any more
    handles.put(ADA, -1)
    assert handles.get(ADA, first) == 0
    with pytest.raises(AddressEnded):
        handles.get(ADA, again)


def test_every_code_has_words_and_a_next_step() -> None:
    for code in all_codes():
        words = words_of(code)
        assert words.title
        assert words.advice
    assert words_of("no such code").title


def announced(date: str | None = None, year: int | None = None) -> Prior:
    study = PriorStudy(
        ref=StudyRef.new(), study_instance_uid=None, study_date=date, year=year, modalities=("CT",), regions=("CHEST",),
        description=None, instances=1, report=False, revision=1, match=MatchKind.CANDIDATE, consent_on_file=False,
        held=False,
    )  # fmt: skip
    return Prior(remote=study, facility="Lakeside")


def test_the_picture_needs_two_dated_studies() -> None:
    assert timeline([announced(), announced("20200101")], today="20261124") is None
    picture = timeline([announced(year=2012), announced("20200101")], today="20261124")
    assert picture is not None
    assert [name for _, name in picture.lanes] == ["Here", "Lakeside"]
    assert picture.ticks[0][1] == 2012


@given(st.lists(st.sampled_from(["19100101", "20200101", "20200102", "20261231", "20991231"]), min_size=2, max_size=40))
def test_every_dot_is_within_the_picture_and_none_hides_another(dates: list[str]) -> None:
    picture = timeline([announced(date) for date in dates], today="20261124")
    assert picture is not None
    assert len(picture.dots) == len(dates)
    assert all(0 <= dot.x <= WIDTH for dot in picture.dots)
    assert len(picture.ticks) <= 12


def test_a_page_of_very_many_priors_stays_light_and_hides_none_for_good() -> None:
    studies = tuple(prior.remote for prior in (announced(year=2000 + n % 20) for n in range(100)) if prior.remote)
    lake, brigid = PeerId(bytes(32)), PeerId(bytes([1] * 32))
    peers = [PeerPriors(lake, "Lakeside", "ok", studies), PeerPriors(brigid, "Brigid", "peer_unreachable", ())]
    known = {"today": "20261124", "names": {}, "underway": {(peers[0].peer_id, studies[7].ref): "request"}}
    light = show([], peers, Current(Examination()), **known)  # type: ignore[arg-type]  # of several kinds
    assert (len(light.first), len(light.others), light.left_out) == (SHORT, MORE, 100 - SHORT - MORE)
    assert (light.here, light.elsewhere) == (0, 100)
    assert light.holders is not None
    assert [holder.words.code if holder.words else "" for holder in light.holders] == ["", "peer_unreachable"]
    whole = show([], peers, Current(Examination()), **known, every=True)  # type: ignore[arg-type]  # of several kinds
    assert whole.left_out == 0
    underway = [prior for prior in (*whole.first, *whole.others) if prior.underway]
    assert len(underway) == 1
    assert underway[0].is_arriving
    assert not underway[0].can_be_asked
