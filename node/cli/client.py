"""The daemon as the command line sees it: JSON over HTTP on the admin socket."""

import http.client
import json
import socket
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node.api.admin import AS_HEADER, reachable
from node.config import CONFIG_NAME
from node.errors.setup import NotInitialised, NotRunning

PREFIX = "/api/v1"
_CONNECT_SECONDS = 5.0
_IDLE_SECONDS = (
    5.0  # the daemon closes idle connections after a while: a line that rested is not trusted, but dialled anew
)
_ANSWER_SECONDS = 600.0  # a large import's last answer waits for the index; nothing else comes near


class DaemonRefused(Exception):
    """The daemon answered with a problem; ``line`` is what a person reads."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", "internal_error"))
        detail = problem.get("detail")
        about = f" ({detail})" if detail else ""
        title = problem.get("title", "The daemon could not do this")
        self.line = f"{title}{about}. {problem.get('advice', '')} [{self.code}]"
        super().__init__(self.line)


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket in a data directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._directory = directory

    def connect(self) -> None:
        """Connect; raises NotInitialised, NotRunning."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_SECONDS)
        try:
            with reachable(self._directory) as path:
                self.sock.connect(path)
        except OSError as exc:
            self.sock.close()
            if not (self._directory / CONFIG_NAME).is_file():
                raise NotInitialised(str(self._directory)) from exc
            raise NotRunning from exc
        self.sock.settimeout(_ANSWER_SECONDS)


class Daemon:
    """One connection to the daemon of ``directory``; not for several threads at once.

    Every method raises DaemonRefused for an error answer, NotRunning if nobody answers.
    """

    def __init__(self, directory: Path, user: str | None = None) -> None:
        self._connection = _SocketConnection(directory)
        self._headers = {AS_HEADER: user} if user else {}
        self._used = time.monotonic()

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET a document; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._json("GET", path + (f"?{urllib.parse.urlencode(given)}" if given else ""))

    def every(self, path: str, name: str, /, **query: str | int | None) -> Any:
        """GET a list whole: part after part, joined under ``name``."""
        document = self.get(path, **query)
        following = document.pop("next")
        while following:
            part = self._json("GET", following.removeprefix(PREFIX))
            document[name] += part[name]
            following = part["next"]
        return document

    def post(self, path: str, **body: Any) -> Any:
        """POST a JSON object; fields that are None are left out."""
        return self._json("POST", path, json.dumps({k: v for k, v in body.items() if v is not None}).encode())

    def delete(self, path: str) -> None:
        """DELETE something."""
        self._json("DELETE", path)

    def send(self, path: str, body: bytes) -> Any:
        """POST bytes as they are."""
        return self._json("POST", path, body, "application/octet-stream")

    def events(self, path: str) -> Iterator[Any]:
        """The documents of an event stream (SSE), as they come, until it ends or nobody listens any more."""
        return (json.loads(line[5:]) for line in self.lines(path) if line.startswith(b"data:"))

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a long answer, each with its end, until it ends or nobody listens any more."""
        try:
            with self._answer("GET", path, None, "") as answer:
                while line := answer.readline():
                    yield line
        except (http.client.HTTPException, OSError) as exc:
            raise NotRunning from exc
        finally:
            self._connection.close()  # what is left of the stream must not be taken for the next answer

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _json(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        with self._answer(method, path, body, kind) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def _answer(self, method: str, path: str, body: bytes | None, kind: str) -> http.client.HTTPResponse:
        headers = {**self._headers, **({"Content-Type": kind} if body is not None else {})}
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self._connection.close()  # the next request opens it again
        try:
            self._connection.request(method, PREFIX + path, body, headers)
            answer = self._connection.getresponse()
        except (http.client.HTTPException, OSError) as exc:
            self._connection.close()
            raise NotRunning from exc
        finally:
            self._used = time.monotonic()
        if answer.status >= http.client.BAD_REQUEST:
            raise _refusal(answer)
        return answer


def _refusal(answer: http.client.HTTPResponse) -> DaemonRefused:
    try:
        problem = json.loads(answer.read())
    except ValueError:
        problem = {}
    return DaemonRefused(answer.status, problem if isinstance(problem, dict) else {})


def quoted(part: str) -> str:
    """A value as one part of a path."""
    return urllib.parse.quote(part, safe="")
