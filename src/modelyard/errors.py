"""Errors that a person reads: what is wrong, where, and what to do next.

Every error that leaves Modelyard, by the CLI, the API or an endpoint, is a `YardError`. Its `exit_code` is the CLI's and its
`http_status` the API's, so that one failure looks the same from every side.
"""

from __future__ import annotations

from dataclasses import dataclass
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


class AwaitingApproval(YardError):
    """The work is waiting for a person's word."""

    code, exit_code, http_status = "awaiting_approval", 4, 409


class NotAllowed(YardError):
    """Whoever asked may not do this."""

    code, exit_code, http_status = "not_allowed", 1, 403


class HomeLocked(YardError):
    """Another process owns the home."""

    code, exit_code, http_status = "home_locked", 1, 409


class NoRoom(YardError):
    """A disk is full."""

    code, exit_code, http_status = "no_room", 1, 507


_FULL = ("no space left on device", "disk is full", "disk quota exceeded")


def no_room(exc: BaseException) -> NoRoom | None:
    """A full disk, in whatever words it came: the system's, SQLite's, or the last lines of a step. None where it is something else."""
    if isinstance(exc, NoRoom):
        return exc
    text = f"{exc} {exc.strerror}" if isinstance(exc, OSError) else str(exc)
    if not any(words in text.lower() for words in _FULL):
        return None
    where = str(exc.filename or "") if isinstance(exc, OSError) else getattr(exc, "where", "")
    return NoRoom("no space left on device", where=where, next="make room on the disk and run the command again; nothing done is lost")


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
