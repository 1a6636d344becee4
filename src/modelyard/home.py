"""The home: the one folder where a yard keeps everything, and the lock that makes one process its owner."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import random
import shutil
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, BinaryIO

from modelyard.errors import BadInput, HomeLocked, NotFound


def scratch_prefix(home: Path) -> str:
    """How the names of a home's folders for sockets begin; they lie in the system's own, since a socket's address is short."""
    return f"modelyard-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}-"


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
        while not _taken(file, fcntl.LOCK_EX):
            if not _taken(file, fcntl.LOCK_SH):  # not those who only look, who share it for a moment
                file.close()
                raise HomeLocked(
                    f"process {self.owner} owns this home",
                    where=str(self.path),
                    next="let it end, stop it with `modelyard down`, or set MODELYARD_HOME to another folder",
                )
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file
        _umask.begin()
        self._shut()

    def _shut(self) -> None:
        """Close what an older owner left readable in a home that is open to others; what the home itself allows is not ours to say."""
        for path in (self.database, self.database.with_name("mlflow.sqlite"), self.server_log, self.console):
            with contextlib.suppress(OSError):
                if path.stat().st_mode & 0o077:
                    path.chmod(0o600)

    def unlock(self) -> None:
        if self._lock is not None:
            _umask.end()
            self._lock.close()
            self._lock = None

    @property
    def locked(self) -> bool:
        """Whether some process owns the home now."""
        if self._lock is not None:
            return True
        with (self.path / "owner.lock").open("a+") as file:
            return not _taken(file, fcntl.LOCK_SH)

    @property
    def owner(self) -> str:
        """The process id of the owner, as it left it."""
        try:
            return (self.path / "owner.lock").read_text(encoding="utf-8").strip() or "unknown"
        except OSError:
            return "unknown"

    def sweep(self) -> None:
        """Remove what a killed owner had begun to write and never finished. Only for the owner, before it begins."""
        for unfinished in ("bundles/.sealing-*", "snapshots/.taking-*", "runtime/.new-*", "cache/.keeping-*"):
            for left in self.path.glob(unfinished):
                for folder, _, _ in os.walk(left):
                    Path(folder).chmod(0o700)
                shutil.rmtree(left, ignore_errors=True)
        for left in Path(tempfile.gettempdir()).glob(f"{scratch_prefix(self.path)}*"):  # folders of sockets
            if not any(_read(pipe) for pipe in left.glob("*.alive")):
                shutil.rmtree(left, ignore_errors=True)

    def labels(self, model: str) -> Path:
        return self.path / "labels" / model

    def profiles(self, model: str) -> Path:
        return self.path / "profiles" / model

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


class _Umask:
    """What the owner of a home makes is for its user alone, for as long as it owns one. Threads of a process share the umask."""

    def __init__(self) -> None:
        self._lock, self._homes, self.before = threading.Lock(), 0, -1

    def begin(self) -> None:
        with self._lock:
            before = os.umask(0o077)
            if not self._homes:
                self.before = before
            self._homes += 1

    def end(self) -> None:
        with self._lock:
            self._homes -= 1
            if not self._homes:
                os.umask(self.before)

    @property
    def usual(self) -> int:
        """The user's own, by which files outside of the home go. Only for the owner of one."""
        return self.before


_umask = _Umask()


def usual_mode() -> int | None:
    """The mode of a file that an owner makes outside of its home, as the user's umask asks for it; None where nobody owns one."""
    return 0o666 & ~_umask.usual if _umask.usual >= 0 else None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its user may read; whole or not at all, and whatever mode an older one had."""
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.unlink(missing_ok=True)
    handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def append_private(path: Path) -> BinaryIO:
    """Open a log to append to, readable by its user alone."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    os.fchmod(file.fileno(), 0o600)
    return file


def _taken(file: IO[str], kind: int) -> bool:
    with contextlib.suppress(OSError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    return False


def _read(pipe: Path) -> bool:
    """Whether a process reads from it: a runner that went on when its owner was killed."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def user_name(uid: int | None = None) -> str:
    """The login name of a user id, by default of whoever runs this process."""
    uid = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
