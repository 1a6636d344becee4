"""What a front captures by: a writer a process, and a lane a version for requests of one row."""

from __future__ import annotations

import errno
import os
import random
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.serve.capture import frames
from modelyard.serve.capture.commits import Commits, refusal
from modelyard.serve.capture.redaction import Redaction
from modelyard.serve.capture.segment import Segment
from modelyard.serve.routes import Capture
from modelyard.serve.stats import CaptureStats
from modelyard.signature import Signature
from modelyard.tables import feature, output

if TYPE_CHECKING:
    from modelyard.serve.rows import Rows

SEGMENT_BYTES = 16 * 2**20
SEGMENT_SECONDS = 60.0
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_chance = random.random


def begin(capture: Capture, stats: CaptureStats) -> Writer | None:
    """A writer as the routing table asks for; None where nothing is kept. Raises BadInput where the key of hashed columns is not there."""
    if capture.mode == "off" or not capture.sample:
        return None
    redaction = Redaction(capture.redact, Path(capture.key) if capture.key else None)
    return Writer(Path(capture.dir), sample=capture.sample, stats=stats, required=capture.mode == "required", redaction=redaction)


def column_types(signature: Signature) -> dict[str, str]:
    """The type of each feature and output in a predictions table."""
    types = {feature(c.name): str(c.type) for c in signature.columns}
    kinds = {type(c) for c in signature.classes}
    label = "float"
    if kinds:
        label = {
            frozenset({int}): "int",
            frozenset({bool}): "bool",
            frozenset({float}): "float",
            frozenset({int, float}): "float",
        }.get(frozenset(kinds), "str")
    return types | {output(name): "float" for name in signature.outputs} | {output("prediction"): label}


class Writer:
    """Appends to a segment in `folder` (made if missing). Not thread-safe: one writer a process, in its event loop.

    Rows are counted once their fate is known, so captured + dropped + failed == eligible at any moment. `required`: a request
    must wait for what `write` and `row` return. Which requests are kept is left to chance, so no caller has a say in it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stats: CaptureStats,
        sample: float = 1.0,
        required: bool = False,
        redaction: Redaction | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
    ) -> None:
        self.folder, self.sample, self.required = folder, sample, required
        self._stats, self.uncounted = stats, 0  # rows that were captured and are not counted yet
        self.redaction = redaction or Redaction()
        self.segment_bytes, self.segment_seconds = segment_bytes, segment_seconds
        self.segment: Segment | None = None
        self._number = self._keys = 0
        self._lanes: dict[str, Lane] = {}
        self._commits = Commits(self.settle, self._abandon) if required else None

    def lane(self, version: str, signature: Signature) -> Lane:
        """The lane of a version."""
        lane = self._lanes.get(version)
        if lane is None or (lane.signature is not signature and lane.signature != signature):
            self._keys += 1
            lane = self._lanes[version] = Lane(self, self._keys, version, signature)
        return lane

    def write(
        self, version: str, signature: Signature, rows: Rows, outputs: dict[str, list[Any]], latency_ms: float
    ) -> Future[None] | None:
        """Keep one answered request. Never raises for a full or failing disk: the rows are counted as dropped or failed.

        Returns None, or where rows are `required` what the answer must wait for; that raises NotCaptured, as does this.
        """
        lane = self.lane(version, signature)
        if rows.count == 1 and rows.event_times is None and not rows.extras:
            values = [rows.columns[name][0] for name in lane.names]
            return lane.row(rows.received_at, latency_ms, rows.inference_ids[0], values, [outputs[name][0] for name in lane.outputs])
        if self.sample < 1.0 and _chance() >= self.sample:
            self.stats.sampled_out += rows.count
            return None
        clean, latency = self.redaction.of_columns, float(latency_ms)
        ids, features, extras = rows.inference_ids, clean(rows.columns), clean(rows.extras)
        message = (frames.ROWS, lane.key, rows.received_at, latency, ids, rows.event_times, features, extras, outputs)
        return self.append(lane, message, rows.count)

    def append(self, lane: Lane, message: tuple[Any, ...], rows: int) -> Future[None] | None:
        """Write a frame of a lane's, with its head where the segment has none yet."""
        try:
            data, segment = frames.frame(message), self._open()
            if lane.segment is not segment:
                data = lane.head + data
            segment.append(data)
            lane.segment = segment
        except OSError as exc:
            self.settle(rows, exc)
            if self.required:
                raise refusal(exc) from exc
            return None
        if self._commits is not None:
            return self._commits.wait(segment, rows)
        self.settle(rows, None)
        return None

    @property
    def stats(self) -> CaptureStats:
        """The counters, as they are now."""
        self.count()
        return self._stats

    def count(self) -> None:
        """Put down what was captured since the last time: counting each row by itself would take longer than it should."""
        rows, self.uncounted = self.uncounted, 0
        self._stats.eligible += rows
        self._stats.captured += rows

    def settle(self, rows: int, exc: OSError | None) -> None:
        """Count rows: captured, or by the error dropped or failed."""
        stats = self.stats
        stats.eligible += rows
        if exc is None:
            stats.captured += rows
            return
        if exc.errno in _NO_ROOM:
            stats.dropped += rows
        else:
            stats.failed += rows
        stats.last_error = os.strerror(exc.errno or errno.EIO)

    def tick(self) -> None:
        """Close a segment that is old enough. Call it a few times a second."""
        if self.segment is not None and time.monotonic() - self.segment.opened >= self.segment_seconds:
            self.close()

    def close(self) -> None:
        """Close the open segment: it is complete, and may be compacted. One that requests wait for is closed when they need not."""
        self.count()
        segment, self.segment = self.segment, None
        if segment is None:
            return
        segment.retired = True
        if not segment.waiting:
            segment.close()

    def _abandon(self, segment: Segment) -> None:
        if self.segment is segment:
            self.segment = None

    def _open(self) -> Segment:
        if self.segment is not None and self.segment.size >= self.segment_bytes:
            self.close()
        if self.segment is None:
            self._number += 1
            self.segment = Segment(self.folder, self._number, self.segment_bytes)
        return self.segment


class Lane:
    """One version's way into the capture.

    `row(received_at, latency_ms, inference_id, values, outputs)` keeps an answered request of one row, in the order of the signature's
    columns and outputs; otherwise it is as `Writer.write`.
    """

    __slots__ = ("_clean", "_writer", "head", "key", "names", "outputs", "row", "segment", "signature")

    row: Callable[[int, float, str, Sequence[Any], Sequence[Any]], Future[None] | None]

    def __init__(self, writer: Writer, key: int, version: str, signature: Signature) -> None:
        self._writer, self.key, self.signature = writer, key, signature
        self.names, self.outputs = signature.names, signature.outputs
        self.segment: Segment | None = None
        redaction, types = writer.redaction, column_types(signature)
        types |= {feature(name): "str" for name in signature.names if redaction.is_hashed(name)}
        kept = redaction.kept(signature.names)
        gone = {feature(name) for name in set(signature.names) - set(kept)}
        types = {name: kind for name, kind in types.items() if name not in gone}
        self.head = frames.frame((frames.HEAD, key, version, types, kept, list(signature.outputs)))
        self._clean = redaction.of_row(signature.names)
        plain = self._clean is None and writer.sample >= 1.0 and not writer.required
        self.row = _quick(self, writer) if plain else self._row

    def _row(
        self, received_at: int, latency_ms: float, inference_id: str, values: Sequence[Any], outputs: Sequence[Any]
    ) -> Future[None] | None:
        writer = self._writer
        if writer.sample < 1.0 and _chance() >= writer.sample:
            writer.stats.sampled_out += 1
            return None
        if self._clean is not None:
            values = self._clean(values)
        return writer.append(self, (frames.ROW, self.key, received_at, latency_ms, inference_id, values, outputs), 1)


def _quick(lane: Lane, writer: Writer) -> Callable[[int, float, str, Sequence[Any], Sequence[Any]], None]:
    """`Lane.row` where every row is kept as it is, without waiting: what a front calls tens of thousands of times a second. It does what
    `Writer.append` does; what the segment has no room for goes that longer way."""
    key, kind, encode_into, put_length = lane.key, frames.ROW, frames.encode_into, frames.put_length
    frame = bytearray(frames.LENGTH)  # of the row at hand: its length, which stays zero here, and its body

    def row(received_at: int, latency_ms: float, inference_id: str, values: Sequence[Any], outputs: Sequence[Any]) -> None:
        message = (kind, key, received_at, latency_ms, inference_id, values, outputs)
        segment = lane.segment
        if segment is None or segment is not writer.segment:
            writer.append(lane, message, 1)
            return
        try:
            encode_into(message, frame, 4)
        except OverflowError:
            writer.append(lane, message, 1)
            return
        start = segment.size
        end = start + len(frame)
        if end > segment.room or start >= writer.segment_bytes:
            writer.append(lane, message, 1)
            return
        segment.map.write(frame)
        put_length(segment.map, start, len(frame) - 4)
        segment.size = end
        writer.uncounted += 1

    return row
