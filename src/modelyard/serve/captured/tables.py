"""Segments as predictions tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from modelyard.serve.capture import frames
from modelyard.tables import EVENT_TIME, INFERENCE_ID, LATENCY_MS, RECEIVED_AT, VERSION, extra, feature, output

if TYPE_CHECKING:
    import polars as pl

_TOGETHER = 128
"""Requests of one row held at once: few enough that Python's garbage collector, which counts them, has no reason to look."""
_FIXED = {INFERENCE_ID: "str", EVENT_TIME: "datetime", RECEIVED_AT: "datetime", LATENCY_MS: "float"}


def segment(data: bytes) -> pl.DataFrame:
    """The rows of a segment."""
    return join(by_version(data))


def by_version(data: bytes) -> list[pl.DataFrame]:
    """The rows of a segment, a table a version. What a killed writer left torn at its end is no answered request and is skipped."""
    tables: dict[int, _Table] = {}
    for frame in frames.read(data):
        if isinstance(frame, frames.Head):
            tables[frame.key] = _Table(frame)
        elif isinstance(frame, frames.Row):
            tables[frame.key].add_row(frame)
        else:
            tables[frame.key].add(frame)
    made = [table.frame() for table in tables.values()]
    return [frame for frame in made if frame.height]


class _Table:
    """Collects the requests of one version, column by column; a column absent from a request is null there."""

    def __init__(self, head: frames.Head) -> None:
        self.head, self.count = head, 0
        self.rows: list[frames.Row] = []
        self.data: dict[str, list[Any]] = {name: [] for name in _FIXED}
        self._names = [*_FIXED, *map(feature, head.features), *map(output, head.outputs)]  # of what a request of one row has

    def add(self, request: frames.Rows) -> None:
        self._flush()
        count = len(request.ids)
        parts: dict[str, list[Any]] = {
            INFERENCE_ID: request.ids,
            EVENT_TIME: request.times or [request.received_at] * count,
            RECEIVED_AT: [request.received_at] * count,
            LATENCY_MS: [request.latency_ms] * count,
        }
        parts |= {feature(n): v for n, v in request.features.items()} | {output(n): v for n, v in request.outputs.items()}
        self._extend((parts | {extra(n): v for n, v in request.extras.items()}).items(), count)

    def add_row(self, request: frames.Row) -> None:
        self.rows.append(request)
        if len(self.rows) >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        """Rows that came one by one, as columns."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        at = [row.received_at for row in rows]
        fixed = ([row.id for row in rows], at, at, [row.latency_ms for row in rows])
        values, outputs = (zip(*given, strict=True) for given in ([row.values for row in rows], [row.outputs for row in rows]))
        self._extend(zip(self._names, chain(fixed, values, outputs), strict=True), len(rows))

    def _extend(self, parts: Iterable[tuple[str, Sequence[Any]]], count: int) -> None:
        self.count += count
        for name, values in parts:
            column = self.data.get(name)
            if column is None:
                column = self.data[name] = [None] * (self.count - count)
            column.extend(values)
        for column in self.data.values():
            column.extend([None] * (self.count - len(column)))

    def frame(self) -> pl.DataFrame:
        import polars as pl

        self._flush()
        columns = [_series(name, values, self.head.types) for name, values in self.data.items()]
        frame = pl.DataFrame(columns).with_columns(pl.lit(self.head.version).alias(VERSION))
        return frame.select(*_ordered(frame.columns))


def _series(name: str, values: list[Any], types: dict[str, str]) -> pl.Series:
    import polars as pl

    kind = _FIXED.get(name) or types.get(name) or _kind(values)
    if kind == "str":
        values = [v if v is None or type(v) is str else str(v) for v in values]
    if kind == "datetime":
        return pl.Series(name, values, dtype=pl.Int64).cast(_dtype(kind))
    series = pl.Series(name, values, dtype=_dtype(kind), strict=False)
    return series.set(~series.is_finite(), None) if kind == "float" else series


def _dtype(kind: str) -> Any:
    import polars as pl

    return {"int": pl.Int64, "float": pl.Float64, "str": pl.String, "bool": pl.Boolean, "datetime": pl.Datetime("us", "UTC")}[kind]


def _kind(values: list[Any]) -> str:
    types = {type(v) for v in values} - {type(None)}
    if types == {bool}:
        return "bool"
    if types == {int}:
        return "int"
    return "float" if types and types <= {int, float} else "str"


def _ordered(names: Iterable[str]) -> list[str]:
    first = [INFERENCE_ID, EVENT_TIME, RECEIVED_AT, VERSION, LATENCY_MS]
    return [*first, *[n for n in names if n not in first]]


def join(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Tables one under the other. A column that changed its type between versions becomes the wider one, at last text."""
    import polars as pl

    if not tables:
        fixed = {INFERENCE_ID: pl.String, EVENT_TIME: _dtype("datetime"), RECEIVED_AT: _dtype("datetime"), VERSION: pl.String}
        return pl.DataFrame(schema={**fixed, LATENCY_MS: pl.Float64})
    kinds: dict[str, set[Any]] = {}
    for table in tables:
        for name, dtype in table.schema.items():
            kinds.setdefault(name, set()).add(dtype)
    text = [name for name, found in kinds.items() if len(found) > 1 and not all(d.is_numeric() for d in found)]
    aligned = [t.with_columns(pl.col([n for n in text if n in t.columns]).cast(pl.String)) for t in tables]
    return pl.concat(aligned, how="diagonal_relaxed")
