"""Reading what was just written."""

import contextlib

from node.errors.base import LeveretError
from node.store.objects import ObjectStore


async def caught_up(store: ObjectStore) -> None:
    """Let the index follow what was stored; one that cannot (disk full) keeps nobody from reading."""
    with contextlib.suppress(LeveretError):
        await store.indexed()
