"""The command line's connection to the daemon survives the daemon closing it while it rested."""

import http.server
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.cli import client


class _ClosesAfterEachAnswer(http.server.BaseHTTPRequestHandler):
    """Answers as if the connection stayed open, then closes it, as a server does with an idle one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.close_connection = True

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "leveret.toml").touch()
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "admin.sock"), _ClosesAfterEachAnswer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield tmp_path
        server.shutdown()
        thread.join()


def test_a_line_that_rested_is_dialled_anew(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = client.Daemon(directory)
    assert daemon.get("/status") == {}
    monkeypatch.setattr(client, "_IDLE_SECONDS", 0.0)
    assert daemon.get("/status") == {}
    daemon.close()
