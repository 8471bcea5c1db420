"""``leveret sensitive``: studies that no other facility is told of."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command


@command("sensitive")
@click.option("--study", metavar="UID", help="Mark this study.")
@click.option("--off", is_flag=True, help="With --study: it may be announced again.")
@click.pass_obj
def sensitive(session: Session, study: str | None, *, off: bool) -> None:
    """Mark a study so that no other facility is told of it; without --study: list those that are."""
    if study is None:
        if off:
            raise click.UsageError("--off needs --study.")
        session.show(session.daemon().get("/sensitive-studies"), _listed)
        return

    def for_people(document: Any) -> None:
        if document["sensitive"]:
            click.echo("It is announced no more; facilities that were told are told otherwise with the next batch.")
        else:
            click.echo("It is announced with the next batch.")

    session.show(session.daemon().post("/sensitive-studies", study=study, sensitive=not off), for_people)


def _listed(document: Any) -> None:
    show.table(
        ("SINCE", "STUDY"),
        [(show.moment(s["at"]), s["study_instance_uid"]) for s in document["studies"]],
        empty="No study is marked sensitive.",
    )
