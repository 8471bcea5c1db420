"""``leveret backup`` and ``restore``: a copy of everything but the secret, and the way back."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli import show
from node.cli.client import Daemon
from node.cli.command import Session, command
from node.errors.setup import AlreadyRunning

if TYPE_CHECKING:
    from node.app.backup import Snapshot


class _Running:
    """A running daemon, as the source of a backup (``app.backup.Source``)."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._id = ""

    def begin(self) -> "Snapshot":
        from node.app.backup import Snapshot  # noqa: PLC0415 - the whole node, which other commands do not need

        begun = self._daemon.post("/backups")
        self._id = begun["backup_id"]
        packs = [(name, is_sealed) for name, is_sealed in begun["packs"]]
        return Snapshot(begun["peer_id"], begun["made_at"], Path(begun["folder"]), packs)

    def deleted(self) -> list[str]:
        names: list[str] = self._daemon.get(f"/backups/{self._id}/deleted")["deleted"]
        return names

    def sign(self, digest: bytes, size: int) -> bytes:
        signed = self._daemon.post(f"/backups/{self._id}/signature", sha256=digest.hex(), bytes=size)
        return base64.b64decode(signed["signature"])

    def end(self) -> None:
        self._daemon.post(f"/backups/{self._id}/end")


@command("backup")
@click.argument("target", metavar="F", type=click.Path(path_type=Path))
@click.option("--directory", "folder", is_flag=True, help="Make a folder instead of one file.")
@click.option("--link", is_flag=True, help="With --directory: hard links to unchanged packs, which take no room.")
@click.pass_obj
def backup(session: Session, target: Path, *, folder: bool, link: bool) -> None:
    """Copy everything but the key to F, while the node runs or while it does not.

    The key file (or passphrase) is NOT in it: without that the backup is worthless, and with it, it is everything.
    """
    from node.app.backup import BackupOptions, OwnNode, make_backup  # noqa: PLC0415 - the whole node

    if link and not folder:
        raise click.UsageError("--link needs --directory.")
    options, where = BackupOptions(folder, link), target.absolute()
    with show.Bar("backing up", live=session.live) as bar:

        def progress(done: int, files: int) -> None:
            bar.update(done, 0, files)

        try:
            with OwnNode.open(session.data) as node:
                document = make_backup(session.data, where, node, options, progress)
        except AlreadyRunning:
            document = make_backup(session.data, where, _Running(session.daemon()), options, progress)
    session.show(document, _backed_up)


def _backed_up(d: Any) -> None:
    click.echo(f"{d['backup']}: {show.plural(d['files'], 'file')}, {show.size(d['bytes'])}.")
    if d["missing"]:
        click.secho(
            f"! {show.plural(d['missing'], 'pack')} that the index knows are lost: see leveret doctor", fg="red"
        )
    click.secho(
        f"The key is NOT in it, and without the key nobody can read it. It is: {show.printable(d['secret'])}", bold=True
    )
    click.echo("Keep a copy of that apart from the backups: who has both has every image.")


@command("restore")
@click.argument("source", metavar="F", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--key-file", type=click.Path(path_type=Path), help="Where the key file is now.")
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Where the passphrase file is now.")
@click.option("--despite-damage", is_flag=True, help="Restore what is whole, and say what is not.")
@click.option("--in-place", is_flag=True, help="DIR was put back by other means (a snapshot): only mark it restored.")
@click.option("--confirm-review", is_flag=True, help="Consents, peers, opt-outs and users were looked through.")
@click.pass_obj
def restore(
    session: Session,
    source: Path | None,
    *,
    key_file: Path | None,
    passphrase_file: Path | None,
    despite_damage: bool,
    in_place: bool,
    confirm_review: bool,
) -> None:
    """Restore the backup F into the empty directory --data; verifies every byte before it says done.

    Afterwards share codes are void, and nothing is announced or released unseen until --confirm-review.
    """
    if (source is not None) + in_place + confirm_review != 1:
        raise click.UsageError("Give a backup F, or --in-place, or --confirm-review.")
    if confirm_review:
        session.show(session.daemon().post("/restoration/review"), _confirmed)
        return
    from node.app import restore as restoring  # noqa: PLC0415 - the whole node, which other commands do not need

    if source is None:
        session.show(restoring.mark_in_place(session.data), _marked)
        return
    options = restoring.RestoreOptions(key_file, passphrase_file, despite_damage)
    with show.Bar("restoring", live=session.live) as bar:
        document = restoring.restore(
            source.absolute(), session.data, options, lambda done, files: bar.update(done, 0, files)
        )
    session.show(document, lambda d: _restored(d, session.data))


def _restored(d: Any, data: Path) -> None:
    click.echo(
        f"{show.printable(d['name'])} is back as it was on {show.moment(d['backup_at'])}:"
        f" {show.plural(d['studies'], 'study')}, {show.plural(d['instances'], 'instance')}, {show.size(d['bytes'])};"
        f" {show.plural(d['objects'], 'object')} verified."
    )
    for problem in d["problems"]:
        click.secho(f"! {show.printable(problem)}", fg="red")
    _waiting(d)
    click.echo(f"Start it with: leveret serve --data {data}")


def _marked(d: Any) -> None:
    click.echo("The node is marked as restored.")
    _waiting(d)


def _waiting(d: Any) -> None:
    click.echo(
        f"Share codes made void: {d['codes_void']}. Transfers to others ended: {d['transfers_ended']}."
        " Nothing is announced or released unseen"
    )
    click.echo(
        "until somebody has looked at peers, consents, opt-outs and users, and says: leveret restore --confirm-review"
    )


def _confirmed(_document: Any) -> None:
    click.echo("Releases and announcements go on by themselves again.")
