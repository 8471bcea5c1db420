"""The root command, and where every error becomes one line on stderr and an exit status."""

import importlib
import sys
from collections.abc import Sequence

import click

from node import __version__
from node.cli.client import DaemonRefused
from node.errors.base import LeveretError, describe

OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED = 130  # as shells count a SIGINT

# Command -> module and attribute, in the order in which help shows them.
_COMMANDS = {
    "init": "node.cli.daemon:init",
    "serve": "node.cli.daemon:serve",
    "status": "node.cli.status:status",
    "id": "node.cli.status:identity",
    "import": "node.cli.importing:import_files",
    "studies": "node.cli.status:studies",
    "peers": "node.cli.peers:peers",
    "announce": "node.cli.priors:announce",
    "epoch": "node.cli.priors:epoch",
    "share-code": "node.cli.share_codes:share_code",
    "health-link": "node.cli.health_links:health_link",
    "consent": "node.cli.consents:consent",
    "priors": "node.cli.priors:priors",
    "request": "node.cli.requests:request",
    "offer": "node.cli.offers:offer",
    "offers": "node.cli.offers:offers",
    "inbox": "node.cli.inbox:inbox",
    "link": "node.cli.link:link",
    "send": "node.cli.send:send",
    "transfers": "node.cli.transfers:transfers",
    "withdraw": "node.cli.withdraw:withdraw",
    "withdrawals": "node.cli.withdraw:withdrawals",
    "delete": "node.cli.delete:delete",
    "protect": "node.cli.delete:protect",
    "unprotect": "node.cli.delete:unprotect",
    "sensitive": "node.cli.sensitive:sensitive",
    "quarantine": "node.cli.quarantine:quarantine",
    "patient": "node.cli.patients:patient",
    "pacs": "node.cli.pacs:pacs",
    "portal": "node.cli.portal:portal",
    "users": "node.cli.users:users",
    "audit": "node.cli.audit:audit",
    "backup": "node.cli.backup:backup",
    "restore": "node.cli.backup:restore",
    "rotate": "node.cli.rotate:rotate",
    "bench": "node.cli.bench:bench",
    "doctor": "node.cli.doctor:doctor",
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="leveret")
def root() -> None:
    """Share medical images directly between facilities.

    Every command takes --data DIR (or LEVERET_DATA) and --json.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """The exit status of one command: 0 done, 1 failed (one line on stderr says why), 2 used wrongly."""
    try:
        status = root.main(list(arguments), prog_name="leveret", standalone_mode=False)
    except click.UsageError as exc:
        exc.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nothing more to say
        return FAILED
    except Exception as exc:  # noqa: BLE001 - the edge: a person gets one line, not a traceback
        click.echo(_words(exc), err=True)
        return FAILED
    return status if isinstance(status, int) else OK


def _words(error: Exception) -> str:
    match error:
        case DaemonRefused():
            return error.line
        case LeveretError():
            return describe(error)
        case click.ClickException():
            return error.format_message()
    return describe(LeveretError(type(error).__name__))
