"""``leveret consent new-key`` and ``sign``: a patient's side of a grant, for kiosks and tests. No daemon is needed.

The private key is a file of 64 hexadecimal digits (mode 0600): it stands in no argument and in no environment.
"""

import os
import time
from pathlib import Path
from typing import Any

import click

from node.cli.command import LeveretCommand, Session
from node.cli.values import Duration, StudyDate
from node.crypto.identity import SEED_BYTES, Identity
from node.crypto.jws import JwsType, sign_jws
from node.errors.base import LeveretError
from node.model.consent import DAY_SECONDS, ConsentId, PurposeOfUse
from node.model.directive import Scope
from node.model.evidence import MAX_GRANT_SECONDS
from node.model.ids import PeerId, StudyInstanceUID
from node.peers.proofs import GrantText, encode_grant

_PURPOSE = click.Choice([purpose.value for purpose in PurposeOfUse], case_sensitive=False)

_KEY_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class PeerIdType(click.ParamType[PeerId]):
    """A whole PeerId: a patient's device knows nobody by name."""

    name = "peer_id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PeerId:
        """The id."""
        try:
            return PeerId.parse(str(value))
        except (LeveretError, ValueError):
            self.fail("is no PeerId (leveret id shows it)", param, ctx)


@click.command("new-key", cls=LeveretCommand)
@click.argument("key_file", type=click.Path(path_type=Path))
@click.pass_obj
def new_key(session: Session, key_file: Path) -> None:
    """Make a patient's key in KEY_FILE, and print the public key that the facility binds."""
    identity = Identity.generate()
    try:
        handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise click.FileError(str(key_file), hint=exc.strerror) from exc
    with os.fdopen(handle, "w") as out:
        out.write(identity.seed.hex() + "\n")
    session.show({"public_key": identity.public_key.hex()}, lambda d: click.echo(d["public_key"]))


@click.command("sign", cls=LeveretCommand)
@click.option("--key-file", type=_KEY_FILE, required=True, metavar="FILE", help="The patient's key.")
@click.option("--holder", type=PeerIdType(), required=True, metavar="PEERID", help="The facility that has the images.")
@click.option(
    "--to", "recipient", type=PeerIdType(), required=True, metavar="PEERID", help="The one that may have them."
)
@click.option("--study", "studies", multiple=True, metavar="UID", help="Only this study; may be repeated.")
@click.option("--modality", "modalities", multiple=True, metavar="CS", help="Only such studies; repeatable.")
@click.option("--body-part", "body_parts", multiple=True, metavar="CS", help="Only such studies; repeatable.")
@click.option("--from-date", type=StudyDate(), metavar="DATE", help="Only studies of that day or later.")
@click.option("--to-date", type=StudyDate(), metavar="DATE", help="Only studies of that day or earlier.")
@click.option("--purpose", "purposes", multiple=True, type=_PURPOSE, default=("TREAT",), show_default=True)
@click.option("--expires", type=Duration(), default=30 * DAY_SECONDS, help="How long it is good.  [default: 30d]")
@click.pass_obj
def sign(session: Session, /, **given: Any) -> None:
    """Sign a grant and print it; give it to the recipient, who uses it with leveret request --grant FILE."""
    if given["expires"] > MAX_GRANT_SECONDS:
        raise click.UsageError("A grant is good for a year at most.")
    now = int(time.time())
    identity = _key(given["key_file"])
    grant = GrantText(
        jti=ConsentId.new(),
        key=identity.public_key,
        holder=given["holder"],
        recipient=given["recipient"],
        not_before=now,
        expires_at=now + given["expires"],
        purposes=frozenset(PurposeOfUse(code) for code in given["purposes"]),
        scope=Scope(
            frozenset(_study(uid) for uid in given["studies"]),
            frozenset(text.upper() for text in given["modalities"]),
            frozenset(text.upper() for text in given["body_parts"]),
            given["from_date"] or "",
            given["to_date"] or "",
        ),
    )
    token = sign_jws(identity, JwsType.GRANT, encode_grant(grant))
    session.show(
        {"grant": token, "consent_id": str(grant.jti), "expires_at": grant.expires_at}, lambda _d: click.echo(token)
    )


def _study(text: str) -> StudyInstanceUID:
    try:
        return StudyInstanceUID.parse(text)
    except (LeveretError, ValueError) as exc:
        raise click.BadParameter("is no UID", param_hint="--study") from exc


def _key(file: Path) -> Identity:
    try:
        return Identity.from_seed(bytes.fromhex(file.read_text().strip()))
    except (OSError, ValueError) as exc:
        raise click.BadParameter(f"holds no key of {SEED_BYTES} bytes in hexadecimal", param_hint="--key-file") from exc
