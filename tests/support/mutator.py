"""Bad DICOM files made of good ones: damage that knows the structure, and damage that does not.

Every mutation is made from a seed, so that what breaks something can be made again: ``mutant(number)``.
"""

import random
import struct
import zlib
from collections.abc import Callable

from support.zoo import zoo

MAX_SEED_BYTES = 600_000  # larger files of the zoo only take time
_PREAMBLE = 132
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})
_VRS = (b"SQ", b"UN", b"OB", b"US", b"UI", b"LO", b"PN", b"DS", b"IS", b"AT", b"FD", b"OW", b"\0\0", b"ZZ", b"UT")
_EVIL_UIDS = (b"../../../etc/cron.d/x", b"1.2..3", b"1.02.3", b"1.2.3\0\0", b"1" * 65, b"1.2.3/../4", b"\xff\xfe", b"")
_COUNTS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_BOMB_BYTES = 64 * 1024 * 1024

Mutation = Callable[[random.Random, bytes], bytes]


def elements(data: bytes) -> list[tuple[int, int, int]]:
    """Begin, begin of the value and end of each element of an explicit little-endian file, as far as it goes."""
    found: list[tuple[int, int, int]] = []
    at = _PREAMBLE
    while at + 8 <= len(data) and len(found) < 10_000:
        vr = data[at + 4 : at + 6]
        if not vr.isalpha():
            break
        if vr in _LONG_VRS:
            value, length = at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            value, length = at + 8, int.from_bytes(data[at + 6 : at + 8], "little")
        end = value + length
        if length == 0xFFFFFFFF or end > len(data):
            found.append((at, value, len(data)))
            break
        found.append((at, value, end))
        at = end
    return found


def flip(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    head = min(len(data), 4096)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[chance.randrange(head if chance.random() < 0.8 else len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(min(len(data), 8192) if chance.random() < 0.7 else len(data))]


def lie_about_length(chance: random.Random, data: bytes) -> bytes:
    at, value, _end = _one(chance, data)
    changed = bytearray(data)
    lie = chance.choice((*_COUNTS, chance.randrange(70_000)))
    if value - at == 12:
        changed[at + 8 : at + 12] = struct.pack("<I", lie)
    else:
        changed[at + 6 : at + 8] = struct.pack("<H", lie & 0xFFFF)
    return bytes(changed)


def swap_vr(chance: random.Random, data: bytes) -> bytes:
    at, _value, _end = _one(chance, data)
    return data[: at + 4] + chance.choice(_VRS) + data[at + 6 :]


def duplicate(chance: random.Random, data: bytes) -> bytes:
    at, _value, end = _one(chance, data)
    return data[:end] + data[at:end] * chance.choice((1, 2, 200)) + data[end:]


def reorder(chance: random.Random, data: bytes) -> bytes:
    first, second = sorted((_one(chance, data), _one(chance, data)))
    if first[2] > second[0]:
        return data[: first[0]] + data[first[2] :]
    (a, _, b), (c, _, d) = first, second
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def nest(chance: random.Random, data: bytes) -> bytes:
    """Sequences in sequences, of lengths that are not told."""
    at, _value, _end = _one(chance, data)
    depth = chance.choice((10, 100, 1000, 5000))
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return data[:at] + sequence * depth + data[at:]


def undefined_length(chance: random.Random, data: bytes) -> bytes:
    at, value, end = _one(chance, data)
    vr = chance.choice((b"SQ", b"UN", b"OB", b"OW"))
    return data[:at] + data[at : at + 4] + vr + b"\0\0\xff\xff\xff\xff" + data[value:end] + data[end:]


def bomb(chance: random.Random, data: bytes) -> bytes:
    """A deflated data set that is small and becomes large."""
    found = elements(data)
    group2 = [e for e in found if data[e[0] : e[0] + 2] == b"\x02\x00"]
    end = group2[-1][2] if group2 else _PREAMBLE
    meta = data[:end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"[:20])
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(data[end : end + 50_000] + b"\x09\x00\x01\x00UN\0\0" + struct.pack("<I", _BOMB_BYTES))
    for _ in range(chance.choice((1, 8, 64))):
        body += packer.compress(bytes(1024 * 1024))
    return meta + body + packer.flush()


def huge_counts(chance: random.Random, data: bytes) -> bytes:
    """Rows, Columns, Bits, NumberOfFrames that no file of this length has."""
    changed = bytearray(data)
    for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00", b"\x28\x00\x00\x01US\x02\x00"):
        at = data.find(tag)
        if at >= 0:
            changed[at + 8 : at + 10] = struct.pack("<H", chance.choice((0, 1, 0xFFFF)))
    at = data.find(b"\x28\x00\x08\x00IS")
    if at >= 0:
        changed[at + 6 : at + 8] = b"\x0a\x00"
        changed[at + 8 : at + 8] = b"2147483647"
    return bytes(changed)


def odd_uids(chance: random.Random, data: bytes) -> bytes:
    tag = chance.choice((b"\x08\x00\x18\x00UI", b"\x20\x00\x0d\x00UI", b"\x20\x00\x0e\x00UI", b"\x02\x00\x10\x00UI"))
    at = data.find(tag)
    if at < 0:
        return flip(chance, data)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    uid = chance.choice(_EVIL_UIDS)
    uid += b"\0" * (len(uid) % 2)
    return data[: at + 6] + struct.pack("<H", len(uid)) + uid + data[at + 8 + length :]


def noise(chance: random.Random, data: bytes) -> bytes:
    at, _value, _end = _one(chance, data)
    return data[:at] + chance.randbytes(chance.choice((1, 7, 64, 4096))) + data[at:]


def _one(chance: random.Random, data: bytes) -> tuple[int, int, int]:
    found = elements(data)
    if not found:
        at = chance.randrange(max(1, len(data) - 12))
        return at, at + 8, min(len(data), at + 20)
    return chance.choice(found)


MUTATIONS: tuple[Mutation, ...] = (
    flip, cut, lie_about_length, swap_vr, duplicate, reorder, nest, undefined_length, bomb, huge_counts, odd_uids,
    noise,
)  # fmt: skip


def seeds() -> list[bytes]:
    """The files of the zoo that are small enough."""
    return [path.read_bytes() for path in zoo() if _PREAMBLE < path.stat().st_size <= MAX_SEED_BYTES]


def mutant(number: int, good: list[bytes]) -> bytes:
    """The bad file of that number: one mutation, or a few on top of each other."""
    chance = random.Random(number)
    data = good[chance.randrange(len(good))]
    for turn in range(chance.choice((1, 1, 1, 2, 4))):
        mutation = MUTATIONS[number % len(MUTATIONS)] if turn == 0 else chance.choice(MUTATIONS)
        if len(data) > _PREAMBLE:
            data = mutation(chance, data)
    return data
