"""``leveret quarantine``: what contradicts what is held."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, group

_SIDES = (
    ("patient", "patient_name"),
    ("patient id", "patient_id"),
    ("issuer", "issuer_of_patient_id"),
    ("study", "study_instance_uid"),
    ("series", "series_instance_uid"),
    ("SHA-256", "digest"),
    ("bytes", "bytes"),
)


@group("quarantine")
def quarantine() -> None:
    """Decide what becomes of images that contradict what is held."""


@quarantine.command("list")
@click.pass_obj
def list_quarantine(session: Session) -> None:
    """What was put aside, last first."""

    def for_people(document: Any) -> None:
        show.table(
            ("NUMBER", "CAME", "BY", "WHY", "PATIENT", "PATIENT ID", "INSTANCE"),
            [
                (
                    q["number"],
                    show.moment(q["received_at"]),
                    q["source"],
                    q["reason"],
                    q["patient_name"],
                    q["patient_id"],
                    q["sop_instance_uid"],
                )
                for q in document["quarantine"]
            ],
            empty="Nothing is in quarantine.",
        )

    session.show(session.daemon().every("/quarantine", "quarantine"), for_people)


@quarantine.command("inspect")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def inspect(session: Session, number: int) -> None:
    """NUMBER beside what is held, and where the two differ."""

    def for_people(c: Any) -> None:
        aside, held = c["aside"], c["held"] or {}
        click.secho(f"{aside['sop_instance_uid']}: {aside['reason']}", bold=True)
        click.echo(f"came {show.moment(aside['received_at'])} by {show.printable(aside['source'])}")
        rows = [(words, held.get(name), aside[name]) for words, name in _SIDES]
        rows += [(f"({d['tag'][:4]},{d['tag'][4:]})", d["held"], d["aside"]) for d in c["differences"]]
        show.table(("", "HELD", "IN QUARANTINE"), rows, empty="")
        if c["unreadable"]:
            click.secho(show.words(c["unreadable"]), fg="red")
        accepting = {"replace": "replaces what is held", "file": "files it in its study, under the study's patient"}
        click.echo(f"accepting {accepting.get(c['accepting'], 'is not possible: discard it')}")

    session.show(session.daemon().get(f"/quarantine/{number}"), for_people)


@quarantine.command("accept")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def accept(session: Session, number: int) -> None:
    """NUMBER is right: it replaces what it contradicts, as a new revision."""
    document = session.daemon().post(f"/quarantine/{number}/accept")
    session.show(document, lambda _d: click.echo("Accepted; whoever has the study is told."))


@quarantine.command("discard")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def discard(session: Session, number: int) -> None:
    """NUMBER is wrong: shred it."""
    document = session.daemon().post(f"/quarantine/{number}/discard")
    session.show(document, lambda _d: click.echo("Shredded."))
