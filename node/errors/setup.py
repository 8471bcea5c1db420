"""A node that cannot be set up or started."""

import errno
import os

from node.errors.base import LeveretError


class NotInitialised(LeveretError):
    """There is no node in this directory."""

    code = "not_initialised"
    advice = "Run `leveret init --name NAME --data DIR` first, or point --data at the right directory."
    status = 400


class AlreadyInitialised(LeveretError):
    """There is a node in this directory already."""

    code = "already_initialised"
    advice = "Choose another --data directory; nothing was changed."
    status = 409


class InvalidConfig(LeveretError):
    """The configuration cannot be used."""

    code = "invalid_config"
    advice = "Correct leveret.toml (or the LEVERET_… variable); node.example.toml documents every key."
    status = 400


class WebTlsUnusable(LeveretError):
    """The certificate or key of the local API cannot be used."""

    code = "api_tls_unusable"
    advice = (
        "Name PEM files in [api], the key without a password and readable by the node's user; see node.example.toml."
    )
    status = 400


class NotAnswering(LeveretError):
    """The daemon is running, but nobody answers at one of its addresses."""

    code = "not_answering"
    advice = "Look at the daemon's log, and whether a firewall or another program is in the way; then start it again."


class PortInUse(LeveretError):
    """Another program listens on this address."""

    code = "port_in_use"
    advice = "Stop the other program, or choose another address in leveret.toml."


class AddressUnavailable(LeveretError):
    """This machine does not let the node listen on this address."""

    code = "address_unavailable"
    advice = "Choose an address of this machine, and a port above 1023 unless the service may use lower ones."


def cannot_listen(address: str, error: OSError) -> LeveretError:
    """Why ``address`` cannot be listened on: somebody else does, or it is not ours to take."""
    if error.errno == errno.EADDRINUSE:
        return PortInUse(address)
    why = os.strerror(error.errno) if error.errno else type(error).__name__  # socket puts the address into its words
    return AddressUnavailable(f"{address}: {why.lower()}")


class AlreadyRunning(LeveretError):
    """A daemon already serves this directory."""

    code = "already_running"
    advice = "Use it, or stop it first."
    status = 409


class NotRunning(LeveretError):
    """The daemon of this node is not running."""

    code = "not_running"
    advice = "Start it with `leveret serve --data DIR`."
    status = 503


class NewerDataDirectory(LeveretError):
    """A newer version of leveret wrote this data directory."""

    code = "newer_data"
    advice = "Install that version or a later one; nothing was changed."
    status = 409


class DirectoryUnusable(LeveretError):
    """The data directory cannot be used."""

    code = "directory_unusable"
    advice = "Check that it exists, who owns it, and whether the disk is full or read-only."


class ComponentFailed(LeveretError):
    """A part of the daemon ended by a defect, so the daemon stopped."""

    code = "component_failed"
    advice = "Its log names the part; start it again, and report it if it happens again."


class ClockWrong(LeveretError):
    """This machine's clock is wrong: it shows a time before what happened already."""

    code = "clock_wrong"
    advice = "Set it, and keep it right (chrony or systemd-timesyncd): requests older than ten minutes are refused."
