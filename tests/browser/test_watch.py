"""The watch itself: a page that does what it must not is found out, one that behaves is left in peace."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page
from support.browser import Watch, axe_violations, context_of

pytestmark = pytest.mark.peers

STRICT = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src *"
HEAD = '<!doctype html><html lang="en"><head><title>A page</title></head><body>'
PAGES = {
    "/good": HEAD + "<main><h1>A page</h1><p>With words.</p></main>",
    "/inline": HEAD + "<main><h1>A page</h1><script>1</script></main>",
    "/style": HEAD + '<main><h1 style="color: red">A page</h1></main>',
    "/elsewhere": HEAD + '<main><h1>A page</h1><img alt="" src="https://example.org/spy.png"></main>',
    "/missing": HEAD + '<main><h1>A page</h1><img alt="" src="/nothing.png"></main>',
    "/throws": HEAD + '<main><h1>A page</h1><script src="/throws.js"></script></main>',
    "/works": HEAD + '<main><h1>A page</h1><script src="/works.js"></script></main>',
    "/throws.js": "throw new Error('oh no')",
    "/works.js": "new Worker('/worker.js')",
    "/worker.js": "fetch('https://example.org/spy')",
    "/pale": HEAD + '<main><h1>A page</h1><input><img src="/dot.svg"></main>',
    "/dot.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>',
}


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = PAGES.get(self.path)
        self.send_response(404 if text is None else 200)
        kind = {"js": "text/javascript", "svg": "image/svg+xml"}.get(self.path.rpartition(".")[2], "text/html")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", STRICT)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: object) -> None:  # pytest shows what matters
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/inline", "CSP violation: script-src-elem inline"),
        ("/style", "CSP violation: style-src-attr inline"),
        ("/elsewhere", "example.org"),
        ("/missing", "status of 404"),
        ("/throws", "uncaught: oh no"),
        ("/works", "uncaught: Failed to fetch"),
    ],
)
def test_what_a_page_must_not_do(browser: Browser, site: str, path: str, said: str) -> None:
    watch = Watch()
    with context_of(browser, watch) as context:
        page = context.new_page()
        page.goto(site + path)
        page.wait_for_timeout(200)
    with pytest.raises(AssertionError, match=said):
        watch.verify()


def test_a_page_that_behaves(page: Page, site: str) -> None:
    page.goto(f"{site}/good")
    assert axe_violations(page) == []


def test_what_is_expected_is_no_error(page: Page, watch: Watch, site: str) -> None:
    watch.expect("status of 404")
    page.goto(f"{site}/missing")
    page.wait_for_load_state("networkidle")


def test_who_cannot_see_is_left_out(page: Page, site: str) -> None:
    page.goto(f"{site}/pale")
    found = " ".join(axe_violations(page))
    assert "desktop: label:" in found
    assert "phone: image-alt:" in found
    assert page.viewport_size == {"width": 1280, "height": 800}
