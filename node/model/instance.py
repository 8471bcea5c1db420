"""What the index knows of patients, studies, series and instances, in the standard's words (PS3.3 C.7)."""

from dataclasses import dataclass, field

from node.model.ids import (
    Digest,
    ObjectId,
    PatientKey,
    PeerId,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)


@dataclass(frozen=True, slots=True)
class Demographics:
    """Who the patient is said to be. Empty string: not said. ``repr`` shows nothing.

    ``name`` is the PN value in UTF-8 with all three groups, ``birth_date`` is DA (YYYYMMDD), ``sex`` is CS (M, F, O).
    """

    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    sex: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The elements of one data set that the index needs, decoded to UTF-8; absent ones are empty strings.

    ``patient.issuer`` is empty until ingest stamps it. ``dataset_offset`` is not here: the caller knows where the data
    set began. ``frames``, ``rows`` and ``columns`` are 0 where there are no pixels.
    """

    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    series_instance_uid: SeriesInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    patient: PatientKey
    demographics: Demographics
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician: str = ""
    series_date: str = ""
    series_time: str = ""
    series_description: str = ""
    series_number: str = ""
    modality: str = ""
    body_part: str = ""
    instance_number: str = ""
    rows: int = 0
    columns: int = 0
    frames: int = 0
    bits_allocated: int = 0
    specific_character_set: str = ""  # as it stands in the data set, values joined by a backslash
    patient_name_raw: bytes = field(default=b"", repr=False)  # the PN's bytes exactly as received


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One row of the index: the header, and where and what the bytes are."""

    header: InstanceHeader
    object_id: ObjectId
    digest: Digest
    size: int  # bytes of the data set without group 0002
    file_meta: bytes  # group 0002 as received (without preamble), empty when it came by C-STORE or from a peer


@dataclass(frozen=True, slots=True)
class PatientSummary:
    """A patient as the newest study says, and what there is of the patient; what C-FIND tells."""

    patient: PatientKey
    demographics: Demographics
    studies: int
    series: int
    instances: int


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """What QIDO-RS tells of a series (PS3.18 table 10.6.3-4)."""

    study_instance_uid: StudyInstanceUID
    series_instance_uid: SeriesInstanceUID
    modality: str
    number: str
    description: str
    body_part: str
    date: str
    time: str
    instances: int


@dataclass(frozen=True, slots=True)
class StudySummary:
    """What QIDO-RS, the command line and announcements tell of a study."""

    study_instance_uid: StudyInstanceUID
    patient: PatientKey
    demographics: Demographics
    date: str
    time: str
    accession_number: str
    study_id: str
    description: str
    referring_physician: str
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    series: int
    instances: int
    size: int  # bytes
    revision: int  # 0 while the first one is open
    revision_open: bool  # instances came since the last revision was closed
    origin: PeerId | None  # the facility it was received from; None for one's own
    has_report: bool
    linked: PatientKey | None = None  # the local patient that a received study belongs to, if a person said so


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One instance of a revision; what a recipient checks each received data set against."""

    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    series_instance_uid: SeriesInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one closed revision of a study consists of."""

    study_instance_uid: StudyInstanceUID
    patient: PatientKey
    revision: int
    closed_at: int
    entries: tuple[ManifestEntry, ...]
