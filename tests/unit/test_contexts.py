"""Planning presentation contexts: every instance travels, none too many are proposed, as it is comes first."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node.dicom.contexts import FALLBACKS, MAX_CONTEXTS, Kind, choose, plan_associations
from node.dicom.structure import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from node.model.ids import SOPClassUID, TransferSyntaxUID

SYNTAXES = [*FALLBACKS, *(TransferSyntaxUID(f"1.2.840.10008.1.2.4.{n}") for n in range(50, 94))]
kinds = st.tuples(
    st.integers(1, 90).map(lambda n: SOPClassUID(f"1.2.840.10008.5.1.4.1.1.{n}")), st.sampled_from(SYNTAXES)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(kinds, max_size=250))
def test_each_instance_is_on_one_association_that_proposes_it(study: list[Kind]) -> None:
    plans = plan_associations(study)
    assert sorted(i for plan in plans for i in plan.instances) == list(range(len(study)))
    for plan in plans:
        assert plan.instances
        assert list(plan.instances) == sorted(plan.instances)
        ids = [context.context_id for context in plan.contexts]
        assert 0 < len(ids) <= MAX_CONTEXTS
        assert ids == list(range(1, 2 * len(ids), 2))
        assert max(ids) <= 255
        proposed = {(c.abstract_syntax, c.transfer_syntaxes) for c in plan.contexts}
        assert len(proposed) == len(plan.contexts)
        for index in plan.instances:
            sop_class, syntax = study[index]
            assert (sop_class, (syntax,)) in proposed
            offered = {s for abstract, syntaxes in proposed if abstract == sop_class for s in syntaxes}
            assert set(FALLBACKS) <= offered


@given(st.lists(st.tuples(kinds, st.booleans()), max_size=40), kinds)
def test_as_it_is_first_then_explicit_then_implicit(answers: list[tuple[Kind, bool]], kind: Kind) -> None:
    accepted = {2 * n + 1: k for n, (k, yes) in enumerate(answers) if yes}
    way = choose(kind, accepted)
    mine = {syntax for abstract, syntax in accepted.values() if abstract == kind[0]}
    if way is None:
        assert not mine & {kind[1], *FALLBACKS}
        return
    assert accepted[way.context_id] == (kind[0], way.syntax)
    if kind[1] in mine:
        assert way.syntax == kind[1]
    elif EXPLICIT_LITTLE in mine:
        assert way.syntax == EXPLICIT_LITTLE
    else:
        assert way.syntax == IMPLICIT_LITTLE


def test_more_syntaxes_of_one_class_than_an_association_has_contexts() -> None:
    study = [(SOPClassUID("1.2.3"), TransferSyntaxUID(f"1.9.{n}")) for n in range(300)]
    plans = plan_associations(study)
    assert [len(plan.contexts) for plan in plans] == [128, 128, 47]
    assert plan_associations([]) == []
