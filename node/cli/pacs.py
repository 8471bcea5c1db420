"""``leveret pacs``: the facility's own DICOM systems."""

from pathlib import Path
from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group

_FAILED = 1


@group("pacs")
def pacs() -> None:
    """DICOM systems that may query and retrieve, and that studies are sent to."""


@pacs.command("add")
@click.argument("name")
@click.option("--ae", "ae_title", required=True, help="Its AE title.")
@click.option("--host", required=True, help="Its name or IP address; it must call from there too.")
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--calls-from", multiple=True, metavar="ADDRESS", help="Another address or network that it calls from.")
@click.option("--tls", is_flag=True, help="Speak TLS to it; needs --ca.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file: the authority that its certificate is signed by, or the certificate itself.",
)
@click.option(
    "--same-association",
    is_flag=True,
    help="It takes reports of storage commitment on the association on which it asked.",
)
@click.pass_obj
def add(
    session: Session,
    name: str,
    *,
    ae_title: str,
    host: str,
    port: int,
    calls_from: tuple[str, ...],
    tls: bool,
    ca: Path | None,
    same_association: bool,
) -> None:
    """Enter a DICOM system, to be called NAME here."""
    if tls != (ca is not None):
        raise click.UsageError("--tls and --ca belong together")
    document = session.daemon().post(
        "/pacs",
        name=name,
        ae_title=ae_title,
        host=host,
        port=port,
        calls_from=list(calls_from),
        tls=tls,
        ca=ca.read_text(encoding="ascii", errors="replace") if ca is not None else "",
        same_association=same_association,
    )
    session.show(document, lambda p: click.echo(f"Added {p['name']}. Try it: leveret pacs test {p['name']}"))


@pacs.command("list")
@click.pass_obj
def list_pacs(session: Session) -> None:
    """All DICOM systems, and the AE title of this node."""

    def for_people(document: Any) -> None:
        show.table(
            ("NAME", "AE TITLE", "HOST", "PORT", "TLS", "ALSO CALLS FROM"),
            [
                (p["name"], p["ae_title"], p["host"], p["port"], "yes" if p["tls"] else "", ", ".join(p["calls_from"]))
                for p in document["pacs"]
            ],
            empty="No DICOM systems yet.",
        )
        click.echo(f"\nThis node's AE title: {document['ae_title']}")

    session.show(session.daemon().every("/pacs", "pacs"), for_people)


@pacs.command("remove")
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Remove NAME: from now on it may store at most."""
    document = session.daemon().post(f"/pacs/{quoted(name)}/remove")
    session.show(document, lambda p: click.echo(f"Removed {p['name']}."))


@pacs.command("test")
@click.argument("name")
@click.pass_obj
@click.pass_context
def test(context: click.Context, session: Session, name: str) -> None:
    """Call NAME and say what it accepts. Nothing is sent. Exit status 1 if studies cannot be sent to it."""

    def for_people(document: Any) -> None:
        for finding in document["findings"]:
            mark = "ok" if finding["ok"] else "no"
            click.echo(f"{mark:3} {finding['what']}: {finding['said']}")
            if finding["advice"]:
                click.echo(f"    {finding['advice']}")

    document = session.daemon().post(f"/pacs/{quoted(name)}/test")
    session.show(document, for_people)
    if not document["ok"]:
        words = document["findings"][0]
        why = f"{words['said']}. {words['advice']}" if not words["ok"] else "It takes no images from this node."
        click.echo(f"{name}: {why} [{document['code']}]", err=True)
        context.exit(_FAILED)
