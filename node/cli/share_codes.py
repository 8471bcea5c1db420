"""``leveret share-code``: the patient's consent in a form that can be handed over."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import Duration


@group("share-code")
def share_code() -> None:
    """Codes by which a patient lets another facility have studies."""


@share_code.command("create")
@click.option("--patient-id", metavar="ID", required=True, help="Whose studies.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--study", "studies", multiple=True, metavar="UID", help="Only this study; may be repeated.")
@click.option("--expires", type=Duration(), help="How long it is good, such as 7d.  [default: 30d]")
@click.option("--uses", type=click.IntRange(min=1), help="How many requests it is good for.  [default: 1]")
@click.pass_obj
def create(
    session: Session,
    /,
    *,
    patient_id: str,
    issuer: str | None,
    studies: tuple[str, ...],
    expires: int | None,
    uses: int | None,
) -> None:
    """Make a code. It is shown once and kept nowhere."""
    document = session.daemon().post(
        "/share-codes",
        patient_id=patient_id,
        issuer=issuer,
        studies=list(studies) or None,
        expires_in=expires,
        uses=uses,
    )

    def for_people(d: Any) -> None:
        show.qr(d["qr"])
        click.secho(f"\n    {d['code']}\n", bold=True)
        click.echo(f"Good until {show.moment(d['expires_at'])}, {show.plural(d['uses'], 'use')}. It is not kept here.")
        click.echo(f"To take it back: leveret share-code revoke {d['code_id']}")

    session.show(document, for_people)


@share_code.command("list")
@click.pass_obj
def list_codes(session: Session) -> None:
    """Codes that were made, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("CODE ID", "PATIENT ID", "STATE", "USED", "FAILED", "STUDIES", "UNTIL"),
            [
                (
                    c["code_id"],
                    c["patient_id"],
                    c["state"],
                    f"{c['used']} of {c['uses']}",
                    c["failures"],
                    len(c["studies"]),
                    show.moment(c["expires_at"]),
                )
                for c in document["share_codes"]
            ],
            empty="No share codes were made.",
        )

    session.show(session.daemon().every("/share-codes", "share_codes"), for_people)


@share_code.command("revoke")
@click.argument("code_id")
@click.pass_obj
def revoke(session: Session, code_id: str) -> None:
    """Take a code back, by its CODE_ID; at once, for running transfers too."""
    document = session.daemon().post(f"/share-codes/{quoted(code_id)}/revoke")
    session.show(document, lambda _d: click.echo("Revoked."))
