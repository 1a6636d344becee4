"""What a front captures by: a writer an endpoint, and a lane a version for requests of one row."""

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
from modelyard.serve.capture.unwritten import Unwritten
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
Values = Sequence[Any]


def begin(capture: Capture, stats: CaptureStats, unwritten: Unwritten | None = None) -> Writer | None:
    """A writer as the routing table asks for; None where nothing is kept. Raises BadInput where the key of hashed columns is not there."""
    if capture.mode == "off" or not capture.sample:
        return None
    redaction, required = Redaction(capture.redact, Path(capture.key) if capture.key else None), capture.mode == "required"
    return Writer(Path(capture.dir), sample=capture.sample, stats=stats, required=required, redaction=redaction, unwritten=unwritten)


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
    """Appends to a segment in `folder` (made if missing). Not thread-safe: it belongs to its process's event loop.

    Rows are counted once their fate is known, so captured + dropped + failed == eligible at any moment. `required`: a request
    must wait for what `write` and `row` return. Which requests are kept is left to chance, so no caller has a say in it.
    `unwritten`: rows that come by their lanes are written when that is, before their answers are sent, and not each at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stats: CaptureStats,
        sample: float = 1.0,
        required: bool = False,
        redaction: Redaction | None = None,
        unwritten: Unwritten | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
    ) -> None:
        self.folder, self.sample, self.required = folder, sample, required
        self._stats, self.redaction = stats, redaction or Redaction()
        self.unwritten = None if required else unwritten
        self.segment_bytes, self.segment_seconds = segment_bytes, segment_seconds
        self.segment: Segment | None = None
        self._number = self._keys = 0
        self._frame = frames.blank()
        self._lanes: dict[str, Lane] = {}
        self._commits = Commits(self.settle, self._abandon) if required else None

    def lane(self, version: str, signature: Signature) -> Lane:
        """The lane of a version."""
        lane = self._lanes.get(version)
        if lane is None or (lane.signature is not signature and lane.signature != signature):
            if lane is not None:
                lane.write()
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
            return lane.now(rows.received_at, latency_ms, rows.inference_ids[0], values, [outputs[name][0] for name in lane.outputs])
        if not self.chosen(rows.count):
            return None
        clean, latency = self.redaction.of_columns, float(latency_ms)
        ids, features, extras = rows.inference_ids, clean(rows.columns), clean(rows.extras)
        message = (frames.ROWS, lane.key, rows.received_at, latency, ids, rows.event_times, features, extras, outputs)
        return self.append(lane, message, rows.count)

    def chosen(self, rows: int) -> bool:
        """Whether a request of so many rows is one to keep."""
        if self.sample >= 1.0 or _chance() < self.sample:
            return True
        self._stats.sampled_out += rows
        return False

    def append(self, lane: Lane, message: tuple[Any, ...], rows: int) -> Future[None] | None:
        """Write a frame of a lane's. Returns and raises what `write` does."""
        try:
            segment = self._put(lane, message)
        except OSError as exc:
            self.settle(rows, exc)
            if self.required:
                raise refusal(exc) from exc
            return None
        if self._commits is not None:
            return self._commits.wait(segment, rows)
        self.settle(rows, None)
        return None

    def append_together(self, lane: Lane, requests: Sequence[tuple[Any, ...]]) -> None:
        """Write messages of one row each in one frame, or where that does not work, each in its own. Raises nothing."""
        try:
            self._put(lane, (frames.TOGETHER, requests))
        except OSError:
            for request in requests:
                self.append(lane, request, 1)
        else:
            self.settle(len(requests), None)

    def _put(self, lane: Lane, message: tuple[Any, ...]) -> Segment:
        """Write a frame, after the lane's head where the segment has none yet. Raises OSError."""
        frame, segment = frames.frame(message, self._frame), self._open()
        if lane.segment is not segment:
            segment.append(lane.head)
            lane.segment = segment
        segment.append(frame)
        return segment

    @property
    def stats(self) -> CaptureStats:
        """The counters, as they are now."""
        self.count()
        return self._stats

    def count(self) -> None:
        """Write, and so count, what is still to be written."""
        for lane in self._lanes.values():
            lane.write()

    def settle(self, rows: int, exc: OSError | None) -> None:
        """Count rows: captured, or by the error dropped or failed."""
        stats = self._stats
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
        self.count()
        if self.segment is not None and time.monotonic() - self.segment.opened >= self.segment_seconds:
            self._end()

    def close(self) -> None:
        """Write what is to be written, and close the open segment: it is complete, and may be compacted."""
        self.count()
        self._end()

    def _end(self) -> None:
        """Close the open segment. One that requests wait for is closed when they need not."""
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
            self._end()
        if self.segment is None:
            self._number += 1
            self.segment = Segment(self.folder, self._number, self.segment_bytes)
        return self.segment


class Lane:
    """One version's way into the capture, for requests of one row: values in the order of the signature's columns and outputs.

    `row(received_at, latency_ms, inference_id, values, outputs)` keeps one, which is on file once the writer's `unwritten` is written; by
    `now` it is at once. Otherwise both are as `Writer.write`.
    """

    __slots__ = ("_clean", "_unwritten", "_writer", "head", "key", "names", "outputs", "row", "segment", "signature")

    row: Callable[[int, float, str, Values, Values], Future[None] | None]

    def __init__(self, writer: Writer, key: int, version: str, signature: Signature) -> None:
        self._writer, self.key, self.signature = writer, key, signature
        self.names, self.outputs = signature.names, signature.outputs
        self.segment: Segment | None = None
        self._unwritten: list[tuple[Any, ...]] = []
        redaction, types = writer.redaction, column_types(signature)
        types |= {feature(name): "str" for name in signature.names if redaction.is_hashed(name)}
        kept = redaction.kept(signature.names)
        gone = {feature(name) for name in set(signature.names) - set(kept)}
        types = {name: kind for name, kind in types.items() if name not in gone}
        self.head = bytes(frames.frame((frames.HEAD, key, version, types, kept, list(signature.outputs)), frames.blank()))
        self._clean = redaction.of_row(signature.names)
        self.row = self.now if writer.unwritten is None else self._later(writer.unwritten)

    def now(self, received_at: int, latency_ms: float, inference_id: str, values: Values, outputs: Values) -> Future[None] | None:
        if not self._writer.chosen(1):
            return None
        if self._clean is not None:
            values = self._clean(values)
        return self._writer.append(self, (frames.ROW, self.key, received_at, latency_ms, inference_id, values, outputs), 1)

    def _later(self, others: Unwritten) -> Callable[[int, float, str, Values, Values], None]:
        """`row` where it is written later. A front calls it tens of thousands of times a second."""
        kind, key, clean, write = frames.ROW, self.key, self._clean, self.write
        mine, keep = self._unwritten, self._unwritten.append
        chosen = None if self._writer.sample >= 1.0 else self._writer.chosen

        def row(received_at: int, latency_ms: float, inference_id: str, values: Values, outputs: Values) -> None:
            if chosen is not None and not chosen(1):
                return
            if clean is not None:
                values = clean(values)
            if not mine:
                others.add(write)
            keep((kind, key, received_at, latency_ms, inference_id, values, outputs))

        return row

    def write(self) -> None:
        """Write what is not written yet."""
        if self._unwritten:
            requests = tuple(self._unwritten)
            self._unwritten.clear()
            self._writer.append_together(self, requests)
