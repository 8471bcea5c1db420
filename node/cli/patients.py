"""``leveret patient``: correct who somebody is."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import BirthDate, Setting

_NAMES = {"name": "name", "birth-date": "birth_date", "sex": "sex", "id": "patient_id", "issuer": "issuer"}


@group("patient")
def patient() -> None:
    """Correct identities: stored images stay as they are, everybody who has them is told."""


@patient.command("merge")
@click.option("--from", "patient_id", required=True, metavar="ID", help="The patient who turned out to be another one.")
@click.option("--issuer", help="Issuer of that id (default: this facility).")
@click.option("--into", required=True, metavar="ID", help="The patient who remains.")
@click.option("--into-issuer", help="Issuer of that id (default: this facility).")
@click.option("--reason", default="Patient merge", show_default=True, help="Why; recipients are told.")
@click.pass_obj
def merge(
    session: Session, *, patient_id: str, issuer: str | None, into: str, into_issuer: str | None, reason: str
) -> None:
    """Two patients are one (ADT A40)."""
    document = session.daemon().post(
        "/corrections/merge", patient=_who(patient_id, issuer), into=_who(into, into_issuer), reason=reason
    )
    session.show(document, _done)


@patient.command("correct")
@click.option("--patient-id", required=True, metavar="ID", help="The patient, as it is filed now.")
@click.option("--issuer", help="Issuer of that id (default: this facility).")
@click.option(
    "--set", "settings", multiple=True, required=True, type=Setting(), help="name=, birth-date=, sex=, id= or issuer=."
)
@click.option("--reason", default="Identity corrected", show_default=True, help="Why; recipients are told.")
@click.pass_obj
def correct(
    session: Session, patient_id: str, issuer: str | None, settings: tuple[tuple[str, str], ...], reason: str
) -> None:
    """What is said of a patient is wrong (ADT A08)."""
    changes: dict[str, str] = {}
    for key, value in settings:
        if key not in _NAMES:
            raise click.UsageError(f"--set knows {', '.join(_NAMES)}, not {key!r}")
        changes[_NAMES[key]] = BirthDate().convert(value, None, None) if key == "birth-date" and value else value
    document = session.daemon().post("/corrections/patient", patient=_who(patient_id, issuer), reason=reason, **changes)
    session.show(document, _done)


@patient.command("move-study")
@click.option("--study", required=True, metavar="UID", help="The study that is filed under the wrong patient.")
@click.option("--into", required=True, metavar="ID", help="Whose it is.")
@click.option("--into-issuer", help="Issuer of that id (default: this facility).")
@click.option("--reason", default="Filed under the wrong patient", show_default=True, help="Why; recipients are told.")
@click.pass_obj
def move_study(session: Session, study: str, into: str, into_issuer: str | None, reason: str) -> None:
    """A study is another patient's."""
    document = session.daemon().post("/corrections/study", study=study, into=_who(into, into_issuer), reason=reason)
    session.show(document, _done)


@patient.command("corrections")
@click.pass_obj
def list_corrections(session: Session) -> None:
    """What was corrected, last first."""

    def for_people(document: Any) -> None:
        show.table(
            ("CORRECTION", "WHEN", "BY", "KIND", "PATIENT ID", "NOW", "STUDIES", "UNDONE"),
            [
                (
                    c["correction_id"],
                    show.moment(c["at"]),
                    c["by"],
                    c["kind"],
                    c["patient_id"],
                    c["into_patient_id"],
                    len(c["studies"]),
                    show.moment(c["undone_at"]),
                )
                for c in document["corrections"]
            ],
            empty="Nothing was corrected.",
        )

    session.show(session.daemon().every("/corrections", "corrections"), for_people)


@patient.command("undo")
@click.argument("correction_id")
@click.pass_obj
def undo(session: Session, correction_id: str) -> None:
    """Take CORRECTION_ID back."""
    document = session.daemon().post(f"/corrections/{quoted(correction_id)}/undo")
    session.show(document, lambda c: click.echo(f"Undone for {show.plural(len(c['studies']), 'study')}."))


def _who(patient_id: str, issuer: str | None) -> dict[str, str]:
    return {"patient_id": patient_id} if issuer is None else {"patient_id": patient_id, "issuer": issuer}


def _done(c: Any) -> None:
    click.echo(
        f"Corrected: {show.plural(len(c['studies']), 'study')} now of patient {show.printable(c['into_patient_id'])}."
    )
    click.echo(f"To take it back: leveret patient undo {c['correction_id']}")
