"""``leveret withdraw`` and ``withdrawals``: what must not be used any more, and who was told."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command, group


@command("withdraw")
@click.option("--study", required=True, metavar="UID", help="An own study.")
@click.option("--reason", required=True, help="Why; every recipient is told.")
@click.pass_obj
def withdraw(session: Session, study: str, reason: str) -> None:
    """Withdraw a study: nobody sees it any more, here and wherever it was released to."""
    document = session.daemon().post("/withdrawals", study=study, reason=reason)

    def for_people(w: Any) -> None:
        click.echo(f"Withdrawn: {show.plural(w['instances'], 'instance')} hidden.")
        for peer in sorted({r["peer_id"] for r in w["recipients"]}):
            click.echo(f"  {peer} is told")
        if not w["recipients"]:
            click.echo("It was released to nobody.")

    session.show(document, for_people)


@group("withdrawals")
def withdrawals() -> None:
    """What was withdrawn, and who acknowledged it."""


@withdrawals.command("list")
@click.option("--study", metavar="UID", help="Only what was withdrawn of this study.")
@click.pass_obj
def list_withdrawals(session: Session, study: str | None) -> None:
    """What this facility withdrew, last first, and the state at each recipient."""

    def for_people(document: Any) -> None:
        for w in document["withdrawals"]:
            click.secho(f"{w['study_instance_uid']}", bold=True)
            click.echo(
                f"  {w['kind']}, {show.moment(w['at'])} by {show.printable(w['by'])}: {show.printable(w['words'])}"
            )
            for r in w["recipients"]:
                click.echo(f"  {r['peer_id'][:7]}  {_state(r)}")
        if not document["withdrawals"]:
            click.echo("Nothing was withdrawn.")

    session.show(session.daemon().every("/withdrawals", "withdrawals", study=study), for_people)


@withdrawals.command("received")
@click.pass_obj
def received(session: Session) -> None:
    """What other facilities withdrew, last first."""

    def for_people(document: Any) -> None:
        show.table(
            ("WHEN", "FROM", "KIND", "INSTANCES", "WHY", "STUDY"),
            [
                (
                    show.moment(w["received_at"]),
                    w["peer_id"][:7],
                    w["kind"],
                    w["instances"],
                    w["words"],
                    w["study_instance_uid"],
                )
                for w in document["withdrawals"]
            ],
            empty="Nobody withdrew anything.",
        )

    session.show(session.daemon().every("/withdrawals/received", "withdrawals"), for_people)


def _state(r: Any) -> str:
    if r["state"] == "ACKNOWLEDGED":
        return f"acknowledged {show.moment(r['settled_at'])}" + (
            " (held nothing)" if r["outcome"] == "not_held" else ""
        )
    if r["state"] == "REFUSED":
        return f"refuses: {show.words(r['code'])}"
    if r["next_attempt_at"]:
        return f"not reached yet ({show.printable(r['code'])}), next attempt {show.moment(r['next_attempt_at'])}"
    return "on its way"
