"""Browsers for tests of pages. Mark the modules with ``pytestmark = pytest.mark.peers``: Chromium may be missing.

A facility (``facility`` of ``tests/e2e``'s kind) is made here once a module, because its start costs a second.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.browser import Watch, chromium, context_of, take_shots
from support.facility import Facility

IMAGES = Path(__file__).parents[2] / "docs" / "images"

NewContext = Callable[..., BrowserContext]
MakeFacility = Callable[..., Facility]


class Shot(Protocol):
    def __call__(self, page: Page, name: str, *, whole: bool = True, phone: bool = True) -> None: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium a module."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeFacility]:
    """Makes facilities that serve until the module ends, and must then end cleanly."""
    folder, made = tmp_path_factory.mktemp("facilities"), list[Facility]()

    def make(name: str, *options: str, serve: bool = True, **environment: str) -> Facility:
        new = Facility.create(name, folder, *options, **environment)
        made.append(new)
        if serve:
            new.start()
        return new

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test if a page asked another machine, broke its CSP or wrote an error to the console."""
    one = Watch()
    yield one
    one.verify()


@pytest.fixture
def new_context(browser: Browser, watch: Watch) -> Iterator[NewContext]:
    """Makes clean browsers; options are those of Playwright's ``new_context``."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        made.append(context_of(browser, watch, **options))
        return made[-1]

    yield make
    for context in made:
        context.close()


@pytest.fixture
def page(new_context: NewContext) -> Page:
    """One page of a clean browser, as wide as a desktop's."""
    return new_context().new_page()


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    """Takes screenshots for the docs with LEVERET_SCREENSHOTS=1, else into the test's folder."""
    folder = IMAGES if os.environ.get("LEVERET_SCREENSHOTS") == "1" else tmp_path

    def take(page: Page, name: str, *, whole: bool = True, phone: bool = True) -> None:
        take_shots(page, name, folder, whole=whole, phone=phone)

    return take
