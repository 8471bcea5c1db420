"""One root for every error that a person may meet.

An error class *is* its words: the docstring's first line says what is wrong, ``advice`` what to do, ``code`` is
stable and reaches the API (problem+json), the wire and the CLI. Constructor arguments are facts that may be shown: an
object id, a path the user typed, a peer's short id; never a patient's name, id or a UID. Only the edges (cli, api,
peers) turn an error into text, and they all call :func:`describe`.

``Retryable`` is a type, not a log level: whoever drives a queue may try again after it, and after nothing else.
Each domain keeps its classes in a module beside this one.
"""

from node.errors.base import LeveretError, Retryable, all_codes, describe, describe_class

__all__ = ["LeveretError", "Retryable", "all_codes", "describe", "describe_class"]
