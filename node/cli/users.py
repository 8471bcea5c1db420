"""``leveret users``: who may use the local API."""

from pathlib import Path
from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group
from node.cli.values import Duration
from node.model.access import Scope

_PASSWORD_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@group("users")
def users() -> None:
    """Local users, their roles and tokens."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["clinician", "operator", "auditor"]), required=True)
@click.option(
    "--password-file",
    type=_PASSWORD_FILE,
    help="First line is the password (- for standard input); without one the user has tokens only.",
)
@click.pass_obj
def add(session: Session, name: str, role: str, password_file: Path | None) -> None:
    """Add a user called NAME."""
    password = None if password_file is None else _first_line(password_file)
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

    session.show(session.daemon().every("/users", "users"), for_people)


@users.command("disable")
@click.argument("name")
@click.pass_obj
def disable(session: Session, name: str) -> None:
    """Shut a user out now; all tokens of NAME are void."""
    document = session.daemon().post(f"/users/{quoted(name)}/disable")
    session.show(document, lambda _u: click.echo(f"{name} is disabled."))


@users.command("enable")
@click.argument("name")
@click.pass_obj
def enable(session: Session, name: str) -> None:
    """Let a disabled user in again, by the password. NAME needs new tokens."""
    document = session.daemon().post(f"/users/{quoted(name)}/enable")
    session.show(document, lambda _u: click.echo(f"{name} is enabled."))


@users.command("password")
@click.argument("name")
@click.option(
    "--password-file", type=_PASSWORD_FILE, required=True, help="First line is the password (- for standard input)."
)
@click.pass_obj
def password(session: Session, name: str, password_file: Path) -> None:
    """Set another password for NAME, whose sessions end and whose failed attempts are forgotten."""
    session.daemon().post(f"/users/{quoted(name)}/password", password=_first_line(password_file))
    session.show({"name": name}, lambda _u: click.echo(f"{name} has another password."))


@users.command("token")
@click.argument("name")
@click.option("--expires", type=Duration(), help="How long it is good.  [default: 365d]")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    help="Only for this; may be repeated. Without it the token is good for whatever the role may do.",
)
@click.option("--label", help="What it is for, as `users tokens` shows it.")
@click.pass_obj
def token(session: Session, name: str, expires: int | None, scopes: tuple[str, ...], label: str | None) -> None:
    """Make a bearer token for NAME. It is shown once."""
    path = f"/users/{quoted(name)}/tokens"
    document = session.daemon().post(path, expires_in=expires, scopes=list(scopes), label=label)
    session.show(document, lambda t: click.echo(t["token"]))


@users.command("tokens")
@click.argument("name")
@click.pass_obj
def tokens(session: Session, name: str) -> None:
    """The tokens of NAME that are good."""

    def for_people(document: Any) -> None:
        show.table(
            ("TOKEN-ID", "FOR", "SCOPES", "SINCE", "UNTIL", "LAST USED"),
            [
                (
                    t["token_id"],
                    t["label"],
                    t["scopes"] or "all",
                    show.moment(t["created_at"]),
                    show.moment(t["expires_at"]),
                    "never" if t["used_at"] is None else show.moment(t["used_at"]),
                )
                for t in document["tokens"]
            ],
            empty="No tokens.",
        )

    session.show(session.daemon().every(f"/users/{quoted(name)}/tokens", "tokens"), for_people)


@users.command("revoke")
@click.argument("name")
@click.argument("token_id")
@click.pass_obj
def revoke(session: Session, name: str, token_id: str) -> None:
    """Make one token of NAME void (`users tokens` lists them)."""
    session.daemon().delete(f"/users/{quoted(name)}/tokens/{quoted(token_id)}")
    session.show({"token_id": token_id}, lambda _t: click.echo(f"{token_id} is void."))


def _first_line(path: Path) -> str:
    with click.open_file(str(path), encoding="utf-8") as file:
        return str(file.readline()).rstrip("\r\n")
