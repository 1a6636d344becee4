"""The state database: one SQLite file, one connection, one writer, and transactions that a crash leaves whole.

The rollback journal, since SQLite below 3.51.3 can corrupt a WAL database that two connections write, with `synchronous=EXTRA`: with
FULL the deletion of the rollback journal, which is the commit, is not synced, and a power loss could take an acknowledged one back.
The owner of the home is the only process that opens it, and every use goes through one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, MetaData, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from modelyard.errors import HomeLocked, NoRoom, Unavailable, YardError

METADATA = MetaData()
BUSY_SECONDS = 5.0
"""How long a foreign lock on the file is waited for."""


class Database:
    """Holds the connection. `transaction()` is the only way in; nested calls join the outer one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._open: Connection | None = None
        self._failed: YardError | None = None
        self._closed = False
        options = {"check_same_thread": False, "timeout": BUSY_SECONDS}
        self._engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool, connect_args=options)
        event.listen(self._engine, "connect", _set_pragmas)
        with self.transaction() as connection:
            METADATA.create_all(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. Raises NoRoom when the disk is full or fails, HomeLocked when another process holds the file, and
        Unavailable after `close`.

        After a failed fsync nothing is written any more until the file is opened anew: the kernel may have dropped what it could
        not write, so a second try that goes well would prove nothing.
        """
        with self._lock:
            if self._open is not None:
                yield self._open
                return
            if self._failed is not None:
                raise self._failed
            if self._closed:  # the engine would open the file again, which another process may own by now
                raise Unavailable("the state database is closed", where=self.path.name)
            try:
                with self._engine.begin() as connection:
                    self._open = connection
                    yield connection
            except DBAPIError as exc:
                error = _translated(exc, self.path)
                if "FSYNC" in _name(exc):
                    self._failed = error
                raise error from exc
            finally:
                self._open = None

    def close(self) -> None:
        """For good."""
        with self._lock:
            self._closed = True
            self._engine.dispose()


def _set_pragmas(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _name(exc: DBAPIError) -> str:
    """SQLite's own name of what went wrong, such as SQLITE_IOERR_WRITE."""
    return str(getattr(exc.orig, "sqlite_errorname", ""))


def _translated(exc: DBAPIError, path: Path) -> YardError:
    reason, name = str(exc.orig), _name(exc)
    kept = "nothing that was acknowledged is lost"
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")):
        hint = f"make room on the disk and run the command again; {kept}"
        if "FSYNC" in name:
            hint = f"the disk failed: look at it, then start again; {kept}"
        return NoRoom(f"the state database could not be written: {reason} ({name})", where=path.name, next=hint)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        said = f"another program holds the state database, and did for {BUSY_SECONDS:g} s: {reason}"
        return HomeLocked(said, where=path.name, next=f"stop that program and run the command again; {kept}")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return YardError(f"the state database is damaged: {reason}", where=str(path), next="put a backup of it in its place")
    return YardError(f"the state database answered: {reason}", where=path.name)
