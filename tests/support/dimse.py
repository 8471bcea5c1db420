"""A node's DICOM services without the rest of a node, and the real programs that call them."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node.clock import SystemClock
from node.config import StoreSettings
from node.crypto.dicom_tls import KeyPair
from node.dicom.outgoing import Copies
from node.dicom.pool import ParserPool
from node.dicom.scp import ScpSettings, StorageScp
from node.log import make_logger
from node.metrics import Metrics
from node.model.ids import PeerId
from node.model.pacs import Pacs
from node.sharing.audit import AuditLog
from node.sharing.commitment import StorageCommitment
from node.sharing.dimse import DimseServices
from node.sharing.find import Find
from node.sharing.ingest import Ingest, Source
from node.sharing.outward import Outward
from node.sharing.pacs import PacsDirectory
from node.sharing.retrieve import Retrieve, RetrieveParts
from node.sharing.sender import Sender
from node.store.engine import Database
from node.store.objects import ObjectStore
from support.peers import NODELAY
from support.store import keys
from support.tasks import in_background

ISSUER = "HERE"


@dataclass
class DimseNode:
    """What listens, and what is behind it."""

    db: Database
    store: ObjectStore
    pool: ParserPool
    directory: PacsDirectory
    ingest: Ingest
    scp: StorageScp
    commitment: StorageCommitment
    audit: AuditLog
    logged: io.StringIO

    @property
    def port(self) -> int:
        return self.scp.address[1]

    async def know(self, title: str, port: int = 104, host: str = "127.0.0.1", **options: object) -> None:
        """Enter a system."""
        name = title.lower().replace(" ", "-")
        await self.directory.add(Pacs(name, title, host, port, **options), "user:op")  # type: ignore[arg-type]

    async def take(self, *files: bytes) -> None:
        for data in files:
            await self.ingest.take_file(data, source=Source.IMPORT, actor="user:op")
        await self.store.indexed()

    async def receive(self, data: bytes, origin: PeerId) -> None:
        """A file as if another facility had sent it."""
        from node.dicom.part10 import split_part10  # noqa: PLC0415 - only here

        part = split_part10(data)
        dataset = data[part.dataset_offset :]
        header = await self.pool.parse_header(dataset, part.transfer_syntax)
        await self.store.put(header, dataset, origin=origin, source="peer")
        await self.store.indexed()

    async def events(self, kind: str) -> list[dict[str, object]]:
        """The audit events of one kind, oldest first."""
        import json  # noqa: PLC0415 - only here

        async with self.db.read() as rx:
            rows = await rx.fetch_all("SELECT body FROM audit_event WHERE type = ? ORDER BY position", (kind,))
        return [json.loads(bytes(row[0])) for row in rows]


@asynccontextmanager
async def dimse_node(folder: Path, **settings: object) -> AsyncIterator[DimseNode]:
    """Wired as the composition root does it."""
    logged = io.StringIO()
    log, clock = make_logger(logged), SystemClock()
    identity = keys().identity
    async with (
        await Database.open(folder / "index.db", keys().index_key()) as db,
        await ObjectStore.open(folder, db, keys(), clock, log, reserve_bytes=0) as store,
        ParserPool(1, log=log) as pool,
    ):
        directory = PacsDirectory(db=db, ae_title="LEVERET", pair=KeyPair(identity), clock=clock, log=log)
        await directory.load()
        ingest = Ingest(
            db=db, store=store, pool=pool, issuer=ISSUER, settings=StoreSettings(), clock=clock,
            metrics=Metrics(), log=log,
        )  # fmt: skip
        audit, outward = AuditLog(db, identity, clock), Outward(db)
        sender = Sender(store, Copies(pool, pool), directory)
        parts = RetrieveParts(outward, store, sender, directory, audit, tuple, clock, log)
        commitment = StorageCommitment(db=db, store=store, outward=outward, directory=directory, clock=clock, log=log)
        find = Find(outward=outward, store=store, audit=audit, ae_title="LEVERET", clock=clock)
        services = DimseServices(directory, find, Retrieve(parts), commitment)
        chosen = ScpSettings(**{"host": "127.0.0.1", "port": 0, **settings})  # type: ignore[arg-type]
        async with StorageScp(chosen, ingest, log, services) as scp, in_background(commitment.run()):
            yield DimseNode(db, store, pool, directory, ingest, scp, commitment, audit, logged)


async def call(program: str, *arguments: object, seconds: float = 60.0) -> tuple[int, str]:
    """Run one of dcmtk's programs; returns its exit status and all that it said."""
    process = await asyncio.create_subprocess_exec(
        program, *map(str, arguments), env=NODELAY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), seconds)
    assert process.returncode is not None
    return process.returncode, output.decode("utf-8", "replace")


async def findscu(node: DimseNode, *options: str, keys: Sequence[str], title: str = "VIEWER") -> tuple[int, str]:
    """A query by findscu."""
    wanted = [part for key in keys for part in ("-k", key)]
    return await call("findscu", "-v", "-aet", title, "-aec", "LEVERET", *options, *wanted, "127.0.0.1", node.port)
