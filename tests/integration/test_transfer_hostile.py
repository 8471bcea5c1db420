"""A recipient against holders that lie: whatever they sign or send, nothing of it is shown, and the request ends."""

import hashlib
import struct
import tracemalloc
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from support.ct import CtStudy, dataset_of
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node

from node.crypto import sharecode
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.model.ids import (
    Digest,
    PatientKey,
    PeerId,
    RequestId,
    SOPInstanceUID,
    StudyInstanceUID,
    StudyRef,
    TransferSyntaxUID,
)
from node.model.instance import Demographics, ManifestEntry
from node.model.release import DecisionNotice, ReleasedStudy, ReleaseManifest, Verdict
from node.model.request import Subject
from node.model.transfer import TransferState
from node.peers.frames import END_FRAME, head, stop_frame
from node.peers.handlers_requests import Writer
from node.peers.messages import (
    MAX_REQUEST_BYTES,
    decode_body,
    decode_request,
    encode_decision,
    encode_manifest,
)
from node.sharing.incoming import Count
from node.sharing.requests import RequestView
from node.store.codec import BLOCK_BYTES, CODEC_SHUFFLE_ZSTD, Codec
from node.store.study_queries import StudyQuery

STUDY = CtStudy(instances=3, rows=16)
EXPLICIT = TransferSyntaxUID("1.2.840.10008.1.2.1")
STRANGER = Identity.generate()

ChangeManifest = Callable[[ReleaseManifest], ReleaseManifest]


class LyingHolder:
    """A holder that permits everything, signs what it is told to, and sends what it likes."""

    def __init__(self) -> None:
        self.identity = Identity.generate()
        self.files = [dataset_of(file) for file in STUDY.files()]
        self.change: ChangeManifest = lambda manifest: manifest
        self.send: Callable[[Sequence[int]], list[bytes]] = self.honestly
        self.notice: Callable[[DecisionNotice], DecisionNotice] = lambda notice: notice
        self.manifest_signer = self.identity
        self.released: dict[RequestId, str] = {}
        self.receipts: list[str] = []
        self.codecs: list[int] = []  # that the recipient can take

    async def prepare(self, parser: SharingNode) -> None:
        """Know what an honest manifest would say."""
        headers = [await parser.parsers.parse_header(data, EXPLICIT) for data in self.files]
        self.entries = tuple(
            ManifestEntry(
                h.sop_class_uid,
                h.sop_instance_uid,
                h.series_instance_uid,
                EXPLICIT,
                len(data),
                Digest(hashlib.sha256(data).digest()),
            )
            for h, data in zip(headers, self.files, strict=True)
        )

    def honestly(self, indexes: Sequence[int]) -> list[bytes]:
        parts = [head(i, len(self.files[i])) + self.files[i] for i in indexes]
        return [*parts, END_FRAME]

    async def receive(self, peer: PeerId, token: str) -> str:
        del peer
        request = decode_body(decode_request(_unverified(token))[1])
        study = ReleasedStudy(
            StudyInstanceUID(STUDY.study_uid),
            1,
            PatientKey("LIAR", STUDY.patient_id),
            Demographics(STUDY.patient_name, STUDY.birth_date, STUDY.sex),
            self.entries,
        )
        manifest = ReleaseManifest(request.request_id, self.identity.peer_id, request.requester, 1, 2**33, (study,))
        payload = encode_manifest(self.change(manifest))
        self.released[request.request_id] = sign_jws(self.manifest_signer, JwsType.MANIFEST, payload)
        notice = DecisionNotice(request.request_id, self.identity.peer_id, request.requester, 1, Verdict.PERMIT)
        return sign_jws(self.identity, JwsType.DECISION, encode_decision(self.notice(notice)))

    async def decision(self, peer: PeerId, request_id: RequestId) -> str:
        raise AssertionError(peer, request_id)

    async def manifest(self, peer: PeerId, request_id: RequestId) -> str:
        del peer
        return self.released[request_id]

    async def take_receipt(self, peer: PeerId, request_id: RequestId, token: str) -> None:
        del peer, request_id
        self.receipts.append(token)

    async def cancelled(self, peer: PeerId, request_id: RequestId) -> None:
        del peer, request_id

    @asynccontextmanager
    async def open(
        self, peer: PeerId, request_id: RequestId, indexes: Sequence[int], codecs: Collection[int]
    ) -> AsyncIterator["_Stream"]:
        del peer, request_id
        self.codecs = list(codecs)
        yield _Stream(self.send(indexes))


class _Stream:
    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    async def run(self, write: Writer) -> None:
        for part in self._parts:
            await write(part)


def _unverified(token: str) -> bytes:
    return urlsafe_b64decode(token.split(".")[1] + "==")


@pytest.fixture
async def liar(tmp_path: Path) -> AsyncIterator[tuple[LyingHolder, SharingNode]]:
    """A lying holder and its victim."""
    holder = LyingHolder()
    lying = sharing_node("liar", tmp_path, identity=holder.identity, requests_port=holder, objects_port=holder)
    async with lying as node, sharing_node("lake", tmp_path) as lake:
        await befriend(node, lake)
        await holder.prepare(lake)
        yield holder, lake


async def outcome(holder: LyingHolder, lake: SharingNode, patient: PatientKey | None = None) -> RequestView:
    order = lake.order(
        lake, STUDY, sharecode.generate().text, peer=holder.identity.peer_id, timeout=3, subject=Subject(patient)
    )
    return await lake.requests.wait(await lake.requests.ask(order, by=ACTOR))


async def assert_nothing_came(lake: SharingNode, view: RequestView) -> None:
    assert view.transfer.state is TransferState.FAILED
    assert await lake.store.studies(StudyQuery()) == []
    assert await lake.store.staged(view.request_id) == {}


async def test_an_honest_one_passes(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    assert (await outcome(holder, lake)).state == "COMPLETED"


def _entry(number: int, **changes: object) -> ChangeManifest:
    def change(manifest: ReleaseManifest) -> ReleaseManifest:
        (study,) = manifest.studies
        entries = list(study.entries)
        entries[number] = replace(entries[number], **changes)  # type: ignore[arg-type]
        return replace(manifest, studies=(replace(study, entries=tuple(entries)),))

    return change


def _study(**changes: object) -> ChangeManifest:
    def change(manifest: ReleaseManifest) -> ReleaseManifest:
        return replace(manifest, studies=(replace(manifest.studies[0], **changes),))  # type: ignore[arg-type]

    return change


MANIFESTS: dict[str, ChangeManifest] = {
    "another request": lambda m: replace(m, request_id=RequestId.new()),
    "another recipient": lambda m: replace(m, recipient=STRANGER.peer_id),
    "another holder": lambda m: replace(m, holder=STRANGER.peer_id),
    "a study not asked for": _study(study_instance_uid=StudyInstanceUID("1.2.3")),
    "a study twice": lambda m: replace(m, studies=m.studies * 2),
    "an instance twice": _entry(1, sop_instance_uid=SOPInstanceUID(STUDY.sop_uid(1))),
    "a size of nothing": _entry(1, size=0),
    "a ref that was not asked for": _study(ref=StudyRef.new()),
}


@pytest.mark.parametrize("lie", MANIFESTS)
async def test_a_manifest_that_cannot_be_right(liar: tuple[LyingHolder, SharingNode], lie: str) -> None:
    holder, lake = liar
    holder.change = MANIFESTS[lie]
    view = await outcome(holder, lake)
    assert (view.state, view.code) == ("FAILED", "manifest_refused")
    await assert_nothing_came(lake, view)


@pytest.mark.parametrize("issuer", ["ISSUER-lake", "issuer-LAKE "])
@pytest.mark.parametrize(
    "asked_for", [None, PatientKey("ISSUER-lake", "another"), PatientKey("LIAR", STUDY.patient_id)]
)
async def test_a_study_is_not_filed_under_a_patient_of_the_recipient(
    liar: tuple[LyingHolder, SharingNode], issuer: str, asked_for: PatientKey | None
) -> None:
    holder, lake = liar
    assert lake.issuer == "ISSUER-lake"
    holder.change = _study(patient=PatientKey(issuer, STUDY.patient_id))
    view = await outcome(holder, lake, asked_for)
    assert (view.state, view.code) == ("FAILED", "manifest_refused")
    await assert_nothing_came(lake, view)


async def test_a_study_of_the_very_patient_that_was_asked_for_is_taken(liar: tuple[LyingHolder, SharingNode]) -> None:
    """Two facilities of one house have one issuer."""
    holder, lake = liar
    patient = lake.patient(STUDY)
    holder.change = _study(patient=patient)
    assert (await outcome(holder, lake, patient)).state == "COMPLETED"


async def test_a_manifest_of_somebody_else(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    holder.manifest_signer = STRANGER
    view = await outcome(holder, lake)
    assert (view.state, view.code) == ("FAILED", "manifest_refused")


@pytest.mark.parametrize("field", ["request_id", "recipient", "holder"])
async def test_a_decision_on_something_else(liar: tuple[LyingHolder, SharingNode], field: str) -> None:
    holder, lake = liar
    other: dict[str, object] = {"request_id": RequestId.new()}
    holder.notice = lambda notice: replace(notice, **{field: other.get(field, STRANGER.peer_id)})  # type: ignore[arg-type]
    view = await outcome(holder, lake)
    assert (view.state, view.code) == ("FAILED", "peer_protocol_violation")
    await assert_nothing_came(lake, view)


LIES: dict[str, tuple[ChangeManifest, str]] = {
    "hash": (_entry(1, digest=Digest(bytes(32))), "release_mismatch"),
    "instance uid": (_entry(1, sop_instance_uid=SOPInstanceUID("1.2.3")), "release_mismatch"),
    "patient id": (_study(patient=PatientKey("LIAR", "another")), "release_mismatch"),
    "transfer syntax": (_entry(1, transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.2")), ""),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_instance_that_is_not_what_the_manifest_says(liar: tuple[LyingHolder, SharingNode], lie: str) -> None:
    holder, lake = liar
    holder.change, code = LIES[lie]
    view = await outcome(holder, lake)
    assert view.state == "FAILED"
    assert not code or view.code == code
    await assert_nothing_came(lake, view)


def _streams(holder: LyingHolder) -> dict[str, Callable[[Sequence[int]], list[bytes]]]:
    data = holder.files
    return {
        "other bytes": lambda _: [
            head(0, len(data[0])) + data[1][: len(data[0])].ljust(len(data[0]), b"\0"),
            END_FRAME,
        ],
        "a longer one": lambda _: [head(0, len(data[0]) + 1) + data[0] + b"\0", END_FRAME],
        "a length without end": lambda _: [head(0, 2**55)],
        "another index": lambda _: [head(7, 10) + bytes(10), END_FRAME],
        "another order": lambda indexes: holder.honestly(list(reversed(indexes))),
        "one twice": lambda indexes: holder.honestly([indexes[0], *indexes]),
        "an end too soon": lambda _: [END_FRAME],
        "more after the end": lambda indexes: [*holder.honestly(indexes), b"more"],
        "a stop for good": lambda _: [stop_frame("object_unavailable")],
        "a codec that nobody named": lambda _: [head(0, len(data[0]), 2) + data[0], END_FRAME],
        "no frames": lambda _: [b"HTTP/1.1 200 OK\r\n\r\n" * 100],
    }


@pytest.mark.parametrize("lie", _streams(LyingHolder()))
async def test_a_stream_that_lies(liar: tuple[LyingHolder, SharingNode], lie: str) -> None:
    holder, lake = liar
    holder.send = _streams(holder)[lie]
    view = await outcome(holder, lake)
    assert view.state == "FAILED"
    await assert_nothing_came(lake, view)


def packed_frame(index: int, blocks: bytes, tail: bytes) -> list[bytes]:
    return [head(index, len(tail) + len(blocks), CODEC_SHUFFLE_ZSTD) + tail + blocks, END_FRAME]


def _lies_about_blocks(holder: LyingHolder) -> dict[str, Callable[[Sequence[int]], list[bytes]]]:
    """Packed instances that are not what they should be; the first of the study is small, one block."""
    size = len(holder.files[0])
    good = zstandard.compress(holder.files[0], 1)
    other = zstandard.compress(holder.files[1][:size].ljust(size, b"\0"), 1)
    bomb = zstandard.compress(bytes(1 << 28), 1)

    def one(frame: bytes, said: int | None = None) -> Callable[[Sequence[int]], list[bytes]]:
        tail = struct.pack(">I", len(frame) if said is None else said) + b"\1\0\0\0"
        return lambda indexes: packed_frame(indexes[0], frame, tail)

    return {
        "a block that inflates beyond its size": one(bomb),
        "bytes that are not those of the digest": one(other),
        "a length that is not the block's": one(good, len(good) - 1),
        "a block longer than its data": one(good, size + 1),
        "a block of no bytes": lambda i: packed_frame(i[0], good, bytes(4) + b"\1\0\0\0"),
        "no zstd": one(b"x" * 100),
        "a block cut short": one(good[:-1]),
        "two frames": one(good + good),
        "a width that there is not": lambda i: packed_frame(i[0], good, struct.pack(">I", len(good)) + b"\3\0\0\0"),
        "a tail alone": lambda i: [head(i[0], 8, CODEC_SHUFFLE_ZSTD) + bytes(8), END_FRAME],
        "more than the data set": lambda i: [head(i[0], size + 9, CODEC_SHUFFLE_ZSTD), bytes(size + 9), END_FRAME],
    }


async def test_packed_instances_that_lie(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    for lie, send in _lies_about_blocks(holder).items():
        holder.send = send
        view = await outcome(holder, lake)
        assert view.state == "FAILED", lie
        assert view.code in {"release_mismatch", "frame_error"}, lie
        assert CODEC_SHUFFLE_ZSTD in holder.codecs
        await assert_nothing_came(lake, view)


async def test_a_large_instance_that_came_as_next_to_nothing_takes_no_memory(
    liar: tuple[LyingHolder, SharingNode],
) -> None:
    """320 blocks of 25 bytes are 80 MB: hashed block by block, refused for their digest."""
    holder, lake = liar
    size, block = 320 * BLOCK_BYTES, Codec().pack_block(bytes(BLOCK_BYTES), 1)
    first = Codec().pack_block(holder.files[0].ljust(BLOCK_BYTES, b"\0"), 1)
    tail = struct.pack(">320I", len(first), *[len(block)] * 319) + b"\1\0\0\0"
    holder.change = _entry(0, size=size)
    holder.send = lambda indexes: packed_frame(indexes[0], bytes(first) + bytes(block) * 319, tail)
    tracemalloc.start()
    try:
        view = await outcome(holder, lake)
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert (view.state, view.code) == ("FAILED", "release_mismatch")
    await assert_nothing_came(lake, view)


async def test_a_packed_instance_that_is_honest_is_kept_as_it_came(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    files = holder.files

    def packed(indexes: Sequence[int]) -> list[bytes]:
        parts = []
        for index in indexes:
            block = zstandard.compress(files[index], 19)  # not as this node packs
            tail = struct.pack(">I", len(block)) + b"\1\0\0\0"
            parts.append(head(index, len(tail) + len(block), CODEC_SHUFFLE_ZSTD) + tail + block)
        return [*parts, END_FRAME]

    holder.send = packed
    view = await outcome(holder, lake)
    assert view.state == "COMPLETED"
    assert 0 < view.transfer.wire_bytes < view.transfer.bytes_done
    uids = [STUDY.sop_uid(number) for number in range(1, 4)]
    assert await lake.bytes_of(uids) == dict(zip(uids, files, strict=True))
    readers = await lake.store.readers([SOPInstanceUID(uid) for uid in uids])
    for reader, file in zip(readers.values(), files, strict=True):
        assert (await reader.read_packed(0, 10**6))[1] == zstandard.compress(file, 19)


async def test_a_stream_that_is_cut_is_resumed(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    asked: list[list[int]] = []

    def one_at_a_time(indexes: Sequence[int]) -> list[bytes]:
        asked.append(list(indexes))
        return holder.honestly(indexes)[:1]  # and no end

    holder.send = one_at_a_time
    view = await outcome(holder, lake)
    assert view.state == "COMPLETED"
    assert all(0 < len(indexes) <= 3 for indexes in asked)
    (receipt,) = holder.receipts[:1] or [""]
    assert not receipt or verify_jws(receipt, JwsType.RECEIPT, lake.identity.public_key, max_bytes=MAX_REQUEST_BYTES)


async def test_other_bytes_under_a_uid_that_is_held_change_nothing(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    held = await lake.hold(CtStudy(instances=1, rows=16, smooth=True))  # the same UIDs, other pixels
    view = await outcome(holder, lake)
    assert (view.state, view.code) == ("FAILED", "instance_conflict")
    assert await lake.bytes_of(held) == held


async def test_nothing_is_added_to_a_study_of_ones_own(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    held = await lake.hold(CtStudy(instances=1, rows=16))
    holder.change = _study(patient=PatientKey(lake.issuer, STUDY.patient_id))
    view = await outcome(holder, lake, lake.patient(STUDY))
    assert (view.state, view.code) == ("FAILED", "manifest_refused")
    (study,) = await lake.store.studies(StudyQuery())
    assert (study.origin, study.instances) == (None, 1)
    assert await lake.bytes_of(held) == held
    assert await lake.store.staged(view.request_id) == {}


async def test_ones_own_images_that_come_meanwhile_stay_apart(liar: tuple[LyingHolder, SharingNode]) -> None:
    holder, lake = liar
    holder.change = _study(patient=PatientKey(lake.issuer, STUDY.patient_id))
    pull = lake.inbound._pull_some

    async def pull_some(manifest: ReleaseManifest, missing: list[int], count: Count) -> None:
        await pull(manifest, missing, count)
        await lake.hold(CtStudy(instances=1, rows=16))

    lake.inbound._pull_some = pull_some  # type: ignore[method-assign]
    view = await outcome(holder, lake, lake.patient(STUDY))
    assert (view.state, view.code) == ("FAILED", "manifest_refused")
    (study,) = await lake.store.studies(StudyQuery())
    assert (study.origin, study.instances) == (None, 1)
