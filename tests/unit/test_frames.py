"""Framing: whatever the pieces in which the bytes come, the same frames; whatever lies, an error and no memory."""

import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.sharing import FrameError
from node.peers.frames import (
    CONTROL,
    END_FRAME,
    HEAD_BYTES,
    EndFrame,
    Frame,
    FrameReader,
    PieceFrame,
    StopFrame,
    head,
    stop_frame,
)

PIECE = 64


def read(reader: FrameReader, stream: bytes, cuts: list[int]) -> list[Frame]:
    frames: list[Frame] = []
    places = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    for start, end in itertools.pairwise(places):
        frames += feed(reader, stream[start:end])
    return frames


def feed(reader: FrameReader, data: bytes) -> list[Frame]:
    """As a socket fills the buffers that it is given."""
    frames: list[Frame] = []
    while data:
        place = reader.buffer()
        count = min(len(place), len(data))
        place[:count] = data[:count]
        frames += reader.filled(count)
        data = data[count:]
    return frames


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.lists(st.integers(0, 5000), max_size=12))
def test_any_cut_gives_the_same_instances(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(head(i, len(body), i % 3) + body for i, body in enumerate(bodies)) + END_FRAME
    reader = FrameReader(
        lambda index, codec, length: codec == index % 3 and length == len(bodies[index]), piece_bytes=PIECE
    )
    frames = read(reader, stream, cuts)
    assert isinstance(frames.pop(), EndFrame)
    assert reader.ended
    got: dict[int, bytes] = {}
    for frame in frames:
        assert isinstance(frame, PieceFrame)
        assert (frame.codec, frame.length) == (frame.index % 3, len(bodies[frame.index]))
        assert frame.offset == len(got.get(frame.index, b""))
        assert len(frame.data) <= PIECE
        assert frame.room[: len(frame.data)] == frame.data
        got[frame.index] = got.get(frame.index, b"") + frame.data
        assert frame.is_last == (len(got[frame.index]) == len(bodies[frame.index]))
    assert got == dict(enumerate(bodies))


@given(st.binary(max_size=200))
def test_garbage_is_an_error_or_incomplete(data: bytes) -> None:
    reader = FrameReader(lambda *_: False, piece_bytes=PIECE)
    try:
        frames = feed(reader, data)
    except FrameError:
        return
    assert len(data) < HEAD_BYTES or isinstance(frames[-1], EndFrame | StopFrame) or not frames


def test_a_lying_length_costs_no_memory() -> None:
    reader = FrameReader(lambda *given: given == (0, 0, 10), piece_bytes=PIECE)
    tracemalloc.start()
    with pytest.raises(FrameError):
        feed(reader, struct.pack(">IQ", 0, 2**62))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_a_stop_says_why() -> None:
    reader = FrameReader(lambda *_: False, piece_bytes=PIECE)
    assert feed(reader, stop_frame("consent_revoked")) == [StopFrame("consent_revoked")]


@pytest.mark.parametrize(
    "stream",
    [
        END_FRAME + b"x",
        stop_frame("a") + END_FRAME,
        struct.pack(">IQ", 0xFFFFFFFF, 1) + b"x",
        struct.pack(">IQ", 0xFFFFFFFE, 0),
        struct.pack(">IQ", 0xFFFFFFFE, 65) + b"a" * 65,
        struct.pack(">IQ", 0xFFFFFFFE, 3) + b"A b",
        struct.pack(">IQ", 0xFFFFFFF0, 4) + b"abcd",
        head(0, 0),
    ],
)
def test_what_the_protocol_does_not_know_is_refused(stream: bytes) -> None:
    reader = FrameReader(lambda *_: True, piece_bytes=PIECE)
    with pytest.raises(FrameError):
        feed(reader, stream)


def test_a_writer_cannot_make_what_a_reader_refuses() -> None:
    with pytest.raises(ValueError, match=str(CONTROL)):
        head(CONTROL, 1)
    with pytest.raises(ValueError, match=str(2**56)):
        head(0, 2**56)
    with pytest.raises(ValueError, match="Not A Code"):
        stop_frame("Not A Code")


def test_no_memory_before_somebody_takes_it_and_what_was_handed_over_is_left_alone() -> None:
    """The head of the next frame, which comes with the instance, is not written to the taker's memory later."""
    asked: list[int] = []

    def allocate(size: int) -> bytearray:
        asked.append(size)
        return bytearray(size)

    reader = FrameReader(lambda *_: True, piece_bytes=PIECE, allocate=allocate)
    assert feed(reader, head(0, 3)) == []
    assert reader.is_before_piece
    assert asked == []
    (frame,) = feed(reader, b"abc" + head(1, 5)[:7])
    assert isinstance(frame, PieceFrame)
    kept = bytes(frame.room)
    assert feed(reader, head(1, 5)[7:] + b"defg") == []
    assert bytes(frame.room) == kept
    assert bytes(frame.data) == b"abc"
    assert asked == [3 + HEAD_BYTES, 5 + HEAD_BYTES]
