"""``leveret status``, ``id`` and ``studies``: what is here."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command


@command("status")
@click.pass_obj
def status(session: Session) -> None:
    """What the node holds, whom it trusts, what is moving, what is wrong."""

    def for_people(s: Any) -> None:
        click.secho(show.printable(s["name"]), bold=True)
        click.echo(f"  {s['peer_id']}")
        held = (
            f"{show.plural(s['studies'], 'study')}, {show.plural(s['instances'], 'instance')}, {show.size(s['bytes'])}"
            f" in {show.size(s['disk_bytes'])}"
        )
        click.echo(f"  holds      {held}" + (f", {s['quarantined']} in quarantine" if s["quarantined"] else ""))
        click.echo(f"  peers      {s['peers']['trusted']} trusted, {s['peers']['connected']} connected")
        click.echo(f"  transfers  {s['transfers']['active']} active, {s['transfers']['suspended']} suspended")
        click.echo(f"  inbox      {show.plural(s['inbox'], 'request')} to decide")
        click.echo(f"  listens    api {s['listen']['api']}, peers {s['listen']['peer']}, DICOM {s['listen']['dicom']}")
        for problem in s["problems"]:
            click.secho(f"  ! {show.words(problem)}", fg="red")

    session.show(session.daemon().get("/status"), for_people)


@command("id")
@click.pass_obj
def identity(session: Session) -> None:
    """This node's PeerId and the fingerprint of its certificate."""
    s = session.daemon().get("/status")
    document = {name: s[name] for name in ("peer_id", "name", "fingerprint")}

    def for_people(d: Any) -> None:
        click.echo(f"{d['peer_id']}\nSHA-256 {d['fingerprint']}")

    session.show(document, for_people)


@command("studies")
@click.option("--patient-id", metavar="ID", help="Only this Patient ID (* and ? match anything).")
@click.option("--name", metavar="PATTERN", help="Only patients with such a name, for instance 'Garcia*'.")
@click.pass_obj
def studies(session: Session, patient_id: str | None, name: str | None) -> None:
    """What is held, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("DATE", "PATIENT", "PATIENT ID", "MODALITIES", "DESCRIPTION", "INSTANCES", "REV", "FROM", "STUDY"),
            [
                (
                    show.date(s["study_date"]),
                    s["patient_name"],
                    s["patient_id"],
                    s["modalities"],
                    s["description"],
                    s["instances"],
                    s["revision"],
                    s["origin"][:7] if s["origin"] else "own",
                    s["study_instance_uid"],
                )
                for s in document["studies"]
            ],
            empty="No such studies are held.",
        )

    session.show(session.daemon().get("/studies", patient_id=patient_id, name=name), for_people)
