"""The feeds that this node reads: how far each was followed, its entries, and what its holder answered."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from node.model.feed import ENTRY_BYTES, HEADER_BYTES, SIGNATURE_BYTES, TAG_BYTES
from node.model.feed import batch_hash as hash_of
from node.model.feed_chain import Position
from node.model.ids import PeerId, StudyInstanceUID, StudyRef
from node.store.engine import Read, Write
from node.store.feeds import token_hash

_PSEUDONYM_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Followed:
    """A peer's feed as this node knows it."""

    position: Position
    entries: int  # kept of the present epoch
    synced_at: int


async def followed(rx: Read, peer: PeerId) -> Followed | None:
    """How far the feed of ``peer`` was followed; None: nothing of it was taken over yet."""
    row = await rx.fetch_one(
        "SELECT incarnation, epoch, public_key, sequence, head, entries, synced_at FROM feed WHERE peer = ?",
        (peer.digest,),
    )
    if row is None:
        return None
    return Followed(Position(row[0], row[1], bytes(row[2]), row[3], bytes(row[4])), row[5], row[6])


async def batch_hash(rx: Read, peer: PeerId, sequence: int) -> bytes | None:
    """The hash of the batch that was taken over under that number; None if there is none."""
    value = await rx.fetch_value("SELECT hash FROM feed_batch WHERE peer = ? AND sequence = ?", (peer.digest, sequence))
    return None if value is None else bytes(value)


async def known_tags(rx: Read, peer: PeerId, tags: Iterable[bytes]) -> int:
    """How many of ``tags`` the feed of ``peer`` has used already."""
    count = await rx.fetch_value(
        "SELECT count(*) FROM feed_entry WHERE peer = ? AND tag IN (SELECT unhex(value) FROM json_each(?))",
        (peer.digest, _hex(tags)),
    )
    return int(count)


@dataclass(frozen=True, slots=True)
class Fork:
    """Two batches that a peer signed and that cannot both be true."""

    peer: PeerId
    incarnation: int
    sequence: int  # of the second
    first: bytes | None  # the one that was taken over; None: its entries are not kept any more
    second: bytes = field(repr=False)
    at: int


async def take_batch(tx: Write, peer: PeerId, after: Position, data: bytes, now: int) -> None:
    """Take a verified batch over, whose bytes are ``data``; ``after`` is the feed's new position.

    What belongs to an epoch that has ended is dropped: its entries cannot be asked about any more.
    """
    entries = [data[at : at + ENTRY_BYTES] for at in range(HEADER_BYTES, len(data) - SIGNATURE_BYTES, ENTRY_BYTES)]
    before = await followed(tx, peer)
    kept = before.entries if before else 0
    if before is None or not after.same_epoch(before.position):
        kept = 0
        await tx.execute("DELETE FROM feed_entry WHERE peer = ?", (peer.digest,))
        await tx.execute("DELETE FROM feed_answer WHERE peer = ?", (peer.digest,))
    if before is None or before.position.incarnation != after.incarnation:
        await tx.execute("DELETE FROM feed_batch WHERE peer = ?", (peer.digest,))
    await tx.execute(
        "INSERT INTO feed (peer, incarnation, epoch, public_key, sequence, head, entries, synced_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (peer) DO UPDATE SET incarnation = excluded.incarnation,"
        " epoch = excluded.epoch, public_key = excluded.public_key, sequence = excluded.sequence,"
        " head = excluded.head, entries = excluded.entries, synced_at = excluded.synced_at",
        (
            peer.digest,
            after.incarnation,
            after.epoch,
            after.voprf_key,
            after.sequence,
            after.head,
            kept + len(entries),
            now,
        ),
    )
    await tx.execute(
        "INSERT INTO feed_batch (peer, sequence, hash, header, signature) VALUES (?, ?, ?, ?, ?)",
        (peer.digest, after.sequence, after.head, data[:HEADER_BYTES], data[-SIGNATURE_BYTES:]),
    )
    await tx.execute_many(
        "INSERT INTO feed_entry (peer, tag, body, sequence) VALUES (?, ?, ?, ?)",
        [(peer.digest, entry[:TAG_BYTES], entry, after.sequence) for entry in entries],
    )


async def batch_taken(rx: Read, peer: PeerId, sequence: int) -> bytes | None:
    """A batch of the present epoch exactly as it was received; None if it cannot be put together any more."""
    row = await rx.fetch_one(
        "SELECT header, signature, hash FROM feed_batch WHERE peer = ? AND sequence = ?", (peer.digest, sequence)
    )
    if row is None or row[0] is None:
        return None
    entries = await rx.fetch_all(
        "SELECT body FROM feed_entry WHERE peer = ? AND sequence = ? ORDER BY tag", (peer.digest, sequence)
    )
    data = bytes(row[0]) + b"".join(bytes(entry[0]) for entry in entries) + bytes(row[1])
    return data if hash_of(data) == bytes(row[2]) else None


async def freeze(tx: Write, fork: Fork) -> bool:
    """Keep the proof; nothing more of the feed is taken over. False if it is frozen already."""
    changed = await tx.execute(
        "INSERT INTO feed_fork (peer, incarnation, sequence, first, second, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (fork.peer.digest, fork.incarnation, fork.sequence, fork.first, fork.second, fork.at),
    )
    return changed == 1


async def is_frozen(rx: Read, peer: PeerId) -> bool:
    """Whether the feed of ``peer`` is not followed because it forked."""
    sql = "SELECT EXISTS (SELECT 1 FROM feed_fork WHERE peer = ? AND thawed_at IS NULL)"
    return bool(await rx.fetch_value(sql, (peer.digest,)))


async def frozen(rx: Read) -> list[Fork]:
    """The forks for which feeds are frozen, newest first."""
    rows = await rx.fetch_all(
        "SELECT peer, incarnation, sequence, first, second, at FROM feed_fork WHERE thawed_at IS NULL ORDER BY id DESC"
    )
    return [
        Fork(PeerId(bytes(r[0])), r[1], r[2], None if r[3] is None else bytes(r[3]), bytes(r[4]), r[5]) for r in rows
    ]


async def thaw(tx: Write, peer: PeerId, *, by: str, now: int) -> bool:
    """Follow the feed of ``peer`` again; the proof stays. False if it was not frozen."""
    changed = await tx.execute(
        "UPDATE feed_fork SET thawed_at = ?, thawed_by = ? WHERE peer = ? AND thawed_at IS NULL",
        (now, by, peer.digest),
    )
    return changed == 1


async def find_entries(rx: Read, peer: PeerId, tags: Sequence[bytes]) -> dict[bytes, bytes]:
    """The entries under those of ``tags`` that the feed of ``peer`` has, by tag."""
    rows = await rx.fetch_all(
        "SELECT tag, body FROM feed_entry WHERE peer = ? AND tag IN (SELECT unhex(value) FROM json_each(?))",
        (peer.digest, _hex(tags)),
    )
    return {bytes(r[0]): bytes(r[1]) for r in rows}


async def answers(rx: Read, peer: PeerId, tokens: Iterable[bytes]) -> dict[bytes, bytes]:
    """The VOPRF outputs that are known for ``tokens`` in the present epoch of ``peer``."""
    by_hash = {token_hash(token): token for token in tokens}
    rows = await rx.fetch_all(
        "SELECT token, f FROM feed_answer WHERE peer = ? AND token IN (SELECT unhex(value) FROM json_each(?))",
        (peer.digest, _hex(by_hash)),
    )
    return {by_hash[bytes(r[0])]: bytes(r[1]) for r in rows}


async def keep_answers(tx: Write, peer: PeerId, under: Position, outputs: Mapping[bytes, bytes]) -> bool:
    """Keep outputs that ``peer`` gave under that epoch; False, and nothing kept, if the epoch has ended meanwhile."""
    now_followed = await followed(tx, peer)
    if now_followed is None or not under.same_epoch(now_followed.position):
        return False
    await tx.execute_many(
        "INSERT INTO feed_answer (peer, token, f) VALUES (?, ?, ?)"
        " ON CONFLICT (peer, token) DO UPDATE SET f = excluded.f",
        [(peer.digest, token_hash(token), f) for token, f in outputs.items()],
    )
    return True


async def learn_refs(tx: Write, peer: PeerId, studies: Mapping[StudyRef, StudyInstanceUID]) -> None:
    """A release of ``peer`` said which studies these refs are: remember it. The list of priors shows it from now on."""
    await tx.execute_many(
        "INSERT INTO feed_ref (peer, ref, study) VALUES (?, ?, ?)"
        " ON CONFLICT (peer, ref) DO UPDATE SET study = excluded.study",
        [(peer.digest, ref.value, str(study)) for ref, study in studies.items()],
    )


async def learned_refs(rx: Read, peer: PeerId, refs: Iterable[StudyRef]) -> dict[StudyRef, StudyInstanceUID]:
    """Those of ``refs`` whose study is known from a release."""
    rows = await rx.fetch_all(
        "SELECT ref, study FROM feed_ref WHERE peer = ? AND ref IN (SELECT unhex(value) FROM json_each(?))",
        (peer.digest, _hex(ref.value for ref in refs)),
    )
    return {StudyRef(bytes(r[0])): StudyInstanceUID(r[1]) for r in rows}


async def held(rx: Read, studies: Iterable[StudyInstanceUID]) -> set[StudyInstanceUID]:
    """Those of ``studies`` that this node holds, own or received."""
    rows = await rx.fetch_all(
        "SELECT uid FROM study WHERE uid IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode([str(study) for study in studies]).decode(),),
    )
    return {StudyInstanceUID(r[0]) for r in rows}


async def pseudonym_key(tx: Write, peer: PeerId) -> bytes:
    """The secret behind the pseudonyms that local users have towards ``peer``; made when first needed."""
    await tx.execute(
        "INSERT INTO pseudonym_key (peer, key) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (peer.digest, secrets.token_bytes(_PSEUDONYM_KEY_BYTES)),
    )
    return bytes(await tx.fetch_value("SELECT key FROM pseudonym_key WHERE peer = ?", (peer.digest,)))


def _hex(values: Iterable[bytes]) -> str:
    return msgspec.json.encode([value.hex() for value in values]).decode()
