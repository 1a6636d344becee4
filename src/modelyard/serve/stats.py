"""What an endpoint counts, and the file in which its owner reads it.

Counters only ever rise while a front runs (`pid` and `started_at` say which one); an alarm looks at the `difference` of two
readings.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from enum import IntEnum
from pathlib import Path

import msgspec

from modelyard import files
from modelyard.errors import BadInput, NotFound, Unavailable

_FIRST_MS, PER_DOUBLING, _BUCKETS = 0.1, 4, 84  # 0.1 ms to over 200 s, each bucket 19% wider than the one before


def bucket_of(latency_ms: float) -> int:
    """The histogram bucket of a latency."""
    return bisect_left(_EDGES, latency_ms)


def upper_ms(bucket: int) -> float:
    """The upper edge of a bucket in milliseconds."""
    return _FIRST_MS * float(2 ** (bucket / PER_DOUBLING))


def quantile(histogram: list[int], share: float) -> float | None:
    """Upper edge in ms of the bucket in which the quantile lies (at most 19% too high); None without any request."""
    total = sum(histogram)
    if not total:
        return None
    seen, wanted = 0, share * total
    for bucket, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return upper_ms(bucket)
    return upper_ms(len(histogram) - 1)


_EDGES = [upper_ms(bucket) for bucket in range(_BUCKETS - 1)]


class Result(IntEnum):
    """How a request ended, by whose doing. A model that raises is the version's error, whatever status the caller sees."""

    ANSWERED = 0
    ERROR = 1
    CLIENT_ERROR = 2
    REJECTED = 3


class VariantStats(msgspec.Struct):
    """Counters of one version. `requests` are finished ones: answered + errors + client_errors + rejected; latencies are of the
    answered."""

    requests: int = 0
    answered: int = 0
    errors: int = 0  # the version's own failures, time-outs included
    client_errors: int = 0  # what callers did wrong
    rejected: int = 0  # no room for it: too many wait, or it could not be captured where it must be
    rows: int = 0
    in_flight: int = 0
    histogram: list[int] = msgspec.field(default_factory=lambda: [0] * _BUCKETS)
    latency_sum_ms: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    compared: int = 0  # rows that another version answered too (routes.Mirror)
    disagreed: int = 0  # of these, how many it answered otherwise
    quarantined: int = 0  # rows that killed a runner twice, and are refused since

    def finished(self, result: Result, latency_ms: float, rows: int) -> None:
        """Count one request; rows and latency only where it was answered."""
        if result is Result.ANSWERED:
            self.answer(latency_ms, rows)
            return
        self.requests += 1
        if result is Result.ERROR:
            self.errors += 1
        elif result is Result.REJECTED:
            self.rejected += 1
        else:
            self.client_errors += 1

    def answer(self, latency_ms: float, rows: int) -> None:
        """Count one request that was answered."""
        self.requests += 1
        self.answered += 1
        self.rows += rows
        self.histogram[0 if latency_ms <= _FIRST_MS else bisect_left(_EDGES, latency_ms)] += 1
        self.latency_sum_ms += latency_ms

    @property
    def error_rate(self) -> float | None:
        """Share of the version's own failures among the requests that were no fault of the caller; None without any."""
        judged = self.answered + self.errors
        return self.errors / judged if judged else None


class CaptureStats(msgspec.Struct):
    """Rows: captured + dropped + failed == eligible, exactly. `sampled_out` rows were answered and never eligible."""

    eligible: int = 0
    captured: int = 0
    dropped: int = 0  # no room on the disk
    failed: int = 0  # any other error of writing
    sampled_out: int = 0
    last_error: str = ""


class RunnerStats(msgspec.Struct):
    """A runner as the front sees it; `busy_seconds` (of the batch that it holds) tells a hung one, `batches` an idle one, `answered` one
    that is of use. `waiting_rows` is its share of what waits for the version's runners.
    """

    version: str
    connected: bool
    busy_seconds: float
    waiting_rows: int
    batches: int = 0
    restarts: int = 0  # how often it was there again after it had gone
    answered: int = 0


class Stats(msgspec.Struct):
    """The whole file."""

    pid: int
    started_at: float
    generation: int = 0
    port: int = 0
    grpc_port: int = 0
    ready: bool = False
    written_at: float = 0.0
    unrouted: int = 0  # requests that never reached a version: bad paths, hosts, keys
    bad_tables: int = 0  # routing tables that did not hold and were left aside
    variants: dict[str, VariantStats] = msgspec.field(default_factory=dict)
    runners: dict[str, RunnerStats] = msgspec.field(default_factory=dict)
    capture: CaptureStats = msgspec.field(default_factory=CaptureStats)
    wanted: dict[str, int] = msgspec.field(default_factory=dict)  # version: requests that wait for a runner that sleeps
    release: str = ""  # of Modelyard, by whose code the front goes


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Stats)


def write(path: Path, stats: Stats) -> None:
    """Replace the file. Raises OSError."""
    stats.written_at = time.time()
    for variant in stats.variants.values():
        variant.p50_ms, variant.p99_ms = quantile(variant.histogram, 0.5), quantile(variant.histogram, 0.99)
    files.replace(path, _encoder.encode(stats), durable=False)


def read(path: Path) -> Stats:
    """Raises NotFound where no front has written yet, BadInput for what is no stats file."""
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        raise NotFound("the front has written no stats yet", where=str(path)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadInput(f"the stats do not hold: {exc}", where=str(path)) from exc


def difference(after: VariantStats, before: VariantStats | None) -> VariantStats:
    """What happened between two readings of one front; all of `after` where there is no `before`."""
    if before is None or after.requests < before.requests:
        before = VariantStats()
    histogram = [a - b for a, b in zip(after.histogram, before.histogram, strict=True)]
    return VariantStats(
        requests=after.requests - before.requests,
        answered=after.answered - before.answered,
        errors=after.errors - before.errors,
        client_errors=after.client_errors - before.client_errors,
        rejected=after.rejected - before.rejected,
        rows=after.rows - before.rows,
        in_flight=after.in_flight,
        histogram=histogram,
        latency_sum_ms=after.latency_sum_ms - before.latency_sum_ms,
        compared=after.compared - before.compared,
        disagreed=after.disagreed - before.disagreed,
        quarantined=after.quarantined - before.quarantined,
        p50_ms=quantile(histogram, 0.5),
        p99_ms=quantile(histogram, 0.99),
    )


def wait_generation(path: Path, generation: int, timeout: float = 10.0) -> Stats:
    """Wait until the front has put the routing table of `generation` in force. Raises Unavailable."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            found = read(path)
            if found.generation >= generation:
                return found
        except NotFound:
            pass
        if time.monotonic() > deadline:
            raise Unavailable(f"the front has not taken up routing table {generation} in {timeout:g} s", where=str(path))
        time.sleep(0.02)
