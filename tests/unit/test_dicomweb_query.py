"""QIDO-RS parameters and Accept headers: understood, ignored and named, or refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.api.dicomweb.accept import Form, accepted, instance_forms, require_json, wants_multipart_octets
from node.api.dicomweb.query import parse_search
from node.errors.access import InvalidInput, NotAcceptable
from node.errors.identifiers import InvalidUid
from node.model.ids import SeriesInstanceUID, StudyInstanceUID, TransferSyntaxUID
from node.sharing.search import MAX_RESULTS
from node.store.study_queries import InstanceQuery, StudyQuery

STUDY_LEVEL = ("study",)
INSTANCE_LEVEL = ("study", "series", "instance")


def test_keywords_and_tags_mean_the_same() -> None:
    by_keyword = parse_search([("PatientName", "Garc*"), ("StudyDate", "20240101-20241231")], STUDY_LEVEL)
    by_tag = parse_search([("00100010", "Garc*"), ("00080020", "20240101-20241231")], STUDY_LEVEL)
    assert by_keyword.studies() == by_tag.studies()
    assert by_keyword.studies() == StudyQuery(patient_name="Garc*", date_from="20240101", date_to="20241231")


@pytest.mark.parametrize(
    ("value", "dates"),
    [
        ("20240101", ("20240101", "20240101")),
        ("20240101-", ("20240101", "")),
        ("-20240101", ("", "20240101")),
        ("20240101-20240202", ("20240101", "20240202")),
    ],
)
def test_date_ranges(value: str, dates: tuple[str, str]) -> None:
    query = parse_search([("StudyDate", value)], STUDY_LEVEL).studies()
    assert (query.date_from, query.date_to) == dates


@pytest.mark.parametrize("value", ["-", "2024", "20240101-2024", "yesterday", "20240101--20240102"])
def test_dates_that_are_none(value: str) -> None:
    with pytest.raises(InvalidInput):
        parse_search([("StudyDate", value)], STUDY_LEVEL)


@pytest.mark.parametrize("joint", [",", "\\"])
def test_uid_lists(joint: str) -> None:
    query = parse_search([("StudyInstanceUID", f"1.2{joint}1.3")], STUDY_LEVEL).studies()
    assert query.study_uids == (StudyInstanceUID("1.2"), StudyInstanceUID("1.3"))
    with pytest.raises(InvalidUid):
        parse_search([("StudyInstanceUID", "1.2*")], STUDY_LEVEL)


def test_empty_values_match_everything() -> None:
    assert parse_search([("PatientName", ""), ("PatientID", "*")], STUDY_LEVEL).studies() == StudyQuery()


@pytest.mark.parametrize(
    ("value", "times"),
    [
        ("10", ("10", "10")),
        ("1000-", ("1000", "")),
        ("-235959.999999", ("", "235959.999999")),
        ("10-1230", ("10", "1230")),
    ],
)
def test_time_ranges(value: str, times: tuple[str, str]) -> None:
    query = parse_search([("StudyTime", value), ("00100030", "19700101-")], STUDY_LEVEL).studies()
    assert (query.time_from, query.time_to, query.born_from, query.born_to) == (*times, "19700101", "")


@pytest.mark.parametrize("value", ["24", "1", "10-11-12", "-", "1060", "10:00", "1000.5", "--10", "10--"])
def test_times_that_are_none(value: str) -> None:
    with pytest.raises(InvalidInput):
        parse_search([("StudyTime", value)], STUDY_LEVEL)


def test_what_cannot_be_matched_is_named() -> None:
    """Unknown attributes and those of lower levels are ignored; what can be no name is refused, as is a repetition."""
    search = parse_search([("PatientWeight", "80"), ("Modality", "CT"), ("emptyvaluematching", "true")], STUDY_LEVEL)
    assert search.studies() == StudyQuery()
    assert len(search.ignored) == 3
    assert parse_search([("fuzzymatching", "true")], STUDY_LEVEL).fuzzy
    for name, value in (("Patient Weight", "80"), ("fuzzymatching", "yes"), ("includefield", "a b"), ("<x>", "1")):
        with pytest.raises(InvalidInput):
            parse_search([(name, value)], STUDY_LEVEL)
    with pytest.raises(InvalidInput):
        parse_search([("PatientID", "A"), ("patientid", "B")], STUDY_LEVEL)


def test_fields_to_be_told_by_name_by_tag_or_all() -> None:
    search = parse_search([("includefield", "PatientName,00080030"), ("includefield", "0020,all")], STUDY_LEVEL)
    assert search.fields == {"00100010", "00080030", "0020", "all"}
    some = parse_search([("includefield", "patientname,NoSuchThing")], STUDY_LEVEL)
    told = {"00100010": {"vr": "PN"}, "00100020": {"vr": "LO"}}
    assert some.chosen(told, is_all=False) == {"00100010": {"vr": "PN"}}
    assert search.chosen(told, is_all=False) == some.chosen(told, is_all=True) == told


def test_instances_by_series() -> None:
    search = parse_search([("SeriesInstanceUID", "1.5"), ("InstanceNumber", "3")], INSTANCE_LEVEL)
    query = search.instances(StudyInstanceUID("1.2"))
    assert query.series_uids == (SeriesInstanceUID("1.5"),)
    assert query.number == "3"
    assert parse_search([("Modality", "CT"), ("SeriesNumber", "2")], INSTANCE_LEVEL).instances() == InstanceQuery(
        modalities=("CT",), series_number="2", limit=MAX_RESULTS
    )
    assert query.studies.study_uids == (StudyInstanceUID("1.2"),)
    path_wins = search.instances(StudyInstanceUID("1.2"), SeriesInstanceUID("1.6"))
    assert path_wins.series_uids == (SeriesInstanceUID("1.6"),)


def test_pages_are_bounded() -> None:
    assert parse_search([("limit", "5"), ("offset", "7")], STUDY_LEVEL).studies(page=True).limit == 5
    assert parse_search([("limit", "999999")], STUDY_LEVEL).limit == MAX_RESULTS
    for value in ("-1", "x", "", "9" * 30, "٣"):
        with pytest.raises(InvalidInput):
            parse_search([("limit", value)], STUDY_LEVEL)


@given(
    st.lists(st.tuples(st.sampled_from(["PatientID", "StudyDate", "0020000D", "limit", "x"]), st.text()), max_size=4)
)
def test_anything_is_understood_or_refused(parameters: list[tuple[str, str]]) -> None:
    with contextlib.suppress(InvalidInput, InvalidUid):
        parse_search(parameters, INSTANCE_LEVEL).instances()


EXPLICIT = TransferSyntaxUID("1.2.840.10008.1.2.1")
BIG = TransferSyntaxUID("1.2.840.10008.1.2.2")
JPEG_2000 = TransferSyntaxUID("1.2.840.10008.1.2.4.90")
PRIVATE = TransferSyntaxUID("1.2.3")


def test_accept_instances() -> None:
    every = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    (form,) = instance_forms(every)
    assert form.multipart
    assert [form.target(stored) for stored in (EXPLICIT, JPEG_2000, PRIVATE)] == [EXPLICIT, JPEG_2000, PRIVATE]
    assert instance_forms("")[0].multipart
    assert not instance_forms("application/dicom; transfer-syntax=*")[0].multipart
    assert instance_forms("", "application/dicom") == [Form(multipart=False, transfer_syntax="*")]
    (one,) = instance_forms(f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}')
    assert [one.target(stored) for stored in (EXPLICIT, BIG, JPEG_2000)] == [EXPLICIT] * 3
    assert one.target(PRIVATE) is None
    (implicit,) = instance_forms('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2')
    assert implicit.target(EXPLICIT) is None, "never made"


def test_the_preferred_transfer_syntax_first() -> None:
    accept = "application/dicom; transfer-syntax=*; q=0.5, application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert [form.transfer_syntax for form in instance_forms(accept)] == [EXPLICIT, "*"]


@pytest.mark.parametrize(
    "header", ["image/jpeg", 'multipart/related; type="image/jp2"', "application/dicom+json", "application/dicom;q=0"]
)
def test_accept_something_else(header: str) -> None:
    with pytest.raises(NotAcceptable):
        instance_forms(header)


def test_accept_prefers_what_the_caller_prefers() -> None:
    first, second = instance_forms('multipart/related;type="application/dicom";q=0.5, application/dicom')
    assert (first.multipart, second.multipart) == (False, True)
    assert [kind.name for kind in accepted("a/b;q=0.1, c/d, e/f;q=0")] == ["c/d", "a/b"]


def test_accept_json_and_octets() -> None:
    for header in ("", "*/*", "application/json", "application/dicom+json, multipart/related"):
        require_json(header)
    with pytest.raises(NotAcceptable):
        require_json("application/dicom+xml")
    assert wants_multipart_octets('multipart/related; type="application/octet-stream"')
    assert not wants_multipart_octets("*/*")
    with pytest.raises(NotAcceptable):
        wants_multipart_octets("image/png")


@given(st.text())
def test_any_accept_header_is_read(header: str) -> None:
    accepted(header)
