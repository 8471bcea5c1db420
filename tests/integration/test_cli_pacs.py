"""``leveret pacs`` as a person uses it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.facility import Facility
from support.pacs import scripted_pacs


@pytest.fixture
def north(tmp_path: Path) -> Iterator[Facility]:
    made = Facility.create("north", tmp_path)
    made.start()
    yield made
    made.stop()


def test_from_entering_to_removing(north: Facility, tmp_path: Path) -> None:
    with scripted_pacs() as pacs:
        where = ("--host", "127.0.0.1", "--port", str(pacs.port))
        assert north.run("pacs", "add", "main", "--ae", "PACS", *where)["name"] == "main"
        assert north.refused("pacs", "add", "main", "--ae", "OTHER", *where).endswith("[pacs_exists]")
        assert north.run("pacs", "list")["ae_title"] == "LEVERET"
        assert "main" in north.call("pacs", "list").stdout
        done = north.call("pacs", "test", "main")
        assert done.returncode == 0, done.stderr
        assert "ok  CT images: accepted" in done.stdout
        assert "no  MR images: not supported" in done.stdout
    line = north.refused("pacs", "test", "main")
    assert line.startswith("main: The DICOM system cannot be reached")
    assert line.endswith("[dicom_unreachable]")
    assert north.call("pacs", "add", "tls", "--ae", "T", *where, "--tls").returncode == 2
    for bad in ("http://10.1.2.3", "10.1.2.3:104", "a b", "host/path"):
        line = north.refused("pacs", "add", "bad", "--ae", "T", "--host", bad, "--port", "104")
        assert "a host is a name or an IP address" in line, bad
        assert line.endswith("[invalid_pacs]"), bad
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("no certificate")
    line = north.refused("pacs", "add", "tls", "--ae", "T", *where, "--tls", "--ca", str(nonsense))
    assert line.endswith("[dicom_tls_unusable]")
    assert north.run("pacs", "remove", "main") == {"name": "main", "removed": True}
    assert north.refused("pacs", "test", "main").endswith("[unknown_pacs]")
