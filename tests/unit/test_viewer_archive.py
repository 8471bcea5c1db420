"""The viewer's archive as it is committed: what its lock says, packed so that a member is sent as it lies."""

import gzip
import hashlib
import json
import zipfile

import pytest

from node.api.viewer.archive import HERE, Archive
from node.errors.access import NotFound

LOCK = json.loads((HERE / "viewer.lock").read_text())


def test_it_holds_what_its_lock_says() -> None:
    with zipfile.ZipFile(HERE / "viewer.zip") as held:
        assert {info.filename for info in held.infolist()} == set(LOCK["members"])
        for info in held.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            data = held.read(info)
            plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
            assert hashlib.sha256(plain).hexdigest() == LOCK["members"][info.filename], info.filename
    assert (HERE / "viewer.zip").stat().st_size < 11_000_000
    assert {"LICENSE", "index.html", "boot.js", "app.bundle.css"} <= set(LOCK["members"])


async def test_members_are_read_where_they_lie() -> None:
    archive = Archive()
    assert archive.base == LOCK["files"]
    for name, digest in LOCK["members"].items():
        if name.endswith((".html", ".css", ".png", ".woff2")):
            sent, plain = await archive.read(name, packed=True), await archive.read(name, packed=False)
            assert hashlib.sha256(plain.body).hexdigest() == digest
            assert (gzip.decompress(sent.body) if sent.packed else sent.body) == plain.body
            assert not plain.packed
    for name in ("", "nothing.js", "../viewer.lock", "index.html/"):
        with pytest.raises(NotFound):
            await archive.read(name, packed=True)


async def test_the_page_has_no_inline_script_and_asks_nobody_else() -> None:
    page = (await Archive().read("index.html", packed=False)).body.decode()
    assert page.count("<script") == page.count("<script src=") + page.count("<script defer src=")
    assert "http" not in page
