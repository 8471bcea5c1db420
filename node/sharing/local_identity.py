"""Under whom a linked study leaves for the facility's own systems: the local patient, with what it was before kept."""

import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from node.dicom.reconcile import Identity
from node.model.delivery import StudyLink
from node.model.instance import Demographics, StoredInstance, StudySummary
from node.model.trust import Peer

SYSTEM = "LEVERET"
_MAX_SOURCE = 64  # LO


def local_identity(
    link: StudyLink, record: Demographics, *, source: str, accession: str, at: int
) -> Callable[[StoredInstance], Identity]:
    """What each instance of a linked study is made to say.

    Args:
        link: to whom it is linked.
        record: what this facility says of that patient.
        source: who the previous values come from (:func:`source_of`).
        accession: the local accession number, or empty.
        at: when that is done, in seconds since the epoch.
    """
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S+0000")

    def identity(instance: StoredInstance) -> Identity:
        return Identity(
            patient_id=link.patient.patient_id,
            issuer=link.patient.issuer,
            name=record.name,
            birth_date=record.birth_date,
            sex=record.sex,
            accession=accession,
            origin_id=instance.header.patient.patient_id,
            origin_issuer=instance.header.patient.issuer,
            source=source,
            system=SYSTEM,
            at=moment,
        )

    return identity


def source_of(study: StudySummary | None, peers: Iterable[Peer]) -> str:
    """Who the previous values come from, as any character set can say it."""
    if study is None or study.origin is None:
        return ""
    name = next((peer.name for peer in peers if peer.peer_id == study.origin), "")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().replace("\\", "")
    short = f"({study.origin.log})"
    return f"{plain[: _MAX_SOURCE - len(short) - 1].strip()} {short}".strip()
