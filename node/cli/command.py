"""What all commands share: ``--data``, ``--json``, ``--as``, and printing for people or for programs."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from node.cli.client import Daemon


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    data: Path
    as_json: bool
    user: str | None

    def daemon(self) -> Daemon:
        """A connection to this node's daemon (made when it is first used)."""
        return Daemon(self.data, self.user)

    def show(self, document: Any, for_people: Callable[[Any], None]) -> None:
        """Print ``document``: one JSON document with ``--json``, else by ``for_people``."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            for_people(document)

    @property
    def live(self) -> bool:
        """Whether a progress bar has somebody to look at it."""
        return sys.stderr.isatty()


class LeveretCommand(click.Command):
    """A command that takes the common options after its name and gets a :class:`Session` as its object."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--data", "_data"],
                type=click.Path(path_type=Path),
                envvar="LEVERET_DATA",
                required=True,
                metavar="DIR",
                help="Data directory of the node (or LEVERET_DATA).",
            ),
            click.Option(["--json", "_json"], is_flag=True, help="Print one JSON document."),
            click.Option(["--as", "_user"], metavar="USER", help="Act as this user instead of as an operator."),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run with a Session made of the common options."""
        data, as_json, user = (ctx.params.pop(name) for name in ("_data", "_json", "_user"))
        ctx.obj = Session(data.absolute(), as_json, user)
        return super().invoke(ctx)


class LeveretGroup(click.Group):
    """A group whose commands are LeveretCommands."""

    command_class = LeveretCommand


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A top-level command."""
    return click.command(name, cls=LeveretCommand)


def group(name: str) -> Callable[[Callable[..., Any]], LeveretGroup]:
    """A group of commands."""
    return click.group(name, cls=LeveretGroup)
