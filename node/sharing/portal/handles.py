"""Names of studies in addresses: random to look at, good for one account alone, the same tomorrow.

A name is a MAC of the study's UID and the account under a key of this node. It is found by making the names of what
the account may see now, so a name opens nothing by itself: who may not see a study has no name for it, and the names of
others lead nowhere.
"""

import base64
import hmac
from collections.abc import Iterable

from node.errors.access import NotFound
from node.model.access import Caller
from node.model.ids import StudyInstanceUID
from node.store import portal_pages as rows
from node.store.engine import Database

_BYTES = 15  # 120 bits: 24 characters
_MAX_TEXT = 64  # characters: longer is no name of ours


class Handles:
    """Makes and finds names."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._key = b""

    async def of(self, caller: Caller, study: StudyInstanceUID) -> str:
        """The name of ``study`` for ``caller``."""
        return _name(await self._secret(), caller, study)

    async def find(self, caller: Caller, name: str, visible: Iterable[StudyInstanceUID]) -> StudyInstanceUID:
        """Which of the ``visible`` studies has this name; raises NotFound."""
        if len(name) <= _MAX_TEXT and name.isascii():
            key = await self._secret()
            for study in visible:
                if hmac.compare_digest(_name(key, caller, study), name):
                    return study
        raise NotFound

    async def _secret(self) -> bytes:
        if not self._key:
            async with self._db.read() as rx:
                self._key = await rows.handle_key(rx)
        return self._key


def _name(key: bytes, caller: Caller, study: StudyInstanceUID) -> str:
    mac = hmac.digest(key, f"{caller.actor}\0{study}".encode(), "sha256")
    return base64.b32encode(mac[:_BYTES]).decode().lower()
