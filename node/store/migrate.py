"""The index's schema: numbered SQL files, applied in order, each in one transaction.

``PRAGMA user_version`` holds the number of the last file applied. A file is never edited once released; a change is a
new file. A database with a higher number than the last file belongs to a later version and is refused untouched.
"""

from pathlib import Path
from typing import Any

from node.errors.setup import NewerDataDirectory

MIGRATIONS = Path(__file__).with_name("migrations")


def migrations(directory: Path = MIGRATIONS) -> list[tuple[int, Path]]:
    """The numbered files of ``directory`` (``0001_name.sql``), in order."""
    return sorted((int(path.name.split("_", 1)[0]), path) for path in directory.glob("[0-9]*_*.sql"))


def migrate(connection: Any, directory: Path = MIGRATIONS) -> None:
    """Apply to a SQLCipher ``connection`` what it lacks; runs on the connection's thread.

    Raises:
        NewerDataDirectory: the database's version is beyond the last file here.
    """
    files = migrations(directory)
    current = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if current > files[-1][0]:
        raise NewerDataDirectory(f"index version {current}, this program knows {files[-1][0]}")
    connection.execute("PRAGMA journal_mode = WAL")
    for number, path in files:
        if number > current:
            _apply(connection, number, path.read_text(encoding="utf-8"))


def _apply(connection: Any, number: int, sql: str) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
