"""Counters and gauges of one node, in a registry of its own (several nodes may run in one process).

Labels never carry a patient, a study or a user: only states, outcomes and error codes.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """All metrics of one node; ``docs/operations.md`` lists them and a test keeps that list true."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.ingested = Counter("leveret_instances_ingested", "Instances taken in", ["outcome", "source"], registry=r)
        self.ingested_bytes = Counter("leveret_ingested_bytes", "Bytes of data sets stored", registry=r)
        self.handshakes = Counter("leveret_peer_handshakes", "TLS handshakes with peers", ["outcome"], registry=r)
        self.peers_connected = Gauge("leveret_peers_connected", "Peers with a live connection", registry=r)
        self.requests = Counter("leveret_requests", "Requests decided here", ["outcome"], registry=r)
        self.transfers = Counter("leveret_transfers", "Transfers ended", ["direction", "state"], registry=r)
        self.transfer_bytes = Counter("leveret_transfer_bytes", "Bytes moved", ["direction"], registry=r)
        self.deliveries = Counter("leveret_deliveries", "Deliveries to a PACS ended", ["state"], registry=r)
        self.delivered = Counter("leveret_delivered_instances", "Instances a PACS was sent", ["outcome"], registry=r)
        self.deleted = Counter("leveret_studies_deleted", "Studies deleted", ["by"], registry=r)
        self.mails = Counter("leveret_portal_mails", "Mails of the portal", ["outcome"], registry=r)
        self.damaged = Gauge("leveret_damaged_objects", "Stored objects that do not verify", registry=r)
        self.http_seconds = Histogram("leveret_http_seconds", "Local API latency", ["route", "status"], registry=r)

    def render(self) -> bytes:
        """The registry in the Prometheus text format."""
        return generate_latest(self.registry)
