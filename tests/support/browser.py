"""Pages of a node in Debian's Chromium, watched: whatever a page does that it must not do fails the test.

The fixtures stand in ``tests/browser/conftest.py``: ``page`` (one page), ``new_context`` (another, clean browser),
``watch`` and ``shot``. They are not those of pytest-playwright, whose event loop runs until the end of the session, so
that no asyncio test could start after the first page; ours ends with each module.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from support.facility import Facility, wait_for
from support.peers import NODE_MODULES

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",  # tests run as root in CI
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # nothing can leave this machine
    "--disable-background-networking",
)
DESKTOP, PHONE = (1280, 800), (390, 844)  # CSS pixels
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FIRST_IMAGE_MS = 30_000  # the viewer's, with software rendering
SHADES = 24  # of grey or colour that a picture of a patient has at least, and a blank one has not
_LOCAL_SCHEMES = frozenset(
    {"data", "blob", "about", "chrome", "chrome-error", "chrome-extension"}
)  # the last: PDF viewer
_COLOURS = 256  # of a screenshot: pages have few, and the file becomes a third
_TELL_VIOLATIONS = """
addEventListener('securitypolicyviolation', (event) =>
  console.error(`CSP violation: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile || ''}`));
"""
_AXE = """
async (rules) => (await axe.run(document, {runOnly: rules, resultTypes: ['violations']})).violations.flatMap((v) =>
  v.nodes.map((n) => `${v.id}: ${v.help}: ${n.target.join(' ')}`))
"""


class Watch:
    """What went wrong in the pages of one test: requests to elsewhere, CSP violations, errors of scripts."""

    def __init__(self) -> None:
        self.external: list[str] = []
        self.errors: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def expect(self, pattern: str) -> None:
        """Errors that match are what the test is about, such as ``status of 403``."""
        self._expected.append(re.compile(pattern))

    def attach(self, context: BrowserContext) -> None:
        """Watch all pages of a browser context. Of workers only uncaught errors are seen: show that they work."""
        context.add_init_script(_TELL_VIOLATIONS)
        context.on("request", self._requested)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.errors.append(f"uncaught: {error.error}"))

    def verify(self) -> None:
        """Raises AssertionError if anything happened that must not."""
        unexpected = [e for e in self.errors if not any(p.search(e) for p in self._expected)]
        assert not self.external, f"requests that leave this machine: {self.external}"
        assert not unexpected, f"errors in the browser: {unexpected}"

    def _requested(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.scheme not in _LOCAL_SCHEMES and place.hostname not in {"127.0.0.1", "localhost"}:
            self.external.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def context_of(browser: Browser, watch: Watch, **options: Any) -> BrowserContext:
    """A clean browser of its own: no cookies, nothing kept; the same language, time zone and look on every machine."""
    width, height = DESKTOP
    settled: dict[str, Any] = {
        "viewport": {"width": width, "height": height},
        "locale": "en-US",
        "timezone_id": "UTC",
        "color_scheme": "light",
        "reduced_motion": "reduce",
    }
    context = browser.new_context(**(settled | options))
    watch.attach(context)
    return context


def sign_in(page: Page, facility: Facility, user: str = "clin", role: str = "clinician") -> None:
    """Sign a (new) user in at the console, as a person does."""
    password = facility.user(user, role)
    page.goto(f"{facility.api}/console/login")
    page.locator("input[autocomplete=username]").fill(user)
    page.locator("input[autocomplete=current-password]").fill(password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)


def axe_violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is, at desktop and phone width: rule, words, element."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((NODE_MODULES / "axe-core" / "axe.min.js").read_text() + ";0")
    found: set[str] = set()
    for size in sizes(page):
        found.update(f"{size}: {violation}" for violation in page.evaluate(_AXE, RULES))
    return sorted(found)


def sizes(page: Page) -> Iterator[str]:
    """Make the page as wide as a desktop's, then as a phone's; in the end as it was."""
    before = page.viewport_size
    try:
        for name, (width, height) in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size({"width": width, "height": height})
            yield name
    finally:
        if before is not None:
            page.set_viewport_size(before)


def take_shots(page: Page, name: str, folder: Path, *, whole: bool = True, phone: bool = True) -> None:
    """``NAME-desktop.png`` and ``NAME-phone.png``, the whole page or what fits the window, in few colours."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes(page) if phone else ("desktop",):
        with Image.open(io.BytesIO(page.screenshot(full_page=whole, animations="disabled"))) as picture:
            few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
            few.save(folder / f"{name}-{size}.png", optimize=True)


def shades(picture: Locator) -> int:
    """How many colours a part of the page shows."""
    with Image.open(io.BytesIO(picture.screenshot())) as image:
        return len(image.convert("RGB").getcolors(1 << 24) or [])


def wait_for_image(page: Page) -> None:
    """Until the viewer's active viewport shows more than a blank picture."""
    canvas = page.locator("canvas.cornerstone-canvas").first
    expect(canvas).to_be_visible(timeout=FIRST_IMAGE_MS)
    wait_for(lambda: shades(canvas) > SHADES, seconds=FIRST_IMAGE_MS / 1000)


def passkey_device(page: Page) -> None:
    """Give the page a platform authenticator that says yes, as a phone with a fingerprint does (WebAuthn)."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
