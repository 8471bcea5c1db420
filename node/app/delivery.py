"""Links to local patients and deliveries to the PACS, built of their parts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.dicom.outgoing import Copies
from node.sharing.deliveries import Deliveries
from node.sharing.delivering import Delivering, DeliveringParts
from node.sharing.delivery_engine import DeliveryEngine
from node.sharing.links import Links
from node.sharing.pacs import PacsDirectory
from node.sharing.sender import Sender

if TYPE_CHECKING:
    import asyncio

    from node.app.exchange import Basis


@dataclass(frozen=True, slots=True)
class Delivery:
    """What sends studies to the PACS."""

    links: Links
    deliveries: Deliveries
    engine: DeliveryEngine


def build_delivery(
    basis: "Basis", directory: PacsDirectory, transfers_changed: Callable[[], "asyncio.Future[None]"]
) -> Delivery:
    """Build it; ``transfers_changed`` gives a future that is done at the next change of any transfer."""
    storage, clock = basis.storage, basis.clock
    links = Links(db=storage.db, clock=clock)
    sender = Sender(storage.store, Copies(storage.pool, storage.renderers), directory)
    parts = DeliveringParts(
        storage.db, storage.store, links, directory, sender, basis.network.trust, clock, basis.metrics
    )
    engine = DeliveryEngine(
        delivering=Delivering(parts), transfers_changed=transfers_changed, clock=clock, log=basis.log
    )
    links.on_change = engine.link_changed
    deliveries = Deliveries(db=storage.db, directory=directory, engine=engine, clock=clock)
    return Delivery(links, deliveries, engine)
