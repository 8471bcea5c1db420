"""State machines as tables: from a state and what happens, the next state. What has no row must not happen."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from node.errors.sharing import IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def step(table: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """The state after ``event``.

    Raises:
        IllegalTransition: the table has no such row.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value} while {state.value}") from None
