import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.crypto.announce import (
    EntryKeys,
    dummy_entry,
    entry_keys,
    open_entry,
    padded,
    seal_entry,
    sign_batch,
    verify_batch,
)
from node.crypto.identity import Domain, Identity
from node.crypto.oprf import EpochKey, Question
from node.errors.crypto_identity import BadSignature
from node.errors.feeds import BatchMalformed, EntryMalformed
from node.model.feed import ENTRY_BYTES, MAX_ENTRIES, MIN_ENTRIES, NO_PREVIOUS, TAG_BYTES, Batch
from node.model.ids import PatientKey, StudyRef
from node.model.instance import Demographics
from node.model.label import Label
from node.model.linkage import linkage_tokens

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "announcement_vectors.json").read_text())
HOLDER = Identity.from_seed(bytes.fromhex(VECTORS["identity_seed"]))
PEER = Identity.from_seed(bytes.fromhex(VECTORS["peer_seed"]))
F = hashlib.sha512(b"an output").digest()
LABEL = Label(ref=StudyRef(bytes(16)), modalities=("CT",), instances=3)


def keys_of(f: bytes = F, index: int = 0, epoch: int = 7) -> EntryKeys:
    return entry_keys(f, holder=HOLDER.peer_id, peer=PEER.peer_id, incarnation=5, epoch=epoch, index=index)


def batch_of_vectors() -> Batch:
    entries = [bytes.fromhex(entry["entry"]) for entry in VECTORS["entries"]]
    dummies = [hashlib.shake_256(f"dummy {number}".encode()).digest(256) for number in range(256 - len(entries))]
    return Batch(
        holder=HOLDER.peer_id,
        recipient=PEER.peer_id,
        incarnation=5,
        epoch=7,
        sequence=3,
        previous=hashlib.sha256(b"the batch before").digest(),
        created_at=1795478400,
        voprf_key=EpochKey.from_seed(bytes.fromhex(VECTORS["entries"][0]["epoch_seed"])).public_key,
        entries=tuple(sorted(entries + dummies)),
    )


@pytest.mark.parametrize("vector", VECTORS["entries"], ids=lambda vector: vector["index"])
def test_entries_of_the_vectors_in_both_directions(vector: dict[str, Any]) -> None:
    raw = {name: bytes.fromhex(value) for name, value in vector.items() if isinstance(value, str)}
    assert EpochKey.from_seed(raw["epoch_seed"]).evaluate_known(raw["token"]) == raw["f"]
    keys = keys_of(raw["f"], vector["index"])
    assert (keys.tag, keys.key) == (raw["tag"], raw["key"])
    label = Label.decode(raw["label"])
    assert seal_entry(keys, label, nonce=raw["nonce"]) == raw["entry"]
    assert open_entry(keys, raw["entry"]) == label


def test_the_batch_of_the_vectors_in_both_directions() -> None:
    expected = VECTORS["batch"]
    data = sign_batch(HOLDER, batch_of_vectors())
    assert data.startswith(bytes.fromhex(expected["header"]))
    assert data.endswith(bytes.fromhex(expected["signature"]))
    assert (len(data), hashlib.sha256(data).hexdigest()) == (expected["length"], expected["sha256"])
    assert verify_batch(data, HOLDER.public_key) == batch_of_vectors()


@pytest.mark.parametrize("vector", VECTORS["refused_headers"], ids=lambda vector: vector["what"])
def test_signed_batches_against_the_protocol_are_refused(vector: dict[str, Any]) -> None:
    body = bytearray(sign_batch(HOLDER, batch_of_vectors())[:-64])
    new = bytes.fromhex(vector["bytes"])
    body[vector["offset"] : vector["offset"] + len(new)] = new
    with pytest.raises(BatchMalformed):
        verify_batch(bytes(body) + HOLDER.sign(Domain.FEED, bytes(body)), HOLDER.public_key)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_batch_changed_on_the_way_is_refused_before_it_is_read(data: st.DataObject) -> None:
    signed = bytearray(sign_batch(HOLDER, batch_of_vectors()))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadSignature):
        verify_batch(bytes(signed), HOLDER.public_key)


def test_a_batch_of_somebody_else_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_batch(sign_batch(HOLDER, batch_of_vectors()), PEER.public_key)


def test_a_batch_signed_for_another_purpose_is_refused() -> None:
    body = sign_batch(HOLDER, batch_of_vectors())[:-64]
    with pytest.raises(BadSignature):
        verify_batch(body + bytes(64), HOLDER.public_key)


@pytest.mark.parametrize("size", [0, 63, 64, 1000, 6 * 2**20])
def test_a_batch_of_impossible_length_is_refused_unread(size: int) -> None:
    with pytest.raises(BatchMalformed):
        verify_batch(bytes(size), HOLDER.public_key)


def test_every_fact_changes_tag_and_key() -> None:
    facts: dict[str, Any] = {
        "holder": HOLDER.peer_id, "peer": PEER.peer_id, "incarnation": 5, "epoch": 7, "index": 0,
    }  # fmt: skip
    others: dict[str, Any] = {
        "holder": PEER.peer_id, "peer": HOLDER.peer_id, "incarnation": 6, "epoch": 8, "index": 1,
    }  # fmt: skip
    found = [entry_keys(F, **facts), entry_keys(F[::-1], **facts)]
    found += [entry_keys(F, **(facts | {name: other})) for name, other in others.items()]
    assert len({keys.tag for keys in found}) == len({keys.key for keys in found}) == 7


def test_no_tag_or_key_is_used_twice_by_patients_who_share_a_token_or_by_a_study_announced_again() -> None:
    """Index counts per token: two patients with one token take turns on its indexes."""
    key = EpochKey.from_seed(b"s" * 32)
    twins = [Demographics(f"Smith^{given}", "19700101", "F") for given in ("Jane", "Judith")]
    used: dict[bytes, itertools.count[int]] = {}
    keys = []
    for demographics in (twins[0], twins[1], twins[0], twins[1], twins[0]):  # three studies of one, two of the other
        for token in linkage_tokens(demographics, PatientKey("", ""), ()):
            index = next(used.setdefault(token.value, itertools.count()))
            keys.append(keys_of(key.evaluate_known(token.value), index))
    assert len(used) == 3
    assert len({k.tag for k in keys}) == len({k.key for k in keys}) == len(keys) == 10


def test_who_can_name_the_patient_finds_the_label_and_nobody_else_does() -> None:
    key = EpochKey.from_seed(b"s" * 32)
    (token, _) = linkage_tokens(Demographics("Smith^Jane", "19700101", "F"), PatientKey("", ""), ())
    entries = padded([seal_entry(keys_of(key.evaluate_known(token.value)), LABEL)])
    table = {entry[:TAG_BYTES]: entry for entry in entries}

    question = Question.blind(token.value)
    (answer,) = key.evaluate([question.blinded])
    keys = keys_of(question.finish(answer, key.public_key))
    assert open_entry(keys, table[keys.tag]) == LABEL
    assert keys_of(key.evaluate_known(b"somebody else")).tag not in table


@given(st.integers(0, ENTRY_BYTES - 1), st.integers(1, 255))
def test_a_changed_entry_does_not_open(offset: int, change: int) -> None:
    entry = bytearray(seal_entry(keys_of(), LABEL))
    entry[offset] ^= change
    with pytest.raises(EntryMalformed):
        open_entry(keys_of(), bytes(entry))


def test_entries_of_another_size_or_index_or_no_label_do_not_open() -> None:
    entry = seal_entry(keys_of(), LABEL)
    for bad in (entry[:-1], entry + b"\0", b"", seal_entry(keys_of(index=1), LABEL), dummy_entry()):
        with pytest.raises(EntryMalformed):
            open_entry(keys_of(), bad)


def test_a_label_under_another_tag_does_not_open() -> None:
    mine, other = keys_of(), keys_of(index=1)
    swapped = mine.tag + seal_entry(EntryKeys(other.tag, mine.key), LABEL)[TAG_BYTES:]
    with pytest.raises(EntryMalformed):
        open_entry(mine, swapped)


@pytest.mark.parametrize(("count", "size"), [(0, 256), (1, 256), (256, 256), (257, 512)])
def test_a_batch_is_padded_to_a_power_of_two_and_sorted(count: int, size: int) -> None:
    real = [seal_entry(keys_of(index=number), LABEL) for number in range(count)]
    entries = padded(real)
    assert len(entries) == size >= MIN_ENTRIES
    assert list(entries) == sorted(entries)
    assert set(real) <= set(entries)
    assert {len(entry) for entry in entries} == {ENTRY_BYTES}


def test_too_many_entries_for_a_batch_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match=str(MAX_ENTRIES + 1)):
        padded([b""] * (MAX_ENTRIES + 1))


def test_a_first_batch_has_no_previous() -> None:
    first = Batch(
        HOLDER.peer_id, PEER.peer_id, 1, 0, 0, NO_PREVIOUS, 1, EpochKey.from_seed(b"s" * 32).public_key, padded([])
    )
    assert verify_batch(sign_batch(HOLDER, first), HOLDER.public_key) == first


def test_keys_show_no_key_and_outputs_have_one_length() -> None:
    assert keys_of().key.hex() not in repr(keys_of())
    assert str(keys_of().key) not in repr(keys_of())
    with pytest.raises(ValueError, match="32"):
        keys_of(F[:32])
