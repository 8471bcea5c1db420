"""The tables of request and transfer: illegal events raise, ends are ends, and nothing is stuck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.sharing import IllegalTransition
from node.model.ids import SeriesInstanceUID
from node.model.request import (
    MAX_AGE_SECONDS,
    MAX_SKEW_SECONDS,
    REQUEST_TRANSITIONS,
    RequestEvent,
    RequestState,
    is_fresh,
    next_request_state,
)
from node.model.transfer import (
    ENDED,
    TRANSITIONS,
    TransferEvent,
    TransferState,
    next_transfer_state,
    travel_order,
)


@given(st.sampled_from(TransferState), st.lists(st.sampled_from(TransferEvent), max_size=12))
def test_a_walk_keeps_to_the_table(state: TransferState, events: list[TransferEvent]) -> None:
    for event in events:
        if (state, event) in TRANSITIONS:
            state = next_transfer_state(state, event)
        else:
            with pytest.raises(IllegalTransition):
                next_transfer_state(state, event)


@pytest.mark.parametrize("state", [s for s in TransferState if s not in ENDED])
def test_every_open_state_can_complete_be_cancelled_and_fail(state: TransferState) -> None:
    assert next_transfer_state(state, TransferEvent.FAIL) is TransferState.FAILED
    assert next_transfer_state(state, TransferEvent.CANCEL) is TransferState.CANCELLED
    reached, todo = {state}, [state]
    while todo:
        here = todo.pop()
        found = {to for (start, _), to in TRANSITIONS.items() if start is here}
        todo += found - reached
        reached |= found
    assert TransferState.COMPLETED in reached


@pytest.mark.parametrize("state", sorted(ENDED))
@pytest.mark.parametrize("event", list(TransferEvent))
def test_an_end_is_an_end(state: TransferState, event: TransferEvent) -> None:
    with pytest.raises(IllegalTransition):
        next_transfer_state(state, event)


def test_only_verified_transfers_are_admitted() -> None:
    into = {start for (start, event), to in TRANSITIONS.items() if event is TransferEvent.ADMIT}
    assert into == {TransferState.VERIFYING}


@given(st.sampled_from(RequestState), st.sampled_from(RequestEvent))
def test_a_request_is_decided_once(state: RequestState, event: RequestEvent) -> None:
    if (state, event) in REQUEST_TRANSITIONS:
        assert state in {RequestState.ASKED, RequestState.REVIEW}
        assert next_request_state(state, event) is not RequestState.ASKED
    else:
        with pytest.raises(IllegalTransition):
            next_request_state(state, event)


@given(st.lists(st.integers(0, 5), max_size=60), st.data())
def test_the_first_of_each_series_travels_first(numbers: list[int], data: st.DataObject) -> None:
    series = [SeriesInstanceUID(f"1.{n}") for n in numbers]
    wanted = sorted(data.draw(st.sets(st.integers(0, len(series) - 1)) if series else st.just(set())))
    order = travel_order(series, wanted)
    assert sorted(order) == wanted
    distinct = len({series[i] for i in wanted})
    assert len({series[i] for i in order[:distinct]}) == distinct
    assert order[:distinct] == sorted(order[:distinct])
    assert order[distinct:] == sorted(order[distinct:])


def test_a_request_is_fresh_for_ten_minutes() -> None:
    now = 1_000_000
    assert is_fresh(now - MAX_AGE_SECONDS, now)
    assert not is_fresh(now - MAX_AGE_SECONDS - 1, now)
    assert is_fresh(now + MAX_SKEW_SECONDS, now)
    assert not is_fresh(now + MAX_SKEW_SECONDS + 1, now)
