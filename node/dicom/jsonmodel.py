"""DICOM JSON (PS3.18 annex F) from what the index knows: QIDO-RS results."""

from typing import Any

from node.model.instance import SeriesSummary, StoredInstance, StudySummary

DicomJson = dict[str, dict[str, Any]]


def study_result(study: StudySummary, base_url: str) -> DicomJson:
    """A QIDO-RS study result (PS3.18 table 10.6.3-3); ``base_url`` ends before ``/studies``."""
    raise NotImplementedError


def series_result(series: SeriesSummary, base_url: str) -> DicomJson:
    """A QIDO-RS series result (PS3.18 table 10.6.3-4)."""
    raise NotImplementedError


def instance_result(instance: StoredInstance, base_url: str) -> DicomJson:
    """A QIDO-RS instance result (PS3.18 table 10.6.3-5)."""
    raise NotImplementedError
