"""Errors that a person reads: what is wrong, where, and what to do next.

Every error that leaves Modelyard, by the CLI, the API or an endpoint, is a `YardError`. Its `exit_code` is the CLI's and its
`http_status` the API's, so that one failure looks the same from every side.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class YardError(Exception):
    """Base of all errors shown to a person.

    Attributes:
        what: one sentence that says what is wrong.
        where: the place, such as `config.yaml:12:5`, a path, a step or a column; empty where there is none.
        next: what to do now, a sentence or a command; empty where nothing helps.
        code: a stable lower-case word for machines, such as `bad_input`.
    """

    code = "failed"
    exit_code = 1
    http_status = 500

    def __init__(self, what: str, *, where: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.next = what, where, next

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.next:
            lines.append(f"  next: {self.next}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The one error shape: `{"error": {"code", "what", "where", "next"}}`."""
        return {"error": {"code": self.code, "what": self.what, "where": self.where, "next": self.next}}


class BadInput(YardError):
    """The caller gave something that cannot be used: a file, a column, an argument, a body."""

    code, exit_code, http_status = "bad_input", 2, 400


class NotFound(BadInput):
    """What was named does not exist."""

    code, http_status = "not_found", 404


class StepFailed(YardError):
    """A step of the build ended badly; `log_tail` holds its last lines (newest last)."""

    code = "step_failed"

    def __init__(self, what: str, *, where: str = "", next: str = "", log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(what, where=where, next=next)
        self.log_tail = log_tail

    def __str__(self) -> str:
        tail = "".join(f"\n  | {line}" for line in self.log_tail)
        return super().__str__() + tail

    def to_dict(self) -> dict[str, Any]:
        shape = super().to_dict()
        shape["error"]["log_tail"] = list(self.log_tail)
        return shape


class GateRefused(YardError):
    """A gate said no: the work itself went well, the result is not good enough."""

    code, exit_code, http_status = "gate_refused", 3, 409


class NotAllowed(YardError):
    """Whoever asked may not do this."""

    code, exit_code, http_status = "not_allowed", 1, 403


class Halted(YardError):
    """Somebody who asked for it has asked for its end too."""

    code, exit_code, http_status = "stopped", 1, 409


class HomeLocked(YardError):
    """Another process owns the home."""

    code, exit_code, http_status = "home_locked", 1, 409


class NoRoom(YardError):
    """A disk is full."""

    code, exit_code, http_status = "no_room", 1, 507


_FULL = ("no space left on device", "disk is full", "disk quota exceeded")
_FULL_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})
LEAST_ROOM = 2**20
"""Bytes below which a disk counts as full."""


def no_room(exc: BaseException, folder: Path | None = None) -> NoRoom | None:
    """A full disk, by what the system said to us or to what we called. None where it is something else.

    Words alone prove nothing, since a script may print any: they count where `folder` is given and its disk is full.
    """
    chain = list(_causes(exc))
    if (ours := next((e for e in chain if isinstance(e, NoRoom)), None)) is not None:
        return ours
    full = next((e for e in chain if _is_full(e)), None)
    if full is None and not (folder is not None and _says_full(exc) and shutil.disk_usage(folder).free < LEAST_ROOM):
        return None
    where = str(full.filename or "") if isinstance(full, OSError) else getattr(exc, "where", "")
    return NoRoom("no space left on device", where=where, next="make room on the disk and run the command again; nothing done is lost")


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from."""
    seen = set[int]()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def _is_full(exc: BaseException) -> bool:
    if isinstance(exc, OSError):
        return exc.errno in _FULL_NUMBERS or (exc.errno is None and _says_full(exc))  # Polars' have the words alone
    return getattr(exc, "sqlite_errorname", "") == "SQLITE_FULL"


def _says_full(exc: BaseException) -> bool:
    return any(words in str(exc).lower() for words in _FULL)


class Unavailable(YardError):
    """Something that should answer does not: an endpoint, a runner, the owner of the home."""

    code, exit_code, http_status = "unavailable", 1, 503


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file, with its place (1-based) and the line it stands in."""

    file: str
    line: int
    column: int
    message: str
    source_line: str = ""
    next: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        if self.source_line:
            text += f"\n    {self.source_line}\n    {' ' * max(0, self.column - 1)}^"
        return text + (f"\n  next: {self.next}" if self.next else "")


class BadConfig(BadInput):
    """config.yaml does not hold; `problems` are all of them at once, in the file's order."""

    code = "bad_config"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__(f"{count} in {problems[0].file if problems else 'config.yaml'}")

    def __str__(self) -> str:
        return "\n".join(str(p) for p in self.problems)

    def to_dict(self) -> dict[str, Any]:
        shape = super().to_dict()
        shape["error"]["problems"] = [
            {"file": p.file, "line": p.line, "column": p.column, "message": p.message, "next": p.next} for p in self.problems
        ]
        return shape
