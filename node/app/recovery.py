"""The first start after a restore: the peers are asked before anything is written."""

from contextlib import AsyncExitStack

from node.clock import Clock
from node.crypto.identity import Identity
from node.crypto.tls import ServerTls
from node.log import Logger
from node.peers.client import PeerClients
from node.sharing.restored import recover
from node.sharing.trust import TrustList
from node.store import restored
from node.store.engine import Database


async def recover_if_restored(db: Database, identity: Identity, *, clock: Clock, log: Logger) -> None:
    """Do what must be done before the log and the feeds may go on; nothing on a node that was not restored."""
    async with db.read() as rx:
        if await restored.unasked(rx) is None:
            return
    trust = TrustList(db=db, identity=identity, tls=ServerTls(identity), clock=clock, log=log)
    await trust.load()
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(PeerClients(identity=identity, directory=trust, log=log))
        await recover(db, identity, trust, clients, clock=clock, log=log)
