"""The listener for modalities and the PACS, what is served there, and the systems that may use it."""

from dataclasses import dataclass

from node.app.exchange import Basis, Exchange
from node.clock import Clock
from node.config import DicomSettings
from node.crypto.dicom_tls import KeyPair, server_context
from node.crypto.identity import Identity
from node.dicom.outgoing import Copies
from node.dicom.scp import ScpSettings, StorageScp
from node.dicom.upper_layer.door import TlsEndpoint
from node.log import Logger
from node.model.pacs import check_title
from node.model.trust import Address
from node.sharing.commitment import StorageCommitment
from node.sharing.dimse import DimseServices
from node.sharing.find import Find
from node.sharing.outward import Outward
from node.sharing.pacs import PacsDirectory
from node.sharing.retrieve import Retrieve, RetrieveParts
from node.sharing.sender import Sender
from node.store.engine import Database


async def open_pacs(
    db: Database, identity: Identity, settings: DicomSettings, *, clock: Clock, log: Logger
) -> PacsDirectory:
    """The facility's DICOM systems; raises InvalidPacs or DicomTlsUnusable if a setting cannot be used."""
    directory = PacsDirectory(
        db=db, ae_title=check_title(settings.ae_title), pair=key_pair(identity, settings), clock=clock, log=log
    )
    await directory.load()
    return directory


def key_pair(identity: Identity, settings: DicomSettings) -> KeyPair:
    """What this node shows in DICOM TLS; raises DicomTlsUnusable."""
    return KeyPair(identity, settings.tls_certificate, settings.tls_key)


@dataclass(frozen=True, slots=True)
class Dimse:
    """The listener, and what delivers reports of storage commitment."""

    scp: StorageScp
    commitment: StorageCommitment


def build_dimse(basis: Basis, exchange: Exchange) -> Dimse:
    """Build it; raises InvalidPacs, DicomTlsUnusable or InvalidAddress if a setting cannot be used."""
    dicom = basis.settings.dicom
    listen = Address.parse(dicom.listen, allow_any_port=True)
    settings = ScpSettings(
        host=listen.host,
        port=listen.port,
        ae_title=dicom.ae_title,
        any_called_ae=dicom.any_called_ae,
        allow_ae=dicom.allow_ae,
        max_associations=dicom.max_associations,
        tls=_tls_endpoint(basis.identity, dicom),
    )
    storage, clock, log = basis.storage, basis.clock, basis.log
    outward = Outward(storage.db)
    commitment = StorageCommitment(
        db=storage.db, store=storage.store, outward=outward, directory=basis.pacs, clock=clock, log=log
    )
    title = basis.pacs.ae_title
    find = Find(outward=outward, store=storage.store, audit=storage.audit, ae_title=title, clock=clock)
    sender = Sender(storage.store, Copies(storage.pool, storage.renderers), basis.pacs)
    parts = RetrieveParts(
        outward, storage.store, sender, basis.pacs, storage.audit, basis.network.trust.peers, clock, log
    )
    services = DimseServices(basis.pacs, find, Retrieve(parts), commitment)
    return Dimse(StorageScp(settings, exchange.ingest, log, services), commitment)


def _tls_endpoint(identity: Identity, dicom: DicomSettings) -> TlsEndpoint | None:
    if not dicom.tls_listen:
        return None
    listen = Address.parse(dicom.tls_listen, allow_any_port=True)
    return TlsEndpoint(listen.host, listen.port, server_context(key_pair(identity, dicom), dicom.tls_client_ca))
