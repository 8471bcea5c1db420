"""docs/cli.md and docs/reference.md, made from the program itself: commands; routes and roles, error codes.

``PYTHONPATH=tests .venv/bin/python -m support.reference`` writes them anew.
"""

import asyncio
import importlib
import inspect
import pkgutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

import node.errors
from node.api.routing import Route
from node.cli.root import root
from node.errors.base import LeveretError, all_codes
from node.model.access import STAFF, Role, Scope
from support.running import running

DOCS = Path(__file__).parents[2] / "docs"
_MADE = "Made from the program by `PYTHONPATH=tests .venv/bin/python -m support.reference`; a test keeps it equal.\n"


def render(routes: Sequence[Route]) -> dict[Path, str]:
    """Both documents."""
    return {
        DOCS / "cli.md": "\n".join(["# Commands\n", _MADE, *_commands()]),
        DOCS / "reference.md": "\n".join(
            ["# Routes, roles and error codes\n", _MADE, *_routes(routes), *_errors(), ""]
        ),
    }


def _commands() -> Iterator[str]:
    yield "Every command takes `--data DIR` (or `LEVERET_DATA`), `--json` and `--as USER` after its name. Exit status:"
    yield "0 done, 1 failed (one line on stderr: what is wrong, what to do, the error's code), 2 misused.\n"
    for name, command in _leaves(root, ()):
        arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
        yield f"## `leveret {' '.join([*name, *arguments])}`\n"
        yield f"{inspect.cleandoc(command.help or '')}\n"
        options = [p for p in command.params if isinstance(p, click.Option) and not (p.name or "").startswith("_")]
        if options:
            yield from (_option(option) for option in options)
            yield ""


def _leaves(command: click.Command, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        found = command.get_command(context, child)
        assert found is not None
        yield from _leaves(found, (*name, child))


def _option(option: click.Option) -> str:
    metavar = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    help_text = f" {option.help}" if option.help else ""
    help_text += f" [default: {option.default}]" if option.show_default else ""
    help_text += f" One of {', '.join(option.type.choices)}." if isinstance(option.type, click.Choice) else ""
    needed = " (required)" if option.required else ""
    return f"- `{option.opts[0]}{metavar}`{needed}{help_text}"


def _routes(routes: Sequence[Route]) -> Iterator[str]:
    yield "## Routes and roles\n"
    yield "Answers to the wrong role are 403, without a user 401 (pages: on to the page to sign in). What is not listed"
    yield "is 404. `socket` marks what only the admin socket serves, where the operating system's user is an operator."
    yield "`scope`: what a token needs that was made for less than all that its user may do.\n"
    yield f"| route | {' | '.join(role.value for role in Role)} | without a user | scope | what |"
    yield f"|---|{'---|' * len(Role)}---|---|---|"
    for route in sorted(routes, key=lambda r: (r.path, r.method)):
        marks = ["yes" if role in route.roles or not route.roles else "" for role in Role]
        where = " (socket)" if route.socket_only else ""
        anonymous = "" if route.roles else "yes"
        yield (
            f"| `{route.method} {route.template}`{where} | {' | '.join(marks)} | {anonymous} | {_scopes(route)} |"
            f" {route.summary} |"
        )
    yield ""


def _scopes(route: Route) -> str:
    if not route.roles or route.page or not STAFF & route.roles:
        return ""
    return "any" if len(route.scopes) == len(Scope) else " or ".join(sorted(route.scopes))


def _errors() -> Iterator[str]:
    yield "## Error codes\n"
    yield "The code stands in brackets at the end of a command's error line, in `code` of the API's problem+json, and"
    yield "on the wire between nodes.\n"
    yield "| code | HTTP | what is wrong | what to do |"
    yield "|---|---|---|---|"
    for code, error in sorted(_codes().items()):
        what = inspect.cleandoc(error.__doc__ or "").split("\n", 1)[0]
        yield f"| `{code}` | {error.status} | {what} | {_cell(error.advice)} |"


def _codes() -> dict[str, type[LeveretError]]:
    for module in pkgutil.iter_modules(node.errors.__path__):
        importlib.import_module(f"node.errors.{module.name}")
    return {code: error for code, error in all_codes().items() if error.__module__.startswith("node.")}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


async def routes_of_a_node(parent: Path) -> list[Route]:
    """The table of a node that runs for a moment."""
    async with running(parent / "node") as one:
        return list(one.node.routes)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for path, text in render(asyncio.run(routes_of_a_node(Path(folder)))).items():
            path.write_text(text, encoding="utf-8")
