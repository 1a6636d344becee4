"""The counters in Prometheus' text format: a family of metrics at a time, each with its help, for any number of endpoints and fronts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modelyard import __version__
from modelyard.serve.stats import PER_DOUBLING, Stats, upper_ms

KIND = b"text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[str, float]
"""What stands behind the family's name, and the value."""


class Said(NamedTuple):
    """What one front counted for one endpoint; each front has series of its own, which its end sets back to zero."""

    endpoint: str
    front: int
    stats: Stats


def text(all_: Iterable[Said]) -> str:
    """A page for Prometheus."""
    said = list(all_)
    lines = ["# HELP modelyard_build_info The release of Modelyard that answers.", "# TYPE modelyard_build_info gauge"]
    lines.append(f'modelyard_build_info{{version="{_escaped(__version__)}"}} 1')
    for name, kind, help_, samples in _FAMILIES:
        found = [f"{name}{rest} {_number(value)}" for one in said for rest, value in samples(one)]
        if found:
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *found]
    return "\n".join(lines) + "\n"


def _of(said: Said, **more: str) -> str:
    labels = {"endpoint": said.endpoint, "front": str(said.front), **more}
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(value).removesuffix(".0")


def _requests(said: Said) -> Iterator[Sample]:
    for version, v in said.stats.variants.items():
        results = {"answered": v.answered, "error": v.errors, "client_error": v.client_errors, "rejected": v.rejected}
        for result, count in results.items():
            yield _of(said, version=version, result=result), count


def _latency(said: Said) -> Iterator[Sample]:
    for version, v in said.stats.variants.items():
        seen = 0
        for bucket, count in enumerate(v.histogram):
            seen += count
            if bucket % PER_DOUBLING == 0:
                yield "_bucket" + _of(said, version=version, le=f"{upper_ms(bucket) / 1000:.6g}"), seen
        yield "_bucket" + _of(said, version=version, le="+Inf"), seen
        yield "_count" + _of(said, version=version), seen
        yield "_sum" + _of(said, version=version), v.latency_sum_ms / 1000


def _capture(said: Said) -> Iterator[Sample]:
    for name in ("eligible", "captured", "dropped", "failed", "sampled_out"):
        yield _of(said, result=name), getattr(said.stats.capture, name)


def _queued(said: Said) -> Iterator[Sample]:
    rows: dict[str, int] = {}
    for runner in said.stats.runners.values():
        rows[runner.version] = rows.get(runner.version, 0) + runner.waiting_rows
    for version, count in rows.items():
        yield _of(said, version=version), count


class _Versions:
    """One number of each version."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __call__(self, said: Said) -> Iterator[Sample]:
        for version, v in said.stats.variants.items():
            yield _of(said, version=version), getattr(v, self._field)


class _Runners:
    """One number of each runner, numbered in each version."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __call__(self, said: Said) -> Iterator[Sample]:
        seen: dict[str, int] = {}
        for _, runner in sorted(said.stats.runners.items()):
            number = seen[runner.version] = seen.get(runner.version, -1) + 1
            yield _of(said, version=runner.version, runner=str(number)), float(getattr(runner, self._field))


class _Plain:
    """One number of a front."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __call__(self, said: Said) -> Iterator[Sample]:
        yield _of(said), float(getattr(said.stats, self._field))


_FAMILIES = (
    ("modelyard_front_start_time_seconds", "gauge", "When the front began, in seconds since the epoch.", _Plain("started_at")),
    ("modelyard_ready", "gauge", "Whether a version is ready to answer.", _Plain("ready")),
    ("modelyard_table_generation", "gauge", "The routing table in force.", _Plain("generation")),
    ("modelyard_bad_tables_total", "counter", "Routing tables that did not hold and were left aside.", _Plain("bad_tables")),
    ("modelyard_unrouted_requests_total", "counter", "Requests that reached no version: bad paths, hosts, keys.", _Plain("unrouted")),
    ("modelyard_requests_total", "counter", "Finished requests of a version, by how they ended.", _requests),
    ("modelyard_request_seconds", "histogram", "Time that a version took for an answer.", _latency),
    ("modelyard_rows_total", "counter", "Rows answered.", _Versions("rows")),
    ("modelyard_in_flight", "gauge", "Requests under way.", _Versions("in_flight")),
    ("modelyard_compared_rows_total", "counter", "Rows that another version was asked as well.", _Versions("compared")),
    ("modelyard_disagreed_rows_total", "counter", "Compared rows that the two versions answered differently.", _Versions("disagreed")),
    ("modelyard_quarantined_rows_total", "counter", "Rows refused because they killed a runner before.", _Versions("quarantined")),
    ("modelyard_queue_rows", "gauge", "Rows that wait for a runner of the version.", _queued),
    ("modelyard_runner_connected", "gauge", "Whether a runner answers.", _Runners("connected")),
    ("modelyard_runner_busy_seconds", "gauge", "For how long a runner has been at work on what it holds.", _Runners("busy_seconds")),
    ("modelyard_runner_batches_total", "counter", "Calls of a runner's model.", _Runners("batches")),
    ("modelyard_runner_restarts_total", "counter", "How often a runner was there again after it had gone.", _Runners("restarts")),
    ("modelyard_capture_rows_total", "counter", "Rows by what became of them in the capture.", _capture),
)
