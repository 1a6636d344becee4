"""The home: the one folder where a yard keeps everything, and the lock that makes one process its owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import stat
import time
from pathlib import Path
from typing import IO

from modelyard.errors import BadInput, HomeLocked, NotFound


def default_home() -> Path:
    """MODELYARD_HOME, else ~/.modelyard."""
    return Path(os.environ.get("MODELYARD_HOME") or "~/.modelyard").expanduser().absolute()


class Home:
    """Paths of a home. Making one creates the folder, for its user only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (FileExistsError, NotADirectoryError) as exc:
            raise BadInput(f"{path} is not a folder", next="set MODELYARD_HOME to a folder that Modelyard may fill") from exc
        except PermissionError as exc:
            raise BadInput(f"{path} cannot be created", next="set MODELYARD_HOME to a folder you may write to") from exc
        if not os.access(path, os.W_OK | os.X_OK):
            raise BadInput(f"{path} cannot be written to", next="set MODELYARD_HOME to a folder you may write to")
        self.database = path / "state.sqlite"
        self.runs = path / "runs"
        self.bundles = path / "bundles"
        self.endpoints = path / "endpoints"
        self.reports = path / "reports"
        self.socket = path / "owner.sock"
        self.server_log = path / "server.log"
        self.console = path / "console.url"
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Become the owner; held until the process ends. Raises HomeLocked when another process is."""
        file = (self.path / "owner.lock").open("a+")
        if not _taken(file, fcntl.LOCK_EX, tries=5):  # a command that only looks holds it for a moment
            file.close()
            raise HomeLocked(
                f"process {self.owner} owns this home",
                where=str(self.path),
                next="let it end, stop it with `modelyard down`, or set MODELYARD_HOME to another folder",
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def locked(self) -> bool:
        """Whether some process owns the home now."""
        if self._lock is not None:
            return True
        with (self.path / "owner.lock").open("a+") as file:
            return not _taken(file, fcntl.LOCK_SH, tries=1)

    @property
    def owner(self) -> str:
        """The process id of the owner, as it left it."""
        try:
            return (self.path / "owner.lock").read_text(encoding="utf-8").strip() or "unknown"
        except OSError:
            return "unknown"

    def labels(self, model: str) -> Path:
        return self.path / "labels" / model

    def secret(self, name: str) -> str:
        """The secret's value, from MODELYARD_SECRET_<NAME> or the file secrets/<name>.

        Raises NotFound, or BadInput when others may read the file.
        """
        if (value := os.environ.get(f"MODELYARD_SECRET_{name.upper()}")) is not None:
            return value
        file = self.path / "secrets" / name
        if not file.is_file():
            hint = f"set MODELYARD_SECRET_{name.upper()}, or write it to secrets/{name} in the home with mode 600"
            raise NotFound(f"the secret `{name}` is not there", next=hint)
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadInput(f"the secret `{name}` may be read by others", where=f"secrets/{name}", next=f"chmod 600 {file}")
        return file.read_text(encoding="utf-8").strip()


def _taken(file: IO[str], kind: int, tries: int) -> bool:
    for left in range(tries - 1, -1, -1):
        with contextlib.suppress(OSError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        if left:
            time.sleep(0.02)
    return False


def user_name(uid: int | None = None) -> str:
    """The login name of a user id, by default of whoever runs this process."""
    uid = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
