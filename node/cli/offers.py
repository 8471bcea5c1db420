"""``leveret offer`` and ``offers``: send a study without being asked, and decide about what others offer."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, command, group


@command("offer")
@click.option("--to", required=True, metavar="PEER", help="Who shall have it: PeerId, its first characters, or name.")
@click.option("--study", "studies", multiple=True, required=True, metavar="UID", help="An own study; may be repeated.")
@click.option("--reason", required=True, help="Why; the other facility reads it.")
@click.pass_obj
def offer(session: Session, to: str, studies: tuple[str, ...], reason: str) -> None:
    """Send own studies of one patient to PEER. You state that the patient agreed; that is recorded as a consent."""
    document = session.daemon().post("/offers", to=to, studies=list(studies), reason=reason)

    def for_people(o: Any) -> None:
        click.echo(f"Offered to {o['peer_id'][:7]} until {show.moment(o['expires_at'])}: {o['offer_id']}")
        click.echo(f"To take it back: leveret consent revoke {o['consent_id']}")

    session.show(document, for_people)


@group("offers")
def offers() -> None:
    """What was offered, by others and to others."""


@offers.command("list")
@click.pass_obj
def list_offers(session: Session) -> None:
    """Offers in both directions, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("OFFER", "WAY", "PEER", "STATE", "PATIENT", "BORN", "STUDIES", "WHY"),
            [
                (
                    o["offer_id"],
                    o["direction"],
                    o["peer_id"][:7],
                    o["state"],
                    show.printable(o["patient"]["name"]),
                    show.date(o["patient"]["birth_date"]),
                    len(o["studies"]),
                    show.printable(o["reason"]),
                )
                for o in document["offers"]
            ],
            empty="Nothing was offered.",
        )

    session.show(session.daemon().every("/offers", "offers"), for_people)


@offers.command("accept")
@click.argument("offer_id")
@click.pass_obj
def accept(session: Session, offer_id: str) -> None:
    """Take what was offered; it comes as a request of this facility."""
    document = session.daemon().post(f"/offers/{quoted(offer_id)}/accept")
    session.show(document, lambda a: click.echo(f"Accepted. Follow it with: leveret transfers show {a['request_id']}"))


@offers.command("refuse")
@click.argument("offer_id")
@click.option("--reason", required=True, help="Why; the other facility reads it.")
@click.pass_obj
def refuse(session: Session, offer_id: str, reason: str) -> None:
    """Do not take what was offered."""
    document = session.daemon().post(f"/offers/{quoted(offer_id)}/refuse", reason=reason)
    session.show(document, lambda _d: click.echo("Refused; the other facility is told."))
