"""docs/protocol/transfer.md says what the code does."""

import re
from pathlib import Path

import pytest

from node.model.consent import PurposeOfUse, RefusalCode
from node.model.evidence import MAX_REASON
from node.model.ids import PeerId
from node.model.release import MAX_INSTANCES, RELEASE_SECONDS
from node.model.request import MAX_AGE_SECONDS, MAX_SKEW_SECONDS, MAX_TARGETS
from node.model.transfer import TransferState
from node.peers import handlers_requests, limits, messages, proofs
from node.peers.frames import CONTROL, END_FRAME, head, stop_frame
from node.sharing.holder import REFUSAL_GRID
from node.sharing.serve import MAX_STREAMS, REFUSED_SECONDS
from node.store.codec import CODEC_SHUFFLE_ZSTD, MAX_WIRE_BYTES

TEXT = (Path(__file__).parents[2] / "docs" / "protocol" / "transfer.md").read_text()
PEER = PeerId(bytes(32)).compact
JSON = re.compile(r"```json\n(.*?)```", re.DOTALL)
BLOCKS = [block.replace("…64 digits", "0" * 60).replace("…", PEER) for block in JSON.findall(TEXT)]
DECODERS = {
    '"proof"': messages.decode_request,
    '"jti"': proofs.decode_grant,
    '"requester"': messages.decode_body,
    '"verdict"': messages.decode_decision,
    '"classes"': messages.decode_manifest,
    '"bytes"': messages.decode_receipt,
}


@pytest.mark.parametrize("member", DECODERS)
def test_the_examples_are_messages(member: str) -> None:
    (block,) = (b for b in BLOCKS if member in b)
    assert DECODERS[member](block.encode())


@pytest.mark.parametrize(
    "number",
    [
        messages.MAX_BODY_BYTES,
        messages.MAX_REQUEST_BYTES,
        messages.MAX_NOTICE_BYTES,
        proofs.MAX_GRANT_BYTES,
        MAX_REASON,
        messages.MAX_MANIFEST_BYTES,
        MAX_INSTANCES,
        MAX_AGE_SECONDS,
        MAX_SKEW_SECONDS,
        MAX_TARGETS,
        MAX_STREAMS,
        handlers_requests.MAX_INDEXES,
        RELEASE_SECONDS // 86_400,
        REFUSED_SECONDS // 86_400,
        int(limits.REQUESTS_BURST),
        round(60 * limits.REQUESTS_PER_SECOND),
        round(1000 * REFUSAL_GRID),
    ],
)
def test_each_limit_stands_there(number: int) -> None:
    assert re.search(rf"\b{number}\b", TEXT)


def test_the_frames_are_those_of_the_code() -> None:
    assert f"0x{CONTROL - 1:08X} " in TEXT
    assert f"0x{END_FRAME[:4].hex().upper()}, length 0" in TEXT
    assert f"0x{stop_frame('a')[:4].hex().upper()}, length 1" in TEXT
    assert f'"codecs":[{CODEC_SHUFFLE_ZSTD}]' in TEXT
    assert f"{handlers_requests.MAX_CODECS} numbers at most" in TEXT
    assert f"above {MAX_WIRE_BYTES >> 30} GiB MUST NOT be sent by codec {CODEC_SHUFFLE_ZSTD}" in TEXT
    assert head(7, 9, CODEC_SHUFFLE_ZSTD) == bytes.fromhex("00000007 01 00000000000009")


def test_each_word_stands_there() -> None:
    words = [*(c.value for c in RefusalCode), *PurposeOfUse, *TransferState]
    routes = [r for r in vars(handlers_requests).values() if isinstance(r, str) and r.startswith("/peer/")]
    assert [word for word in words if not re.search(rf"\b{word}\b", TEXT)] == []
    assert [route for route in routes if route.replace("{id}", "ID") not in TEXT] == []
