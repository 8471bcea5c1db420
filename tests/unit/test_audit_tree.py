"""Proofs out of the kept log are those of RFC 6962, with kept subtrees and without."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.crypto.tlog import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from node.errors.audit import AuditLogDamaged, NoSuchEvent
from node.store import audit_tree
from node.store.audit import LogPart
from node.store.engine import Database

FIRST = LogPart(1, 0)
SIZE = 2500  # nine subtrees of 256, one of 2048, and a rest
LEAVES = [leaf_hash(n.to_bytes(4)) for n in range(SIZE)]


@pytest.fixture(params=["kept", "not kept", "half kept"])
async def db(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "index.db", bytes(range(32)))
    async with database.write() as tx:
        await tx.execute_many(
            "INSERT INTO audit_event (position, at, type, body, leaf) VALUES (?, 0, 't', x'', ?)",
            list(enumerate(LEAVES)),
        )
        if request.param == "kept":
            for size in (100, 256, 1000, SIZE):  # as a growing log does it
                await audit_tree.fill(tx, FIRST, size)
        if request.param == "half kept":
            await audit_tree.fill(tx, FIRST, 1100)
    yield database
    await database.close()


async def test_random_proofs_are_those_of_the_rfc(db: Database) -> None:
    chance = random.Random(7)
    async with db.read() as rx:
        for _ in range(350):
            size = chance.randint(1, SIZE)
            index, old = chance.randrange(size), chance.randint(1, size)
            root = root_of(LEAVES[:size])
            assert await audit_tree.root_at(rx, FIRST, size) == root
            path = await audit_tree.inclusion_path(rx, FIRST, index, size)
            assert path == inclusion_proof(LEAVES[:size], index)
            verify_inclusion(LEAVES[index], index, size, path, root)
            way = await audit_tree.consistency_path(rx, FIRST, old, size)
            assert way == consistency_proof(LEAVES[:size], old)
            verify_consistency(old, root_of(LEAVES[:old]), size, root, way)


async def test_what_is_not_there_is_refused(db: Database) -> None:
    async with db.read() as rx:
        with pytest.raises(NoSuchEvent):
            await audit_tree.inclusion_path(rx, FIRST, 5, 5)
        with pytest.raises(NoSuchEvent):
            await audit_tree.consistency_path(rx, FIRST, 6, 5)
        with pytest.raises(AuditLogDamaged):
            await audit_tree.root_at(rx, FIRST, SIZE + 1)
        with pytest.raises(NoSuchEvent):
            await audit_tree.leaf_at(rx, FIRST, SIZE)
        assert await audit_tree.root_at(rx, FIRST, 0) == root_of([])


async def test_an_empty_tree_keeps_nothing(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "index.db", bytes(range(32)))
    async with database.write() as tx:
        await audit_tree.fill(tx, FIRST, 0)
        assert await tx.fetch_value("SELECT COUNT(*) FROM audit_node") == 0
    await database.close()
