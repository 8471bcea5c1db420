"""What the portal's use cases share."""

from collections.abc import Callable
from dataclasses import dataclass

from node.clock import Clock
from node.config import PortalSettings
from node.log import Logger
from node.sharing.hashing import PasswordHashing
from node.sharing.portal.pending import Patience
from node.sharing.sessions import Sessions
from node.store.engine import Database


@dataclass(frozen=True, slots=True)
class PortalParts:
    """``url``: the portal's public address, known once the node listens."""

    db: Database
    sessions: Sessions
    settings: PortalSettings
    facility: str
    url: Callable[[], str]
    clock: Clock
    log: Logger
    hashing: PasswordHashing
    patience: Patience
