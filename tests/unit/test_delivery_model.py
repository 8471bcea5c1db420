"""The table of deliveries, and what the answers of a PACS mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.sharing import IllegalTransition
from node.model.delivery import (
    ENDED,
    TAKEN,
    TRANSITIONS,
    DeliveryEvent,
    DeliveryState,
    Sent,
    next_delivery_state,
    outcome_of_status,
)

_E, _S = DeliveryEvent, DeliveryState


@given(st.lists(st.sampled_from(list(DeliveryEvent)), max_size=30))
def test_an_end_is_an_end_and_sending_comes_before_it(events: list[DeliveryEvent]) -> None:
    state, sent = _S.EXPECTED, False
    for event in events:
        try:
            after = next_delivery_state(state, event)
        except IllegalTransition:
            assert (state, event) not in TRANSITIONS
            continue
        assert state not in ENDED
        sent = sent or after is _S.SENDING
        assert sent or after not in {_S.COMPLETED, _S.INCOMPLETE}
        state = after


@pytest.mark.parametrize("state", sorted({*_S} - ENDED))
def test_whatever_is_under_way_can_be_given_up(state: DeliveryState) -> None:
    assert next_delivery_state(state, _E.CANCEL) is _S.CANCELLED
    assert next_delivery_state(state, _E.FAIL) is _S.FAILED


def test_nothing_is_sent_while_it_waits_for_a_link() -> None:
    assert (_S.UNLINKED, _E.START) not in TRANSITIONS
    assert (_S.EXPECTED, _E.START) not in TRANSITIONS
    assert next_delivery_state(_S.SENDING, _E.WAIT_FOR_LINK) is _S.UNLINKED


@given(st.integers(0, 0xFFFF))
def test_only_success_and_the_three_warnings_mean_that_it_was_taken(status: int) -> None:
    assert (outcome_of_status(status) in TAKEN) == (status in {0, 0xB000, 0xB006, 0xB007})
    assert (outcome_of_status(status) is Sent.SENT) == (status == 0)
