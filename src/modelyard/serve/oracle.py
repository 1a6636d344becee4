"""The native model as the oracle of its row plan: a runner gives the plan, and answers the rows that the plan is held against."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from modelyard.errors import Unavailable
from modelyard.serve import wire
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature

EXTRACT = b'{"op": "extract", "id": 0}'
Columns = dict[str, list[Any]]
"""Values by the signature's columns, as the wire has them: a missing one is None, a datetime microseconds in UTC."""


class Declined(Exception):
    """The model cannot be written out as a row plan; the message says why."""


class _Reply(msgspec.Struct, frozen=True):
    plan: msgspec.Raw = msgspec.Raw(b"")
    declined: str | None = None
    error: wire.Failure | None = None


_reply = msgspec.json.Decoder(_Reply)


class Oracle:
    """A connection to a runner."""

    def __init__(self, peer: socket.socket, signature: Signature) -> None:
        self._peer, self._signature = peer, signature
        self.asked = 0

    def plan(self) -> bytes:
        """The model's row plan as JSON, unchecked. Raises Declined (a runner that does not know the message declines too), Unavailable."""
        body = self._exchange(EXTRACT)
        try:
            reply = _reply.decode(body)
        except msgspec.DecodeError as exc:
            raise Declined(f"the runner's row plan is not as the protocol has it: {exc}") from exc
        if not bytes(reply.plan):
            raise Declined(reply.declined or "the runner answers predictions only")
        return bytes(reply.plan)

    def answers(self, columns: Columns, count: int) -> Columns:
        """The native model's outputs for `count` rows together. Raises ModelFailed, Unavailable."""
        self.asked += 1
        reply = wire.decode_reply(self._exchange(wire.body(wire.Predict(self.asked, count, columns))))
        if reply.error is not None:
            raise ModelFailed(reply.error.what)
        outputs = reply.outputs or {}
        if any(len(outputs.get(name, ())) != count for name in self._signature.outputs):
            raise ModelFailed("the runner's answer does not have the signature's outputs")
        return outputs

    def _exchange(self, body: bytes) -> bytes:
        try:
            self._peer.sendall(wire.frame(body))
            return wire.receive(self._peer)
        except OSError as exc:
            raise Unavailable(f"the runner does not answer: {exc}") from exc


@contextmanager
def asked(path: Path, signature: Signature, timeout: float = 300.0) -> Iterator[Oracle]:
    """The oracle at a runner's socket, for as long as the block lasts; `timeout` in seconds is for each call. Raises Unavailable."""
    try:
        peer = wire.connect(path, timeout=timeout)
    except OSError as exc:
        raise Unavailable(f"the runner does not answer: {exc}", where=str(path)) from exc
    with peer:
        yield Oracle(peer, signature)
