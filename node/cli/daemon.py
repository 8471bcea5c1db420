"""``leveret init`` and ``serve``: make a node, run it."""

from pathlib import Path
from typing import Any

import click

from node.cli.command import Session, command


@command("init")
@click.option("--name", required=True, help="What other facilities read.")
@click.option("--peer-listen", metavar="H:P", help="For other facilities.  [default: 0.0.0.0:8443]")
@click.option("--api-listen", metavar="H:P", help="For people and local systems.  [default: 127.0.0.1:8080]")
@click.option("--dicom-listen", metavar="H:P", help="For modalities and the PACS.  [default: 0.0.0.0:11112]")
@click.option("--ae-title", metavar="AET", help="[default: LEVERET]")
@click.option("--issuer", help="Issuer of Patient ID of this facility.  [default: derived from the PeerId]")
@click.option("--advertise", multiple=True, metavar="URL", help="Where others reach this node; may be repeated.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Keep the key here.  [default: DIR.key]")
@click.option(
    "--passphrase-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Use a passphrase."
)
@click.pass_obj
def init(session: Session, /, *, key_file: Path | None, passphrase_file: Path | None, **settings: Any) -> None:
    """Make a node: identity, keys, database and leveret.toml."""
    from node.app.setup import NewNode, initialise  # noqa: PLC0415 - the whole node, which other commands do not need

    if key_file and passphrase_file:
        raise click.UsageError("Give --key-file or --passphrase-file, not both.")
    document = initialise(session.data, NewNode(key_file=key_file, passphrase_file=passphrase_file, **settings))

    def for_people(d: Any) -> None:
        click.echo(f"{d['name']} is {d['peer_id']}")
        if d["key_file"]:
            click.echo(
                f"Its key is {d['key_file']}: keep a copy apart from the backups; without it nothing can be read."
            )
        elif passphrase_file:
            click.echo("Keep the passphrase safe too, apart from the backups; without it nothing can be read.")
        click.echo(f"Settings: {d['config']}\nStart it with: leveret serve --data {session.data}")

    session.show(document, for_people)


@command("serve")
@click.pass_obj
def serve(session: Session) -> None:
    """Run until SIGTERM. Logs JSON lines to stderr; says "ready" when everything listens."""
    from node.app.serve import serve as run  # noqa: PLC0415 - the whole node, which other commands do not need

    run(session.data)
