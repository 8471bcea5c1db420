"""OHIF, as the node serves it: a prior that has just arrived from another facility, every codec, reports, and scope."""

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pydicom import dcmread
from support.browser import FIRST_IMAGE_MS, Watch, axe_violations, sign_in, wait_for_image
from support.ct import CtStudy
from support.facility import Facility, pair, peer_id, wait_for
from support.viewer import PATIENT, STUDY, dataset_of, file_of, pdf
from support.zoo import BRAIN

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]

SERIES = (  # each is decoded by another codec of the viewer
    "MR_small.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-LL.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
)
REPORT = (
    b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 420 300]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj
4 0 obj<</Length 60>>stream
BT /F1 24 Tf 40 200 Td (MR of the brain: no finding.) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
%%EOF
"""
    + b"%" * 4000
)  # larger than what metadata hold themselves
OWN = CtStudy(instances=6, smooth=True)
GROWING = CtStudy(instances=3, smooth=True, seed=7, patient_id="G-1", patient_name="Growing^Greta")
COMING = CtStudy(instances=3, rows=128, seed=8, patient_id="C-1", patient_name="Coming^Carl")


@dataclass
class Pair:
    north: Facility
    lake: Facility


@pytest.fixture(scope="module")
def two(facility: Callable[..., Facility], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two facilities. The first holds a study; the second has got it by a share code, and has one of its own."""
    north, lake = facility("north"), facility("lake")
    folder = tmp_path_factory.mktemp("media")
    for number, name in enumerate(SERIES, 1):
        dataset = dataset_of(name)
        dataset.SeriesNumber, dataset.SeriesDescription = number, name.removesuffix(".dcm")
        (folder / name).write_bytes(file_of(name, dataset))
    report = pdf()
    report.SeriesNumber, report.EncapsulatedDocument, report.EncapsulatedDocumentLength = 99, REPORT, len(REPORT)
    (folder / "report.dcm").write_bytes(file_of("report", report))
    north.run("import", str(folder))
    pair(north, lake)
    code = north.run("share-code", "create", "--patient-id", PATIENT)
    ask = ("request", "--from", peer_id(north), "--study", STUDY, "--share-code", "-", "--wait")
    assert lake.run(*ask, stdin=code["code"])["state"] == "COMPLETED"
    own = tmp_path_factory.mktemp("own")
    OWN.write(own)
    lake.run("import", str(own), str(BRAIN))
    return Pair(north, lake)


def viewer_of(facility: Facility, study: str) -> str:
    return f"{facility.api}/viewer/viewer?StudyInstanceUIDs={study}"


def wait_for_thumbnails(page: Page, count: int) -> None:
    """Until each series of the list shows a picture."""
    pictures = page.locator("[data-cy=study-browser-thumbnail] img")
    expect(pictures).to_have_count(count, timeout=FIRST_IMAGE_MS)
    for number in range(count):
        picture = pictures.nth(number)
        wait_for(lambda one=picture: one.evaluate("image => image.complete && image.naturalWidth > 0"))


def test_who_is_not_signed_in_is_asked_to(page: Page, two: Pair, watch: Watch) -> None:
    page.goto(viewer_of(two.lake, STUDY))
    assert "/console/login" in page.url
    answer = page.context.request.get(f"{two.lake.api}/viewer/app-config.js")
    assert answer.status == 401
    sign_in(page, two.lake, "olga", "operator")
    watch.expect("status of 403")
    watch.expect("status of 404")  # pages of the console that come with other parts
    page.goto(f"{two.lake.api}/viewer/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.locator("#root").count() == 0, "operators do not look at images"


def test_a_prior_that_has_just_arrived(page: Page, two: Pair, watch: Watch, shot: Callable[..., None]) -> None:
    watch.expect("console/")
    sign_in(page, two.lake)
    page.goto(f"{two.lake.api}/viewer/")
    results = page.get_by_test_id("study-list-results").or_(page.locator("table")).last
    expect(results).to_contain_text("Brain, Bella")
    expect(results).to_contain_text("Testperson, Conny")
    page.goto(viewer_of(two.lake, str(dcmread(next(BRAIN.glob("*.dcm"))).StudyInstanceUID)))
    wait_for_image(page)
    wait_for_thumbnails(page, 1)
    shot(page, "viewer", whole=False, phone=False)
    page.goto(viewer_of(two.lake, STUDY))
    wait_for_image(page)
    thumbnails = page.locator("[data-cy=study-browser-thumbnail]")
    expect(thumbnails).to_have_count(len(SERIES))
    wait_for_thumbnails(page, len(SERIES))
    for number in range(len(SERIES)):
        thumbnails.nth(number).dblclick()
        expect(page.locator("[data-cy=viewport-overlay-bottom-right]")).to_be_visible()
        wait_for_image(page)
    with page.expect_response(lambda answer: answer.url.endswith("/rendered")) as report:
        page.locator("[data-cy=study-browser-thumbnail-no-image]").dblclick()
    assert report.value.headers["content-type"] == "application/pdf"
    expect(page.locator("object[data$='/rendered']")).to_be_visible()


def test_a_study_that_is_still_arriving(page: Page, two: Pair, watch: Watch) -> None:
    watch.expect("console/")
    files = list(GROWING.files())
    store(two.lake, files[0])
    sign_in(page, two.lake)
    page.goto(viewer_of(two.lake, GROWING.study_uid))
    bar = page.locator("#leveret-arriving")
    expect(bar).to_contain_text("still arriving: 1 image is here so far", timeout=FIRST_IMAGE_MS)
    expect(bar.get_by_role("button")).to_have_count(0)
    store(two.lake, files[1])
    expect(bar).to_contain_text("2 images are here", timeout=FIRST_IMAGE_MS)
    bar.get_by_role("button", name="Show the new ones").click()
    wait_for_image(page)
    expect(page.locator("[data-cy=study-browser-thumbnail]")).to_contain_text("2")


def test_a_study_that_is_on_its_way_is_not_opened(page: Page, two: Pair, watch: Watch, tmp_path: Path) -> None:
    watch.expect("console/")
    COMING.write(tmp_path / "coming")
    two.north.run("import", str(tmp_path / "coming"))
    two.north.run("peers", "policy", peer_id(two.lake), "max_rate=60KB")  # about six seconds
    code = two.north.run("share-code", "create", "--patient-id", COMING.patient_id)
    ask = ("request", "--from", peer_id(two.north), "--study", COMING.study_uid, "--share-code", "-")
    sign_in(page, two.lake)
    two.lake.run(*ask, stdin=code["code"])
    wait_for(lambda: two.lake.run("transfers", "list")["transfers"][0]["instances_total"])
    page.goto(viewer_of(two.lake, COMING.study_uid))
    expect(page.get_by_role("heading", level=1)).to_have_text("This study is still arriving")
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert axe_violations(page) == []
    expect(page.get_by_role("progressbar")).to_have_count(0, timeout=FIRST_IMAGE_MS)  # by itself
    wait_for_image(page)


def store(facility: Facility, file: bytes) -> None:
    """STOW-RS of one instance; its study stays open for a while."""
    headers = {"Authorization": f"Bearer {facility.token()}", "Content-Type": "application/dicom"}
    request = urllib.request.Request(f"{facility.api}/dicom-web/studies", data=file, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def test_a_patient_sees_what_is_theirs_alone(page: Page, two: Pair, watch: Watch) -> None:
    enrol(page, two.lake, OWN)
    page.goto(f"{two.lake.api}/viewer/")
    results = page.locator("table").last
    expect(results).to_contain_text("Testperson, Conny", timeout=FIRST_IMAGE_MS)
    assert "Brain" not in results.inner_text()
    watch.expect("status of 404")
    headings = []
    for study in (STUDY, "1.2.3"):
        page.goto(viewer_of(two.lake, study))
        headings.append(page.get_by_role("heading", level=1).inner_text())
        assert page.locator("#root").count() == 0
    assert headings[0] == headings[1], "another's study is as unknown as one that never was"
    page.goto(viewer_of(two.lake, OWN.study_uid))
    wait_for_image(page)
    expect(page.get_by_role("link", name="Back to lake")).to_have_attribute("href", "/portal/")


def enrol(page: Page, facility: Facility, patient: CtStudy) -> None:
    """Open the letter and set a passphrase."""
    letter = facility.run("portal", "invite", "--patient-id", patient.patient_id)
    page.goto(f"{facility.api}/portal/enrol#{letter['code']}")
    date = patient.birth_date
    for field, value in (("day", date[6:]), ("month", date[4:6]), ("year", date[:4])):
        page.locator(f"#f-{field}").fill(value)
    page.get_by_role("button", name="Go on").click()
    page.locator("summary", has_text="passphrase").or_(page.locator("#f-passphrase")).first.click()
    page.locator("#f-name").fill("conny@example.org")
    for field in ("passphrase", "again"):
        page.locator(f"#f-{field}").fill("correct horse battery staple")
    page.locator("#f-again").press("Enter")
    page.wait_for_url("**/portal/studies")
