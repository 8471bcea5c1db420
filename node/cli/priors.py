"""``leveret priors`` and ``announce``: what is known elsewhere."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, command
from node.cli.values import BirthDate


@command("announce")
@click.pass_obj
def announce(session: Session) -> None:
    """Send pending announcements now instead of at the next interval."""

    def for_people(document: Any) -> None:
        click.echo(f"Announced to {show.plural(document['peers'], 'peer')}.")

    session.show(session.daemon().post("/announcements"), for_people)


@command("priors")
@click.option("--patient-id", metavar="ID", help="A patient of this facility.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--name", metavar="FAMILY^GIVEN", help="Name, with --birth-date and --sex.")
@click.option("--birth-date", type=BirthDate(), help="Such as 1961-02-03.")
@click.option("--sex", type=click.Choice(["M", "F", "O"], case_sensitive=False))
@click.option("--purpose", default="TREAT", show_default=True, help="Purpose of use.")
@click.pass_obj
def priors(session: Session, /, *, purpose: str, **who: str | None) -> None:
    """Local and remote studies of one patient, by peer."""
    check_person(who, needed=True)
    daemon = session.daemon()
    patient = daemon.post("/patients", **who)
    document = daemon.get(f"/patients/{quoted(patient['id'])}/priors", purpose=purpose)
    session.show(document, _for_people)


def check_person(who: dict[str, str | None], *, needed: bool) -> None:
    """Refuse an incomplete description of a patient (usage error)."""
    described = [who["name"], who["birth_date"], who["sex"]]
    if any(described) and not all(described):
        raise click.UsageError("--name, --birth-date and --sex go together.")
    if needed and not who["patient_id"] and not all(described):
        raise click.UsageError("Give --patient-id, or --name with --birth-date and --sex.")


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
            click.echo(f"  could not be asked [{peer['status']}]")
            continue
        show.table(
            ("DATE", "MODALITIES", "DESCRIPTION", "INSTANCES", "REPORT", "MATCH", "HELD", "REF"),
            [
                (
                    show.date(s["study_date"]),
                    s["modalities"],
                    s["description"],
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
