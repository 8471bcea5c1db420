"""How commands are told of a patient."""

from collections.abc import Callable
from typing import Any

import click

from node.cli.values import BirthDate

_OPTIONS = (
    click.option("--patient-id", metavar="ID", help="A patient of this facility."),
    click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's."),
    click.option("--name", metavar="FAMILY^GIVEN", help="Name, with --birth-date and --sex."),
    click.option("--birth-date", type=BirthDate(), help="Such as 1961-02-03."),
    click.option("--sex", type=click.Choice(["M", "F", "O"], case_sensitive=False)),
    click.option("--purpose", default="TREAT", show_default=True, help="Purpose of use."),
)


def person_options(run: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a patient, and why it is asked about."""
    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def check_person(who: dict[str, str | None], *, needed: bool) -> None:
    """Refuse an incomplete description of a patient (usage error)."""
    described = [who["name"], who["birth_date"], who["sex"]]
    if any(described) and not all(described):
        raise click.UsageError("--name, --birth-date and --sex go together.")
    if needed and not who["patient_id"] and not all(described):
        raise click.UsageError("Give --patient-id, or --name with --birth-date and --sex.")
