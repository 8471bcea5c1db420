"""Ranking priors: the weights, what counts as alike, and what is always shown."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.label import NO_REGION, BodyRegion
from node.model.relevance import (
    Examination,
    Reason,
    Side,
    examination,
    is_comparator,
    rank,
    rank_one,
    shortlist,
)

TODAY = "20261124"
ALIKE = {Reason.REGION, Reason.MODALITY}
CT_HEAD = examination(modalities=["CT"], body_parts=["HEAD"], date=TODAY)


@pytest.mark.parametrize(
    ("study", "points", "reasons"),
    [
        (examination(modalities=["CT"], body_parts=["HEAD"]), 65, {Reason.REGION, Reason.MODALITY}),
        (examination(modalities=["MR"], body_parts=["BRAIN"]), 55, {Reason.REGION, Reason.COMPARABLE}),
        (examination(modalities=["US"], body_parts=["HEAD"]), 40, {Reason.REGION}),
        (examination(modalities=["CT"], body_parts=["KNEE"]), 25, {Reason.MODALITY}),
        (examination(modalities=["US"], body_parts=["KNEE"]), 0, set()),
        (examination(modalities=["CT"], body_parts=["HEAD"], report=True), 70, {*ALIKE, Reason.REPORT}),
        (examination(modalities=["CT"], body_parts=["HEAD"], date=TODAY), 85, {*ALIKE, Reason.RECENT}),
        (examination(modalities=["CT"], body_parts=["HEAD"], date="20161124"), 65, ALIKE),
        (examination(modalities=["CT"], body_parts=["HEAD"], date="2021"), 74, ALIKE),
    ],
)  # fmt: skip
def test_points(study: Examination, points: int, reasons: set[Reason]) -> None:
    found = rank_one(study, CT_HEAD, TODAY)
    assert (found.score, set(found.reasons)) == (points, reasons)


@pytest.mark.parametrize(
    ("mine", "theirs", "modality", "points"),
    [
        ("Knee left", "KNEE LT", "MR", 10),
        ("R knee", "Knee right", "MR", 10),
        ("Knee left", "Knee right", "MR", -15),
        ("Knee both sides", "Knee right", "MR", 10),
        ("Knee", "Knee right", "MR", 0),
        ("Mammogram left", "Mammogram right", "MG", 10),  # the other breast is compared
    ],
)
def test_sides(mine: str, theirs: str, modality: str, points: int) -> None:
    study = examination(modalities=[modality], description=mine)
    current = examination(modalities=[modality], description=theirs)
    assert rank_one(study, current, TODAY).score == 65 + points


@pytest.mark.parametrize(
    ("parts", "description", "modality", "region"),
    [
        (["CHEST"], "CT head", "CT", BodyRegion.CHEST),  # the body part goes before the words
        ([], "CT Head w/o contrast", "CT", BodyRegion.HEAD),
        ([], "L-SPINE 2 VIEWS", "CR", BodyRegion.SPINE),
        ([], "CT thoracic spine", "CT", BodyRegion.SPINE),
        ([], "Thoracic aorta", "CT", BodyRegion.CHEST),
        ([], "ABD/PELVIS", "CT", BodyRegion.ABDOMEN | BodyRegion.PELVIS),
        ([], "", "MG", BodyRegion.BREAST),
        ([], "follow-up", "CT", NO_REGION),
    ],
)
def test_regions(parts: list[str], description: str, modality: str, region: BodyRegion) -> None:
    assert examination(modalities=[modality], body_parts=parts, description=description).regions == region


def test_a_lone_l_before_spine_is_no_side() -> None:
    assert examination(modalities=["CR"], description="L SPINE").side is None
    assert examination(modalities=["CR"], description="L KNEE").side is Side.LEFT


def test_reports_are_no_modality_in_common() -> None:
    study = examination(modalities=["SR"], body_parts=["HEAD"])
    current = examination(modalities=["CT", "SR"], body_parts=["HEAD"])
    assert rank_one(study, current, TODAY).reasons == (Reason.REGION,)


def test_newest_and_oldest_comparator_are_kept_however_little_they_score() -> None:
    many = [
        examination(modalities=["CT"], body_parts=["HEAD"], date=f"{year}0101", report=True)
        for year in range(2020, 2026)
    ]
    oldest = examination(modalities=["MR"], body_parts=["HEAD"], date="19990101")
    unlike = examination(modalities=["US"], body_parts=["KNEE"], date="19800101")
    ranked = rank([oldest, unlike, *many], CT_HEAD, TODAY)
    first, others = shortlist(ranked, 3)
    assert [one.index for one in first] == [7, 6, 0]
    assert Reason.OLDEST in first[-1].rank.reasons
    assert Reason.NEWEST in first[0].rank.reasons
    assert {one.index for one in others} == {1, 2, 3, 4, 5}


_EXAMINATIONS = st.builds(
    Examination,
    modalities=st.lists(st.sampled_from(["CT", "MR", "US", "MG", "SR", "PT", "CR", "DX"]), max_size=3).map(tuple),
    regions=st.integers(0, 1023).map(BodyRegion),
    side=st.sampled_from([None, *Side]),
    date=st.sampled_from(["", "2019", "20190230", "99999999", "20301231", "19500101", "not a date"]),
    report=st.sampled_from([None, True, False]),
)


@given(st.lists(_EXAMINATIONS, max_size=12), _EXAMINATIONS, st.integers(0, 12))
def test_every_study_is_ranked_once_and_in_order(studies: list[Examination], current: Examination, most: int) -> None:
    ranked = rank(studies, current, TODAY)
    assert sorted(one.index for one in ranked) == list(range(len(studies)))
    assert all(a.rank.score >= b.rank.score for a, b in itertools.pairwise(ranked))
    first, others = shortlist(ranked, most)
    assert sorted(one.index for one in (*first, *others)) == list(range(len(studies)))
    assert len(first) <= max(most, 2)
    comparators = [i for i, study in enumerate(studies) if study.date and is_comparator(study, current)]
    if comparators:
        shown = {one.index for one in first}
        dates = [studies[i].date for i in comparators]
        assert min(dates) in {studies[i].date for i in comparators if i in shown}
        assert max(dates) in {studies[i].date for i in comparators if i in shown}


@given(_EXAMINATIONS, _EXAMINATIONS)
def test_points_stay_within_their_bounds(study: Examination, current: Examination) -> None:
    assert -15 <= rank_one(study, current, TODAY).score <= 100
