"""A clinician's whole way on two running nodes, from signing in to the prior that has just come; keys; no scripts."""

import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydicom
import pytest
from playwright.sync_api import BrowserContext, Page, Request, Response, expect
from support.browser import PHONE, Watch, axe_violations, shades, sign_in, sizes, wait_for_image
from support.ct import CtStudy
from support.dose import dose_report
from support.facility import Facility, pair, wait_for
from support.zoo import BRAIN

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

ELENA, LOCAL_ID = "Garcia^Elena", "LC-0093"
CT = CtStudy(
    instances=4, smooth=True, seed=21, patient_id="NG-20417", patient_name=ELENA, birth_date="19680412",
    study_date="20250902",
)  # fmt: skip
OWN = CtStudy(
    instances=2, smooth=True, seed=22, patient_id=LOCAL_ID, patient_name="GARCIA^ELENA", birth_date="19680412",
    study_date=time.strftime("%Y%m%d"),
)  # fmt: skip
OTTO = CtStudy(
    instances=3, smooth=True, seed=23, patient_id="NG-11002", patient_name="Müller^Otto", birth_date="19511230",
    sex="M", study_date="20231120",
)  # fmt: skip
MOST_BYTES = 150_000  # of a page without its images
SLOW = "1500kB"  # a second: so that something can be seen on its way
NAMING = ("/viewer/", "/dicom-web/")  # addresses that have to name studies


class Shot(Protocol):
    def __call__(self, page: Page, name: str, *, whole: bool = True) -> None: ...


@dataclass
class Two:
    """Northfield holds Elena's priors; Lakeside has just examined her."""

    north: Facility
    lake: Facility
    code: str
    code_of_otto: str


class Console:
    """A clinician's browser: what it asked for, and how much that was."""

    def __init__(self, context: BrowserContext, facility: Facility) -> None:
        self.page = context.new_page()
        self.facility = facility
        self.addresses: list[str] = []
        self.weights: dict[str, int] = {}
        context.on("request", self._asked)
        context.on("response", self._answered)

    def go(self, place: str) -> None:
        self.page.goto(f"{self.facility.api}/console/{place}")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).first.click()

    def priors(self) -> None:
        """Until everybody was asked."""
        expect(self.page.locator("#priors")).not_to_have_attribute("hx-get", re.compile("."))

    def whole(self) -> None:
        """The page as it is has no barrier, fits a phone, and is light."""
        assert axe_violations(self.page) == [], self.page.url
        for size in sizes(self.page):
            if size == "phone":
                width = self.page.evaluate("document.documentElement.scrollWidth")
                assert width <= PHONE[0], f"{self.page.url} is {width} wide on a phone"
        weight = len(self.page.content().encode()) + sum(self.weights.values())
        assert weight < MOST_BYTES, f"{self.page.url} weighs {weight}"

    def _asked(self, request: Request) -> None:
        self.addresses.append(request.url)

    def _answered(self, response: Response) -> None:
        if "/assets/" in response.url and response.request.resource_type in {"stylesheet", "script"}:
            self.weights[response.url] = int(response.headers.get("content-length", "0"))


def mr_files(folder: Path) -> None:
    """A real MR of the brain, as Elena's at Northfield."""
    folder.mkdir()
    for number, source in enumerate(sorted(BRAIN.glob("*.dcm")), 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # test data is odd on purpose
            ds = pydicom.dcmread(source)
            ds.SpecificCharacterSet, ds.PatientName, ds.PatientID = "ISO_IR 192", ELENA, CT.patient_id
            ds.PatientBirthDate, ds.PatientSex = CT.birth_date, CT.sex
            ds.StudyDate, ds.StudyDescription, ds.BodyPartExamined = "20240316", "MR brain", "BRAIN"
            for stray in list(ds.group_dataset(0x0000)):
                del ds[stray.tag]
            ds.save_as(folder / f"{number:03}.dcm")


@pytest.fixture(scope="module")
def two(facility: Callable[..., Facility], tmp_path_factory: pytest.TempPathFactory) -> Two:
    north, lake = facility("Northfield"), facility("Lakeside", LEVERET_ANNOUNCE_INTERVAL="1")
    folder = tmp_path_factory.mktemp("media")
    CT.write(folder / "ct")
    (folder / "ct" / "dose.dcm").write_bytes(dose_report(CT, "412.5"))
    mr_files(folder / "mr")
    OWN.write(folder / "own")
    OTTO.write(folder / "otto")
    north.run("import", *(str(folder / name) for name in ("ct", "mr", "otto")))
    lake.run("import", str(folder / "own"))
    pair(north, lake)
    north.run("peers", "policy", "Lakeside", f"max_rate={SLOW}")
    north.run("announce")
    who = ("--patient-id", LOCAL_ID)
    wait_for(lambda: len(lake.run("priors", *who)["peers"][0]["studies"]) == 2)
    codes = [north.run("share-code", "create", "--patient-id", one.patient_id)["code"] for one in (CT, OTTO)]
    return Two(north, lake, *codes)


@pytest.fixture
def console(two: Two, new_context: Callable[..., BrowserContext]) -> Iterator[Console]:
    """At Lakeside; no address but those of the viewer names a patient or a study."""
    one = Console(new_context(), two.lake)
    yield one
    secrets = (CT.patient_id, LOCAL_ID, "Garcia", "GARCIA", CT.study_uid, OWN.study_uid, two.code)
    for address in one.addresses:
        if not any(part in address for part in NAMING):
            assert not any(secret in address for secret in secrets), address


def test_from_signing_in_to_the_prior_that_has_just_come(two: Two, console: Console, shot: Shot, watch: Watch) -> None:
    page = console.page
    two.lake.user()
    console.go("")
    console.whole()
    shot(page, "console-login")
    sign_in(page, two.lake)

    page.keyboard.press("/")
    page.keyboard.type(LOCAL_ID)
    page.keyboard.press("Enter")
    console.priors()
    expect(page.get_by_text("1 study here, 2 elsewhere.")).to_be_visible()
    titles = page.locator(".lv-study__title").all_inner_texts()
    assert titles[0] == "CT chest", "what is being read"
    assert titles[1:] == ["CT chest", "MR head"], "the most relevant first"
    expect(page.get_by_text("you are reading this")).to_be_visible()
    wait_for(lambda: shades(page.locator(".lv-thumb img").first) > 8)
    console.whole()
    shot(page, "console-patient")

    page.locator(".lv-study", has_text="at Northfield").first.get_by_role("button", name="Ask for it").click()
    console.whole()
    shot(page, "console-ask")
    watch.expect("status of 4")
    console.press("Ask Northfield")
    expect(page.get_by_role("alert")).to_contain_text("Enter the patient's code")
    console.whole()
    page.get_by_label("Code", exact=True).fill(two.code)
    page.get_by_label("MR head").check()
    console.press("Ask Northfield")
    page.wait_for_url("**/console/requests/*")
    expect(page.locator(".lv-progress__label")).not_to_have_text(re.compile("Images\\s*0 /"))
    shot(page, "console-progress")
    expect(page.get_by_role("heading", name="What did it change?")).to_be_visible(timeout=60_000)  # by itself
    wait_for(lambda: shades(page.locator(".lv-thumb img").first) > 8)
    console.whole()

    page.get_by_label("It spared a repeat examination that was ordered").check()
    page.get_by_label("Which examination was spared").select_option("CT of the chest")
    console.press("Confirm")
    expect(page.get_by_text("an order was cancelled")).to_be_visible()
    console.go("meter")
    expect(page.get_by_text("dose length product 412.5")).to_be_visible()
    console.whole()
    shot(page, "console-meter")

    console.go("find")
    page.get_by_role("link", name=re.compile("garcia", re.IGNORECASE)).first.click()
    page.get_by_role("button", name="View MR brain").click()
    assert "/viewer/viewer?StudyInstanceUIDs=" in page.url
    wait_for_image(page)


def test_every_other_page_is_whole(two: Two, console: Console, watch: Watch) -> None:
    watch.expect("status of 4")
    sign_in(console.page, two.lake)
    for place in ("find", "requests", "offers", "deliveries", "help", "meter"):
        console.go(place)
        console.whole()
    console.go("find")
    console.page.get_by_label("Patient ID, accession number or name").fill("nobody of this name")
    console.press("Find")
    expect(console.page.get_by_text("Nobody found here")).to_be_visible()
    console.page.get_by_label("Family name").fill("Garcia")
    console.whole()
    console.press("Look there")
    expect(console.page.get_by_role("alert")).to_be_visible()
    console.whole()
    console.go("studies/nothing")
    expect(console.page.get_by_role("heading")).to_contain_text("This address has ended")
    console.whole()

    console.go("find")
    console.page.get_by_label("Patient ID, accession number or name").fill(LOCAL_ID)
    console.press("Find")
    console.priors()
    console.page.keyboard.press("j")  # to the first study of the list, and to its page
    console.page.keyboard.press("Enter")
    expect(console.page.get_by_role("heading", name="Offer to a facility")).to_be_visible()
    console.whole()
    console.page.get_by_role("button", name="Offer", exact=True).click()
    console.whole()
    console.page.keyboard.press("?")
    expect(console.page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    console.page.get_by_label("Use single-key shortcuts").uncheck()
    console.page.locator("h1").click()
    console.page.keyboard.press("/")
    assert console.page.url.endswith("/console/help"), "switched off"
    console.press("Sign out")
    console.page.wait_for_url("**/console/login")


def test_the_whole_way_without_scripts(two: Two, new_context: Callable[..., BrowserContext]) -> None:
    page = new_context(java_script_enabled=False).new_page()
    sign_in(page, two.lake)
    page.get_by_text("The patient has no images here").click()
    page.get_by_label("Family name").fill("muller")
    page.get_by_label("Given names").fill("Otto")
    page.get_by_label("Birth date").fill("1951-12-30")
    page.get_by_label("Sex").select_option("Male")
    page.get_by_role("button", name="Look there").click()
    page.get_by_role("link", name="Ask 1 facility for earlier studies").click()
    page.get_by_role("button", name="Ask for it").click()
    page.get_by_label("Code", exact=True).fill(two.code_of_otto)
    page.get_by_role("button", name="Ask Northfield").click()
    expect(page.get_by_role("heading", name="What did it change?")).to_be_visible(timeout=60_000)  # it is reloaded
    page.get_by_role("link", name="CT chest").click()
    expect(page.get_by_text("2023")).to_be_visible()
