"""``leveret users``: who may use the local API."""

from pathlib import Path
from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import Duration


@group("users")
def users() -> None:
    """Local users, their roles and tokens."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["clinician", "operator", "auditor"]), required=True)
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="First line is the password (- for standard input); without one the user has tokens only.",
)
@click.pass_obj
def add(session: Session, name: str, role: str, password_file: Path | None) -> None:
    """Add a user called NAME."""
    password = None
    if password_file is not None:
        with click.open_file(str(password_file), encoding="utf-8") as file:
            password = file.readline().rstrip("\r\n")
    document = session.daemon().post("/users", name=name, role=role, password=password)
    session.show(document, lambda u: click.echo(f"Added {u['name']} ({u['role']})."))


@users.command("list")
@click.pass_obj
def list_users(session: Session) -> None:
    """All users."""

    def for_people(document: Any) -> None:
        show.table(
            ("NAME", "ROLE", "SINCE", "TOKENS", "DISABLED"),
            [
                (u["name"], u["role"], show.moment(u["created_at"]), u["tokens"], show.moment(u["disabled_at"]))
                for u in document["users"]
            ],
            empty="No users yet.",
        )

    session.show(session.daemon().get("/users"), for_people)


@users.command("disable")
@click.argument("name")
@click.pass_obj
def disable(session: Session, name: str) -> None:
    """Shut a user out now; all tokens of NAME are void."""
    document = session.daemon().post(f"/users/{quoted(name)}/disable")
    session.show(document, lambda _u: click.echo(f"{name} is disabled."))


@users.command("token")
@click.argument("name")
@click.option("--expires", type=Duration(), help="How long it is good.  [default: 365d]")
@click.pass_obj
def token(session: Session, name: str, expires: int | None) -> None:
    """Make a bearer token for NAME. It is shown once."""
    document = session.daemon().post(f"/users/{quoted(name)}/tokens", expires_in=expires)
    session.show(document, lambda t: click.echo(t["token"]))
