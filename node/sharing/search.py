"""Attributes that studies, series and instances can be searched by, for QIDO-RS and C-FIND alike. Pure.

Values are matched by PS3.4 section C.2.2.2: single value, lists of UIDs, wildcards, ranges. What a value means is
decided here once; how it is matched, by ``store.study_queries``.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.dicom.jsonmodel import DicomJson
from node.errors.access import InvalidInput
from node.model.ids import SeriesInstanceUID, SOPClassUID, SOPInstanceUID, StudyInstanceUID, Uid
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery

MAX_RESULTS = 1000  # in one answer of QIDO-RS; more are asked for with ``offset``
MAX_VALUE = 1024  # characters of one value
MAX_UIDS = 1000  # in one list

_DATE = r"(?:[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))"
_TIME = r"(?:(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,6})?)?)?)"
_RANGES = {kind: re.compile(f"({kind})?(-)?({kind})?") for kind in (_DATE, _TIME)}
ALL_FIELDS = "all"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that can be matched: the level it belongs to, the query's field, how its value is read."""

    keyword: str
    tag: str
    level: str  # study, series or instance
    target: str
    read: Callable[[str], Any] = str


def _uids(kind: type[Uid]) -> Callable[[str], tuple[Uid, ...]]:
    def read(text: str) -> tuple[Uid, ...]:
        parts = [part for part in re.split(r"[,\\]", text) if part]
        if len(parts) > MAX_UIDS:
            raise InvalidInput("too many UIDs")
        return tuple(kind.parse(part) for part in parts)

    return read


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\\]", text) if part)


def _range(kind: str) -> Callable[[str], tuple[str, str]]:
    """First and last of ``a``, ``a-``, ``-b`` or ``a-b``; empty where it is open."""

    def read(text: str) -> tuple[str, str]:
        match = _RANGES[kind].fullmatch(text)
        if match is None or not (match[1] or match[3]) or bool(match[1] and match[3]) > bool(match[2]):
            raise InvalidInput("a date or time")
        return (match[1] or "", match[3] or "") if match[2] else (match[1], match[1])

    return read


ATTRIBUTES = (
    Attribute("StudyInstanceUID", "0020000D", "study", "study_uids", _uids(StudyInstanceUID)),
    Attribute("PatientID", "00100020", "study", "patient_id"),
    Attribute("IssuerOfPatientID", "00100021", "study", "issuer"),
    Attribute("PatientName", "00100010", "study", "patient_name"),
    Attribute("PatientBirthDate", "00100030", "study", "born", _range(_DATE)),
    Attribute("PatientSex", "00100040", "study", "sex"),
    Attribute("AccessionNumber", "00080050", "study", "accession_number"),
    Attribute("StudyID", "00200010", "study", "study_id"),
    Attribute("StudyDescription", "00081030", "study", "description"),
    Attribute("ReferringPhysicianName", "00080090", "study", "referring_physician"),
    Attribute("ModalitiesInStudy", "00080061", "study", "modalities", _list),
    Attribute("StudyDate", "00080020", "study", "date", _range(_DATE)),
    Attribute("StudyTime", "00080030", "study", "time", _range(_TIME)),
    Attribute("SeriesInstanceUID", "0020000E", "series", "series_uids", _uids(SeriesInstanceUID)),
    Attribute("Modality", "00080060", "series", "modalities", _list),
    Attribute("SeriesNumber", "00200011", "series", "number"),
    Attribute("SeriesDescription", "0008103E", "series", "description"),
    Attribute("BodyPartExamined", "00180015", "series", "body_part"),
    Attribute("SOPInstanceUID", "00080018", "instance", "instance_uids", _uids(SOPInstanceUID)),
    Attribute("SOPClassUID", "00080016", "instance", "sop_class_uids", _uids(SOPClassUID)),
    Attribute("InstanceNumber", "00200013", "instance", "number"),
)
_RANGED = frozenset({"born", "date", "time"})
_INCLUDED = {  # that can be told, beyond what can be matched
    "StudyTime": "00080030", "NumberOfStudyRelatedSeries": "00201206", "NumberOfStudyRelatedInstances": "00201208",
    "SeriesDate": "00080021", "SeriesTime": "00080031", "NumberOfSeriesRelatedInstances": "00201209",
}  # fmt: skip
_BY_NAME = {name.lower(): a for a in ATTRIBUTES for name in (a.keyword, a.tag)}
TAGS = {a.keyword.lower(): a.tag for a in ATTRIBUTES} | {name.lower(): tag for name, tag in _INCLUDED.items()}


@dataclass(slots=True)
class Search:
    """What was asked; ``ignored`` names parameters that cannot be matched here, ``fields`` the tags to be told.

    ``only``: the studies that the caller may see; None stands for all.
    """

    values: dict[str, dict[str, Any]] = field(default_factory=lambda: {"study": {}, "series": {}, "instance": {}})
    limit: int = MAX_RESULTS
    offset: int = 0
    ignored: list[str] = field(default_factory=list)
    fuzzy: bool = False
    fields: set[str] = field(default_factory=set)
    only: tuple[StudyInstanceUID, ...] | None = None

    def studies(self, study: StudyInstanceUID | None = None, *, page: bool = False) -> StudyQuery:
        """The study part; ``study`` is the one of the path."""
        values = dict(self.values["study"])
        if study is not None:
            values["study_uids"] = (study,)
        return StudyQuery(only=self.only, **values, **(self._page() if page else {}))

    def series(self, study: StudyInstanceUID | None = None) -> SeriesQuery:
        """A search for series."""
        return SeriesQuery(studies=self.studies(study), **self.values["series"], **self._page())

    def instances(
        self, study: StudyInstanceUID | None = None, series: SeriesInstanceUID | None = None
    ) -> InstanceQuery:
        """A search for instances."""
        values = dict(self.values["instance"])
        of_series = dict(self.values["series"])
        renamed = {"number": "series_number", "description": "series_description"}
        values |= {renamed.get(target, target): value for target, value in of_series.items()}
        if series is not None:
            values["series_uids"] = (series,)
        return InstanceQuery(studies=self.studies(study), **values, **self._page())

    def chosen(self, result: DicomJson, *, is_all: bool) -> DicomJson:
        """Of another level's attributes those that are asked for, or all of them."""
        if is_all or ALL_FIELDS in self.fields:
            return result
        return {tag: value for tag, value in result.items() if tag in self.fields}

    def _page(self) -> dict[str, Any]:
        return {"limit": self.limit, "offset": self.offset}


def set_attribute(search: Search, name: str, value: str, levels: Sequence[str]) -> None:
    """Demand ``value`` of the attribute ``name``, a keyword or tag in lower case; raises InvalidInput, InvalidUid."""
    attribute = _BY_NAME.get(name)
    if attribute is None or attribute.level not in levels:
        search.ignored.append("an attribute" if attribute is None else attribute.keyword)
        return
    if not value or value == "*":
        return  # universal matching
    if len(value) > MAX_VALUE and not attribute.target.endswith("uids"):
        raise InvalidInput("a value is too long")
    target = search.values[attribute.level]
    found = attribute.read(value)
    if attribute.target in _RANGED:
        target[f"{attribute.target}_from"], target[f"{attribute.target}_to"] = found
    else:
        target[attribute.target] = found
