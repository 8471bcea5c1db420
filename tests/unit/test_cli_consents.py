"""The patient's side of a grant on the command line, and dates as people type them; no daemon runs."""

import json
import time
from pathlib import Path
from typing import Any

import click
import pytest

from node.cli.root import FAILED, OK, USAGE, run
from node.cli.values import Moment
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, verify_self_signed
from node.model.consent import PurposeOfUse
from node.model.directive import Scope
from node.model.ids import StudyInstanceUID
from node.peers.proofs import MAX_GRANT_BYTES, GrantText, decode_grant, signer_of_grant

HOLDER, RECIPIENT = Identity.generate().peer_id, Identity.generate().peer_id


def leveret(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = OK) -> Any:
    assert run(["consent", *arguments, "--data", "/nonexistent", "--json"]) == status
    said = capsys.readouterr()
    return json.loads(said.out) if status == OK else said.err


def read(token: str) -> GrantText:
    return decode_grant(verify_self_signed(token, JwsType.GRANT, signer_of_grant, max_bytes=MAX_GRANT_BYTES))


def test_a_key_is_made_once_and_signs_what_was_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "patient.key"
    public = leveret(capsys, "new-key", str(key))["public_key"]
    assert key.stat().st_mode & 0o777 == 0o600
    kept = key.read_bytes()
    leveret(capsys, "new-key", str(key), status=FAILED)
    assert key.read_bytes() == kept, "a key is never written over"

    parties = ("sign", "--key-file", str(key), "--holder", HOLDER.full, "--to", RECIPIENT.full)
    limits = (
        "--study",
        "1.2.3",
        "--modality",
        "ct",
        "--from-date",
        "2020-01-01",
        "--purpose",
        "etreat",
        "--expires",
        "1h",
    )
    said = leveret(capsys, *parties, *limits)
    grant = read(said["grant"])
    assert (grant.key.hex(), grant.holder, grant.recipient) == (public, HOLDER, RECIPIENT)
    assert grant.scope == Scope(frozenset({StudyInstanceUID("1.2.3")}), frozenset({"CT"}), from_date="20200101")
    assert grant.purposes == {PurposeOfUse.ETREAT}
    assert grant.expires_at - grant.not_before == 3600
    assert said["consent_id"] == str(grant.jti)
    wide = read(leveret(capsys, *parties)["grant"])
    assert (wide.scope, wide.purposes) == (Scope(), frozenset({PurposeOfUse.TREAT}))


def test_what_cannot_be_signed_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, key = tmp_path / "empty", tmp_path / "key"
    empty.write_text("not hexadecimal")
    leveret(capsys, "new-key", str(key))
    parties = ("--holder", HOLDER.full, "--to", RECIPIENT.full)
    for arguments in (
        ("sign", "--key-file", str(empty), *parties),
        ("sign", "--key-file", str(key), "--holder", "nobody", "--to", RECIPIENT.full),
        ("sign", "--key-file", str(key), *parties, "--study", "1.02"),
        ("sign", "--key-file", str(key), *parties, "--expires", "2000d"),
        ("add", "--patient-id", "1"),
        ("emergencies", "review", "ab", "--note", "x"),
    ):
        assert len(leveret(capsys, *arguments, status=USAGE).strip().splitlines()) >= 1


@pytest.mark.parametrize(("text", "seconds"), [("1970-01-01", 86_400), ("2027-12-31", 1_830_297_600)])
def test_a_day_ends_with_its_last_second(text: str, seconds: int) -> None:
    assert Moment().convert(text, None, None) == seconds


def test_a_moment_may_be_so_far_from_now() -> None:
    assert abs(Moment().convert("90d", None, None) - time.time() - 90 * 86_400) < 60
    with pytest.raises(click.BadParameter):
        Moment().convert("tomorrow", None, None)
