"""Signed notes, checkpoints and cosignatures as C2SP writes them down."""

import base64
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.identity import Identity
from node.crypto.notes import (
    MAX_NOTE_LENGTH,
    MAX_SIGNATURES,
    Checkpoint,
    checkpoint_body,
    cosign,
    parse_checkpoint,
    parse_note,
    sign_note,
    verify_checkpoint,
    verify_cosignature,
    verify_note,
)
from node.errors.crypto_identity import BadSignature, MalformedNote

LOG, WITNESS, OTHER = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
ORIGIN, WITNESS_NAME = "leveret/LOG/audit", "leveret/WITNESS/witness"
ROOT = bytes(range(32))
BODY = checkpoint_body(ORIGIN, 20852163, ROOT)
NOTE = sign_note(LOG, ORIGIN, BODY)
TIME = 1679315147
COSIGNED = NOTE + cosign(WITNESS, WITNESS_NAME, BODY, TIME)

# The example of Go's golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of C2SP tlog-cosignature; its keys are not published.
C2SP_NOTE = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_note_that_go_signed() -> None:
    name, key_id, key = GO_KEY.split("+", 2)
    public_key = base64.b64decode(key)[1:]
    assert verify_note(GO_NOTE, name, public_key) == GO_NOTE.partition("\n\n")[0] + "\n"
    assert parse_note(GO_NOTE).signatures[0].key_id.hex() == key_id
    with pytest.raises(BadSignature):
        verify_note(GO_NOTE.replace("answer", "Answer"), name, public_key)


def test_the_example_of_c2sp_parses() -> None:
    note = parse_note(C2SP_NOTE)
    assert parse_checkpoint(note.text) == Checkpoint(
        "example.com/behind-the-sofa",
        20852163,
        bytes.fromhex("0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"),
    )
    log, witness = note.signatures
    assert (log.name, log.key_id.hex(), len(log.signature)) == ("example.com/behind-the-sofa", "033de0ae", 64)
    assert (witness.name, witness.key_id.hex()) == ("witness.example.com/w1", "8d66cf3f")
    assert struct.unpack(">Q64s", witness.signature)[0] == TIME


def test_the_layout_of_a_checkpoint() -> None:
    assert f"{ORIGIN}\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n" == BODY
    text, line = NOTE.split("\n\n")
    assert text + "\n" == BODY
    dash, name, signature = line.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", ORIGIN)
    Ed25519PublicKey.from_public_bytes(LOG.public_key).verify(base64.b64decode(signature)[4:], BODY.encode())


def test_a_checkpoint_is_verified() -> None:
    assert verify_checkpoint(NOTE, ORIGIN, LOG.public_key) == Checkpoint(ORIGIN, 20852163, ROOT)
    assert verify_checkpoint(COSIGNED, ORIGIN, LOG.public_key).size == 20852163


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_round_trip(size: int, root: bytes) -> None:
    note = sign_note(LOG, ORIGIN, checkpoint_body(ORIGIN, size, root))
    assert verify_checkpoint(note, ORIGIN, LOG.public_key) == Checkpoint(ORIGIN, size, root)


def test_another_logs_checkpoint_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_checkpoint(NOTE, ORIGIN, OTHER.public_key)
    with pytest.raises(BadSignature):
        verify_checkpoint(NOTE, "leveret/OTHER/audit", LOG.public_key)
    renamed = sign_note(LOG, "leveret/OTHER/audit", BODY)
    with pytest.raises(BadSignature):
        verify_checkpoint(renamed, ORIGIN, LOG.public_key)
    with pytest.raises(MalformedNote):
        verify_checkpoint(renamed, "leveret/OTHER/audit", LOG.public_key)


def test_every_changed_character_of_the_text_is_refused() -> None:
    for at in range(len(BODY)):
        changed = NOTE[:at] + ("7" if NOTE[at] != "7" else "8") + NOTE[at + 1 :]
        with pytest.raises((BadSignature, MalformedNote)):
            verify_checkpoint(changed, ORIGIN, LOG.public_key)


def test_lines_of_unknown_keys_are_ignored_and_a_false_one_of_a_known_key_is_not() -> None:
    stranger = sign_note(OTHER, ORIGIN, BODY).split("\n\n")[1]
    assert verify_checkpoint(NOTE + stranger, ORIGIN, LOG.public_key).root == ROOT
    right = NOTE.split("\n\n")[1]
    key_id = base64.b64decode(right.split(" ")[2])[:4]
    false = f"\u2014 {ORIGIN} {b64(key_id + bytes(64))}\n"
    for note in (NOTE + false, f"{BODY}\n{false}{right}"):
        with pytest.raises(BadSignature):
            verify_checkpoint(note, ORIGIN, LOG.public_key)
    short = f"\u2014 {ORIGIN} {b64(key_id + bytes(63))}\n"
    with pytest.raises(BadSignature):
        verify_checkpoint(f"{BODY}\n{short}", ORIGIN, LOG.public_key)


# --- cosignatures -----------------------------------------------------------------------------------------------


def test_a_cosignature_says_when() -> None:
    assert verify_cosignature(COSIGNED, WITNESS_NAME, WITNESS.public_key) == TIME
    line = COSIGNED.removeprefix(NOTE).split(" ")[2]
    signature = base64.b64decode(line)
    assert len(signature) == 4 + 8 + 64
    message = f"cosignature/v1\ntime {TIME}\n{BODY}"
    Ed25519PublicKey.from_public_bytes(WITNESS.public_key).verify(signature[12:], message.encode())


def test_of_several_cosignatures_the_latest_counts_and_all_must_hold() -> None:
    note = COSIGNED + cosign(WITNESS, WITNESS_NAME, BODY, TIME + 10) + cosign(WITNESS, WITNESS_NAME, BODY, TIME + 5)
    assert verify_cosignature(note, WITNESS_NAME, WITNESS.public_key) == TIME + 10
    other = cosign(WITNESS, WITNESS_NAME, checkpoint_body(ORIGIN, 1, ROOT), TIME)
    with pytest.raises(BadSignature):
        verify_cosignature(COSIGNED + other, WITNESS_NAME, WITNESS.public_key)


def test_a_signature_is_no_cosignature_nor_the_other_way_round() -> None:
    with pytest.raises(BadSignature):
        verify_cosignature(NOTE, ORIGIN, LOG.public_key)
    with pytest.raises(BadSignature):
        verify_note(f"{BODY}\n{cosign(LOG, ORIGIN, BODY, TIME)}", ORIGIN, LOG.public_key)


def test_an_absent_or_foreign_cosignature_is_refused() -> None:
    for name, key in ((WITNESS_NAME, OTHER.public_key), (ORIGIN, WITNESS.public_key)):
        with pytest.raises(BadSignature):
            verify_cosignature(COSIGNED, name, key)


def test_another_time_is_refused() -> None:
    line = COSIGNED.removeprefix(NOTE).rstrip("\n").split(" ")[2]
    raw = base64.b64decode(line)
    moved = raw[:4] + struct.pack(">Q", TIME + 1) + raw[12:]
    with pytest.raises(BadSignature):
        verify_cosignature(NOTE + f"\u2014 {WITNESS_NAME} {b64(moved)}\n", WITNESS_NAME, WITNESS.public_key)
    for broken in (raw[:-1], raw + b"\0", raw[:4] + b"\xff" * 8 + raw[12:]):
        with pytest.raises(MalformedNote):
            verify_cosignature(NOTE + f"\u2014 {WITNESS_NAME} {b64(broken)}\n", WITNESS_NAME, WITNESS.public_key)


@pytest.mark.parametrize("at", [-1, 2**63])
def test_nobody_cosigns_at_an_impossible_time(at: int) -> None:
    with pytest.raises(ValueError, match=str(at)):
        cosign(WITNESS, WITNESS_NAME, BODY, at)


# --- forms ------------------------------------------------------------------------------------------------------


LINE = NOTE.split("\n\n")[1]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        BODY,
        BODY + "\n",
        f"\n\n{LINE}",
        f"{BODY}{LINE}",
        NOTE[:-1],
        NOTE + "\n",
        f"{NOTE}{LINE[:-1]}",
        f"{BODY}\n\n",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\u2014 ", "\u2014"),
        NOTE.replace("\u2014 ", "\u2014  "),
        NOTE.replace("\u2014 ", "\u2014\u00a0"),
        NOTE.replace(ORIGIN, "a\tb"),
        NOTE.replace(ORIGIN, "a\0b"),
        f"{BODY}\n\u2014 a+b {b64(bytes(68))}\n",
        f"{BODY}\n\u2014 a\u2003b {b64(bytes(68))}\n",
        f"{BODY}\n\u2014  {b64(bytes(68))}\n",
        f"{BODY}\n\u2014 a {b64(bytes(4))}\n",
        f"{BODY}\n\u2014 a {b64(bytes(68))[:-1]}\n",
        f"{BODY}\n\u2014 a {b64(bytes(68))} \n",
        f"{BODY}\n\u2014 a {b64(bytes(67))[:-2]}B=\n",
        f"{BODY}\n\u2014 a {b64(bytes(68)).replace('A', '_')}\n",
        BODY + "\n" + LINE * (MAX_SIGNATURES + 1),
        "x" * MAX_NOTE_LENGTH + "\n" + NOTE,
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(MalformedNote):
        verify_note(note, ORIGIN, LOG.public_key)


def test_a_note_may_hold_blank_lines_and_many_signatures() -> None:
    assert parse_note(f"a\n\nb\n\n{LINE}").text == "a\n\nb\n"
    assert len(parse_note(BODY + "\n" + LINE * MAX_SIGNATURES).signatures) == MAX_SIGNATURES >= 16


HASH = b64(ROOT)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        f"{ORIGIN}\n1\n{HASH}",
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n1\n{HASH}\n\n",
        f"{ORIGIN}\n1\n{HASH}\n\nextension\n",
        f"\n1\n{HASH}\n",
        f"{ORIGIN}\n\n{HASH}\n",
        f"{ORIGIN}\n01\n{HASH}\n",
        f"{ORIGIN}\n-1\n{HASH}\n",
        f"{ORIGIN}\n+1\n{HASH}\n",
        f"{ORIGIN}\n1 \n{HASH}\n",
        f"{ORIGIN}\n1.0\n{HASH}\n",
        f"{ORIGIN}\n\u0661\n{HASH}\n",
        f"{ORIGIN}\n{2**63}\n{HASH}\n",
        f"{ORIGIN}\n{10**4000}\n{HASH}\n",
        f"{ORIGIN}\n1\n{HASH[:-1]}\n",
        f"{ORIGIN}\n1\n{HASH[:-2]}9=\n",
        f"{ORIGIN}\n1\n{b64(bytes(31))}\n",
        f"{ORIGIN}\n1\n{b64(bytes(33))}\n",
        f"{ORIGIN}\r\n1\r\n{HASH}\r\n",
        f"two words\n1\n{HASH}\n",
        f"a+b\n1\n{HASH}\n",
        f"cosignature/v1\ntime 1\n{BODY}",
        "an ordinary text\nof three\nlines\n",
    ],
)
def test_what_is_no_checkpoint_is_neither_read_nor_signed(body: str) -> None:
    with pytest.raises(MalformedNote):
        parse_checkpoint(body)
    with pytest.raises(MalformedNote):
        sign_note(LOG, ORIGIN, body)
    with pytest.raises(MalformedNote):
        cosign(LOG, ORIGIN, body, TIME)


def test_extension_lines_are_signed_and_mean_nothing() -> None:
    body = BODY + "an extension\n"
    note = sign_note(LOG, ORIGIN, body)
    assert verify_checkpoint(note, ORIGIN, LOG.public_key) == Checkpoint(ORIGIN, 20852163, ROOT)
    with pytest.raises(BadSignature):
        verify_checkpoint(note.replace("an extension\n", ""), ORIGIN, LOG.public_key)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "a\u2028b", "a\0"])
def test_names_that_would_break_a_note_are_our_own_mistake(name: str) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        checkpoint_body(name, 1, ROOT)
    with pytest.raises(ValueError, match=r"\d"):
        sign_note(LOG, name, BODY)


@pytest.mark.parametrize(("size", "root"), [(-1, ROOT), (2**63, ROOT), (1, b""), (1, bytes(33))])
def test_impossible_heads_are_our_own_mistake(size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match=str(size)):
        checkpoint_body(ORIGIN, size, root)


@given(st.text(max_size=300))
def test_any_text_is_refused_with_our_own_error(text: str) -> None:
    for note in (text, f"{text}\n\n{LINE}", f"{BODY}\n{text}", f"{BODY}\n\u2014 {text}\n"):
        with pytest.raises((MalformedNote, BadSignature)):
            verify_checkpoint(note, ORIGIN, LOG.public_key)
        with pytest.raises((MalformedNote, BadSignature)):
            verify_cosignature(note, WITNESS_NAME, WITNESS.public_key)
