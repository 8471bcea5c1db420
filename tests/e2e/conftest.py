"""Facilities for end-to-end tests: real daemons on loopback, stopped when the test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.facility import Facility

MakeFacility = Callable[..., Facility]


@pytest.fixture
def facility(tmp_path: Path) -> Iterator[MakeFacility]:
    """Makes facilities that serve; every one is stopped at the end and must end cleanly."""
    made: list[Facility] = []

    def make(name: str, *options: str, serve: bool = True, **environment: str) -> Facility:
        new = Facility.create(name, tmp_path, *options, **environment)
        made.append(new)
        if serve:
            new.start()
        return new

    yield make
    for one in made:
        one.stop()
