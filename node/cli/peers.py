"""``leveret peers``: whom this facility trusts."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import Duration, Setting
from node.errors.files import FileExists, FileUnreadable, FileUnwritable
from node.errors.trust import InvitationDamaged

_MAX_INVITATION = 64 * 1024  # characters read of an invitation; a real one has about 2000


@group("peers")
def peers() -> None:
    """Pair with other facilities and manage whom this one trusts."""


@peers.command("list")
@click.pass_obj
def list_peers(session: Session) -> None:
    """All peers and how they stand."""

    def for_people(document: Any) -> None:
        show.table(
            ("NAME", "TRUST", "CONNECTED", "LAST SEEN", "PEER ID"),
            [
                (p["name"], p["trust"], p["connected"], show.moment(p["last_seen"]), p["peer_id"])
                for p in document["peers"]
            ],
            empty="No peers yet. `leveret peers invite` makes an invitation.",
        )
        for peer in document["peers"]:
            if peer["trust"] == "PENDING":
                click.echo(f"\n{show.printable(peer['name'])} waits to be confirmed. Compare the safety phrase:")
                click.echo(f"  {peer['safety_phrase']}\nthen: leveret peers confirm {peer['peer_id'][:7]}")

    session.show(session.daemon().every("/peers", "peers"), for_people)


@peers.command("nearby")
@click.pass_obj
def nearby(session: Session) -> None:
    """Nodes that answer on the local network. Being seen is not being trusted."""

    def for_people(document: Any) -> None:
        show.table(
            ("PEER ID", "ADDRESSES", "VERSION", "TRUST"),
            [(n["peer_id"], n["addresses"], n["version"], n["trust"] or "unknown") for n in document["nearby"]],
            empty="Nobody was seen on the local network.",
        )

    session.show(session.daemon().every("/peers/nearby", "nearby"), for_people)


@peers.command("invite")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the invitation to this file.")
@click.option("--expires", type=Duration(), help="How long it may be used, such as 1h or 7d.  [default: 7d]")
@click.option("--auto-confirm", is_flag=True, help="Trust who uses it without asking again (one hour at most).")
@click.pass_obj
def invite(session: Session, /, *, out: Path | None, expires: int | None, auto_confirm: bool) -> None:
    """Make an invitation for one other facility."""
    if out is not None and out.exists():  # before an invitation is made that nobody gets
        raise FileExists(str(out))
    document = session.daemon().post("/peers/invitations", expires_in=expires, auto_confirm=auto_confirm)
    if out is not None:
        _write_private(out, document["invitation"])
        document["out"] = str(out)

    def for_people(document: Any) -> None:
        if out is None:
            click.echo(document["invitation"])
        else:
            click.echo(f"Wrote {out}: send it to the other facility, who runs `leveret peers join {out.name}`.")
        click.echo(f"It can be used once, until {show.moment(document['expires_at'])}.", err=out is None)

    session.show(document, for_people)


@peers.command("join", context_settings={"ignore_unknown_options": True})  # a pasted text begins with dashes
@click.argument("invitation")
@click.pass_obj
def join(session: Session, invitation: str) -> None:
    """Use an INVITATION: its file, its text, or - for standard input."""
    peer = session.daemon().post("/peers/joined", invitation=_read_invitation(invitation))

    def for_people(peer: Any) -> None:
        click.echo(f"Joined {show.printable(peer['name'])}. Its people should read the same safety phrase:")
        click.echo(f"  {peer['safety_phrase']}")
        if not peer["confirmed"]:
            click.echo("They confirm on their side; until then nothing is exchanged.")

    session.show(peer, for_people)


def _act(name: str, done: str, help_text: str) -> None:
    @peers.command(name, help=help_text)
    @click.argument("peer")
    @click.pass_obj
    def act(session: Session, peer: str) -> None:
        document = session.daemon().post(f"/peers/{quoted(peer)}/{name}")
        session.show(document, lambda p: click.echo(f"{show.printable(p['name'])} {done}."))


_act("confirm", "is trusted now", "Trust a PEER that used an invitation, once the safety phrases were compared.")
_act("suspend", "is shut out until you resume it", "Shut a PEER out for now; its connections end at once.")
_act("resume", "is trusted again", "Trust a suspended PEER again.")
_act("revoke", "is not trusted any more", "Stop trusting a PEER; its connections end at once.")


@peers.command("policy")
@click.argument("peer")
@click.argument("settings", nargs=-1, type=Setting())
@click.pass_obj
def policy(session: Session, peer: str, settings: tuple[tuple[str, str], ...]) -> None:
    """Show or change what a PEER is allowed, such as max_rate=20MB or auto_release=false."""
    path = f"/peers/{quoted(peer)}/policy"
    daemon = session.daemon()
    document = daemon.post(path, settings=dict(settings)) if settings else daemon.get(path)

    def for_people(document: Any) -> None:
        allowed = dict(document["policy"])
        allowed["max_rate"] = f"{show.size(allowed['max_rate'])}/s" if allowed["max_rate"] else "no limit"
        show.table(("SETTING", "VALUE"), list(allowed.items()), empty="")

    session.show(document, for_people)


def _write_private(path: Path, text: str) -> None:
    """The secret in an invitation is good for one pairing: only this user may read the file."""
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text if text.endswith("\n") else text + "\n")
    except FileExistsError as exc:
        raise FileExists(str(path)) from exc
    except OSError as exc:
        raise FileUnwritable(str(path)) from exc


def _read_invitation(given: str) -> str:
    if given == "-":
        return sys.stdin.read(_MAX_INVITATION)
    if "BEGIN" in given:
        return given
    try:
        with Path(given).open(encoding="utf-8") as file:
            return file.read(_MAX_INVITATION)
    except UnicodeDecodeError as exc:
        raise InvitationDamaged from exc
    except OSError as exc:
        raise FileUnreadable(given) from exc


@peers.command("thaw")
@click.argument("peer")
@click.pass_obj
def thaw(session: Session, peer: str) -> None:
    """Follow PEER's announcements again after its feed forked; the proof is kept."""

    def for_people(document: Any) -> None:
        click.echo(f"The feed of {document['peer_id'][:7]} is followed again.")

    session.show(session.daemon().post("/feeds/thaw", peer=peer), for_people)
