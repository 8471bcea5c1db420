"""``leveret link``: say which local patient a received study belongs to."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command
from node.cli.values import BirthDate


@command("link")
@click.option("--study", metavar="UID", help="The received study.")
@click.option("--patient-id", metavar="ID", help="The local patient that it belongs to.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--name", metavar="FAMILY^GIVEN", help="Name, with --birth-date and --sex, if no own study says them.")
@click.option("--birth-date", type=BirthDate(), help="Such as 1961-02-03.")
@click.option("--sex", type=click.Choice(["M", "F", "O"], case_sensitive=False))
@click.option("--despite-differences", is_flag=True, help="Link though the two records contradict each other.")
@click.option("--remove", is_flag=True, help="Take the link back.")
@click.option("--list", "lists", is_flag=True, help="Show all links.")
@click.pass_obj
def link(
    session: Session,
    /,
    *,
    study: str | None,
    despite_differences: bool,
    remove: bool,
    lists: bool,
    **who: str | None,
) -> None:
    """Link a received study to a local patient, or take that back.

    The study stays as it came; it is found under the local patient too, and may be sent to the PACS as theirs.
    """
    daemon = session.daemon()
    if lists:
        session.show(daemon.every("/links", "links"), _list)
        return
    if not study:
        raise click.UsageError("Give --study.")
    if remove:
        session.show(daemon.post("/links/remove", study=study), lambda _d: click.echo("The link is taken back."))
        return
    described = [who["name"], who["birth_date"], who["sex"]]
    if not who["patient_id"] or (any(described) and not all(described)):
        raise click.UsageError("Give --patient-id; --name, --birth-date and --sex go together.")
    document = daemon.post("/links", study=study, despite_differences=despite_differences or None, **who)
    session.show(document, _linked)
    if not document["known_here"] and not any(described):
        told = f"No study of this facility names a patient {show.printable(who['patient_id'])}: look at the id again."
        click.echo(f"{told} (`leveret link --remove` takes the link back.)", err=True)


def _linked(d: Any) -> None:
    click.echo(f"Linked: {show.printable(d['origin_patient_name'])}, {show.date(d['study_date'])},")
    came, now = show.printable(d["origin_patient_id"]), show.printable(d["patient_id"])
    click.echo(f"  known as {came} where it came from, is {now} here.")


def _list(document: Any) -> None:
    show.table(
        ("LINKED", "PATIENT ID", "FROM", "ID THERE", "NAME THERE", "DATE", "MODALITIES", "BY", "STUDY"),
        [
            (
                show.moment(d["linked_at"]),
                d["patient_id"],
                d["origin"][:7] if d["origin"] else None,
                d["origin_patient_id"],
                d["origin_patient_name"],
                show.date(d["study_date"]),
                d["modalities"],
                d["linked_by"],
                d["study_instance_uid"],
            )
            for d in document["links"]
        ],
        empty="No received study is linked to a local patient.",
    )
