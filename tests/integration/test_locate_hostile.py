"""Peers that lie: every lie is refused, changes nothing, and stops nobody."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from support.locating import ACTOR, ANNA, Site, site, trust_each_other

from node.crypto.announce import dummy_entry, entry_keys, padded, sign_batch, verify_batch
from node.crypto.identity import Domain, Identity
from node.crypto.oprf import EpochKey, Question
from node.errors.base import LeveretError
from node.errors.peers import RemoteBusy, RemoteRefusal
from node.errors.vault import FeedFrozen, FeedNotFrozen
from node.model.audit import AuditType
from node.model.feed import HEADER_BYTES, NO_PREVIOUS, Batch, batch_hash, encode_batch
from node.model.ids import PeerId
from node.model.instance import Demographics
from node.peers.handlers_feed import EVALUATE, FEED, MAX_ELEMENTS, NUDGE, Answers, Questions
from node.sharing import feeds, locate
from node.sharing.locate import PeerPriors

NOBODY = Demographics("Nobody^Nils", "19500505", "M")


@dataclass
class Script:
    """What a lying node answers."""

    feed: Callable[[], bytes] = lambda: b""
    answer: Callable[[Questions], Any] = lambda _questions: b""
    pulls: int = 0
    asked: list[Questions] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        async def feed(_request: web.Request) -> web.Response:
            self.pulls += 1
            return web.Response(body=self.feed())

        async def evaluate(request: web.Request) -> web.Response:
            self.asked.append(msgspec.json.decode(await request.read(), type=Questions))
            said = self.answer(self.asked[-1])
            return said if isinstance(said, web.Response) else web.Response(body=said)

        return [web.get(FEED, feed), web.post(EVALUATE, evaluate)]


class Liar:
    """A feed made by hand with the lying node's own identity."""

    def __init__(self, evil: Site, reader: Site, script: Script) -> None:
        self.evil, self.reader, self.script = evil, reader, script
        self.key = EpochKey.from_seed(os.urandom(32))
        self.sent: list[bytes] = []

    def batch(self, **changes: Any) -> Batch:
        """The batch that would rightly come next, with ``changes``."""
        right = Batch(
            holder=self.evil.peer_id,
            recipient=self.reader.peer_id,
            incarnation=7,
            epoch=2,
            sequence=len(self.sent),
            previous=batch_hash(self.sent[-1]) if self.sent else NO_PREVIOUS,
            created_at=0,
            voprf_key=self.key.public_key,
            entries=padded([]),
        )
        return dataclasses.replace(right, **changes)

    def signed(self, batch: Batch | None = None, identity: Identity | None = None) -> bytes:
        return sign_batch(identity or self.evil.identity, batch or self.batch())

    def signed_raw(self, body: bytes) -> bytes:
        """Any bytes, with a signature that holds."""
        return body + self.evil.identity.sign(Domain.FEED, body)

    async def honest(self, count: int = 1) -> None:
        """Let the reader take over ``count`` more right batches."""
        for _ in range(count):
            self.sent.append(self.signed())
            answers = iter([framed(self.sent[-1])])
            self.script.feed = lambda answers=answers: next(answers, b"")  # type: ignore[misc]
            await self.reader.reader.pull(self.evil.peer_id)

    async def proved_and_thawed(self) -> None:
        """The feed is frozen, the proof convinces anybody, and a person lets it go on."""
        evil, reader = self.evil, self.reader
        with pytest.raises(FeedFrozen):
            await reader.reader.pull(evil.peer_id)
        (fork,) = await reader.reader.forks()
        assert fork.first is not None
        assert fork.first != fork.second
        first, second = (verify_batch(one, evil.identity.public_key) for one in (fork.first, fork.second))
        assert (first.recipient, first.incarnation) == (second.recipient, second.incarnation)
        assert (
            first.sequence == second.sequence
            or second.previous != batch_hash(fork.first)
            or (first.epoch == second.epoch and first.voprf_key != second.voprf_key)
        )
        assert (await reader.events(AuditType.FEED_FORKED))[-1].detail["proof"] == "both"
        await reader.reader.thaw(evil.peer_id, by=ACTOR)
        with pytest.raises(FeedNotFrozen):
            await reader.reader.thaw(evil.peer_id, by=ACTOR)

    async def refused(self, said: bytes) -> str:
        """The reader refuses ``said``: the code; nothing of its state has changed."""
        before = await state(self.reader)
        self.script.feed = lambda: said
        with pytest.raises(LeveretError) as caught:
            await self.reader.reader.pull(self.evil.peer_id)
        assert await state(self.reader) == before
        return caught.value.code


def framed(*batches: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "big") + one for one in batches)


async def state(reader: Site) -> list[list[tuple[Any, ...]]]:
    tables = ("feed", "feed_batch", "feed_entry", "feed_answer")
    return [await reader.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


async def eventually(reader: Site, sequence: int) -> None:
    """Until the reader has taken over the batch with that number."""
    while await reader.rows("SELECT sequence FROM feed") != [(sequence,)]:  # noqa: ASYNC110 - nobody tells a test
        await asyncio.sleep(0.02)


@pytest.fixture
async def liar(tmp_path: Path) -> AsyncIterator[Liar]:
    script = Script()
    async with site(tmp_path, "evil", serve=script.routes()) as evil, site(tmp_path, "reader") as reader:
        await trust_each_other(evil, reader)
        yield Liar(evil, reader, script)


async def test_an_honest_feed_by_hand_is_taken_over(liar: Liar) -> None:
    await liar.honest(3)
    assert await liar.reader.rows("SELECT incarnation, epoch, sequence, entries FROM feed") == [(7, 2, 2, 768)]


async def test_batches_that_do_not_follow_are_refused(liar: Liar) -> None:
    await liar.honest(3)
    other = liar.signed(liar.batch(sequence=1, previous=batch_hash(liar.sent[0])))
    new_key = EpochKey.from_seed(os.urandom(32)).public_key
    lies = {
        "replay": (liar.sent[2], "feed_replayed"),
        "replay of the first": (liar.sent[0], "feed_replayed"),
        "gap": (liar.signed(liar.batch(sequence=4)), "feed_gap"),
        "fork at a known number": (other, "feed_fork"),
        "fork of the chain": (liar.signed(liar.batch(previous=b"x" * 32)), "feed_fork"),
        "another key in the epoch": (liar.signed(liar.batch(voprf_key=new_key)), "feed_fork"),
        "an epoch ago": (liar.signed(liar.batch(epoch=1, voprf_key=new_key)), "feed_rolled_back"),
        "an incarnation ago": (liar.signed(liar.batch(incarnation=6)), "feed_rolled_back"),
        "new incarnation, not its start": (liar.signed(liar.batch(incarnation=8)), "feed_gap"),
        "numbers beyond the index": (liar.signed(liar.batch(epoch=2**63, voprf_key=new_key)), "feed_oversized"),
        "for another node": (liar.signed(liar.batch(recipient=PeerId(b"o" * 32))), "feed_misdirected"),
        "a known tag again": (liar.signed(liar.batch(entries=known_entries(liar))), "feed_refused"),
        "somebody else's signature": (liar.signed(identity=Identity.generate()), "bad_signature"),
    }
    for lie, (said, code) in lies.items():
        assert await liar.refused(framed(said)) == code, lie
        if code == "feed_fork":
            await liar.proved_and_thawed()
    reordered = [liar.signed()]
    liar.sent.append(reordered[0])
    reordered.insert(0, liar.signed())
    assert await liar.refused(framed(*reordered)) == "feed_gap", "the later one first"
    liar.sent.pop()
    await liar.honest()
    assert await liar.reader.rows("SELECT sequence FROM feed") == [(3,)], "and the feed goes on"


def known_entries(liar: Liar) -> tuple[bytes, ...]:
    known = liar.sent[0][HEADER_BYTES : HEADER_BYTES + 256]
    return tuple(sorted([known, *(dummy_entry() for _ in range(255))]))


async def test_a_clock_that_is_years_off_does_not_matter(liar: Liar) -> None:
    decade = 10 * 365 * 86_400
    for at in (0, liar.reader.clock.now() + decade, liar.reader.clock.now() - decade, 2**64 - 1):
        said = liar.signed(liar.batch(created_at=at))
        answers = iter([framed(said)])
        liar.script.feed = lambda answers=answers: next(answers, b"")  # type: ignore[misc]
        await liar.reader.reader.pull(liar.evil.peer_id)
        liar.sent.append(said)
    assert await liar.reader.rows("SELECT sequence FROM feed") == [(3,)]


async def test_bytes_that_are_no_batch_are_refused(liar: Liar) -> None:
    await liar.honest()
    right = encode_batch(liar.batch())
    lies = {
        "huge count": liar.signed_raw(right[: HEADER_BYTES - 4] + b"\xff" * 4 + right[HEADER_BYTES:]),
        "count of none": liar.signed_raw(right[: HEADER_BYTES - 4] + bytes(4) + right[HEADER_BYTES:]),
        "no power of two": liar.signed_raw(right[: HEADER_BYTES - 4] + (257).to_bytes(4, "big") + right[HEADER_BYTES:]),
        "an entry short of a byte": liar.signed_raw(right[:-1]),
        "an entry too many": liar.signed_raw(right + dummy_entry()),
        "another version": liar.signed_raw(right[:9] + b"\2" + right[10:]),
        "another rule set": liar.signed_raw(right[:10] + b"\2" + right[11:]),
        "no group element as key": liar.signed_raw(right[:140] + b"\xff" * 32 + right[172:]),
        "the identity as key": liar.signed_raw(right[:140] + bytes(32) + right[172:]),
        "unsorted": liar.signed_raw(right[:HEADER_BYTES] + right[-256:] + right[HEADER_BYTES:-256]),
        "noise": os.urandom(len(right) + 64),
        "nothing": b"",
    }
    for lie, said in lies.items():
        assert await liar.refused(framed(said)) in {"batch_malformed", "bad_signature"}, lie
    good = liar.signed()
    for lie, body in {
        "frame longer than the body": (len(good) + 1).to_bytes(4, "big") + good,
        "frame of 4 GiB": b"\xff" * 4 + good,
        "half a length": b"\0\0",
        "bytes after a frame": framed(good)[:-1],
    }.items():
        assert await liar.refused(body) == "batch_malformed", lie
    assert await liar.refused(bytes(13 * 1024 * 1024)) == "peer_protocol_violation", "too much"
    refusals = [event.code for event in await liar.reader.events(AuditType.FEED_REFUSED)]
    assert len(refusals) < 10, "on record, but a lie that is repeated does not fill the log"
    assert "batch_malformed" in refusals


async def test_lies_in_turn_and_pauses_between_them_do_not_fill_the_log(liar: Liar) -> None:
    await liar.honest(2)
    for _ in range(3):
        await liar.refused(framed(liar.sent[0]))
        await liar.refused(framed(liar.signed(liar.batch(sequence=4))))
        liar.script.feed = lambda: b""
        await liar.reader.reader.pull(liar.evil.peer_id)
    refusals = [event.code for event in await liar.reader.events(AuditType.FEED_REFUSED)]
    assert sorted(refusals) == ["feed_gap", "feed_replayed"]


async def test_what_comes_before_a_lie_in_one_answer_counts(liar: Liar) -> None:
    first = liar.signed()
    liar.sent.append(first)
    liar.script.feed = lambda: framed(first, first)
    with pytest.raises(LeveretError):
        await liar.reader.reader.pull(liar.evil.peer_id)
    assert await liar.reader.rows("SELECT sequence, entries FROM feed") == [(0, 256)]


async def ask(liar: Liar, who: Demographics = ANNA) -> PeerPriors:
    liar.script.feed = lambda: b""
    (peer,) = (await liar.reader.locator.priors(demographics=who, actor=ACTOR)).peers
    return peer


async def test_false_answers_are_refused(liar: Liar) -> None:
    await liar.honest()
    wrong = EpochKey.from_seed(os.urandom(32))

    def json(*answers: bytes) -> bytes:
        return msgspec.json.encode(Answers(list(answers)))

    def one_false(asked: Questions) -> bytes:
        return json(*liar.key.evaluate(asked.elements[:2]), *wrong.evaluate(asked.elements[2:]))

    lies: dict[str, tuple[Callable[[Questions], Any], str]] = {
        "another key": (lambda q: json(*wrong.evaluate(q.elements)), "false_proof"),
        "one of three false": (one_false, "false_proof"),
        "answers exchanged": (lambda q: json(*reversed(liar.key.evaluate(q.elements))), "false_proof"),
        "proof of zeros": (lambda q: json(*(e + bytes(64) for e in q.elements)), "false_proof"),
        "no points": (lambda _q: json(*[b"\xff" * 96] * 3), "false_proof"),
        "identity": (lambda _q: json(*[bytes(96)] * 3), "false_proof"),
        "wrong sizes": (lambda _q: json(b"", b"x", b"y" * 90), "false_proof"),
        "one too few": (lambda q: json(*liar.key.evaluate(q.elements[:2])), "answer_refused"),
        "one too many": (lambda q: json(*liar.key.evaluate([*q.elements, q.elements[0]])), "answer_refused"),
        "none": (lambda _q: b'{"answers":[]}', "peer_protocol_violation"),
        "no JSON": (lambda _q: b"\xff{", "peer_protocol_violation"),
        "another shape": (lambda _q: b'{"answers":["AA=="],"more":1}', "peer_protocol_violation"),
        "no base64": (lambda _q: b'{"answers":["*","*","*"]}', "peer_protocol_violation"),
        "far too much": (lambda _q: bytes(10**6), "peer_protocol_violation"),
        "an error of its own": (lambda _q: web.Response(status=418), "unknown"),
        "an epoch that is over, always": (
            lambda _q: web.Response(status=409, body=b'{"code":"epoch_over"}', content_type="application/problem+json"),
            "epoch_over",
        ),
    }
    before = await state(liar.reader)
    for lie, (answer, code) in lies.items():
        liar.script.answer = answer
        peer = await ask(liar)
        assert (peer.status, peer.studies) == (code, ()), lie
    assert await state(liar.reader) == before

    liar.script.answer = lambda q: json(*liar.key.evaluate(q.elements))
    assert (await ask(liar)).status == "ok"
    assert {len(q.elements) for q in liar.script.asked} == {3}
    assert len({e for q in liar.script.asked for e in q.elements}) == 3 * len(liar.script.asked), "blinded afresh"


async def test_a_feed_that_lies_does_not_hide_what_is_known(tmp_path: Path) -> None:
    """A holder that was honest and then turns: its earlier announcements are still shown, with the code."""
    async with site(tmp_path, "holder") as holder, site(tmp_path, "reader") as reader:
        await trust_each_other(holder, reader)
        await holder.hold()
        await holder.announcer.announce_now()
        known = await reader.priors_at(holder)
        async with holder.db.write() as tx:  # a restored backup that forgot to start anew
            await tx.execute("DELETE FROM announce_batch")
            await tx.execute("UPDATE announce_feed SET next = 1, head = ?", (b"z" * 32,))
        await holder.hold()
        await holder.announcer.announce_now()
        (peer,) = (await reader.locator.priors(demographics=ANNA, actor=ACTOR)).peers
        assert (peer.status, peer.studies) == ("feed_fork", known)
        assert [event.code for event in await reader.events(AuditType.FEED_REFUSED)] == ["feed_fork"]


async def test_entries_that_do_not_open_are_named_and_the_others_shown(tmp_path: Path) -> None:
    async with site(tmp_path, "holder") as holder, site(tmp_path, "reader") as reader:
        await trust_each_other(holder, reader)
        await holder.hold()
        await holder.hold()
        await holder.announcer.announce_now()
        await reader.priors_at(holder)
        ((incarnation, epoch),) = await holder.rows("SELECT incarnation, epoch FROM announce_feed")
        for (output,) in await reader.rows("SELECT f FROM feed_answer"):  # her name's, her initial's
            first = entry_keys(
                output, holder=holder.peer_id, peer=reader.peer_id, incarnation=incarnation, epoch=epoch, index=0
            )
            async with reader.db.write() as tx:  # as a holder's own lie would lie there
                (body,) = await tx.fetch_one("SELECT body FROM feed_entry WHERE tag = ?", (first.tag,)) or (b"",)
                flipped = body[:-1] + bytes([body[-1] ^ 1])
                assert await tx.execute("UPDATE feed_entry SET body = ? WHERE tag = ?", (flipped, first.tag)) == 1
        (peer,) = (await reader.locator.priors(demographics=ANNA, actor=ACTOR)).peers
        assert (peer.status, len(peer.studies)) == ("entry_malformed", 1)


async def test_a_new_epoch_ends_what_was_known_and_is_asked_anew(liar: Liar) -> None:
    await liar.honest(2)
    liar.script.answer = lambda q: msgspec.json.encode(Answers(liar.key.evaluate(q.elements)))
    assert (await ask(liar)).status == (await ask(liar)).status == "ok"
    assert len(liar.script.asked) == 1
    old = liar.key
    liar.key = EpochKey.from_seed(os.urandom(32))
    said = liar.signed(liar.batch(epoch=3))
    waiting = [framed(said)]
    liar.script.feed = lambda: waiting.pop() if waiting else b""
    await liar.reader.reader.pull(liar.evil.peer_id)
    assert await liar.reader.rows("SELECT epoch, entries FROM feed") == [(3, 256)]
    assert await liar.reader.rows("SELECT count(*) FROM feed_entry") == [(256,)]
    assert (await ask(liar)).status == "ok"
    assert [(q.incarnation, q.epoch) for q in liar.script.asked] == [(7, 2), (7, 3)]
    liar.key = old
    assert (await ask(liar, NOBODY)).status == "false_proof", "the key of an epoch that is over proves nothing"


async def test_a_feed_that_never_ends_keeps_nobody_waiting(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    await liar.honest()
    liar.script.answer = lambda q: msgspec.json.encode(Answers(liar.key.evaluate(q.elements)))
    monkeypatch.setattr(locate, "PULL_SECONDS", 0.3)

    def another() -> bytes:
        liar.sent.append(liar.signed())
        return framed(liar.sent[-1])

    liar.script.feed = another
    (peer,) = (await liar.reader.locator.priors(demographics=ANNA, actor=ACTOR)).peers
    assert peer.status == "feed_behind"
    assert len(liar.script.asked) == 1, "what is here is asked about all the same"
    ((sequence,),) = await liar.reader.rows("SELECT sequence FROM feed")
    del liar.sent[sequence + 1 :]  # what was on its way when the reader stopped waiting
    monkeypatch.setattr(feeds, "MAX_ENTRIES_KEPT", 256 * (len(liar.sent) + 3))
    with pytest.raises(LeveretError, match=r"^$") as caught:
        await liar.reader.reader.pull(liar.evil.peer_id)
    assert caught.value.code == "feed_oversized", "and there is an end to what is kept"


async def test_hostile_questions_are_refused(tmp_path: Path) -> None:
    async with site(tmp_path, "holder") as holder, site(tmp_path, "evil") as evil:
        await trust_each_other(holder, evil)
        await holder.hold()
        await holder.announcer.announce_now()
        ((incarnation, epoch),) = await holder.rows("SELECT incarnation, epoch FROM announce_feed")
        good = [Question.blind(os.urandom(8)).blinded for _ in range(3)]
        client = evil.clients.get(holder.peer_id)

        async def code(**changes: Any) -> str:
            fields = {"incarnation": incarnation, "epoch": epoch, "purpose": "TREAT", "user": "0" * 32}
            message = fields | {"elements": good} | changes
            try:
                await client.call("POST", EVALUATE, body=msgspec.json.encode(message))
            except (RemoteRefusal, RemoteBusy) as error:
                return error.remote_code
            return "ok"

        assert await code() == "ok"
        assert await code(elements=[bytes(32)] * 3) == "invalid_element", "the identity"
        assert await code(elements=[b"\xff" * 32] * 3) == "invalid_element", "no canonical encoding"
        assert await code(elements=[good[0] + b"\0"] * 3) == "invalid_element"
        assert await code(elements=[b""] * 3) == "invalid_element"
        assert await code(elements=[]) == "malformed_message"
        assert await code(elements=[good[0]] * (MAX_ELEMENTS + 3)) == "malformed_message"
        assert await code(elements=[b"x" * 200] * 3) == "malformed_message"
        assert await code(elements=good[:2]) == "questions_refused", "fewer than a patient has"
        assert await code(purpose="CURIOUS") == "questions_refused"
        assert await code(purpose="treat") == "malformed_message"
        assert await code(user="user:clin") == "malformed_message"
        assert await code(user="0" * 32 + "\n") == "malformed_message"
        assert await code(epoch=epoch + 1) == "epoch_over"
        assert await code(epoch=2**63) == "malformed_message"
        assert await code(incarnation=incarnation - 1) == "epoch_over"
        async with holder.db.write(), asyncio.timeout(20):
            assert await code(epoch=epoch + 1) == "epoch_over", "without waiting for the writer"
        assert await code(more=1) == "malformed_message"
        assert await code() == "ok"
        for query in ("", "?from=1", "?incarnation=1&from=-1", "?incarnation=1&from=9223372036854775808"):
            with pytest.raises(RemoteRefusal, match="malformed_message"):
                await client.call("GET", FEED + query)
        with pytest.raises(RemoteRefusal, match="body_too_large"):
            await client.call("POST", NUDGE, body=b"x")


async def test_nudges_make_the_reader_pull_and_a_flood_of_them_little_more(liar: Liar) -> None:
    liar.sent.append(liar.signed())
    waiting = [framed(liar.sent[0])]
    liar.script.feed = lambda: waiting.pop() if waiting else b""
    task = asyncio.create_task(liar.reader.reader.run())
    try:
        async with asyncio.timeout(10):
            await eventually(liar.reader, 0)  # at start
            pulls = liar.script.pulls
            client = liar.evil.clients.get(liar.reader.peer_id)
            await asyncio.gather(*(client.call("POST", NUDGE) for _ in range(50)))
            await asyncio.sleep(0.2)
            assert pulls < liar.script.pulls <= pulls + 60
            liar.sent.append(liar.signed())
            waiting.append(framed(liar.sent[1]))
            await client.call("POST", NUDGE)
            await eventually(liar.reader, 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_new_batch_is_pulled_when_it_was_made(tmp_path: Path) -> None:
    """Announcing nudges; the reader that runs has it without being asked."""
    async with site(tmp_path, "holder") as holder, site(tmp_path, "reader") as reader:
        await trust_each_other(holder, reader)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader.reader.run()), group.create_task(holder.announcer.run())]
            await asyncio.sleep(0.1)
            await holder.hold()
            await holder.announcer.announce_now()
            async with asyncio.timeout(10):
                await eventually(reader, 0)
            for task in tasks:
                task.cancel()
