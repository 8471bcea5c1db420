"""A PACS that does as a test tells it (pynetdicom), and a node that sends to it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from node.clock import SystemClock
from node.crypto.dicom_tls import KeyPair
from node.crypto.identity import Identity
from node.dicom.outgoing import Copies
from node.dicom.part10 import split_part10
from node.model.ids import PeerId
from node.model.pacs import Pacs
from node.sharing.deliveries import Deliveries
from node.sharing.delivering import Delivering, DeliveringParts
from node.sharing.delivery_engine import DeliveryEngine
from node.sharing.links import Links
from node.sharing.pacs import PacsDirectory
from node.sharing.sender import Sender
from support.peers import free_port
from support.sharing_node import SharingNode
from support.tasks import in_background

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


@dataclass
class ScriptedPacs:
    """Keeps what it is sent. ``statuses`` by SOP Instance UID; ``abort_at``: at the nth instance, once."""

    port: int
    received: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # syntax and data set
    order: list[str] = field(default_factory=list)
    associations: int = 0
    statuses: dict[str, list[int]] = field(default_factory=dict)
    abort_at: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    connections: list[tuple[Any, socket.socket]] = field(default_factory=list)

    def dataset(self, uid: str) -> Dataset:
        syntax, data = self.received[uid]
        return read_dataset(BytesIO(data), syntax == IMPLICIT, True)

    def take(self, event: Any) -> int:
        self.gate.wait(20)
        uid = str(event.request.AffectedSOPInstanceUID)
        self.order.append(uid)
        if self.abort_at and len(self.order) == self.abort_at:
            self.abort_at = 0
            event.assoc.abort()
            return 0x0000
        queue = self.statuses.get(uid)
        status = queue.pop(0) if queue else 0x0000
        if status in {0x0000, 0xB000, 0xB006, 0xB007}:
            self.received[uid] = (str(event.context.transfer_syntax), event.request.DataSet.getvalue())
        return status

    def begun(self, event: Any) -> None:
        self.associations += 1
        self.connections.append((event.assoc, event.assoc.dul.socket.socket))


@contextlib.contextmanager
def scripted_pacs(contexts: dict[str, list[str]] | None = None, *, port: int = 0) -> Iterator[ScriptedPacs]:
    """Accepts ``contexts`` (SOP class to transfer syntaxes; CT in explicit and implicit if None)."""
    pacs = ScriptedPacs(port or free_port())
    pacs.gate.set()
    ae = AE("PACS")
    for sop_class, syntaxes in (contexts or {CT: [EXPLICIT, IMPLICIT]}).items():
        ae.add_supported_context(sop_class, syntaxes)
    server = ae.start_server(
        ("127.0.0.1", pacs.port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, pacs.take), (evt.EVT_ESTABLISHED, pacs.begun)],
    )
    assert server is not None
    try:
        yield pacs
    finally:
        pacs.gate.set()
        server.shutdown()
        for association, connection in pacs.connections:  # pynetdicom leaves those that broke to the garbage collector
            association.join(5)
            connection.close()


@dataclass
class DeliveringNode:
    """A sharing node with what delivers."""

    node: SharingNode
    links: Links
    deliveries: Deliveries
    engine: DeliveryEngine
    directory: PacsDirectory

    async def pacs(self, port: int, name: str = "pacs", title: str = "PACS") -> None:
        await self.directory.add(Pacs(name, title, "127.0.0.1", port), "user:op")

    async def receive(self, files: list[bytes], origin: PeerId | None = None, issuer: str = "THERE") -> None:
        """Files as if another facility had sent them (or as own ones)."""
        for data in files:
            part = split_part10(data)
            dataset = data[part.dataset_offset :]
            header = await self.node.parsers.parse_header(dataset, part.transfer_syntax)
            patient = type(header.patient)(issuer, header.patient.patient_id)
            header = type(header)(**{f: getattr(header, f) for f in header.__slots__} | {"patient": patient})
            await self.node.store.put(header, dataset, origin=origin, source="peer" if origin else "import")
        await self.node.store.indexed()


def foreign() -> PeerId:
    return Identity.from_seed(bytes([7]) * 32).peer_id


@contextlib.asynccontextmanager
async def delivering(node: SharingNode, *, run: bool = True) -> AsyncIterator[DeliveringNode]:
    """Wired as the composition root does it."""
    pair = KeyPair(node.identity)
    directory = PacsDirectory(db=node.db, ae_title="LEVERET", pair=pair, clock=SystemClock(), log=node.log)
    await directory.load()
    links = Links(db=node.db, clock=node.clock)
    sender = Sender(node.store, Copies(node.parsers, node.parsers), directory)
    parts = DeliveringParts(node.db, node.store, links, directory, sender, node.trust, node.clock, node.metrics)
    engine = DeliveryEngine(
        delivering=Delivering(parts), transfers_changed=node.engine.changed, clock=node.clock, log=node.log
    )
    links.on_change = engine.link_changed
    deliveries = Deliveries(db=node.db, directory=directory, engine=engine, clock=node.clock)
    made = DeliveringNode(node, links, deliveries, engine, directory)
    if not run:
        yield made
        return
    async with in_background(engine.run()):
        await asyncio.sleep(0)  # it takes up what is unfinished before anything is ordered
        yield made
