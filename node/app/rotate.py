"""``leveret rotate master-key`` on a node that is not running."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node.app.keys import KEYSTORE_NAME, open_keys
from node.app.lock import exclusive
from node.app.restore import with_secret
from node.app.setup import write_config
from node.app.storage import open_index
from node.clock import SystemClock
from node.config import CONFIG_NAME, NodeSettings, load
from node.crypto.keystore import KeyFileProtector, KeyStore, PassphraseProtector, Protector
from node.errors.crypto_keys import OtherProtection, WrongKeyFile, WrongPassphrase
from node.sharing.rotation import Rotation


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What opens the keys from now on; both None: what opens them now."""

    key_file: Path | None = None
    passphrase_file: Path | None = None

    def settings(self, node: NodeSettings) -> NodeSettings:
        """[node] with it."""
        if self.key_file is not None:
            return replace(node, key_file=str(self.key_file.absolute()), passphrase_file="")
        if self.passphrase_file is not None:
            return replace(node, key_file="", passphrase_file=str(self.passphrase_file.absolute()))
        return node

    def protector(self) -> Protector | None:
        """What makes it, if it is a new one."""
        if self.key_file is not None:
            return KeyFileProtector(self.key_file.absolute())
        return None if self.passphrase_file is None else PassphraseProtector.from_file(self.passphrase_file)


def rotate(directory: Path, secret: NewSecret) -> dict[str, Any]:
    """Change the master key, and the secret if a new one is given; what to show of it.

    Raises:
        AlreadyRunning: the daemon has the directory. NotInitialised and others: why it cannot be opened.
        KeyStoreUnwritable and others: the disk refuses; everything stays readable, and this may be repeated.
    """
    node = load(directory).node
    after = secret.settings(node)
    with exclusive(directory):
        keys, was_done = _open(directory, node, after)
        changed = 0 if was_done else asyncio.run(_rotate(directory, keys, secret.protector()))
        if after != node:
            config = (directory / CONFIG_NAME).read_text()
            write_config(directory / CONFIG_NAME, with_secret(config, after))
    return {"master_version": keys.master_version, "studies": changed, "key_file": after.key_file or None}


def _open(directory: Path, node: NodeSettings, after: NodeSettings) -> tuple[KeyStore, bool]:
    """The keys; and whether a run before this one changed the secret already, and only did not come to say so."""
    try:
        return open_keys(directory, node), False
    except (WrongKeyFile, WrongPassphrase, OtherProtection):
        if after == node:
            raise
        return open_keys(directory, after), True


async def _rotate(directory: Path, keys: KeyStore, protector: Protector | None) -> int:
    async with await open_index(directory, keys) as db:
        rotation = Rotation(directory / KEYSTORE_NAME, db=db, keys=keys, clock=SystemClock(), lock=asyncio.Lock())
        return await rotation.rotate(by=f"os:{os.getuid()}", protector=protector)
