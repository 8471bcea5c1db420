"""Backups, restores, epochs and keys: what keeps a node's past and future apart."""

from dataclasses import dataclass

from node.app.keys import KEYSTORE_NAME
from node.app.storage import Storage
from node.clock import Clock
from node.crypto.identity import Identity
from node.log import Logger
from node.sharing.backups import Backups
from node.sharing.restored import Restored
from node.sharing.rotation import Rotation
from node.sharing.sensitivity import Sensitivity


@dataclass(frozen=True, slots=True)
class Vault:
    """The use cases."""

    backups: Backups
    restored: Restored
    rotation: Rotation
    sensitivity: Sensitivity


def build_vault(storage: Storage, identity: Identity, clock: Clock, log: Logger) -> Vault:
    """Build them."""
    return Vault(
        Backups(
            storage.directory,
            db=storage.db,
            store=storage.store,
            identity=identity,
            clock=clock,
            lock=storage.maintenance,
        ),
        Restored(storage.db, clock, log),
        Rotation(
            storage.directory / KEYSTORE_NAME,
            db=storage.db,
            keys=storage.keys,
            clock=clock,
            lock=storage.maintenance,
        ),
        Sensitivity(storage.db, clock),
    )
