"""A SMART Health Link in a clean browser: no account, no cookie, the key never leaves the page."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import Page, Request, expect
from support.browser import Watch, axe_violations, shades
from support.facility import Facility, wait_for
from support.viewer import dataset_of, pdf
from support.zoo import brain

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]
PATIENT, PASSCODE, RECIPIENT = "P-1", "482913", "Dr. Wong, Lakeside Practice"
LABEL = "MR of the head, for the neurologist"
ORDER = ("--patient-id", PATIENT, "--consent", "said so at the desk")
PATIENT_MS = 30_000  # the first picture starts worker processes
SHADES = 24  # of grey that a picture of a patient has at least, and a blank one has not
SECRETS = ("shlink", "eyJ1cmwi")  # the scheme, and how every payload begins


@pytest.fixture(scope="module")
def north(facility: Callable[..., Facility], tmp_path_factory: pytest.TempPathFactory) -> Facility:
    """A facility with one patient's MR of the head, its report as PDF and a structured one."""
    folder = tmp_path_factory.mktemp("media")
    images = [pydicom.dcmread(io.BytesIO(data)) for data in brain()]
    for number, dataset in enumerate([*images, pdf(), dataset_of("test-SR.dcm")], 1):
        for tag in [tag for tag in dataset.keys() if tag.group == 0]:  # noqa: SIM118 - a dataset iterates over elements
            del dataset[tag]  # left over from the network that these files came by
        dataset.StudyInstanceUID = images[0].StudyInstanceUID
        dataset.PatientID, dataset.PatientName = PATIENT, "García^Elena"
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientBirthDate, dataset.PatientSex = "19610203", "F"
        dataset.StudyDate, dataset.StudyDescription = "20260312", "MR head without contrast"
        if number > len(images):
            dataset.SeriesNumber = 90 + number  # behind the images, where viewers show the first
            dataset.SeriesInstanceUID = f"{images[0].StudyInstanceUID}.{number}"
            dataset.SOPInstanceUID = f"{images[0].StudyInstanceUID}.{number}.1"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    made = facility("Northern Hospital")
    made.run("import", str(folder))
    return made


def make(north: Facility, *options: str, passcode: str = "") -> dict[str, Any]:
    """A link, made by staff."""
    order = ["health-link", "create", *ORDER, *options]
    if passcode:
        order += ["--passcode-file", "-"]
    made: dict[str, Any] = north.run(*order, stdin=f"{passcode}\n")
    return made


def open_link(page: Page, passcode: str = "") -> None:
    page.get_by_label("Your name").fill(RECIPIENT)
    if passcode:
        page.get_by_label("Passcode").fill(passcode)
    page.get_by_role("button", name="Open", exact=True).click()


def test_a_doctor_opens_a_link(
    page: Page, north: Facility, watch: Watch, shot: Callable[..., None], tmp_path: Path
) -> None:
    made = make(north, "--label", LABEL, passcode=PASSCODE)
    asked: list[Request] = []
    page.context.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - playwright marks its handlers
    page.goto(made["viewer_url"])
    expect(page.get_by_role("heading", level=1)).to_have_text("Images were shared with you")
    expect(page.get_by_text(LABEL)).to_be_visible()
    assert axe_violations(page) == []
    shot(page, "health-link-start")

    watch.expect("status of 401")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_text("Please say who you are.")).to_be_visible()
    open_link(page, "000000")
    expect(page.get_by_role("alert")).to_contain_text("Attempts that are left: 4.")
    assert axe_violations(page) == []
    open_link(page, PASSCODE)
    expect(page.get_by_role("heading", level=1)).to_have_text("Images of Elena García", timeout=PATIENT_MS)
    expect(page.get_by_text("Born on 3 February 1961. Shared by Northern Hospital.")).to_be_visible()
    card = page.locator(".pt-study")
    expect(card).to_contain_text("MRI scan")
    expect(card).to_contain_text("12 March 2026")
    thumbnail = card.locator("img")
    expect(thumbnail).to_be_visible(timeout=PATIENT_MS)
    assert shades(thumbnail) > SHADES
    assert axe_violations(page) == []
    shot(page, "health-link")

    look_at_images(page, shot)
    reports(page, tmp_path)
    assert page.context.cookies() == [], "nothing so far needed one"
    sent = "".join(f"{one.url} {one.headers} {one.post_data or ''}" for one in asked)
    assert not [secret for secret in SECRETS if secret in sent]
    assert key_of(made) not in sent, "the key stays in the browser"
    full_viewer_and_archive(page, made, tmp_path)

    (listed,) = [one for one in north.run("health-link", "list")["health_links"] if one["link_id"] == made["link_id"]]
    assert (listed["state"], listed["used"], listed["failures"]) == ("ACTIVE", 1, 1)
    assert "set [api] public_url" in north.call("health-link", "create", *ORDER).stdout
    assert RECIPIENT in north.call("health-link", "show", made["link_id"]).stdout
    page.goto("about:blank")  # OHIF, which goes on loading, does not take a 401 well
    page.goto(made["viewer_url"].partition("#")[0])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    assert not [one for one in page.context.cookies() if "session" in one["name"]]
    page.goto("about:blank")
    watch.expect("status of 404")
    north.run("health-link", "revoke", made["link_id"])
    page.goto(made["viewer_url"])
    open_link(page, PASSCODE)
    expect(page.get_by_role("heading", level=1)).to_have_text("This link does not work any more")
    assert axe_violations(page) == []
    shot(page, "health-link-over")


def look_at_images(page: Page, shot: Callable[..., None]) -> None:
    page.get_by_role("button", name="Look at the images").click()
    picture = page.locator("[data-image]")
    expect(picture).to_be_visible(timeout=PATIENT_MS)
    wait_for(lambda: shades(picture) > SHADES)
    count = page.locator("[data-count]")
    first = count.inner_text()
    page.locator("[data-stage]").focus()
    page.keyboard.press("ArrowRight")
    expect(count).not_to_have_text(first)
    page.keyboard.press("Home")
    expect(count).to_contain_text("Image 1 of")
    expect(page.locator("[data-wait]")).to_be_hidden()
    assert axe_violations(page) == []
    shot(page, "health-link-images")
    page.get_by_role("button", name="Back to the list").click()
    expect(page.get_by_role("button", name="Look at the images")).to_be_focused()


def reports(page: Page, folder: Path) -> None:
    """The PDF is saved as it was stored; the structured report is readable in the page."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the report").click()
    download.value.save_as(folder / "report.pdf")
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")
    expect(page.locator(".hl-text pre")).not_to_be_empty()


def full_viewer_and_archive(page: Page, made: dict[str, Any], folder: Path) -> None:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all images (ZIP)").click()
    download.value.save_as(folder / "images.zip")
    assert b"DICOMDIR" in (folder / "images.zip").read_bytes()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.get_by_role("button", name="Open all in the full viewer").click()
    page.wait_for_url("**/viewer/viewer?StudyInstanceUIDs=*", wait_until="commit")
    canvas = page.locator("canvas.cornerstone-canvas").first
    expect(canvas).to_be_visible(timeout=PATIENT_MS)
    wait_for(lambda: shades(canvas) > SHADES)
    assert key_of(made) not in page.url


def payload_of(made: dict[str, Any]) -> dict[str, Any]:
    """What a link says."""
    encoded = made["shlink"].removeprefix("shlink:/")
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    return said


def key_of(made: dict[str, Any]) -> str:
    return str(payload_of(made)["key"])


def test_links_that_lead_nowhere_say_why(
    page: Page, new_context: Callable[..., Any], north: Facility, watch: Watch
) -> None:
    heading = page.get_by_role("heading", level=1)

    def says(address: str, words: str) -> None:
        page.goto("about:blank")
        page.goto(address)
        expect(heading).to_have_text(words)
        assert axe_violations(page) == []

    made = make(north)
    viewer, _, _ = made["viewer_url"].partition("#")
    says(viewer, "There is no link in this address")
    says(f"{viewer}#shlink:/eyJ1", "There is no link in this address")
    says(f"{viewer}#shlink:/{changed(made, url='https://elsewhere.example/shl/x')}", "This link leads to another site")
    says(f"{viewer}#shlink:/{changed(made, v=2)}", "This link is newer than this page")
    says(f"{viewer}#shlink:/{changed(made, exp=1_700_000_000)}", "This link does not work any more")
    expect(page.get_by_text("It was good until 14 November 2023")).to_be_visible()
    says(f"{viewer}#shlink:/{changed(made, key='A' * 43)}", "Images were shared with you")
    open_link(page)
    expect(heading).to_have_text("What was shared cannot be decrypted")

    markup = "<img src=x onerror=alert(1)>"
    alone = make(north, "--direct", "--label", markup)
    page.goto("about:blank")
    page.goto(alone["viewer_url"])
    expect(page.get_by_text(markup)).to_be_visible()
    open_link(page)
    expect(heading).to_have_text("Images of Elena García", timeout=PATIENT_MS)
    expect(page.get_by_role("link", name="Save the report")).to_be_visible()
    expect(page.get_by_role("button", name="Look at the images")).to_be_hidden()
    expect(page.get_by_role("button", name="Open all in the full viewer")).to_be_hidden()

    watch.expect("status of 40[14]")
    guarded = make(north, passcode=PASSCODE)
    page.goto("about:blank")
    page.goto(guarded["viewer_url"])
    for remaining in (4, 3, 2, 1):
        open_link(page, "111111")
        expect(page.get_by_role("alert")).to_contain_text(f"left: {remaining}.")
    open_link(page, "111111")
    expect(heading).to_have_text("This link is closed now")

    spanish = new_context(locale="es-MX").new_page()
    spanish.goto(made["viewer_url"])
    expect(spanish.get_by_role("heading", level=1)).to_have_text("Han compartido imágenes con usted")
    spanish.get_by_role("button", name="English").click()
    expect(spanish.get_by_role("heading", level=1)).to_have_text("Images were shared with you")

    plain = new_context(java_script_enabled=False).new_page()
    plain.goto(made["viewer_url"])
    expect(plain.get_by_role("heading", level=1).first).to_have_text("This page needs JavaScript")


def changed(made: dict[str, Any], **members: Any) -> str:
    """The payload of a link with other members."""
    return base64.urlsafe_b64encode(json.dumps(payload_of(made) | members).encode()).rstrip(b"=").decode()
