"""STOW-RS bodies: whole parts come out, however the bytes are cut; nonsense is refused."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.api.dicomweb.multipart import (
    MAX_HEADER_BYTES,
    PART_ENDS,
    MediaType,
    MultipartParser,
    PartBegins,
    new_boundary,
)
from node.errors.access import InvalidInput, TooLarge, UnsupportedMedia

BOUNDARY = "b0unda-ry"


def write(bodies: list[bytes], preamble: bytes = b"") -> bytes:
    head = b"\r\n--" + BOUNDARY.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return preamble + b"".join(head + body for body in bodies) + b"\r\n--" + BOUNDARY.encode() + b"--\r\n"


@dataclass
class Part:
    media_type: MediaType
    body: bytes = b""


def read(raw: bytes, cut: int) -> tuple[list[Part], bool]:
    """Whole parts and whether the end was there; each piece of a body lies between its part's beginning and end."""
    parser = MultipartParser(BOUNDARY)
    parts: list[Part] = []
    is_open = False
    for event in (event for i in range(0, len(raw), cut) for event in parser.feed(raw[i : i + cut])):
        if isinstance(event, PartBegins):
            assert not is_open
            parts.append(Part(event.media_type))
        elif event is not PART_ENDS:
            assert is_open
            assert event
            parts[-1].body += event
        is_open = event is not PART_ENDS
    if is_open:
        parts.pop()
    return parts, parser.done


@given(
    st.lists(st.binary(max_size=200) | st.just(b"\r\n--b0unda-r") | st.just(b"\r\n\r\n"), max_size=5),
    st.integers(1, 300),
    st.sampled_from([b"", b"preamble"]),
)
def test_parts_come_out_however_the_bytes_are_cut(bodies: list[bytes], cut: int, preamble: bytes) -> None:
    raw = write(bodies, preamble)
    raw = raw if preamble else raw.removeprefix(b"\r\n")
    parts, done = read(raw, cut)
    assert [p.body for p in parts] == bodies
    assert all(p.media_type.name == "application/dicom" for p in parts)
    assert done


def test_part_without_headers_and_part_without_body() -> None:
    raw = b"--b0unda-ry\r\n\r\nbody\r\n--b0unda-ry  \r\nContent-Type: text/plain\r\n\r\n--b0unda-ry--"
    for cut in range(1, len(raw) + 1):
        parts, done = read(raw, cut)
        assert [p.body for p in parts] == [b"body", b""]
        assert done


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_anything_is_read_or_refused(raw: bytes, cut: int) -> None:
    try:
        read(raw, cut)
    except (InvalidInput, TooLarge):
        return


@given(st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=3), st.integers(1, 4000))
def test_no_body_is_kept(bodies: list[bytes], cut: int) -> None:
    """What goes in comes out, but for the few bytes that may begin a delimiter."""
    raw, parser, out = write(bodies), MultipartParser(BOUNDARY), 0
    for at in range(0, len(raw), cut):
        out += sum(len(event) for event in parser.feed(raw[at : at + cut]) if isinstance(event, bytes))
        assert len(parser._buffer) < 100
    assert out == sum(map(len, bodies))


def test_an_end_that_never_comes_is_not_done() -> None:
    assert not read(write([b"x"])[:-5], 7)[1]


def test_too_large_is_refused_before_it_is_kept() -> None:
    with pytest.raises(TooLarge):
        read(b"--b0unda-ry\r\n" + b"a" * (MAX_HEADER_BYTES + 100), 1000)
    with pytest.raises(TooLarge):
        read(b"nothing" * 1000, 1000)


def test_garbage_behind_a_delimiter_is_refused() -> None:
    with pytest.raises(InvalidInput):
        read(b"--b0unda-ryX\r\n\r\n", 100)


@pytest.mark.parametrize("boundary", ["", "x" * 201, "é", "a\nb", "ends with blank "])
def test_impossible_boundaries(boundary: str) -> None:
    with pytest.raises(UnsupportedMedia):
        MultipartParser(boundary)


def test_own_boundaries_are_possible() -> None:
    MultipartParser(new_boundary())


def test_media_types() -> None:
    read_type = MediaType.parse('Multipart/Related; TYPE="application/dicom"; boundary=abc; start="<a\\"b>"')
    assert read_type.name == "multipart/related"
    assert read_type.parameters == {"type": "application/dicom", "boundary": "abc", "start": '<a"b>'}
    assert MediaType.parse("application/dicom;transfer-syntax=*").parameters == {"transfer-syntax": "*"}
    assert MediaType.parse("").name == ""
