"""The state database: one SQLite file, one connection, one writer, and transactions that a crash leaves whole.

The rollback journal with `synchronous=FULL`: SQLite below 3.51.3 can corrupt a WAL database that two connections write. The owner
of the home is the only process that opens it, and every use goes through one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, MetaData, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from modelyard.errors import HomeLocked, NoRoom, YardError

METADATA = MetaData()


class Database:
    """Holds the connection. `transaction()` is the only way in; nested calls join the outer one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._open: Connection | None = None
        self._engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": 5})
        event.listen(self._engine, "connect", _set_pragmas)
        with self.transaction() as connection:
            METADATA.create_all(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. Raises NoRoom when the disk is full and HomeLocked when another process holds the file."""
        with self._lock:
            if self._open is not None:
                yield self._open
                return
            try:
                with self._engine.begin() as connection:
                    self._open = connection
                    yield connection
            except DBAPIError as exc:
                raise _translated(exc, self.path) from exc
            finally:
                self._open = None

    def close(self) -> None:
        with self._lock:
            self._engine.dispose()


def _set_pragmas(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=DELETE", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _translated(exc: DBAPIError, path: Path) -> YardError:
    reason = str(exc.orig)
    if "full" in reason or "disk I/O" in reason:
        return NoRoom(
            f"the state database could not be written: {reason}",
            where=path.name,
            next="make room on the disk and run the command again; nothing that was acknowledged is lost",
        )
    if "locked" in reason:
        return HomeLocked("the state database is held by another process", where=path.name, next="stop that process first")
    return YardError(f"the state database answered: {reason}", where=path.name)
