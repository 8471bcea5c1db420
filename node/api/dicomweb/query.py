"""Query parameters of QIDO-RS (PS3.18 section 8.3.4) as questions to the index. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.errors.access import InvalidInput
from node.model.ids import SeriesInstanceUID, SOPClassUID, SOPInstanceUID, StudyInstanceUID, Uid
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery

MAX_RESULTS = 1000  # in one answer; more are asked for with ``offset``
MAX_VALUE = 1024  # characters of one parameter
MAX_UIDS = 1000  # in one list

_CONTROL = frozenset({"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching", "accept"})
_DATE_RANGE = re.compile(r"([0-9]{8})?(-)?([0-9]{8})?")


@dataclass(frozen=True, slots=True)
class _Attribute:
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


_ATTRIBUTES = (
    _Attribute("StudyInstanceUID", "0020000D", "study", "study_uids", _uids(StudyInstanceUID)),
    _Attribute("PatientID", "00100020", "study", "patient_id"),
    _Attribute("IssuerOfPatientID", "00100021", "study", "issuer"),
    _Attribute("PatientName", "00100010", "study", "patient_name"),
    _Attribute("PatientBirthDate", "00100030", "study", "birth_date"),
    _Attribute("AccessionNumber", "00080050", "study", "accession_number"),
    _Attribute("StudyID", "00200010", "study", "study_id"),
    _Attribute("StudyDescription", "00081030", "study", "description"),
    _Attribute("ReferringPhysicianName", "00080090", "study", "referring_physician"),
    _Attribute("ModalitiesInStudy", "00080061", "study", "modalities", _list),
    _Attribute("StudyDate", "00080020", "study", "date"),
    _Attribute("SeriesInstanceUID", "0020000E", "series", "series_uids", _uids(SeriesInstanceUID)),
    _Attribute("Modality", "00080060", "series", "modalities", _list),
    _Attribute("SeriesNumber", "00200011", "series", "number"),
    _Attribute("SeriesDescription", "0008103E", "series", "description"),
    _Attribute("BodyPartExamined", "00180015", "series", "body_part"),
    _Attribute("SOPInstanceUID", "00080018", "instance", "instance_uids", _uids(SOPInstanceUID)),
    _Attribute("SOPClassUID", "00080016", "instance", "sop_class_uids", _uids(SOPClassUID)),
    _Attribute("InstanceNumber", "00200013", "instance", "number"),
)
_BY_NAME = {name.lower(): a for a in _ATTRIBUTES for name in (a.keyword, a.tag)}


@dataclass(slots=True)
class Search:
    """What was asked; ``ignored`` names attributes that cannot be matched here."""

    values: dict[str, dict[str, Any]] = field(default_factory=lambda: {"study": {}, "series": {}, "instance": {}})
    limit: int = MAX_RESULTS
    offset: int = 0
    ignored: list[str] = field(default_factory=list)

    def studies(self, study: StudyInstanceUID | None = None, *, page: bool = False) -> StudyQuery:
        """The study part; ``study`` is the one of the path."""
        values = dict(self.values["study"])
        if study is not None:
            values["study_uids"] = (study,)
        return StudyQuery(**values, **(self._page() if page else {}))

    def series(self, study: StudyInstanceUID | None = None) -> SeriesQuery:
        """A search for series."""
        return SeriesQuery(studies=self.studies(study), **self.values["series"], **self._page())

    def instances(
        self, study: StudyInstanceUID | None = None, series: SeriesInstanceUID | None = None
    ) -> InstanceQuery:
        """A search for instances."""
        values = dict(self.values["instance"])
        values |= self.values["series"]
        if series is not None:
            values["series_uids"] = (series,)
        return InstanceQuery(studies=self.studies(study), **values, **self._page())

    def _page(self) -> dict[str, Any]:
        return {"limit": self.limit + 1, "offset": self.offset}  # one more tells whether there are more


def parse_search(parameters: Iterable[tuple[str, str]], levels: Sequence[str]) -> Search:
    """Read query parameters; attributes of levels other than ``levels`` are ignored, and named.

    Raises:
        InvalidInput, InvalidUid: a value that cannot be matched.
    """
    search = Search()
    for name, value in parameters:
        if len(value) > MAX_VALUE * 64:
            raise InvalidInput("a value is too long")
        lower = name.lower()
        if lower in {"limit", "offset"}:
            _set_page(search, lower, value)
        elif lower == "fuzzymatching" and value.lower() == "true":
            search.ignored.append("fuzzymatching")
        elif lower not in _CONTROL:
            _set_attribute(search, lower, value, levels)
    return search


def _set_page(search: Search, name: str, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) < 18):  # noqa: PLR2004 - fits into 64 bits
        raise InvalidInput(name)
    if name == "limit":
        search.limit = min(int(value), MAX_RESULTS)
    else:
        search.offset = int(value)


def _set_attribute(search: Search, name: str, value: str, levels: Sequence[str]) -> None:
    attribute = _BY_NAME.get(name)
    is_series_of_instance = attribute is not None and attribute.target == "series_uids" and "instance" in levels
    if attribute is None or not (attribute.level in levels or is_series_of_instance):
        search.ignored.append("an attribute" if attribute is None else attribute.keyword)
        return
    if not value or value == "*":
        return  # universal matching
    target = search.values[attribute.level]
    if attribute.target == "date":
        target.update(_date_range(value))
    else:
        target[attribute.target] = attribute.read(value)


def _date_range(value: str) -> Mapping[str, str]:
    match = _DATE_RANGE.fullmatch(value)
    if match is None or not any(match.groups()) or value == "-":
        raise InvalidInput("StudyDate")
    first, dash, last = match.groups()
    if not dash:
        return {"date_from": first, "date_to": first}
    return {"date_from": first or "", "date_to": last or ""}
