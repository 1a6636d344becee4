"""Callers: the same verbs of a yard in this process, or of one that another process owns, over its Unix socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelyard import errors
from modelyard.errors import BadConfig, Problem, StepFailed, Unavailable, YardError

if TYPE_CHECKING:
    from modelyard.control.server import Server
    from modelyard.yard import Yard


class Caller(Protocol):
    """How the CLI asks. `remote`: another process owns the home, and goes on when this one ends."""

    remote: bool

    def call(self, verb: str, **words: Any) -> Any:
        """The verb's answer as JSON values. Raises YardError."""
        ...

    def follow(self, run: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        """A run's feed from byte `offset` on, until it ends."""
        ...


class LocalCaller:
    """Asks a yard that this process owns."""

    remote = False

    def __init__(self, yard: Yard, by: str, server: Server) -> None:
        self.yard, self.server, self._by = yard, server, by

    def call(self, verb: str, **words: Any) -> Any:
        from modelyard.control.verbs import VERBS

        found = VERBS[verb]
        answer = found.call(self.yard, found.words(**words), self._by)
        return json.loads(json.dumps(answer, default=str))

    def follow(self, run: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        return self.yard.follow(run, offset)


class RemoteCaller:
    """Asks the owner of a home over its socket."""

    remote = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, verb: str, **words: Any) -> Any:
        from modelyard.control.connection import HTTPException, UnixConnection

        connection = UnixConnection(self._path, None)
        try:
            connection.request("POST", f"/api/v1/{verb}", json.dumps(words), {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, HTTPException) as exc:
            raise Unavailable(f"the owner of the home does not answer: {exc}", where=str(self._path.parent)) from exc
        finally:
            connection.close()
        answer = _parsed(data, response.status)
        if response.status >= 400:
            raise as_error(answer["error"], response.status)
        return answer

    def follow(self, run: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        from modelyard.control.connection import HTTPException, UnixConnection

        connection = UnixConnection(self._path, None)
        try:
            connection.request("GET", f"/api/v1/runs/{run}/feed?offset={offset}")
            response = connection.getresponse()
            if response.status >= 400:
                raise as_error(_parsed(response.read(), response.status)["error"], response.status)
            for line in response:
                yield json.loads(line)
        except (OSError, HTTPException) as exc:
            raise Unavailable(f"the owner of the home went away: {exc}", where=str(self._path.parent)) from exc
        finally:
            connection.close()

    def alive(self) -> bool:
        """Whether somebody answers there."""
        return self.health() is not None

    def health(self) -> dict[str, Any] | None:
        """How whoever answers there is: `status`, and whether it `stays` when its command is done. None where nobody answers."""
        from modelyard.control.connection import HTTPException, UnixConnection

        connection = UnixConnection(self._path, 5)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            found: dict[str, Any] = json.loads(response.read())
            return found if response.status == 200 else None
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()


def _parsed(data: bytes, status: int) -> Any:
    try:
        return json.loads(data)
    except ValueError as exc:
        raise YardError(f"the owner of the home answered {status} without JSON", next="its log (server.log in the home) says why") from exc


def as_error(said: dict[str, Any], status: int = 500) -> YardError:
    """An error that came as JSON, as the exception it was: with its exit code and its problems. One of an endpoint keeps its code."""
    if said.get("problems"):
        return BadConfig([Problem(p["file"], p["line"], p["column"], p["message"], next=p.get("next", "")) for p in said["problems"]])
    kinds = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, YardError)}
    code = said.get("code", "")
    kind = kinds.get(code, YardError)
    if kind is StepFailed:
        return StepFailed(said["what"], where=said["where"], next=said["next"], log_tail=tuple(said.get("log_tail", ())))
    if kind is BadConfig:
        kind = errors.BadInput
    error = kind(said["what"], where=said.get("where", ""), next=said.get("next", ""))
    if code and code not in kinds:
        error.code, error.http_status, error.exit_code = code, status, 2 if status < 500 else 1
    return error
