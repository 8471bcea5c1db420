"""docs/protocol/withdrawal.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from node.crypto.jws import JwsType
from node.model.ids import PeerId
from node.model.lifecycle import HiddenReason
from node.model.messenger import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS
from node.model.withdrawal import (
    MAX_INSTANCES,
    MAX_RELEASES,
    MAX_WORDS,
    NoticeOutcome,
    WithdrawalKind,
)
from node.peers.handlers_withdrawals import WITHDRAWALS
from node.peers.withdrawal_messages import MAX_ACK_BYTES, MAX_WITHDRAWAL_BYTES, decode_ack, decode_notice

TEXT = (Path(__file__).parents[2] / "docs" / "protocol" / "withdrawal.md").read_text()
NOTICE, IDENTITY, ACK = (
    block.replace("…", PeerId(bytes(32)).compact) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
)


def test_the_examples_are_messages() -> None:
    assert decode_notice(NOTICE.encode()).kind is WithdrawalKind.REJECTION
    corrected = json.loads(NOTICE) | {"kind": "correction", "identity": json.loads(IDENTITY)}
    del corrected["reason"], corrected["instances"]
    told = decode_notice(json.dumps(corrected).encode()).identity
    assert told is not None
    assert told.demographics.name == "Neu^Nora"
    assert decode_ack(ACK.encode()).outcome is NoticeOutcome.DONE


@pytest.mark.parametrize(
    "number",
    [
        MAX_WITHDRAWAL_BYTES, MAX_ACK_BYTES, MAX_INSTANCES, MAX_RELEASES, MAX_WORDS, FIRST_RETRY_SECONDS,
        LAST_RETRY_SECONDS,
    ],
)  # fmt: skip
def test_each_limit_stands_there(number: int) -> None:
    assert re.search(rf"\b{number}\b", TEXT)


def test_each_name_stands_there() -> None:
    names = [*WithdrawalKind, *NoticeOutcome, JwsType.WITHDRAWAL, JwsType.WITHDRAWAL_ACK]
    names += [reason for reason in HiddenReason if reason is not HiddenReason.REJECTION_NOTE]
    assert [name for name in names if f"`{name.value}`" not in TEXT] == []
    assert WITHDRAWALS in TEXT
