"""From the click on a study to its first image in OHIF, in Chromium without a graphics card.

Run ``make bench ARGS='-k viewer'``. "First" is a browser that has never seen the viewer, "again" one that has; the time
is until the canvas shows more than a blank picture, looked at every 50 ms.
"""

import io
import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page
from support.browser import Watch, chromium, context_of, sign_in
from support.ct import CtStudy
from support.facility import Facility
from support.table import Table

pytestmark = [pytest.mark.bench, pytest.mark.peers, pytest.mark.timeout(600)]
SHADES = 24
ROUNDS = 3


def seconds_to_image(page: Page, address: str) -> float:
    started = time.monotonic()
    page.goto(address, wait_until="commit")
    canvas = page.locator("canvas.cornerstone-canvas").first
    canvas.wait_for(timeout=120_000)
    while True:
        seconds = time.monotonic() - started
        with Image.open(io.BytesIO(canvas.screenshot())) as image:
            if len(image.convert("RGB").getcolors(1 << 24) or []) > SHADES:
                return seconds
        page.wait_for_timeout(50)


def test_time_to_the_first_image(tmp_path: Path, table: Table) -> None:
    study = CtStudy(instances=300, smooth=True)
    study.write(tmp_path / "ct")
    node = Facility.create("viewer", tmp_path)
    node.start()
    try:
        node.run("import", str(tmp_path / "ct"))
        address = f"{node.api}/viewer/viewer?StudyInstanceUIDs={study.study_uid}"
        with chromium() as browser:
            for _ in range(ROUNDS):
                with context_of(browser, Watch()) as context:
                    page = context.new_page()
                    sign_in(page, node)
                    first, again = (seconds_to_image(page, address) for _ in range(2))
                    table.note(f"OHIF, CT of 300 slices: first image after {first:.2f} s, again {again:.2f} s")
    finally:
        node.stop()
