"""``leveret delete``, ``protect`` and ``unprotect``: what goes for ever, and what must stay."""

import click

from node.cli import show
from node.cli.command import Session, command


@command("delete")
@click.option("--study", required=True, metavar="UID", help="A study held here, own or received.")
@click.option("--reason", required=True, help="Why; for the audit log.")
@click.pass_obj
def delete(session: Session, study: str, reason: str) -> None:
    """Delete a study for ever: its key is destroyed, so that nobody can read it again. It may be stored again."""
    document = session.daemon().post("/deletions", study=study, reason=reason)
    session.show(document, lambda d: click.echo(f"Deleted {show.printable(d['study_instance_uid'])}."))


@command("protect")
@click.option("--study", required=True, metavar="UID", help="The study; it need not be held yet.")
@click.option("--reason", required=True, help="Why it must stay.")
@click.pass_obj
def protect(session: Session, study: str, reason: str) -> None:
    """Keep a study from being deleted, by age, for space or by hand."""
    document = session.daemon().post("/protections", study=study, reason=reason)
    session.show(document, lambda d: click.echo(f"Protected {show.printable(d['study_instance_uid'])}."))


@command("unprotect")
@click.option("--study", required=True, metavar="UID", help="A protected study.")
@click.pass_obj
def unprotect(session: Session, study: str) -> None:
    """Let a protected study be deleted again."""
    document = session.daemon().post("/protections/end", study=study)
    session.show(
        document, lambda d: click.echo(f"{show.printable(d['study_instance_uid'])} is not protected any more.")
    )
