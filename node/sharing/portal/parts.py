"""What the portal's use cases share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from node.clock import Clock
from node.config import PortalSettings
from node.log import Logger
from node.model.portal import AccountId
from node.sharing.hashing import PasswordHashing
from node.sharing.portal.pending import Patience
from node.sharing.sessions import Sessions
from node.store.engine import Database, Write


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
    ended: list[Callable[[str], None]] = field(default_factory=list)  # called with an actor who may do less than before

    def end(self, tx: Write, account: AccountId, by: str) -> None:
        """Once ``tx`` stands, what the account is being answered is cut off, unless its owner ended it."""
        actor = f"patient:{account}"
        if by != actor:
            tx.after_commit(lambda: self._tell(actor))

    def _tell(self, actor: str) -> None:
        for callback in self.ended:
            callback(actor)
