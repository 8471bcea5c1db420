"""``leveret audit``: who did what, and the proof that nobody rewrote it."""

from typing import IO, Any

import click

from node.cli import show
from node.cli.command import Session, group
from node.errors.setup import NotRunning
from node.model.audit import AuditType

_TYPE = click.Choice([kind.value for kind in AuditType])


@group("audit")
def audit() -> None:
    """Read and prove the audit log."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--type", "types", multiple=True, type=_TYPE, metavar="TYPE", help="Only such events; may be repeated.")
@click.pass_obj
def list_events(session: Session, limit: int, types: tuple[str, ...]) -> None:
    """Events, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("POSITION", "WHEN", "WHAT", "WHO", "OUTCOME", "PEER", "REQUEST", "CODE"),
            [
                (
                    e["position"],
                    show.moment(e["at"]),
                    e["type"],
                    e["actor"][:24],
                    e["outcome"],
                    (e["peer_id"] or "")[:7],
                    e["request_id"],
                    e["code"],
                )
                for e in document["events"]
            ],
            empty="Nothing happened yet.",
        )

    session.show(session.daemon().get("/audit", limit=limit, types=",".join(types) or None), for_people)


@audit.command("verify")
@click.pass_obj
def verify(session: Session) -> int:
    """Prove the log against its signed heads; works without the daemon too."""
    try:
        document = session.daemon().post("/audit/verification")
    except NotRunning:
        from node.app.offline import verify_audit  # noqa: PLC0415 - opens the whole store, so only when needed

        document = verify_audit(session.data)

    def for_people(d: Any) -> None:
        if d["ok"]:
            click.echo(f"The log proves itself: {show.plural(d['size'], 'position')}, root {d['root'][:16]}…")
        for gap in d["gaps"]:
            click.echo(f"Restored from a backup: nothing at positions {gap['first']} to {gap['next'] - 1}.")
        for problem in d["problems"]:
            click.secho(f"! {problem}", fg="red")
        if d["cosigned_by"]:
            click.echo(f"Co-signed by {show.printable([p[:7] for p in d['cosigned_by']])}.")

    session.show(document, for_people)
    return 0 if document["ok"] else 1


@audit.command("proof")
@click.argument("position", type=click.IntRange(0))
@click.pass_obj
def proof(session: Session, position: int) -> None:
    """Prove that the signed log has the event at POSITION: leaf hash, path and signed head (RFC 6962)."""

    def for_people(document: Any) -> None:
        click.echo(f"leaf  {document['leaf']}")
        for value in document["path"]:
            click.echo(f"path  {value}")
        click.echo(document["checkpoint"], nl=False)

    session.show(session.daemon().get(f"/audit/{position}/inclusion"), for_people)


@audit.command("consistency")
@click.argument("old", type=click.IntRange(1))
@click.argument("size", type=click.IntRange(1))
@click.pass_obj
def consistency(session: Session, old: int, size: int) -> None:
    """Prove that the first SIZE events continue the first OLD (RFC 6962)."""

    def for_people(document: Any) -> None:
        for value in document["path"]:
            click.echo(value)

    session.show(session.daemon().get("/audit/consistency", old=old, size=size), for_people)


@audit.command("export")
@click.option("--format", "form", type=click.Choice(["fhir", "dicom", "jsonl"]), default="jsonl", show_default=True)
@click.option("--from", "first", type=click.IntRange(0), default=0, help="The first position.")
@click.option("--out", type=click.File("wb"), default="-", help="A file; standard output if not given.")
@click.pass_obj
def export(session: Session, form: str, first: int, out: IO[bytes]) -> None:
    """The whole log, one document a line: FHIR AuditEvent (BALP), DICOM audit messages, or JSON lines."""
    for line in session.daemon().lines(f"/audit/export?format={form}&from={first}"):
        out.write(line)
