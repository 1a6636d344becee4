"""Explanations from a runner that knows its model's structure: the `explain` message, which a runner may decline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.errors import Unavailable
from modelyard.serve import wire
from modelyard.serve.explanations import Explained
from modelyard.serve.runner import features
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 1000


class Declined(Exception):
    """The runner cannot explain this model exactly; the message says why."""


class Rows(msgspec.Struct, frozen=True):
    rows: int
    columns: dict[str, list[Any]]


class Explain(msgspec.Struct, frozen=True, tag_field="op", tag="explain"):
    """A request; see docs/reference/runner-protocol.md."""

    id: int
    rows: int
    columns: dict[str, list[Any]]
    background: Rows
    output: str
    method: str


class _Reply(msgspec.Struct, frozen=True):
    id: int | None = None
    explained: Explained | None = None
    declined: str | None = None
    error: wire.Failure | None = None


_reply = msgspec.json.Decoder(_Reply)


def explain(
    socket: Path, rows: pl.DataFrame, background: pl.DataFrame, signature: Signature, output: str, method: str, timeout: float = 3600.0
) -> list[Explained]:
    """The runner's own explanation of `output` (by its name in the signature), a part for each 1000 rows in turn.

    method: auto, tree or linear. `timeout` in seconds is for each part. Raises Declined (a runner that does not know the message
    declines it too), BadInput (a column is missing), Unavailable.
    """
    columns, usual = features(rows, signature), features(background, signature)
    behind = Rows(background.height, {name: values.to_list() for name, values in usual.items()})
    parts = []
    try:
        with wire.connect(socket, timeout=timeout) as peer:
            for start in range(0, rows.height, CHUNK_ROWS):
                chunk = {name: values.slice(start, CHUNK_ROWS).to_list() for name, values in columns.items()}
                count = min(CHUNK_ROWS, rows.height - start)
                body = msgspec.json.encode(Explain(start, count, chunk, behind, output, method))
                peer.sendall(wire.frame(body))
                parts.append(_understood(wire.receive(peer), len(signature.columns), count))
    except OSError as exc:
        raise Unavailable(f"the runner does not answer: {exc}", where=str(socket)) from exc
    return parts


def _understood(body: bytes, columns: int, rows: int) -> Explained:
    try:
        reply = _reply.decode(body)
    except msgspec.DecodeError as exc:
        raise Declined(f"the runner's explanation is not as the protocol has it: {exc}") from exc
    if reply.explained is None:
        raise Declined(reply.declined or "the runner answers predictions only")
    if [len(values) for values in reply.explained.attributions] != [rows] * columns:
        raise Declined("the runner's explanation has not a value a row and column")
    return reply.explained
