"""The operator's console on running nodes: two pair in the browser, requests are decided, pages are whole."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect
from support.browser import PHONE, Watch, axe_violations, sign_in, sizes
from support.ct import CtStudy
from support.facility import Facility, peer_id, wait_for

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

ONE = CtStudy(instances=3, rows=64, seed=1, study_date="20251103")
TWO = CtStudy(instances=2, rows=64, seed=2, study_date="20240618")
RIVAL = CtStudy(instances=1, rows=64, seed=2, smooth=True)  # other bytes under an instance UID of TWO
SOMEBODY_ELSE = ("--name", "Testperson^Cony", "--birth-date", "19610302", "--sex", "F")
ATTACK = "<script>alert(1)</script>"
MOST_BYTES = 150_000  # of a page without its images

OPERATOR_PAGES = (
    "overview", "inbox", "operator/offers", "quarantine", "emergencies", "peers", "pairing", "pairing/invite",
    "pairing/join", "transfers", "operator/deliveries", "consents", "share-codes", "withdrawals", "storage", "pacs",
    "users", "settings", "audit",
)  # fmt: skip
AUDITOR_PAGES = ("overview", "emergencies", "peers", "transfers", "storage", "users", "settings", "audit")


class Shot(Protocol):
    def __call__(self, page: Page, name: str, *, whole: bool = True) -> None: ...


class MakeDesk(Protocol):
    def __call__(self, facility: Facility, user: str = "olga", role: str = "operator") -> "Desk": ...


@dataclass
class Desk:
    """A facility, and its operator's browser."""

    facility: Facility
    context: BrowserContext
    page: Page
    addresses: list[str] = field(default_factory=list)

    def go(self, place: str) -> None:
        self.page.goto(f"{self.facility.api}/console/{place}")

    def heading(self) -> str:
        return self.page.locator("h1").inner_text()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def link(self, name: str) -> None:
        self.page.get_by_role("link", name=name).first.click()

    def whole(self) -> None:
        """The page as it is has no barrier, and nothing of it is cut off on a phone."""
        assert axe_violations(self.page) == [], self.page.url
        for size in sizes(self.page):
            if size == "phone":
                width = self.page.evaluate("document.documentElement.scrollWidth")
                assert width <= PHONE[0], f"{self.page.url} is {width} wide on a phone"
        assert len(self.page.content()) < MOST_BYTES, self.page.url


@dataclass
class Two:
    """Two facilities that have never heard of each other."""

    north: Facility
    lake: Facility
    folder: Path


@pytest.fixture(scope="module")
def two(facility: Callable[..., Facility], tmp_path_factory: pytest.TempPathFactory) -> Two:
    north = facility("Northfield", LEVERET_CONSENT_EMERGENCY_DAILY="5")
    return Two(north, facility("Lakeside"), tmp_path_factory.mktemp("media"))


@pytest.fixture
def desk(new_context: Callable[..., BrowserContext]) -> Iterator[MakeDesk]:
    """Makes desks; no address that their browsers ask for may name a patient or a study."""
    made: list[Desk] = []

    def make(facility: Facility, user: str = "olga", role: str = "operator") -> Desk:
        context = new_context()
        one = Desk(facility, context, context.new_page())

        def asked(request: Request) -> None:
            one.addresses.append(request.url)

        context.on("request", asked)
        sign_in(one.page, facility, user, role)
        made.append(one)
        return one

    yield make
    secrets = (ONE.patient_id, "Testperson", "Conny", ONE.study_uid, TWO.study_uid)
    for address in (address for one in made for address in one.addresses if not address.startswith("data:")):
        assert not any(secret in address for secret in secrets), address


def test_two_fresh_nodes_pair_in_the_browser(two: Two, desk: MakeDesk, shot: Shot, watch: Watch) -> None:
    watch.expect("status of 400")
    north, lake = desk(two.north), desk(two.lake)
    expect(north.page.get_by_text("First steps")).to_be_visible()
    north.whole()

    north.go("pairing")
    north.press("Make an invitation")
    north.press("Make it")
    assert north.heading() == "Send the invitation"
    expect(north.page.get_by_role("img", name="The invitation as a QR code")).to_be_visible()
    north.whole()
    with north.page.expect_download() as download:
        north.link("Download the file")
    assert download.value.suggested_filename == "northfield.invitation"
    file = two.folder / "northfield.invitation"
    download.value.save_as(file)
    assert north.page.locator("#invitation").inner_text().strip() == file.read_text().strip()

    lake.go("pairing/join")
    lake.page.locator("#f-invitation").fill("not an invitation")
    lake.press("Use it")
    expect(lake.page.get_by_role("heading", name="Use an invitation")).to_be_visible()
    expect(lake.page.locator(".lv-notice--warning")).to_contain_text("invitation")
    lake.page.locator("#f-file").set_input_files(file)
    expect(lake.page.locator("#f-invitation")).to_have_value(re.compile("BEGIN LEVERET INVITATION"))
    lake.press("Use it")
    assert lake.heading() == "Compare the safety phrase with Northfield"
    phrase = lake.page.locator(".lv-phrase").inner_text().split()
    assert len(phrase) >= 8
    lake.whole()

    north.page.get_by_role("link", name="Compare the safety phrase with Lakeside").click()  # the page looked by itself
    assert north.page.locator(".lv-phrase").inner_text().split() == phrase
    north.whole()
    shot(north.page, "pairing", whole=False)
    north.press("The words are the same: trust it")
    expect(north.page.get_by_text("This facility is trusted now.")).to_be_visible()

    for one, other in ((north, "Lakeside"), (lake, "Northfield")):
        one.go("overview")
        place = one.page.get_by_role("link", name=f"{other}: connected")
        expect(place).to_be_visible(timeout=30_000)  # it is told by itself
    north.go("pairing")
    expect(north.page.get_by_text("used")).to_be_visible()
    assert lake.facility.run("peers", "list")["peers"][0]["safety_phrase"].split() == phrase


def test_a_request_is_decided_in_the_inbox(two: Two, desk: MakeDesk, shot: Shot) -> None:
    for study in (ONE, TWO):
        study.write(two.folder / str(study.seed))
    two.north.run("import", str(two.folder / "1"), str(two.folder / "2"))
    north = desk(two.north)
    north.go("share-codes")
    north.page.get_by_label("Patient id").fill(ONE.patient_id)
    north.page.get_by_label("Uses").fill("9")
    north.press("Make the code")
    code = north.page.locator("#code").inner_text()
    expect(north.page.get_by_role("img", name="The share code as a QR code")).to_be_visible()
    north.whole()
    ask(two, code, *SOMEBODY_ELSE)
    ask(two, code, "--name", f"{ATTACK}^Eve", "--birth-date", "19610203", "--sex", "M")

    north.go("overview")
    expect(north.page.get_by_text("2 requests wait for a decision", exact=True)).to_be_visible()
    north.link("Decide")
    north.whole()
    north.page.locator(".lv-card a").first.click()
    assert north.heading() == "Is it the same person?"
    differing = north.page.locator(".lv-compare--differs th").all_inner_texts()
    assert [text.split("\n")[0].split(" ")[0] for text in differing] == ["Name", "Born"]
    expect(north.page.get_by_text("Day and month of the birth date have changed places")).to_be_visible()
    north.whole()
    shot(north.page, "inbox")
    north.page.get_by_label("18 Jun 2024").uncheck()
    north.press("Same person: release")
    expect(north.page.get_by_text("Released. The other facility fetches it now.")).to_be_visible()

    north.page.locator(".lv-card a").first.click()
    assert north.page.locator("td").first.inner_text() == f"{ATTACK}, Eve"
    (waiting,) = two.north.run("inbox", "list")["requests"]
    two.north.run("inbox", "refuse", waiting["request_id"], "--reason", "another person")  # by somebody else
    north.press("Same person: release")
    expect(north.page.get_by_text("This request is decided already")).to_be_visible()
    assert north.page.url.split("?")[0].endswith("/console/inbox")

    def has_arrived() -> bool:
        north.go("transfers")
        return north.page.get_by_role("cell", name="3 of 3").count() == 1

    wait_for(has_arrived)
    north.link("to Lakeside")
    north.whole()
    assert [s["study_instance_uid"] for s in two.lake.run("studies")["studies"]] == [ONE.study_uid], "the part alone"


def test_every_page_is_whole_for_who_may_see_it(two: Two, desk: MakeDesk, shot: Shot, watch: Watch) -> None:
    something_of_everything(two)
    north = desk(two.north)
    for place in OPERATOR_PAGES:
        north.go(place)
        north.whole()
    north.go("overview")
    shot(north.page, "overview")
    for place, link in (
        ("quarantine", "Testperson, Conny"),
        ("peers", "Lakeside"),
        ("users", "olga"),
        ("audit", "Study released"),
    ):
        north.go(place)
        north.link(link)
        north.whole()
    expect(north.page.get_by_text("lead, by")).to_be_visible()
    north.go("audit")
    shot(north.page, "audit", whole=False)
    north.press("Prove the log")
    expect(north.page.get_by_text("Nothing was changed")).to_be_visible()
    north.whole()
    north.go("consents")
    north.page.get_by_label("Patient id").fill(ONE.patient_id)
    north.press("Show what is on file")
    north.whole()
    north.page.get_by_label("forbids").check()
    north.press("Record")
    expect(north.page.get_by_text("Recorded.")).to_be_visible()
    north.link("Revoke")
    north.whole()
    north.press("Revoke")
    north.whole()
    north.go("pacs")
    for label, value in (("Name", "main"), ("AE title", "NOBODY"), ("Host", "127.0.0.1"), ("Port", "9")):
        north.page.get_by_label(label, exact=True).fill(value)
    north.press("Enter it")
    north.press("Try")
    expect(north.page.get_by_text("Studies cannot be sent to it")).to_be_visible()
    north.whole()

    auditor = desk(two.north, "aude", "auditor")
    assert auditor.page.url.endswith("/console/audit")
    for place in AUDITOR_PAGES:  # the same pages, of which some parts are left out
        auditor.go(place)
        assert auditor.page.locator("main form, main button").count() == {"audit": 4, "emergencies": 2}.get(place, 0)
    auditor.go("emergencies")
    auditor.page.get_by_label("Justified", exact=True).check()
    auditor.page.get_by_label("What you looked at, and found").fill("called the emergency room")
    auditor.press("Put the verdict on record")
    expect(auditor.page.get_by_text("Your verdict is on record.")).to_be_visible()
    watch.expect("status of 403")
    auditor.go("pairing")
    assert auditor.heading() == "This user may not do that"
    assert not two.north.log_file.read_text().count('"handler failed"')


def ask(two: Two, code: str, *who: str) -> None:
    """Lakeside asks for both studies; a person must look."""
    studies = ("--study", ONE.study_uid, "--study", TWO.study_uid)
    two.lake.user("dr.who")
    asked = ("request", "--as", "dr.who", "--from", peer_id(two.north), *studies, *who)
    done = two.lake.call(*asked, "--share-code", "-", "--wait", "--json", stdin=code)
    assert json.loads(done.stdout)["state"] == "REVIEW", done.stdout + done.stderr


def something_of_everything(two: Two) -> None:
    """An image in quarantine, a release by break-glass, an offer, a consent, a withdrawal."""
    RIVAL.write(two.folder / "rival")
    assert two.north.run("import", str(two.folder / "rival"))["quarantined"] == 1
    two.north.run("peers", "policy", peer_id(two.lake), "accept_emergency=true")
    studies = ("--study", TWO.study_uid, "--name", TWO.patient_name, "--birth-date", TWO.birth_date, "--sex", "F")
    asked = ("request", "--from", peer_id(two.north), *studies, "--purpose", "ETREAT", "--emergency", "unconscious")
    done = two.lake.call(*asked, "--wait", "--json")
    assert json.loads(done.stdout)["state"] == "COMPLETED", done.stdout
    other = CtStudy(instances=1, rows=64, seed=9, patient_id="L-7", patient_name="Guest^Gil")
    other.write(two.folder / "9")
    two.lake.run("import", str(two.folder / "9"))
    two.lake.run("offer", "--to", peer_id(two.north), "--study", other.study_uid, "--reason", "second opinion")
    two.north.run("consent", "add", "--patient-id", ONE.patient_id, "--permit", "--modality", "CT")
    two.north.run("withdraw", "--study", ONE.study_uid, "--reason", "wrong side marked")
