"""What may be entered about a DICOM system, and who is recognised by it."""

import pytest

from node.errors import LeveretError
from node.errors.dimse import InvalidPacs
from node.model.pacs import AllowedCaller, Pacs, check_title, parse_address


@pytest.mark.parametrize("title", ["A", "CT1", "A" * 16, "MR 2", "a-b_c.1@x", "!"])
def test_titles(title: str) -> None:
    assert check_title(title) == title


@pytest.mark.parametrize("title", ["", " ", "A" * 17, "A\\B", "Ä", " A", "A ", "A\n", "A\0"])
def test_no_titles(title: str) -> None:
    with pytest.raises(InvalidPacs):
        check_title(title)


@pytest.mark.parametrize(
    ("entry", "title", "address", "is_it"),
    [
        ("CT1", "CT1", "10.0.0.1", True),
        ("CT1", "CT2", "10.0.0.1", False),
        ("CT1@10.0.0.1", "CT1", "10.0.0.1", True),
        ("CT1@10.0.0.1", "CT1", "::ffff:10.0.0.1", True),
        ("CT1@10.0.0.1", "CT1", "10.0.0.2", False),
        (" CT1 @ 10.0.0.0/8 ", "CT1", "10.9.9.9", True),
        ("CT1@fd00::/8", "CT1", "fd12::1%eth0", True),
        ("A@B@10.0.0.1", "A@B", "10.0.0.1", True),
    ],
)
def test_allowed_callers(entry: str, title: str, address: str, is_it: bool) -> None:  # noqa: FBT001 - a case of a table
    assert AllowedCaller.parse(entry).is_it(title, address) is is_it


@pytest.mark.parametrize("entry", ["", "@10.0.0.1", "CT1@", "CT1@host", "CT1@10.0.0.0/99", "A" * 17])
def test_entries_that_are_none(entry: str) -> None:
    with pytest.raises(InvalidPacs):
        AllowedCaller.parse(entry)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""}, {"name": "a b"}, {"name": "../x"}, {"name": "x" * 65}, {"ae_title": ""}, {"host": ""},
        {"host": "a b"}, {"port": 0}, {"port": 70000}, {"calls_from": ("host",)},
    ],
)  # fmt: skip
def test_what_is_no_system(changes: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "main", "ae_title": "PACS", "host": "pacs.local", "port": 104}
    Pacs(**good)  # type: ignore[arg-type]
    with pytest.raises(LeveretError):
        Pacs(**{**good, **changes})  # type: ignore[arg-type]


def test_addresses() -> None:
    assert str(parse_address("::ffff:127.0.0.1")) == "127.0.0.1"
    assert parse_address("pacs.local") is None
