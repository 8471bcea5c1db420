"""``leveret health-link``: links (SMART Health Links) that staff make for patients, at their wish."""

from typing import Any
from urllib.parse import urlsplit

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import Duration, StudyDate


@group("health-link")
def health_link() -> None:
    """Links by which a patient lets a person see images (SMART Health Links)."""


@health_link.command("create")
@click.option("--patient-id", metavar="ID", required=True, help="Whose studies.")
@click.option("--consent", metavar="TEXT", required=True, help="How you know that the patient wants it.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--study", "studies", multiple=True, metavar="UID", help="Only this study; may be repeated.")
@click.option("--from", "from_date", type=StudyDate(), metavar="DATE", help="Only studies from this day on.")
@click.option("--to", "to_date", type=StudyDate(), metavar="DATE", help="Only studies until this day.")
@click.option("--label", metavar="TEXT", help="What is shared, in up to 80 characters; never who the patient is.")
@click.option("--passcode", is_flag=True, help="Ask for a passcode that whoever opens the link must know.")
@click.option("--passcode-file", type=click.File(), help="The same, from the first line of a file.")
@click.option("--expires", type=Duration(), help="How long it is good, such as 7d.  [default: 30d]")
@click.option("--uses", type=click.IntRange(min=1), help="How often it may be opened.  [default: no limit]")
@click.option("--direct", is_flag=True, help="One file for programs that can do no more: reports, no images.")
@click.pass_obj
def create(session: Session, /, *, passcode: bool, passcode_file: Any, expires: int | None, **order: Any) -> None:
    """Make a link. It is shown once and kept nowhere."""
    secret = ""
    if passcode_file is not None:
        secret = passcode_file.readline().rstrip("\n")
    elif passcode:
        secret = click.prompt("Passcode", hide_input=True, confirmation_prompt=True, err=True)
    order["studies"] = list(order["studies"])
    said = {name: value for name, value in order.items() if value}
    document = session.daemon().post("/health-links", **said, passcode=secret or None, expires_in=expires)

    def for_people(d: Any) -> None:
        show.qr(d["viewer_url"])
        click.echo(f"\n{d['viewer_url']}\n")
        if urlsplit(d["viewer_url"]).hostname == "localhost":
            click.secho("It opens on this machine alone: set [api] public_url, then make another.", fg="yellow")
        click.echo(f"Good until {show.moment(d['expires_at'])}. It is not kept here.")
        click.echo(f"To take it back: leveret health-link revoke {d['link_id']}")

    session.show(document, for_people)


@health_link.command("list")
@click.pass_obj
def list_links(session: Session) -> None:
    """Links that were made, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("LINK ID", "PATIENT ID", "STATE", "OPENED", "FAILED", "STUDIES", "MADE BY", "UNTIL"),
            [
                (
                    one["link_id"],
                    one["patient_id"],
                    one["state"],
                    f"{one['used']} of {one['uses']}" if one["uses"] else one["used"],
                    one["failures"],
                    len(one["studies"]) or "all",
                    one["created_by"],
                    show.moment(one["expires_at"]),
                )
                for one in document["health_links"]
            ],
            empty="No links were made.",
        )

    session.show(session.daemon().every("/health-links", "health_links"), for_people)


@health_link.command("show")
@click.argument("link_id")
@click.pass_obj
def show_link(session: Session, link_id: str) -> None:
    """Who tried to open a link, by its LINK_ID; last first. Names are what people called themselves."""

    def for_people(document: Any) -> None:
        show.table(
            ("WHEN", "OUTCOME", "WHO THEY SAID THEY ARE"),
            [(show.moment(one["at"]), one["outcome"], one["recipient"]) for one in document["accesses"]],
            empty="Nobody has opened it.",
        )

    session.show(session.daemon().get(f"/health-links/{quoted(link_id)}"), for_people)


@health_link.command("revoke")
@click.argument("link_id")
@click.pass_obj
def revoke(session: Session, link_id: str) -> None:
    """Take a link back, by its LINK_ID; at once, for whoever has it open too."""
    document = session.daemon().post(f"/health-links/{quoted(link_id)}/revoke")
    session.show(document, lambda _d: click.echo("Revoked."))
