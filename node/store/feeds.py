"""The feeds that this node writes: one for each trusted peer, append-only.

Everything that must never happen twice (a sequence number, an entry's number under a token) is counted here, in the
transaction that keeps the batch; the batch is sent only from these rows. What this node reads of others is
:mod:`node.store.followed`.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from node.model.feed import NO_PREVIOUS, batch_hash
from node.model.ids import PatientKey, PeerId, StudyInstanceUID, StudyRef
from node.model.linkage import TokenKind
from node.store.engine import Read, Write

SEED_BYTES = 32
_BELIEVED = 2**62  # incarnations that a peer names: larger ones are a fault or a lie, and would leave no room


@dataclass(frozen=True, slots=True)
class OwnFeed:
    """The feed for one peer as it stands: the next batch has number ``sequence`` and names ``head`` as the previous."""

    peer: PeerId
    incarnation: int
    epoch: int
    seed: bytes = field(repr=False)
    sequence: int
    head: bytes
    mark: int  # changes up to this one were told
    terms: str  # the settings under which they were
    epoch_at: int = 0  # when the epoch began
    is_told: bool = False  # whether a batch of this epoch was made


@dataclass(frozen=True, slots=True)
class Announced:
    """What the peer was last told of a study, and under which tokens it stands."""

    ref: StudyRef
    revision: int
    detail: bool = False
    consent: bool = False
    withdrawn: bool = False
    tokens: Mapping[bytes, TokenKind] = field(repr=False, default_factory=dict)  # by value


def token_hash(token: bytes) -> bytes:
    """How a token is named in the index: names and ids need not stand there once more."""
    return hashlib.sha256(b"leveret/token/v1\0" + token).digest()


async def own_feed(rx: Read, peer: PeerId) -> OwnFeed | None:
    """The feed for ``peer``; None if there is none, or its key was destroyed."""
    row = await rx.fetch_one(
        "SELECT incarnation, epoch, seed, next, head, epoch_at, mark, terms,"
        " EXISTS (SELECT 1 FROM announce_batch b WHERE b.peer = announce_feed.peer)"
        " FROM announce_feed WHERE peer = ? AND seed IS NOT NULL",
        (peer.digest,),
    )
    if row is None:
        return None
    return OwnFeed(peer, row[0], row[1], bytes(row[2]), row[3], bytes(row[4]), row[6], row[7], row[5], bool(row[8]))


async def start_feed(tx: Write, peer: PeerId, now: int) -> OwnFeed:
    """A new incarnation of the feed for ``peer``, with a new key; nothing has been told under it.

    Its number is larger than any earlier one's, even if the clock went back; refs stay what they were.
    """
    await destroy_feed(tx, peer)
    last = await tx.fetch_value("SELECT incarnation FROM announce_feed WHERE peer = ?", (peer.digest,))
    incarnation = max(now, (last or 0) + 1)
    await tx.execute(
        "INSERT INTO announce_feed (peer, incarnation, epoch, seed, next, head, mark, terms, epoch_at)"
        " VALUES (?1, ?2, 1, ?3, 0, ?4, 0, '', ?5) ON CONFLICT (peer) DO UPDATE"
        " SET incarnation = ?2, epoch = 1, seed = ?3, next = 0, head = ?4, mark = 0, epoch_at = ?5",
        (peer.digest, incarnation, secrets.token_bytes(SEED_BYTES), NO_PREVIOUS, now),
    )
    await tx.execute("UPDATE announced SET revision = 0, withdrawn = 1 WHERE peer = ?", (peer.digest,))
    feed = await own_feed(tx, peer)
    assert feed is not None
    return feed


async def begin_epoch(tx: Write, feed: OwnFeed, now: int) -> None:
    """A new key for the peer of ``feed``; the old one is destroyed with all that was made under it.

    The batches of the old epoch are gone with it, so the chain begins anew too: in a new incarnation.
    """
    await start_feed(tx, feed.peer, now)
    await tx.execute("UPDATE announce_feed SET epoch = ? WHERE peer = ?", (feed.epoch + 1, feed.peer.digest))


async def seen_incarnation(tx: Write, peer: PeerId, incarnation: int) -> None:
    """``peer`` has seen this incarnation of the feed for it: the next one must have a larger number."""
    if not 0 < incarnation < _BELIEVED:
        return
    await tx.execute(
        "INSERT INTO announce_feed (peer, incarnation, epoch, seed, next, head, mark, terms)"
        " VALUES (?1, ?2, 1, NULL, 0, ?3, 0, '')"
        " ON CONFLICT (peer) DO UPDATE SET incarnation = max(incarnation, ?2) WHERE seed IS NULL",
        (peer.digest, incarnation, NO_PREVIOUS),
    )


async def destroy_feed(tx: Write, peer: PeerId) -> None:
    """Destroy the key for ``peer`` and all that was made under it; the number of the incarnation stays."""
    await tx.execute("UPDATE announce_feed SET seed = NULL WHERE peer = ?", (peer.digest,))
    for table in ("announce_batch", "announce_counter", "announced_token"):
        await tx.execute(f"DELETE FROM {table} WHERE peer = ?", (peer.digest,))  # noqa: S608 - fixed names


async def changes(rx: Read, after: int, limit: int) -> list[tuple[int, StudyInstanceUID]]:
    """The next studies whose announcement may have changed, with their place in the list of changes."""
    rows = await rx.fetch_all("SELECT id, study FROM announce_change WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [(r[0], StudyInstanceUID(r[1])) for r in rows]


async def reconsider(tx: Write, patient: PatientKey) -> None:
    """A consent of ``patient`` changed: its studies' announcements may have to say more, or less."""
    rows = await tx.fetch_all(
        "SELECT uid FROM study WHERE patient_id = ? AND issuer = ? AND origin IS NULL AND revision > 0",
        (patient.patient_id, patient.issuer),
    )
    await tx.execute_many("DELETE FROM announce_change WHERE study = ?", rows)
    await tx.execute_many("INSERT INTO announce_change (study) VALUES (?)", rows)


async def announceable(rx: Read, studies: Sequence[StudyInstanceUID]) -> set[StudyInstanceUID]:
    """Those of ``studies`` that may be announced: own, revision closed, not sensitive, patient not opted out."""
    rows = await rx.fetch_all(
        "SELECT s.uid FROM study s WHERE s.uid IN (SELECT value FROM json_each(?))"
        " AND s.origin IS NULL AND s.revision > 0"
        " AND NOT EXISTS (SELECT 1 FROM sensitive_study x WHERE x.study = s.uid)"
        " AND NOT EXISTS (SELECT 1 FROM opt_out o WHERE o.issuer = s.issuer AND o.patient_id = s.patient_id)",
        (_json(studies),),
    )
    return {StudyInstanceUID(r[0]) for r in rows}


async def announced(rx: Read, peer: PeerId, studies: Sequence[StudyInstanceUID]) -> dict[StudyInstanceUID, Announced]:
    """What ``peer`` was last told of those of ``studies`` that it was told of."""
    wanted = _json(studies)
    tokens: dict[str, dict[bytes, TokenKind]] = {}
    for study, token, kind in await rx.fetch_all(
        "SELECT study, token, kind FROM announced_token WHERE peer = ? AND study IN (SELECT value FROM json_each(?))",
        (peer.digest, wanted),
    ):
        tokens.setdefault(study, {})[bytes(token)] = TokenKind(kind)
    rows = await rx.fetch_all(
        "SELECT study, ref, revision, detail, consent, withdrawn FROM announced"
        " WHERE peer = ? AND study IN (SELECT value FROM json_each(?))",
        (peer.digest, wanted),
    )
    return {
        StudyInstanceUID(r[0]): Announced(
            StudyRef(bytes(r[1])), r[2], bool(r[3]), bool(r[4]), bool(r[5]), tokens.get(r[0], {})
        )
        for r in rows
    }


async def set_announced(tx: Write, peer: PeerId, study: StudyInstanceUID, state: Announced) -> None:
    """The batch that this transaction makes tells ``peer`` this of ``study``, under exactly these tokens."""
    await tx.execute(
        "INSERT INTO announced (peer, study, ref, revision, detail, consent, withdrawn) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (peer, study) DO UPDATE SET revision = excluded.revision, detail = excluded.detail,"
        " consent = excluded.consent, withdrawn = excluded.withdrawn",
        (peer.digest, str(study), state.ref.value, state.revision, state.detail, state.consent, state.withdrawn),
    )
    await tx.execute("DELETE FROM announced_token WHERE peer = ? AND study = ?", (peer.digest, str(study)))
    await tx.execute_many(
        "INSERT INTO announced_token (peer, study, token, kind) VALUES (?, ?, ?, ?)",
        [(peer.digest, str(study), token, kind.value) for token, kind in state.tokens.items()],
    )


async def take_numbers(tx: Write, peer: PeerId, wanted: Mapping[bytes, int]) -> dict[bytes, int]:
    """Allocate, for each token hash, that many entry numbers under it; returns the first of each run.

    Numbers are never given twice: the counter moves in the transaction that makes the entries.
    """
    rows = await tx.fetch_all(
        "SELECT token, next FROM announce_counter WHERE peer = ? AND token IN (SELECT unhex(value) FROM json_each(?))",
        (peer.digest, msgspec.json.encode([token.hex() for token in wanted]).decode()),
    )
    first = {bytes(r[0]): int(r[1]) for r in rows}
    await tx.execute_many(
        "INSERT INTO announce_counter (peer, token, next) VALUES (?, ?, ?)"
        " ON CONFLICT (peer, token) DO UPDATE SET next = excluded.next",
        [(peer.digest, token, first.get(token, 0) + count) for token, count in wanted.items()],
    )
    return {token: first.get(token, 0) for token in wanted}


async def add_batch(tx: Write, feed: OwnFeed, data: bytes, now: int) -> None:
    """Keep the signed batch with number ``feed.sequence``; a second one under it violates a constraint."""
    await tx.insert(
        "INSERT INTO announce_batch (peer, sequence, made_at, data) VALUES (?, ?, ?, ?)",
        (feed.peer.digest, feed.sequence, now, data),
    )
    await tx.execute(
        "UPDATE announce_feed SET next = ?, head = ? WHERE peer = ?",
        (feed.sequence + 1, batch_hash(data), feed.peer.digest),
    )


async def set_mark(tx: Write, peer: PeerId, mark: int, terms: str) -> None:
    """Changes up to ``mark`` were told to ``peer``, under those settings."""
    await tx.execute("UPDATE announce_feed SET mark = ?, terms = ? WHERE peer = ?", (mark, terms, peer.digest))


async def batches(rx: Read, peer: PeerId, first: int, *, limit: int, max_bytes: int) -> list[bytes]:
    """Signed batches for ``peer`` from sequence number ``first`` on: ``limit`` of them, and ``max_bytes`` in all.

    At least one if there is one, so that a reader always gets on.
    """
    found: list[bytes] = []
    total = 0
    async for (data,) in rx.iterate(
        "SELECT data FROM announce_batch WHERE peer = ? AND sequence >= ? ORDER BY sequence LIMIT ?",
        (peer.digest, first, limit),
    ):
        total += len(data)
        if found and total > max_bytes:
            break
        found.append(bytes(data))
    return found


async def resolve_ref(rx: Read, peer: PeerId, ref: StudyRef) -> StudyInstanceUID | None:
    """Which study ``peer`` knows by the opaque ``ref`` of an announcement; None if this node gave it no such ref."""
    study = await rx.fetch_value("SELECT study FROM announced WHERE peer = ? AND ref = ?", (peer.digest, ref.value))
    return None if study is None else StudyInstanceUID(study)


async def count_questions(tx: Write, peer: PeerId, day: int, questions: int, limit: int) -> bool:
    """Count ``questions`` that ``peer`` asks on ``day``; False, and none counted, if that is over ``limit``."""
    await tx.execute("DELETE FROM questions_answered WHERE day < ?", (day - 1,))
    asked = await tx.fetch_value(
        "SELECT questions FROM questions_answered WHERE peer = ? AND day = ?", (peer.digest, day)
    )
    if (asked or 0) + questions > limit:
        return False
    await tx.execute(
        "INSERT INTO questions_answered (peer, day, questions) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (peer, day) DO UPDATE SET questions = questions + ?3",
        (peer.digest, day, questions),
    )
    return True


async def opt_out(tx: Write, patient: PatientKey, now: int) -> None:
    """``patient`` must not be announced; what was announced is withdrawn with the next batch."""
    await tx.execute(
        "INSERT INTO opt_out (issuer, patient_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (patient.issuer, patient.patient_id, now),
    )


async def opt_in(tx: Write, patient: PatientKey) -> None:
    """``patient`` takes the opt-out back."""
    await tx.execute("DELETE FROM opt_out WHERE issuer = ? AND patient_id = ?", (patient.issuer, patient.patient_id))


async def is_opted_out(rx: Read, patient: PatientKey) -> bool:
    """Whether the patient wants nothing announced, and nothing shared without being asked."""
    sql = "SELECT EXISTS (SELECT 1 FROM opt_out WHERE issuer = ? AND patient_id = ?)"
    return bool(await rx.fetch_value(sql, (patient.issuer, patient.patient_id)))


async def set_sensitive(tx: Write, study: StudyInstanceUID, now: int) -> bool:
    """``study`` must not be announced; if it was, it is withdrawn with the next batch. False: it was marked before."""
    sql = "INSERT INTO sensitive_study (study, at) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return await tx.execute(sql, (str(study), now)) == 1


async def clear_sensitive(tx: Write, study: StudyInstanceUID) -> bool:
    """``study`` may be announced again. False: it was not marked."""
    return await tx.execute("DELETE FROM sensitive_study WHERE study = ?", (str(study),)) == 1


async def sensitive(rx: Read) -> list[tuple[StudyInstanceUID, int]]:
    """The studies that are marked, and since when; newest first."""
    rows = await rx.fetch_all("SELECT study, at FROM sensitive_study ORDER BY at DESC, study")
    return [(StudyInstanceUID(row[0]), row[1]) for row in rows]


def _json(studies: Iterable[StudyInstanceUID]) -> str:
    return msgspec.json.encode([str(study) for study in studies]).decode()
