"""The catalogue of errors: what a person reads and a program compares."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import node.errors
from node.errors import LeveretError


def _classes(of: type[LeveretError] = LeveretError) -> Iterator[type[LeveretError]]:
    yield of
    for child in of.__subclasses__():
        yield from _classes(child)


for _module in pkgutil.iter_modules(node.errors.__path__):
    importlib.import_module(f"node.errors.{_module.name}")
ERRORS = sorted({error for error in _classes() if error.__module__.startswith("node.")}, key=lambda e: e.__name__)


def test_no_code_is_defined_twice() -> None:
    by_code: dict[str, list[str]] = {}
    for error in ERRORS:
        by_code.setdefault(error.code, []).append(f"{error.__module__}.{error.__name__}")
    assert {code: where for code, where in by_code.items() if len(where) > 1} == {}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_says_what_is_wrong_and_what_to_do(error: type[LeveretError]) -> None:
    assert "code" in vars(error), "a code of its own"
    assert (inspect.cleandoc(error.__doc__ or "").split("\n", 1)[0]).endswith(".")
    assert error.advice.endswith((".", "?"))
    assert 400 <= error.status < 600
