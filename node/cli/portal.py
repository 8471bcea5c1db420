"""``leveret portal``: letters, accounts and what patients see when."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import Duration, Moment


@group("portal")
def portal() -> None:
    """The portal, in which patients see, keep and share their images."""


@portal.command("invite")
@click.option("--patient-id", metavar="ID", required=True, help="Whose images.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--expires", type=Duration(), help="How long the letter is good, such as 7d.  [default: by the settings]")
@click.pass_obj
def invite(session: Session, patient_id: str, issuer: str | None, expires: int | None) -> None:
    """Make a letter with which a patient enrols. Its code is shown once and kept nowhere."""
    document = session.daemon().post("/portal/invitations", patient_id=patient_id, issuer=issuer, expires_in=expires)
    session.show(document, _letter)


@portal.command("proxy")
@click.option("--patient-id", metavar="ID", required=True, help="Whose images.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--name", required=True, help="Who acts for the patient, as the patient and the audit log will read it.")
@click.option("--see-only", is_flag=True, help="They may see the images and not share them.")
@click.option("--until", type=Moment(), help="Until when.  [default: a child's birthday by the settings, else a year]")
@click.option("--expires", type=Duration(), help="How long the letter is good.  [default: by the settings]")
@click.pass_obj
def proxy(
    session: Session,
    /,
    *,
    patient_id: str,
    issuer: str | None,
    name: str,
    see_only: bool,
    until: int | None,
    expires: int | None,
) -> None:
    """Make a letter for a parent, guardian or carer, who then acts for the patient."""
    document = session.daemon().post(
        "/portal/invitations",
        patient_id=patient_id,
        issuer=issuer,
        acts_for_patient=name,
        may_share=not see_only,
        until=until,
        expires_in=expires,
    )
    session.show(document, _letter)


@portal.command("list")
@click.pass_obj
def list_accounts(session: Session) -> None:
    """Accounts and letters, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("ACCOUNT", "PATIENT ID", "AS", "NAME", "SIGNS IN BY", "UNTIL", "CLOSED"),
            [
                (
                    account["account_id"],
                    access["patient_id"],
                    access["relation"] if access["live"] else f"{access['relation']} (ended)",
                    access["name"],
                    _ways(account),
                    show.moment(access["until"]),
                    show.moment(account["closed_at"]),
                )
                for account in document["accounts"]
                for access in account["access"]
            ],
            empty="Nobody has enrolled yet.",
        )
        click.echo()
        show.table(
            ("INVITATION", "PATIENT ID", "FOR", "STATE", "WRONG DATES", "UNTIL"),
            [
                (
                    one["invitation_id"],
                    one["patient_id"],
                    "new credentials" if one["account_id"] else one["name"] or "the patient",
                    one["state"],
                    one["failures"],
                    show.moment(one["expires_at"]),
                )
                for one in document["invitations"]
            ],
            empty="No letters were made.",
        )

    session.show(session.daemon().get("/portal/accounts"), for_people)


@portal.command("reset")
@click.argument("account_id")
@click.pass_obj
def reset(session: Session, account_id: str) -> None:
    """Void all credentials of ACCOUNT_ID, and make a letter with which its owner sets new ones."""
    session.show(session.daemon().post(f"/portal/accounts/{quoted(account_id)}/reset"), _letter)


@portal.command("close")
@click.argument("account_id")
@click.pass_obj
def close(session: Session, account_id: str) -> None:
    """Close ACCOUNT_ID at once and for good."""
    document = session.daemon().post(f"/portal/accounts/{quoted(account_id)}/close")
    session.show(document, lambda _d: click.echo("Closed; nobody is signed in to it any more."))


@portal.command("add")
@click.argument("account_id")
@click.option("--patient-id", metavar="ID", required=True, help="The other record of the same person.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.pass_obj
def add(session: Session, account_id: str, patient_id: str, issuer: str | None) -> None:
    """The owner of ACCOUNT_ID is this patient, too: one person under two ids."""
    document = session.daemon().post(
        f"/portal/accounts/{quoted(account_id)}/records", patient_id=patient_id, issuer=issuer
    )
    session.show(document, lambda d: click.echo(f"Added {show.printable(d['patient_id'])}."))


@portal.command("end")
@click.argument("access_id")
@click.pass_obj
def end(session: Session, access_id: str) -> None:
    """End ACCESS_ID: an account stands for a patient no more."""
    document = session.daemon().post(f"/portal/access/{quoted(access_id)}/end")
    session.show(document, lambda _d: click.echo("Ended."))


@portal.command("withdraw")
@click.argument("invitation_id")
@click.pass_obj
def withdraw(session: Session, invitation_id: str) -> None:
    """Take a letter back, by its INVITATION_ID."""
    document = session.daemon().post(f"/portal/invitations/{quoted(invitation_id)}/withdraw")
    session.show(document, lambda _d: click.echo("The letter is void."))


@portal.command("release")
@click.option("--study", metavar="UID", required=True, help="Study Instance UID.")
@click.pass_obj
def release(session: Session, study: str) -> None:
    """Show a study to its patient at once, whatever the delay."""
    document = session.daemon().post("/portal/rulings", study_instance_uid=study, ruling="released")
    session.show(document, lambda _d: click.echo("The patient sees it now."))


@portal.command("hold")
@click.option("--study", metavar="UID", required=True, help="Study Instance UID.")
@click.option("--reason", required=True, help="Why, in words that the patient reads.")
@click.option("--until", type=Moment(), help="Until when.  [default: until it is released]")
@click.pass_obj
def hold(session: Session, study: str, reason: str, until: int | None) -> None:
    """Keep a study from its patient for now; the patient is told that, and why."""
    document = session.daemon().post(
        "/portal/rulings", study_instance_uid=study, ruling="held", reason=reason, until=until
    )
    session.show(document, lambda _d: click.echo("Held."))


def _letter(d: Any) -> None:
    show.qr(d["url"])
    click.secho(f"\n    {d['code']}\n", bold=True)
    click.echo(f"{d['url'].partition('#')[0]}   date of birth: {show.date(d['birth_date'])}")
    whose = f"{d['name']}, who acts for the patient" if d["relation"] == "proxy" else "the patient"
    click.echo(f"For {show.printable(whose)}. Good until {show.moment(d['expires_at'])}, once. It is not kept here.")
    click.echo(f"To take it back: leveret portal withdraw {d['invitation_id']}")


def _ways(account: Any) -> str:
    ways = ["passphrase"] if account["passphrase"] else []
    if account["passkeys"]:
        ways.append(show.plural(account["passkeys"], "passkey"))
    return " and ".join(ways) or "nothing yet"
