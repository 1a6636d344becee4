"""Asking a runner for a piece: the columns go to it as buffers in a file, and the outputs come back so. See `runtime.batch`."""

from __future__ import annotations

import itertools
import mmap
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modelyard.errors import Unavailable
from modelyard.serve import wire
from modelyard.serve.batch.columns import Values
from modelyard.serve.plan.refused import Refused
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature

SECONDS = 3600.0
"""How long a runner may take for a piece."""


class _Reply(msgspec.Struct):
    outputs: dict[str, Any] | None = None
    error: wire.Failure | None = None


class Asking:
    """A connection to a runner that listens at `path`; files go through its folder, which the runner sees at the same place."""

    def __init__(self, path: Path, signature: Signature) -> None:
        """Raises Unavailable."""
        self._folder, self._signature = path.parent, signature
        self._numbers = itertools.count()
        try:
            self._peer: socket.socket = wire.connect(path, timeout=SECONDS)
        except OSError as exc:
            raise Unavailable(f"the runner does not answer: {exc}", where=str(path)) from exc

    def __call__(self, columns: dict[str, Values], count: int) -> dict[str, Any]:
        name = f"batch-{os.getpid()}-{id(self)}-{next(self._numbers)}"
        given, made = self._folder / name, self._folder / f"{name}.out"
        try:
            parts = _put(given, columns)
            message = {"op": "batch", "id": 0, "rows": count, "file": str(given), "out": str(made), "columns": parts}
            reply = self._asked(message)
            if (failure := reply.error) is not None:
                raise ModelFailed(failure.what) if failure.row is None else Refused(failure.what, failure.row)
            return _taken(made, reply.outputs or {}, self._signature, count)
        finally:
            given.unlink(missing_ok=True)
            made.unlink(missing_ok=True)

    def _asked(self, message: dict[str, Any]) -> _Reply:
        body = msgspec.json.encode(message)
        try:
            self._peer.sendall(len(body).to_bytes(4, "big") + body)
            return msgspec.json.decode(wire.receive(self._peer), type=_Reply)
        except (OSError, msgspec.DecodeError) as exc:
            raise Unavailable(f"the runner does not answer: {exc}") from exc


def _put(path: Path, columns: dict[str, Values]) -> dict[str, Any]:
    """The buffers, one after the other, each at a multiple of 8; and where they are."""
    parts, buffers, at = dict[str, Any](), list[bytes](), 0
    for name, values in columns.items():
        data = np.ascontiguousarray(values.data.astype(np.int32) if values.words is not None else values.data)
        part: dict[str, Any] = {"at": at, "words": values.words, "missing": None}
        for key, array in (("at", data), ("missing", values.missing)):
            if array is not None:
                part[key] = at
                raw = array.tobytes()
                buffers.append(raw + bytes(-len(raw) % 8))
                at += len(buffers[-1])
        parts[name] = part
    with path.open("wb") as file:
        file.writelines(buffers)
    return parts


def _taken(path: Path, outputs: dict[str, Any], signature: Signature, count: int) -> dict[str, Any]:
    """Scores are float64 in the file, at their place; a prediction is that too, or a list."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    found: dict[str, Any] = {}
    for name in signature.outputs:
        where = outputs.get(name)
        if isinstance(where, int):
            found[name] = np.frombuffer(data, np.float64, count, where)
        elif isinstance(where, list) and len(where) == count:
            found[name] = where
        else:
            raise ModelFailed("the runner's answer does not have the signature's outputs")
    return found
