"""A patient's way in, in a real browser: from the printed letter to a passkey, out, and in again."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from support.browser import axe_violations, passkey_device, sign_in
from support.ct import CtStudy
from support.facility import Facility

pytestmark = pytest.mark.peers

ANA = CtStudy(instances=2, patient_id="ANA-1", patient_name="Garcia^Ana", birth_date="19640327", rows=64, seed=1)


@pytest.fixture(scope="module")
def north(facility: Callable[..., Facility], tmp_path_factory: pytest.TempPathFactory) -> Facility:
    one = facility("north")
    folder = tmp_path_factory.mktemp("ana")
    ANA.write(folder)
    one.run("import", str(folder))
    return one


def named(facility: Facility) -> str:
    """The address by which passkeys work."""
    return facility.api.replace("127.0.0.1", "localhost")


def letter_of(north: Facility, page: Page, shot: Any) -> tuple[str, str]:
    """A clinician makes the letter and prints it: the code, and what the QR code opens."""
    sign_in(page, north)
    page.goto(f"{north.api}/console/find")
    page.get_by_role("searchbox").or_(page.locator("[data-search]")).first.fill("ANA-1")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Patient portal").click()
    assert axe_violations(page) == []
    page.get_by_role("button", name="Make the letter").first.click()
    assert axe_violations(page) == []
    shot(page, "console-portal-letter")
    code = page.locator(".lt-code p").inner_text()
    return code, f"{named(north)}/portal/enrol#{code}"


def fill_birth_date(page: Page, day: str, month: str, year: str) -> None:
    for field, value in (("day", day), ("month", month), ("year", year)):
        page.locator(f"#f-{field}").fill(value)


def test_from_the_letter_to_the_images_and_back(
    north: Facility, page: Page, new_context: Callable[..., BrowserContext], shot: Any, watch: Any
) -> None:
    code, address = letter_of(north, page, shot)
    ana = new_context().new_page()
    passkey_device(ana)
    ana.goto(f"{named(north)}/portal/")
    assert axe_violations(ana) == []

    ana.goto(address)
    expect(ana.locator("#f-code")).to_have_value(code)
    assert "#" not in ana.url, "the code stays in no history"
    assert axe_violations(ana) == []
    shot(ana, "portal-enrol")
    watch.expect("status of 403")
    fill_birth_date(ana, "28", "3", "1964")
    ana.get_by_role("button", name="Go on").click()
    expect(ana.get_by_role("alert")).to_contain_text("do not go together")
    assert axe_violations(ana) == []
    fill_birth_date(ana, "27", "3", "1964")
    ana.get_by_role("button", name="Go on").click()
    expect(ana.get_by_role("heading", level=1)).to_have_text("Welcome, Ana")
    assert axe_violations(ana) == []
    shot(ana, "portal-enrol-choose")
    ana.get_by_role("button", name="Make a passkey").click()
    ana.wait_for_url("**/portal/studies")

    ana.goto(f"{named(north)}/portal/account")
    assert axe_violations(ana) == []
    shot(ana, "portal-account")
    ana.get_by_role("button", name="Sign out").click()
    ana.wait_for_url("**/portal/")
    ana.get_by_role("button", name="Sign in").click()
    assert axe_violations(ana) == []
    ana.get_by_role("button", name="Sign in with a passkey").click()
    ana.wait_for_url("**/portal/studies")

    ana.goto(f"{named(north)}/portal/history")
    expect(ana.get_by_text("You signed in.").first).to_be_visible()
    assert axe_violations(ana) == []
    shot(ana, "portal-history")
    ana.goto(f"{named(north)}/portal/account/passphrase")
    assert axe_violations(ana) == []
    ana.goto(f"{named(north)}/portal/account/alerts")
    assert axe_violations(ana) == []
    ana.goto(f"{named(north)}/portal/verify")
    assert axe_violations(ana) == []
    ana.get_by_role("button", name="Español").click()
    expect(ana.get_by_role("heading", level=1)).to_have_text("¿Es usted?")
    ana.locator("form[data-passkey] button").click()
    ana.wait_for_url("**/portal/studies")
