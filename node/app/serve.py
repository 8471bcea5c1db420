"""``leveret serve``: run one node until SIGTERM or SIGINT."""

import asyncio
import signal
from pathlib import Path

from node.app.keys import open_keys
from node.app.lock import exclusive
from node.app.node import Node
from node.app.ports import check_ports
from node.config import CONFIG_NAME, Settings, load
from node.crypto.keystore import KeyStore
from node.errors.setup import ComponentFailed, InvalidConfig, NotInitialised
from node.log import Logger, make_logger


def serve(directory: Path) -> None:
    """Serve the node in ``directory``; returns after a clean stop.

    Raises:
        NotInitialised, AlreadyRunning, InvalidConfig, PortInUse and others: why it cannot start.
        ComponentFailed: a part of it ended by a defect; the log has the name.
    """
    if not (directory / CONFIG_NAME).is_file():
        raise NotInitialised(str(directory))
    settings = load(directory)
    try:
        log = make_logger(level=settings.log.level.upper())
    except KeyError as exc:
        raise InvalidConfig("log.level must be DEBUG, INFO, WARNING or ERROR") from exc
    with exclusive(directory):
        keys = open_keys(directory, settings.node)
        check_ports(settings)
        asyncio.run(_run(directory, settings, keys, log))


async def _run(directory: Path, settings: Settings, keys: KeyStore, log: Logger) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Node(directory, settings, keys, log=log) as node:
        where = " ".join(f"{name}={address}" for name, address in node.addresses.items())
        log.info("ready", node=keys.identity.peer_id.log, address=where)
        stopped = loop.create_task(stop.wait())
        await asyncio.wait((stopped, node.failed), return_when=asyncio.FIRST_COMPLETED)
        has_failed = not stopped.done()
        stopped.cancel()
        log.info("stopping")
    log.info("stopped")
    if has_failed:
        raise ComponentFailed
