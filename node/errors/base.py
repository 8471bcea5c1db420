"""The root of all errors and the one function that puts them into words."""

import inspect
from typing import ClassVar


class LeveretError(Exception):
    """Something went wrong in this node."""

    code: ClassVar[str] = "internal_error"
    advice: ClassVar[str] = "Look at the log of the daemon for the same moment; report it if it happens again."
    status: ClassVar[int] = 500  # what the local API and the peer protocol answer (RFC 9110)

    def __init__(self, fact: str = "") -> None:
        """Keep ``fact``, a short text that may be shown and logged (never PHI)."""
        super().__init__(fact)
        self.fact = fact


class Retryable(LeveretError):
    """A passing trouble; the same thing may work later."""

    code = "try_again"
    advice = "Wait a moment and try again."
    status = 503


def describe(error: LeveretError) -> str:
    """One line for people: what is wrong, the fact that goes with it, what to do, the code."""
    return describe_class(type(error), error.fact)


def describe_class(error: type[LeveretError], fact: str = "") -> str:
    """The same line for an error of which only the code has come."""
    what = (inspect.getdoc(error) or "").split("\n", 1)[0].rstrip(".")
    about = f" ({fact})" if fact else ""
    return f"{what}{about}. {error.advice} [{error.code}]"


def all_codes() -> dict[str, type[LeveretError]]:
    """Every code that a loaded module defines, for documentation and its test."""
    found: dict[str, type[LeveretError]] = {}
    todo: list[type[LeveretError]] = [LeveretError]
    while todo:
        cls = todo.pop()
        found.setdefault(cls.code, cls)
        todo.extend(cls.__subclasses__())
    return found
