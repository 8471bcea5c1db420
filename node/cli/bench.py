"""``leveret bench``: what this machine does with images."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command


@command("bench")
@click.option("--instances", type=click.IntRange(10, 2000), default=150, show_default=True, help="Of 530 kB each.")
@click.pass_obj
def bench(session: Session, instances: int) -> None:
    """Measure storing, searching and sharing on this machine, beside storescp and Orthanc where they are installed.

    Takes half a minute, in a temporary folder beside DIR; the node itself is not touched.
    """
    from node.app.bench import bench as measure  # noqa: PLC0415 - numpy and the DICOM room

    if session.live:
        click.echo("measuring, for half a minute or so …", err=True)

    def for_people(document: Any) -> None:
        machine = document["machine"]
        click.echo(f"{machine['cpus']} CPUs, Python {machine['python']}, disk of {show.printable(machine['folder'])}")
        show.table(
            ("WHAT", "WHO", "FIGURE", "INSTANCES", "SIZE", "SECONDS"),
            [
                (
                    f["what"],
                    f["target"],
                    f"{f['rate']:.1f} {f['unit']}",
                    f["instances"],
                    show.size(f["bytes"]) if f["bytes"] else "",
                    f"{f['seconds']:.2f}",
                )
                for f in document["figures"]
            ],
            empty="Nothing was measured.",
        )

    session.show(measure(session.data, instances), for_people)
