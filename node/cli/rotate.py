"""``leveret rotate``: a new master key."""

from pathlib import Path
from typing import Any

import click

from node.cli import show
from node.cli.command import Session, group
from node.errors.setup import AlreadyRunning


@group("rotate")
def rotate() -> None:
    """Change keys."""


@rotate.command("master-key")
@click.option("--new-key-file", type=click.Path(path_type=Path), help="Also change the secret: to this key file.")
@click.option(
    "--new-passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also change the secret: to the passphrase in this file.",
)
@click.pass_obj
def master_key(session: Session, new_key_file: Path | None, new_passphrase_file: Path | None) -> None:
    """Make a new master key and wrap every study's key under it; one that was cut short goes on.

    Works while the node runs; a new secret needs it stopped.
    """
    from node.app import rotate as rotating  # noqa: PLC0415 - opens the whole store

    if new_key_file and new_passphrase_file:
        raise click.UsageError("Give --new-key-file or --new-passphrase-file, not both.")
    secret = rotating.NewSecret(new_key_file, new_passphrase_file)
    try:
        document = rotating.rotate(session.data, secret)
    except AlreadyRunning:
        if secret != rotating.NewSecret():
            raise
        document = session.daemon().post("/keys/rotation")

    def for_people(d: Any) -> None:
        click.echo(f"Master key {d['master_version']}: {show.plural(d['studies'], 'study key')} wrapped again.")
        if secret != rotating.NewSecret():
            click.echo("The new secret opens this node from now on. Backups made before still need the old one:")
            click.echo("destroy that when the last of them is gone.")

    session.show(document, for_people)
