"""The index engine: transactions, snapshots, keys, damage, versions."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from node.errors.base import LeveretError
from node.errors.setup import NewerDataDirectory
from node.errors.storage import (
    ConstraintViolated,
    IndexBusy,
    IndexDamaged,
    IndexUnreadable,
    StoreClosed,
    StoreError,
)
from node.store.engine import Database, convert
from node.store.migrate import migrate, migrations

KEY = bytes(range(32))


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(tmp_path / "index.db", KEY) as opened:
        async with opened.write() as tx:
            await tx.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT")
        yield opened


async def names(db: Database) -> list[str]:
    async with db.read() as rx:
        return [row[0] for row in await rx.fetch_all("SELECT name FROM thing ORDER BY id")]


async def test_a_block_is_one_transaction(db: Database) -> None:
    async with db.write() as tx:
        assert await tx.insert("INSERT INTO thing (name) VALUES (?)", ("one",)) == 1
        assert await tx.execute_many("INSERT INTO thing (name) VALUES (?)", [("two",), ("three",)]) == 2
        assert await names(db) == []
    assert await names(db) == ["one", "two", "three"]
    async with db.read() as rx:
        assert await rx.fetch_value("SELECT count(*) FROM thing") == 3
        assert await rx.fetch_one("SELECT name FROM thing WHERE id = 9") is None
        assert [row async for row in rx.iterate("SELECT id FROM thing ORDER BY id")] == [(1,), (2,), (3,)]


async def test_an_exception_rolls_back_and_calls_nobody(db: Database) -> None:
    called: list[str] = []

    async def fail() -> None:
        async with db.write() as tx:
            tx.after_commit(lambda: called.append("first"))
            await tx.execute("INSERT INTO thing (name) VALUES ('one')")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        await fail()
    async with db.write() as tx:
        tx.after_commit(lambda: called.append("second"))
        await tx.execute("INSERT INTO thing (name) VALUES ('two')")
        assert called == []
    assert called == ["second"]
    assert await names(db) == ["two"]


async def test_cancellation_rolls_back_and_the_writer_goes_on(db: Database) -> None:
    inside = asyncio.Event()

    async def slow() -> None:
        async with db.write() as tx:
            await tx.execute("INSERT INTO thing (name) VALUES ('never')")
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(slow())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with db.write() as tx:
        await tx.execute("INSERT INTO thing (name) VALUES ('after')")
    assert await names(db) == ["after"]


async def test_a_read_block_is_one_snapshot(db: Database) -> None:
    async with db.read() as rx:
        assert await rx.fetch_value("SELECT count(*) FROM thing") == 0
        async with db.write() as tx:
            await tx.execute("INSERT INTO thing (name) VALUES ('one')")
        assert await rx.fetch_value("SELECT count(*) FROM thing") == 0
    assert await names(db) == ["one"]


async def test_many_readers_take_turns(db: Database) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(names(db)) for _ in range(40)]
    assert all(task.result() == [] for task in tasks)


async def test_nested_read_blocks_do_not_deadlock(db: Database) -> None:
    everybody = asyncio.Barrier(10)

    async def nested() -> list[str]:
        async with db.read() as rx:
            await rx.fetch_value("SELECT 1")
            await everybody.wait()
            return await names(db)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(nested()) for _ in range(10)]
    assert all(task.result() == [] for task in tasks)


async def test_a_constraint_names_the_column_and_not_the_value(db: Database) -> None:
    async with db.write() as tx:
        await tx.execute("INSERT INTO thing (name) VALUES ('secret')")
        with pytest.raises(ConstraintViolated) as caught:
            await tx.execute("INSERT INTO thing (name) VALUES ('secret')")
        await tx.execute("INSERT INTO thing (name) VALUES ('other')")
    assert caught.value.fact == "thing.name"
    assert await names(db) == ["secret", "other"]


async def test_nothing_in_clear_and_nobody_else_may_read(db: Database, tmp_path: Path) -> None:
    async with db.write() as tx:
        await tx.execute("INSERT INTO thing (name) VALUES ('SMITH^JOHN')")
    files = await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
    assert {file.name for file in files} == {"index.db", "index.db-wal", "index.db-shm"}
    assert not any(b"SMITH" in file.read_bytes() for file in files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


async def test_the_settings_that_promises_rest_on(db: Database) -> None:
    async with db.write() as tx:
        assert await tx.fetch_value("PRAGMA journal_mode") == "wal"
        assert await tx.fetch_value("PRAGMA synchronous") == 2  # FULL
        assert await tx.fetch_value("PRAGMA secure_delete") == 1
        assert await tx.fetch_value("PRAGMA temp_store") == 2  # MEMORY
        assert await tx.fetch_value("PRAGMA foreign_keys") == 1


async def test_a_wrong_key_is_refused(db: Database, tmp_path: Path) -> None:
    await db.close()
    with pytest.raises(IndexUnreadable):
        await Database.open(tmp_path / "index.db", bytes(32))
    async with await Database.open(tmp_path / "index.db", KEY):
        pass


@pytest.mark.parametrize("offset", [0, 40, 2000])
async def test_a_tampered_first_page_is_refused_and_left_alone(db: Database, tmp_path: Path, offset: int) -> None:
    await db.close()
    path = tmp_path / "index.db"
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexUnreadable):
        await Database.open(path, KEY)
    assert path.read_bytes() == data


async def test_a_tampered_page_is_an_error_and_others_still_read(db: Database, tmp_path: Path) -> None:
    async with db.write() as tx:
        await tx.execute_many(
            "INSERT INTO thing (name) VALUES (?)", [(f"{i:0500}",) for i in range(8000)]
        )  # the schema stays in front
        await tx.execute("CREATE TABLE small (id INTEGER PRIMARY KEY) STRICT")
    await db.close()
    path = tmp_path / "index.db"
    data = bytearray(path.read_bytes())
    for page in range(len(data) // 4, len(data) * 3 // 4, 4096):
        data[page] ^= 0x80
    path.write_bytes(data)
    async with await Database.open(path, KEY) as damaged:
        for _ in range(6):  # more often than there are readers: none is lost by it
            with pytest.raises(IndexDamaged):
                await names(damaged)
        async with damaged.read() as rx:
            assert await rx.fetch_value("SELECT count(*) FROM small") == 0


async def test_a_newer_database_is_refused_untouched(db: Database, tmp_path: Path) -> None:
    async with db.write() as tx:
        await tx.execute("PRAGMA user_version = 9999")
    await db.close()
    before = (tmp_path / "index.db").read_bytes()
    with pytest.raises(NewerDataDirectory):
        await Database.open(tmp_path / "index.db", KEY)
    assert (tmp_path / "index.db").read_bytes() == before


async def test_closed_is_closed(db: Database) -> None:
    await db.close()
    await db.close()
    with pytest.raises(StoreClosed):
        async with db.read():
            pass
    with pytest.raises(StoreClosed):
        async with db.write():
            pass


async def test_the_wal_can_be_emptied_unless_a_reader_needs_it(db: Database, tmp_path: Path) -> None:
    async with db.write() as tx:
        await tx.execute("INSERT INTO thing (name) VALUES ('one')")
    assert await db.truncate_wal()
    assert (tmp_path / "index.db-wal").stat().st_size == 0


async def test_a_second_program_that_holds_the_index_is_a_clear_error(db: Database, tmp_path: Path) -> None:
    async with db.write() as tx:
        await tx.execute("PRAGMA busy_timeout = 50")
    other = sqlcipher.connect(str(tmp_path / "index.db"), isolation_level=None)
    other.execute(f"PRAGMA key = \"x'{KEY.hex()}'\"")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(IndexBusy):
            async with db.write() as tx:
                await tx.execute("INSERT INTO thing (name) VALUES ('one')")
    finally:
        other.close()
    assert await names(db) == []


def test_unknown_trouble_of_sqlite_is_still_ours() -> None:
    assert isinstance(convert(sqlcipher.OperationalError("no such table: x")), StoreError)


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [number for number, _path in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE good (id INTEGER PRIMARY KEY) STRICT;")
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE half (id INTEGER PRIMARY KEY) STRICT; NONSENSE;")
    connection = sqlcipher.connect(str(tmp_path / "x.db"), isolation_level=None)
    try:
        with pytest.raises(sqlcipher.OperationalError):
            migrate(connection, tmp_path)
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master").fetchall()]
        assert tables == ["good"]
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    finally:
        connection.close()


async def test_an_unwritable_directory_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LeveretError):
        await Database.open(tmp_path / os.urandom(4).hex() / "index.db", KEY)
