"""What every retrieve transaction begins and ends with: which instances, who reads them, how answers are streamed."""

import contextlib
import re
from collections.abc import AsyncGenerator, Sequence

from aiohttp import web

from node.api.dicomweb.qido import series_of, study_of
from node.api.dicomweb.reads import Reads
from node.api.routing import Call
from node.api.server import STARTED
from node.errors.access import RangeNotSatisfiable
from node.errors.storage import UnknownInstance, UnknownStudy, Withdrawn
from node.model.ids import SOPInstanceUID
from node.model.instance import StoredInstance
from node.sharing.reading import caught_up
from node.sharing.visibility import Visibility
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

HELD_BACK = 1024 * 1024  # bytes of an answer that are ready, and verified, before its status line goes out
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")  # one range; several are answered with the whole


class Finder:
    """Finds the instances that a path names, for who may see them."""

    def __init__(self, store: ObjectStore, reads: Reads, visibility: Visibility) -> None:
        self._store = store
        self._reads = reads
        self._visibility = visibility

    async def find(self, call: Call, what: str) -> Sequence[StoredInstance]:
        """The instances that the path names; that they are read goes on record first.

        What the caller may not see is looked for no further than what never existed: even the time is the same.

        Raises:
            UnknownStudy, UnknownInstance: there is none. Withdrawn: there was one.
            InvalidUid: the path does not hold UIDs.
        """
        study, series = study_of(call), series_of(call)
        assert study is not None
        named = call.request.match_info.get("instance")
        query = InstanceQuery(
            studies=StudyQuery(study_uids=(study,)),
            series_uids=(series,) if series else (),
            instance_uids=(SOPInstanceUID.parse(named),) if named else (),
        )
        visible = await self._visibility.of(call.caller)
        if visible is not None and study not in visible:
            raise UnknownInstance if named else UnknownStudy
        await caught_up(self._store)
        found = await self._store.instances(query)
        if not found:
            if await self._store.gone(study, series, query.instance_uids[0] if named else None):
                raise Withdrawn
            raise UnknownInstance if named else UnknownStudy
        await self._reads.read(call.caller, study, found[0].header.patient, what)
        return found


async def stream(
    call: Call,
    content_type: str,
    pieces: AsyncGenerator[bytes, None],
    *,
    length: int | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """An answer of ``pieces``. What goes wrong within the first mebibyte is an error answer like any other.

    After that the status line is out, and an error cuts the connection off, so that half is never taken for whole.
    ``length`` of all pieces, where it is known, spares the chunked encoding.
    """
    told = {"Content-Type": content_type, **(headers or {})}
    async with contextlib.aclosing(pieces):
        held, is_whole = await _first(pieces)
        if is_whole:
            return web.Response(body=b"".join(held), status=status, headers=told)
        answer = web.StreamResponse(status=status, headers=told)
        answer.content_length = length
        call.request[STARTED] = True
        await answer.prepare(call.request)
        for piece in held:
            await answer.write(piece)
        held.clear()
        async for piece in pieces:
            await answer.write(piece)
        await answer.write_eof()
        return answer


async def _first(pieces: AsyncGenerator[bytes, None]) -> tuple[list[bytes], bool]:
    """The beginning, and whether that is all."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= HELD_BACK:
            return held, False
    return held, True


def byte_range(call: Call, length: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a Range header (RFC 9110 section 14); None for the whole.

    Raises:
        RangeNotSatisfiable: it begins after the end.
    """
    match = _RANGE.fullmatch(call.request.headers.get("Range", "").strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        if int(match[2]) == 0:
            raise RangeNotSatisfiable
        return max(0, length - int(match[2])), length
    first, last = int(match[1]), min(int(match[2] or length), length - 1)
    if match[2] and int(match[2]) < first:
        return None  # not a range: to be ignored
    if first >= length:
        raise RangeNotSatisfiable
    return first, last + 1


def range_headers(wanted: tuple[int, int] | None, length: int) -> dict[str, str]:
    """What an answer that could be a part says about it."""
    said = content_range(wanted, length)
    return {"Accept-Ranges": "bytes"} | ({"Content-Range": said} if said else {})


def content_range(wanted: tuple[int, int] | None, length: int) -> str:
    """The value of Content-Range (RFC 9110 section 14.4); empty for the whole."""
    return "" if wanted is None else f"bytes {wanted[0]}-{wanted[1] - 1}/{length}"


def multipart_type(root: str, boundary: str) -> str:
    """The Content-Type of a multipart answer."""
    return f'multipart/related; type="{root}"; boundary={boundary}'


def part_head(boundary: str, content_type: str, location: str = "", *, content_range: str = "") -> bytes:
    """What stands before a part."""
    place = f"Content-Location: {location}\r\n" if location else ""
    place += f"Content-Range: {content_range}\r\n" if content_range else ""
    return f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n{place}\r\n".encode("ascii")


def closing(boundary: str) -> bytes:
    """What stands after the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
