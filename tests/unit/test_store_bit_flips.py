"""Bit flips, truncations, exchanged parts and wrong keys over stored records: every one is refused.

Each class of place in a record (magic, codec, versions, lengths, names, wrapped key, meta, each chunk's border, the
table of blocks, the last byte) is hit, for data sets that are kept as they are and for packed ones.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.store import MASTER, header, instance_uid, keys, opened_store

from node.crypto.objects import CHUNK_BYTES, HEADER_BYTES
from node.errors.crypto_keys import IntegrityError
from node.errors.storage import CodecUnknown, ObjectDamaged
from node.store import study_queries
from node.store.codec import CODEC_IDENTITY, CODEC_SHUFFLE_ZSTD, Codec
from node.store.pack_format import RECORD_HEADER_BYTES, RecordHeader, RecordMeta, SpaceKey
from node.store.reading import ObjectReader
from node.store.replay import verify_record
from node.store.study_queries import Location

CHANCES = 10_000  # flips and truncations, all in all
SIZES = {"one chunk": 3_000, "at a border": CHUNK_BYTES, "three chunks": 2 * CHUNK_BYTES + 77}
CODECS = {"as it is": CODEC_IDENTITY, "packed": CODEC_SHUFFLE_ZSTD}


@dataclass(frozen=True)
class Stored:
    """A record in a pack of its own, its place, and how it is read."""

    pack: Path
    data: bytes  # the whole pack
    where: Location
    key: SpaceKey
    head: RecordHeader
    original: bytes


def content(kind: str, size: int) -> bytes:
    """What packs (a ramp) and what does not."""
    ramp = b"".join(i.to_bytes(2, "little") for i in range(4096))
    return os.urandom(size) if kind == "as it is" else (ramp * (size // len(ramp) + 1))[:size]


async def stored(directory: Path, kind: str, size: int) -> Stored:
    original = content(kind, size)
    async with opened_store(directory) as (store, db):
        await store.put(header(), original)
        await store.indexed()
        async with db.read() as rx:
            where = (await study_queries.locate(rx, [instance_uid(1, 1)]))[instance_uid(1, 1)]
    key = keys(MASTER).unwrap_study_key(where.wrapped_key, where.space, where.key_version)
    [pack] = await asyncio.to_thread(lambda: list(directory.glob("packs/??/*.pack")))
    data = await asyncio.to_thread(pack.read_bytes)
    head = RecordHeader.decode(data[where.offset :])
    assert head is not None
    return Stored(pack, data, where, SpaceKey(where.space, where.key_version, key), head, original)


def read_back(one: Stored, executor: ThreadPoolExecutor, key: SpaceKey | None = None) -> tuple[RecordMeta, bytes]:
    """Meta data and the whole data set, by the code that serves them."""
    fd = os.open(one.pack, os.O_RDONLY)
    try:
        head = RecordHeader.decode(os.pread(fd, RECORD_HEADER_BYTES, one.where.offset))
        if head is None:
            raise ObjectDamaged
        meta = verify_record(fd, one.where.offset, head, key or one.key)
    finally:
        os.close(fd)
    reader = ObjectReader(one.where, key or one.key, one.pack.parents[1], codec=Codec(), executor=executor)
    answer = reader.opening(reader.size, packed=False)
    if isinstance(answer, ObjectDamaged):
        raise answer
    return meta, answer.first


def serves(one: Stored, executor: ThreadPoolExecutor) -> bytes | None:
    """The data set as a reader gives it out; None if it is refused."""
    reader = ObjectReader(one.where, one.key, one.pack.parents[1], codec=Codec(), executor=executor)
    try:
        answer = reader.opening(reader.size, packed=False)
    except CodecUnknown:
        return None
    return None if isinstance(answer, ObjectDamaged) else answer.first


def places(one: Stored) -> dict[str, tuple[int, int]]:
    """Every class of offset in the record, as ranges of the pack."""
    start, head = one.where.offset, one.head
    meta, body = start + RECORD_HEADER_BYTES, start + head.body_offset
    end = start + head.length
    named = {
        "magic": (start, start + 4),
        "codec": (start + 4, start + 5),
        "zeros": (start + 5, start + 8),
        "key version": (start + 8, start + 12),
        "meta length": (start + 12, start + 16),
        "body length": (start + 16, start + 24),
        "object id": (start + 24, start + 40),
        "space": (start + 40, start + 56),
        "wrapped key": (start + 56, meta),
        "meta salt": (meta, meta + 24),
        "meta commitment": (meta + 24, meta + HEADER_BYTES),
        "meta": (meta + HEADER_BYTES, body),
        "body salt": (body, body + 24),
        "body commitment": (body + 24, body + HEADER_BYTES),
        "body": (body + HEADER_BYTES, end),
        "tail": (end - 48, end),
        "last byte": (end - 1, end),
    }
    step = CHUNK_BYTES + 16
    for number, border in enumerate(range(body + HEADER_BYTES + step, end, step)):
        named[f"border {number}"] = (border - 17, border + 1)
    return named


def flips(one: Stored, count: int, chance: random.Random) -> Iterator[tuple[str, int, int]]:
    ranges = list(places(one).items())
    for number in range(count):
        name, (start, end) = ranges[number % len(ranges)]
        yield name, chance.randrange(start, end), 1 << chance.randrange(8)


def unnoticed(one: Stored, count: int, seed: int) -> list[str]:
    """Flip single bits and cut the file; which of it was not refused (or handed out something else)."""
    chance, missed = random.Random(seed), []
    with ThreadPoolExecutor(1) as executor:
        fd = os.open(one.pack, os.O_RDWR)
        try:
            for name, offset, bit in flips(one, count * 9 // 10, chance):
                os.pwrite(fd, bytes([one.data[offset] ^ bit]), offset)
                missed += verdict(one, executor, f"{name} at {offset - one.where.offset}, bit {bit}")
                os.pwrite(fd, one.data[offset : offset + 1], offset)
            end = one.where.offset + one.head.length
            for number in range(count // 10):
                ranges = list(places(one).values())
                cut = chance.randrange(*ranges[number % len(ranges)])
                os.ftruncate(fd, cut)
                missed += verdict(one, executor, f"cut at {cut - one.where.offset}")
                os.pwrite(fd, one.data[cut:], cut)
            assert end <= len(one.data)
        finally:
            os.close(fd)
        assert read_back(one, executor)[1] == one.original, "whole again"
    return missed


def verdict(one: Stored, executor: ThreadPoolExecutor, what: str) -> list[str]:
    """What is wrong with how the damage was met."""
    given = serves(one, executor)
    if given is not None and given != one.original:
        return [f"other bytes were handed out: {what}"]
    try:
        read_back(one, executor)
    except (IntegrityError, CodecUnknown):
        return []
    return [f"not noticed: {what}"]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", CODECS)
async def test_every_flip_and_every_cut_is_refused(tmp_path: Path, kind: str, size: int) -> None:
    one = await stored(tmp_path, kind, size)
    assert one.head.codec == CODECS[kind] or size < CHUNK_BYTES, "small data sets are kept as they are"
    count = CHANCES // (len(SIZES) * len(CODECS)) + 1
    assert await asyncio.to_thread(unnoticed, one, count, size) == []


def patched(one: Stored, *changes: tuple[int, bytes]) -> None:
    data = bytearray(one.data)
    for offset, new in changes:
        data[offset : offset + len(new)] = new
    one.pack.write_bytes(data)


@pytest.mark.parametrize("kind", CODECS)
async def test_exchanged_chunks_are_refused(tmp_path: Path, kind: str) -> None:
    one = await stored(tmp_path, "as it is" if kind == "as it is" else kind, 4 * CHUNK_BYTES)
    first = one.where.offset + one.head.body_offset + HEADER_BYTES
    step = CHUNK_BYTES + 16
    length = min(step, (one.head.body_length - HEADER_BYTES) // 2)
    a, b = first, first + length
    with ThreadPoolExecutor(1) as executor:
        patched(one, (a, one.data[b : b + length]), (b, one.data[a : a + length]))
        assert verdict(one, executor, "exchanged") == []
        patched(one, (a, one.data[b : b + length]))
        assert verdict(one, executor, "repeated") == []
        patched(one)
        assert read_back(one, executor)[1] == one.original


@pytest.mark.parametrize("kind", CODECS)
async def test_another_object_in_its_place_and_wrong_keys_are_refused(tmp_path: Path, kind: str) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        await asyncio.to_thread(folder.mkdir)
    one, two = [await stored(folder, kind, CHUNK_BYTES + 5) for folder in (mine, other)]
    with ThreadPoolExecutor(1) as executor:
        body, theirs = one.head.body_offset, two.head.body_offset
        at = one.where.offset
        patched(one, (at, two.data[two.where.offset :][: two.head.length]))
        assert verdict(one, executor, "another record") == []
        patched(one, (at + body, two.data[two.where.offset + theirs :][: two.head.body_length]))
        assert verdict(one, executor, "another body") == []
        patched(one, (at + 56, two.head.wrapped_key))
        assert verdict(one, executor, "another key") == []
        patched(one)
        wrong = SpaceKey(one.key.space, one.key.version, bytes(32))
        with pytest.raises(IntegrityError):
            read_back(one, executor, wrong)
        assert read_back(one, executor)[1] == one.original
