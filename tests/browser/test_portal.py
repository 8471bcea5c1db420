"""The whole way of a patient on two nodes: see, share by code and by link, read who looked, take it back.

Every page of the portal is looked at by axe-core at both widths and in both languages on the way.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pydicom.uid import UID
from support.browser import Watch, axe_violations, passkey_device, shades, sign_in
from support.facility import Facility, pair, wait_for
from support.viewer import dataset_of, pdf
from support.zoo import brain

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

PATIENT = {"PatientID": "P-1", "PatientName": "García^Elena", "PatientBirthDate": "19610203", "PatientSex": "F"}
STUDY_UID = "1.2.826.0.1.3680043.10.543.77.1"
SHADES = 24  # of grey that a picture of a patient has at least, and a blank one has not
FIRST_PAGE = 100_000  # bytes that may cross the line until the first page is there

NewContext = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def north(facility: Callable[..., Facility], tmp_path_factory: pytest.TempPathFactory) -> Facility:
    """A facility with a patient's MR of the head, a structured report and a PDF."""
    folder = tmp_path_factory.mktemp("elena")
    images = [pydicom.dcmread(io.BytesIO(data)) for data in brain()]
    for number, one in enumerate([*images, pdf(), dataset_of("test-SR.dcm")], 1):
        for tag in [tag for tag in one.keys() if tag.group == 0]:  # noqa: SIM118 - a dataset iterates over elements
            del one[tag]  # left over from the network that these files came by
        for keyword, value in PATIENT.items():
            setattr(one, keyword, value)
        one.SpecificCharacterSet, one.StudyInstanceUID = "ISO_IR 192", STUDY_UID
        one.StudyDate, one.StudyDescription, one.BodyPartExamined = "20260312", "MR head without contrast", "HEAD"
        if number > len(images):
            one.SeriesNumber, one.SeriesInstanceUID = number, f"{STUDY_UID}.{number}"
            one.SeriesDescription = "Letter" if "EncapsulatedDocument" in one else "Report"
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY_UID}.{number}.1")
        one.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    made = facility("Northern Hospital")
    made.run("import", str(folder))
    return made


@pytest.fixture(scope="module")
def south(north: Facility, facility: Callable[..., Facility]) -> Facility:
    """The hospital that Elena goes to next."""
    made = facility("Southern Clinic")
    pair(north, made)
    wait_for(lambda: made.run("status")["peers"]["connected"] == 1)
    return made


def named(facility: Facility) -> str:
    """The address by which passkeys work."""
    return facility.api.replace("127.0.0.1", "localhost")


def enrol(north: Facility, page: Page) -> None:
    letter = north.run("portal", "invite", "--patient-id", "P-1")
    passkey_device(page)
    page.goto(f"{named(north)}/portal/enrol#{letter['code']}")
    for field, value in (("day", "3"), ("month", "2"), ("year", "1961")):
        page.locator(f"#f-{field}").fill(value)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Make a passkey").click()
    page.wait_for_url("**/portal/studies")


def weight_of_first_page(context: BrowserContext, address: str) -> int:
    """Bytes of everything that the first page loads, as it crosses the line."""
    page, sizes = context.new_page(), []
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    page.goto(address, wait_until="networkidle")
    page.close()
    return sum(sizes)


class Elena:
    """The patient's browser, and what she does with it."""

    def __init__(self, north: Facility, page: Page, shot: Any) -> None:
        self.at = f"{named(north)}/portal"
        self.page = page
        self.shot = shot

    def open(self, path: str, name: str = "") -> None:
        self.page.goto(self.at + path)
        self.look(name)

    def look(self, name: str = "") -> None:
        """Nothing is wrong with this page, in English and in Spanish; a picture for the docs."""
        assert axe_violations(self.page) == []
        if name:
            self.shot(self.page, f"portal-{name}")

    def button(self, name: str) -> None:
        self.page.get_by_role("button", name=name).first.click()


@pytest.fixture
def elena(north: Facility, page: Page, shot: Any) -> Elena:
    enrol(north, page)
    return Elena(north, page, shot)


def test_the_whole_way(elena: Elena, south: Facility, new_context: NewContext, watch: Watch, tmp_path: Path) -> None:
    assert weight_of_first_page(new_context(), f"{elena.at}/") < FIRST_PAGE
    page = elena.page
    sees_images_and_reports(elena)
    downloads(elena, tmp_path)
    code = shares_by_code(elena)
    the_next_hospital_fetches(south, code)
    link, passcode = shares_by_link(elena)
    somebody_opens_the_link(new_context, link, passcode)
    elena.open("/history")
    expect(page.get_by_text("Southern Clinic").first).to_be_visible()
    expect(page.get_by_text("opened the link").first).to_be_visible()
    takes_back(elena)
    watch.expect("status of 404")
    late = new_context().new_page()
    late.goto(link)
    open_link(late, passcode)
    expect(late.get_by_role("heading", level=1)).to_have_text("This link does not work any more")
    again = south.call("request", "--from", "Northern Hospital", "--study", STUDY_UID, "--share-code", code, "--wait")
    assert again.returncode == 1, "the code is revoked, too"


def sees_images_and_reports(elena: Elena) -> None:
    page = elena.page
    elena.look("studies")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your images")
    thumbnail = page.locator(".pt-thumb img").first
    wait_for(lambda: shades(thumbnail) > SHADES)
    page.get_by_role("link", name="MRI scan of the head").click()
    elena.look("study")
    assert STUDY_UID not in page.url
    assert STUDY_UID not in page.content()
    page.locator(".pt-series a").filter(has=page.locator("img")).first.click()
    picture = page.locator("[data-stage] img")
    wait_for(lambda: shades(picture) > SHADES)
    elena.look("viewer")
    before = picture.screenshot()
    page.locator("[data-stage]").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(page.locator("[data-count]")).to_have_text("Image 9 of 20")
    expect(page.locator("[data-wait]")).to_be_hidden()
    wait_for(lambda: picture.screenshot() != before)
    page.keyboard.press("+")
    expect(page.locator("[data-stage]")).to_have_class(re.compile("pt-stage--zoomed"))
    page.keyboard.press("0")
    page.locator("[data-slide]").fill("20")
    expect(page.locator("[data-count]")).to_have_text("Image 20 of 20")
    page.reload()
    expect(page.locator("[data-count]")).to_have_text("Image 20 of 20")
    page.get_by_role("link", name="MRI scan of the head").click()
    page.get_by_role("link", name=re.compile("Report$")).click()
    expect(page.locator(".pt-report")).not_to_be_empty()
    elena.look()
    page.get_by_role("link", name="MRI scan of the head").click()
    page.get_by_role("link", name=re.compile("Letter$")).click()
    elena.look()


def downloads(elena: Elena, folder: Path) -> None:
    elena.open("/studies")
    with elena.page.expect_download() as download:
        elena.page.get_by_role("button", name="Download all").click()
    download.value.save_as(folder / "images.zip")
    assert b"DICOMDIR" in (folder / "images.zip").read_bytes()


def shares_by_code(elena: Elena) -> str:
    page = elena.page
    elena.open("/sharing")
    elena.open("/sharing/new")
    page.get_by_role("button", name="Make a code").click()
    page.locator("input[name=studies]").first.check()
    elena.look()
    elena.button("See what they will see")
    expect(page.get_by_role("heading", level=1)).to_have_text("This is what they will see")
    expect(page.get_by_text("Elena García")).to_be_visible()
    elena.look("share-preview")
    elena.button("Yes, share this")
    elena.look("share-code")
    return page.locator("#code").inner_text()


def the_next_hospital_fetches(south: Facility, code: str) -> None:
    """A clinician there types the code."""
    south.token("anna")
    done = south.run(
        "request", "--from", "Northern Hospital", "--study", STUDY_UID, "--share-code", code, "--wait", "--as", "anna"
    )
    assert (done["state"], done["instances"]) == ("COMPLETED", 22)


def shares_by_link(elena: Elena) -> tuple[str, str]:
    page = elena.page
    elena.open("/sharing/link")
    page.locator("input[name=studies]").first.check()
    page.get_by_label("Title").fill("MR of the head, for the neurologist")
    passcode = page.get_by_label("Passcode").input_value()
    assert re.fullmatch("[0-9]{8}", passcode)
    elena.button("See what they will see")
    elena.look()
    elena.button("Yes, share this")
    elena.look()
    return page.locator("#link").inner_text().strip(), passcode


def open_link(page: Page, passcode: str) -> None:
    page.get_by_label("Your name").fill("Dr. Wong")
    page.get_by_label("Passcode").fill(passcode)
    page.get_by_role("button", name="Open", exact=True).click()


def somebody_opens_the_link(new_context: NewContext, link: str, passcode: str) -> None:
    """In a clean browser."""
    page = new_context().new_page()
    page.goto(link)
    open_link(page, passcode)
    expect(page.get_by_role("heading", level=1)).to_have_text("Images of Elena García")


def takes_back(elena: Elena) -> None:
    page = elena.page
    elena.open("/sharing", "sharing")
    for _ in range(2):
        elena.button("Stop sharing")
        expect(page.get_by_role("heading", level=1)).to_have_text("Stopped")
        elena.look()
        page.get_by_role("button", name="Back to sharing").click()
    expect(page.get_by_text("Nothing is shared.")).to_be_visible()


def test_every_page_in_spanish_and_bringing_and_asking(
    north: Facility, new_context: NewContext, shot: Any, tmp_path: Path
) -> None:
    context = new_context(locale="es-MX")
    english = context.new_page()
    letter = north.run("portal", "invite", "--patient-id", "P-1")
    passkey_device(english)
    english.goto(f"{named(north)}/portal/enrol#{letter['code']}")
    for field, value in (("day", "3"), ("month", "2"), ("year", "1961")):
        english.locator(f"#f-{field}").fill(value)
    english.locator("main button[type=submit]").click()
    english.locator("form[data-passkey] button, button[data-passkey]").first.click()
    english.wait_for_url("**/portal/studies")
    elena = Elena(north, english, shot)
    expect(english.locator("html")).to_have_attribute("lang", "es")
    elena.look("studies-es")
    links = [link.get_attribute("href") for link in english.locator(".pt-study a").all()]
    assert links
    for path in (f"{links[0]}", f"{links[0]}/series/1", f"{links[0]}/documents/1", f"{links[0]}/documents/2"):
        elena.open(path.removeprefix("/portal"))
    for path in (
        "/sharing", "/sharing/new", "/sharing/code", "/sharing/facility", "/sharing/link", "/sharing/deny", "/uploads",
        "/messages", "/messages/new",
    ):  # fmt: skip
        elena.open(path)

    elena.open("/uploads")
    english.locator("main form .lv-button").first.click()
    elena.look("upload-es")
    folder = tmp_path / "cd"
    folder.mkdir()
    image = pydicom.dcmread(io.BytesIO(brain()[0]))
    for tag in [tag for tag in image.keys() if tag.group == 0]:  # noqa: SIM118 - a dataset iterates over elements
        del image[tag]
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY_UID}.9.9")
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{STUDY_UID}.9", f"{STUDY_UID}.9.8"
    image.save_as(folder / "IM0", enforce_file_format=True)
    (folder / "VIEWER.EXE").write_bytes(b"MZ")
    english.locator("#f-files").set_input_files([folder / "IM0", folder / "VIEWER.EXE"])
    english.get_by_role("button", name="Enviar").click()
    english.wait_for_url("**/uploads?done=sent")
    elena.look()
    expect(english.get_by_text("Espera a que alguien lo revise")).to_be_visible()

    elena.open("/messages/new")
    english.locator("textarea").fill("Falta el informe.")
    english.get_by_role("button", name="Enviar").click()
    elena.look()
    staff_answers(north, new_context, shot)
    elena.open("/messages")
    expect(english.get_by_text("It is there now.")).to_be_visible()


def staff_answers(north: Facility, new_context: NewContext, shot: Any) -> None:
    page = new_context().new_page()
    sign_in(page, north)
    page.goto(f"{north.api}/console/uploads")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Compare").first.click()
    assert axe_violations(page) == []
    shot(page, "console-upload")
    page.goto(f"{north.api}/console/amendments")
    assert axe_violations(page) == []
    page.locator("textarea").fill("It is there now.")
    page.get_by_role("button", name="Send the answer").click()
    page.wait_for_url("**/amendments?done=answered")
