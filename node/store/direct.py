"""Questions to the index from a thread that is at work already, without a trip to a reader's thread.

One connection for all such threads, one at a time on it; SQLCipher's exceptions stop here, as in ``engine``.
"""

import contextlib
import threading
from typing import Any

from sqlcipher3 import dbapi2 as sqlcipher

from node.errors.storage import StoreClosed
from node.store.engine import Database, Params, Row, convert


class Direct:
    """Opened by the first question; close it when no thread asks any more. Not for the event loop: it waits."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._connection: Any = None
        self._is_closed = False

    def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of one query, which is a snapshot of its own.

        Raises:
            StoreError: a subclass says what is wrong with the index; the next question gets a fresh connection.
        """
        with self._lock:
            if self._is_closed:
                raise StoreClosed
            try:
                if self._connection is None:
                    self._connection = self._db.connect()
                rows: list[Row] = self._connection.execute(sql, params).fetchall()
            except sqlcipher.Error as exc:
                self._drop()
                raise convert(exc) from exc
            return rows

    def close(self) -> None:
        """Harmless when called twice."""
        with self._lock:
            self._is_closed = True
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlcipher.Error):
                connection.close()
