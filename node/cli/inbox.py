"""``leveret inbox``: requests of other facilities that wait for a person here."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group


@group("inbox")
def inbox() -> None:
    """Decide requests that cannot be decided by rule."""


@inbox.command("list")
@click.pass_obj
def list_requests(session: Session) -> None:
    """Requests that wait, oldest first."""

    def for_people(document: Any) -> None:
        for r in document["requests"]:
            patient = r["patient"] or {}
            who = " ".join(show.printable(patient[k]) for k in ("name", "birth_date", "sex") if patient.get(k))
            click.secho(r["request_id"], bold=True)
            click.echo(f"  from      {r['peer_id']}, user {show.printable(r['user'])}")
            click.echo(f"  patient   {who or 'as the share code says'}")
            click.echo(f"  studies   {show.printable(r['studies'])}")
            click.echo(f"  purpose   {r['purpose']}, received {show.moment(r['received_at'])}")
            click.echo(f"  look at   {show.printable(r['reasons'])}")
        if not document["requests"]:
            click.echo("Nothing waits.")

    session.show(session.daemon().every("/inbox", "requests"), for_people)


@inbox.command("release")
@click.argument("request_id")
@click.option("--study", "studies", metavar="UID", multiple=True, help="Only this study of it; may be repeated.")
@click.pass_obj
def release(session: Session, request_id: str, studies: tuple[str, ...]) -> None:
    """Release what REQUEST_ID asks for, or a part of it."""
    part = {"studies": list(studies)} if studies else {}
    document = session.daemon().post(f"/inbox/{quoted(request_id)}/release", **part)
    released = show.plural(len(document["studies"]), "study")
    session.show(document, lambda _d: click.echo(f"Released: {released}; the other facility fetches it now."))


@inbox.command("refuse")
@click.argument("request_id")
@click.option("--reason", required=True, help="Why; for this facility's own records.")
@click.pass_obj
def refuse(session: Session, request_id: str, reason: str) -> None:
    """Refuse REQUEST_ID."""
    document = session.daemon().post(f"/inbox/{quoted(request_id)}/refuse", reason=reason)
    session.show(document, lambda _d: click.echo("Refused."))
