"""The two files of a link: a FHIR bundle, and access to the images by DICOMweb."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from node.clock import Clock
from node.model.health_link import HealthLink
from node.model.instance import Demographics, SeriesSummary, StudySummary
from node.sharing.fhir_imaging import FHIR_JSON, Record, imaging_bundle
from node.sharing.health_links.reports import ReportReader
from node.store.objects import ObjectStore
from node.store.study_queries import SeriesQuery, StudyQuery

API_ACCESS = "application/smart-api-access"
SCOPE = "patient/ImagingStudy.rs"  # SMART App Launch 2: read and search; it stands for DICOMweb of those studies

_NOBODY = Demographics()  # a link whose studies are all gone


@dataclass(frozen=True, slots=True)
class LinkFile:
    """A file before it is encrypted."""

    content_type: str
    body: bytes = field(repr=False)


class FileMaker:
    """Makes bundles. ``facility`` is this facility's name, ``address`` says how others reach it."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        reports: ReportReader,
        clock: Clock,
        facility: str,
        address: Callable[[], str],
    ) -> None:
        self._store = store
        self._reports = reports
        self._clock = clock
        self._facility = facility
        self._address = address

    async def bundle(self, link: HealthLink, studies: list[StudySummary], key: bytes) -> LinkFile:
        """Who and what: the patient, the studies, their reports."""
        dicomweb = "" if link.direct else dicomweb_of(self._address())
        by_study: dict[str, list[SeriesSummary]] = {}
        uids = tuple(study.study_instance_uid for study in studies)
        for series in await self._store.series(SeriesQuery(studies=StudyQuery(study_uids=uids))) if uids else ():
            by_study.setdefault(series.study_instance_uid, []).append(series)
        newest = studies[0] if studies else None
        record = Record(
            namespace=uuid.uuid5(uuid.UUID(bytes=link.link_id.value), key.hex()),
            at=self._clock.now(),
            facility=self._facility,
            patient=newest.demographics if newest else _NOBODY,
            patient_id=link.patient.patient_id,
            issuer=link.patient.issuer,
            studies=studies,
            series=by_study,
            reports=await self._reports.of(studies, dicomweb),
            dicomweb=dicomweb,
        )
        return LinkFile(FHIR_JSON, await asyncio.to_thread(_encoded, record))


def _encoded(record: Record) -> bytes:
    return msgspec.json.encode(imaging_bundle(record))


def dicomweb_of(address: str) -> str:
    """Where a node's DICOMweb service is."""
    return f"{address}/dicom-web"


def access_file(token: str, seconds: int, address: str) -> LinkFile:
    """A SMART access token response, whose audience is the DICOMweb service."""
    said = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": SCOPE,
        "aud": dicomweb_of(address),
        "query": ["studies"],
    }
    return LinkFile(API_ACCESS, msgspec.json.encode(said))
