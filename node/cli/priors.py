"""``leveret priors`` and ``announce``: what is known elsewhere."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, command
from node.cli.person import check_person, person_options


@command("announce")
@click.pass_obj
def announce(session: Session) -> None:
    """Send pending announcements now instead of at the next interval."""

    def for_people(document: Any) -> None:
        if not document["peers"]:
            click.echo("Nothing was pending: every trusted peer has been told what is held.")
        else:
            studies = show.plural(document["studies"], "study")
            click.echo(f"Announced {studies} to {show.plural(document['peers'], 'peer')}.")

    session.show(session.daemon().post("/announcements"), for_people)


@command("epoch")
@click.option("--peer", metavar="PEER", help="Only of the announcements to this peer.")
@click.pass_obj
def epoch(session: Session, peer: str | None) -> None:
    """Begin a new epoch: destroy the keys under which peers can ask, and announce everything anew.

    What peers looked up before, they must ask again. Happens by itself every [announce] epoch_days.
    """

    def for_people(document: Any) -> None:
        told = show.plural(document["peers"], "peer")
        click.echo(f"New keys for {told}; what is held is announced anew at the next interval (leveret announce: now).")

    session.show(session.daemon().post("/epochs", peer=peer), for_people)


@command("priors")
@person_options
@click.pass_obj
def priors(session: Session, /, *, purpose: str, **who: str | None) -> None:
    """Local and remote studies of one patient, by peer."""
    check_person(who, needed=True)
    daemon = session.daemon()
    patient = daemon.post("/patients", **who)
    document = daemon.get(f"/patients/{quoted(patient['id'])}/priors", purpose=purpose)
    session.show(document, _for_people)


def _for_people(document: Any) -> None:
    click.secho("Here", bold=True)
    show.table(
        ("DATE", "MODALITIES", "DESCRIPTION", "INSTANCES", "STUDY"),
        [
            (show.date(s["study_date"]), s["modalities"], s["description"], s["instances"], s["study_instance_uid"])
            for s in document["local"]
        ],
        empty="  nothing",
    )
    for peer in document["peers"]:
        click.echo()
        click.secho(f"{show.printable(peer['name'])} ({peer['peer_id'][:7]})", bold=True)
        if peer["status"] != "ok":
            click.echo(f"  {show.words(peer['status'])}")
            continue
        show.table(
            ("DATE", "MODALITIES", "DESCRIPTION", "INSTANCES", "REPORT", "MATCH", "HELD", "REF"),
            [
                (
                    show.date(s["study_date"] or str(s["year"] or "")),
                    s["modalities"],
                    s["description"] or s["regions"],
                    s["instances"],
                    s["report"],
                    s["match"],
                    s["held"],
                    s["ref"],
                )
                for s in peer["studies"]
            ],
            empty="  nothing",
        )
