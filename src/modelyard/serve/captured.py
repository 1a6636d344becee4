"""Capture, the owner's side: segments to Parquet, and reading both as one predictions table.

Every function may run while a front writes. A compacted segment's Parquet file stands before the segment goes, and a reader
that finds both takes the Parquet: no row is seen twice, none is missed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.tables import EVENT_TIME, INFERENCE_ID, LATENCY_MS, RECEIVED_AT, VERSION, extra, feature, output

if TYPE_CHECKING:
    import polars as pl

_RETRIES = 20
_OPEN, _CLOSED = ".open.jsonl", ".jsonl"


class _Line(msgspec.Struct):
    version: str
    types: dict[str, str] | None = None
    received_at: int = 0
    latency_ms: float = 0.0
    ids: list[str] = []
    times: list[int] | None = None
    features: dict[str, list[Any]] = {}
    extras: dict[str, list[Any]] | None = None
    outputs: dict[str, list[Any]] = {}


_decode = msgspec.json.Decoder(_Line).decode


def _stem(path: Path) -> str:
    return path.name.removesuffix(_OPEN).removesuffix(_CLOSED).removesuffix(".parquet")


def _dtype(kind: str) -> Any:
    import polars as pl

    return {"int": pl.Int64, "float": pl.Float64, "str": pl.String, "bool": pl.Boolean, "datetime": pl.Datetime("us", "UTC")}[kind]


class _Table:
    """Collects the requests of one version, column by column; a column absent from a request is null there."""

    def __init__(self, version: str) -> None:
        self.version, self.types = version, dict[str, str]()
        self.count = 0
        self.data: dict[str, list[Any]] = {INFERENCE_ID: [], EVENT_TIME: [], RECEIVED_AT: [], LATENCY_MS: []}

    def add(self, line: _Line) -> None:
        count = len(line.ids)
        parts: dict[str, list[Any]] = {
            INFERENCE_ID: line.ids,
            EVENT_TIME: line.times or [line.received_at] * count,
            RECEIVED_AT: [line.received_at] * count,
            LATENCY_MS: [line.latency_ms] * count,
        }
        parts |= {feature(n): v for n, v in line.features.items()} | {output(n): v for n, v in line.outputs.items()}
        parts |= {extra(n): v for n, v in (line.extras or {}).items()}
        for name in dict.fromkeys((*self.data, *parts)):
            column = self.data.setdefault(name, [None] * self.count)
            column.extend(parts.get(name) or [None] * count)
        self.count += count

    def frame(self) -> pl.DataFrame:
        import polars as pl

        fixed = {INFERENCE_ID: "str", EVENT_TIME: "datetime", RECEIVED_AT: "datetime", LATENCY_MS: "float"}
        columns = []
        for name, values in self.data.items():
            kind = fixed.get(name) or self.types.get(name) or _kind(values)
            if kind == "str":
                values = [v if v is None or type(v) is str else str(v) for v in values]
            if kind == "datetime":
                columns.append(pl.Series(name, values, dtype=pl.Int64).cast(_dtype(kind)))
            else:
                columns.append(pl.Series(name, values, dtype=_dtype(kind), strict=False))
        frame = pl.DataFrame(columns).with_columns(pl.lit(self.version).alias(VERSION))
        return frame.select(*_ordered(frame.columns))


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


def _segment(data: bytes) -> pl.DataFrame:
    """The rows of a segment. A torn last line (of a killed writer) or a torn line before it is no answered request and is
    skipped."""
    tables: dict[str, _Table] = {}
    for raw in data.split(b"\n")[:-1]:
        try:
            line = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        table = tables.setdefault(line.version, _Table(line.version))
        if line.types is not None:
            table.types = line.types
        else:
            table.add(line)
    return join([table.frame() for table in tables.values() if table.count])


def join(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Frames one under the other. A column that changed its type between versions becomes the wider one, at last text."""
    import polars as pl

    if not frames:
        fixed = {INFERENCE_ID: pl.String, EVENT_TIME: _dtype("datetime"), RECEIVED_AT: _dtype("datetime"), VERSION: pl.String}
        return pl.DataFrame(schema={**fixed, LATENCY_MS: pl.Float64})
    kinds: dict[str, set[Any]] = {}
    for frame in frames:
        for name, dtype in frame.schema.items():
            kinds.setdefault(name, set()).add(dtype)
    text = [name for name, found in kinds.items() if len(found) > 1 and not all(d.is_numeric() for d in found)]
    aligned = [f.with_columns(pl.col([n for n in text if n in f.columns]).cast(pl.String)) for f in frames]
    return pl.concat(aligned, how="diagonal_relaxed")


def _writer_is_alive(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def compact(folder: Path) -> int:
    """Turn closed segments, and those whose writer is dead, into Parquet; how many were turned.

    Idempotent and safe to kill anywhere. Of two calls at once for a folder, in one process or two, the second waits for the first.
    Raises OSError (a full disk leaves the segment as it is).
    """
    if not folder.is_dir():
        return 0
    with _alone(folder):
        for left in folder.glob(".seg-*.tmp"):
            left.unlink()  # of a compaction that was killed: we hold the lock, so nobody writes it
        return sum(_compact_one(path) for path in sorted(folder.glob("seg-*.jsonl")))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. It lies on the folder itself, and ends with the process."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _compact_one(path: Path) -> bool:
    """Whether a segment was turned. It goes once its Parquet is there and reads as its rows."""
    target = path.with_name(f"{_stem(path)}.parquet")
    try:
        if path.name.endswith(_OPEN) and _writer_is_alive(path):
            return False
        frame, fresh = _segment(path.read_bytes()), not target.exists()
        if fresh or not _reads_as(target, frame):
            _write_parquet(frame, target)
            if not _reads_as(target, frame):
                raise OSError(errno.EIO, "a capture file does not read as it was written", str(target))
        path.unlink()
    except FileNotFoundError:
        return False  # the front has closed it, under its closed name, since we looked; the next call finds it
    return fresh


def _reads_as(target: Path, frame: pl.DataFrame) -> bool:
    import polars as pl

    try:
        return pl.read_parquet(target, glob=False).equals(frame)
    except (pl.exceptions.PolarsError, OSError):
        return False


def _write_parquet(frame: pl.DataFrame, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        frame.write_parquet(temporary, compression="zstd")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> list[Path]:
    """Each segment once: as Parquet where that stands, else as lines. In the order of their opening."""
    found: dict[str, Path] = {}
    for path in folder.glob("seg-*"):
        if path.suffix in (".jsonl", ".parquet") and (path.suffix == ".parquet" or _stem(path) not in found):
            found[_stem(path)] = path
    return [found[stem] for stem in sorted(found)]


def read(folder: Path, start: datetime | None = None, end: datetime | None = None, only: Sequence[str] | None = None) -> pl.DataFrame:
    """The predictions table of all that was captured, the open segment included; rows with start <= event_time < end.

    Columns and dtypes as in modelyard.tables; `only` names those to read, of the five fixed ones. An empty table, with the five fixed
    columns, where nothing was captured.
    """
    import polars as pl

    chosen = pl.lit(value=True)
    if start is not None:
        chosen = chosen & (pl.col(EVENT_TIME) >= start)
    if end is not None:
        chosen = chosen & (pl.col(EVENT_TIME) < end)
    return join(_frames(folder, chosen, only))


def _frames(folder: Path, chosen: pl.Expr, only: Sequence[str] | None = None) -> list[pl.DataFrame]:
    import polars as pl

    columns = [pl.all()] if only is None else [pl.col(name) for name in only]
    cache: dict[str, pl.DataFrame] = {}
    for _ in range(_RETRIES):
        try:
            for path in _files(folder):
                if _stem(path) in cache:
                    continue
                if path.suffix == ".parquet":
                    cache[_stem(path)] = pl.scan_parquet(path).filter(chosen).select(columns).collect()
                else:
                    cache[_stem(path)] = _segment(path.read_bytes()).filter(chosen).select(columns)
            break
        except FileNotFoundError:
            continue  # renamed or compacted under our eyes: look again
    else:
        raise FileNotFoundError(f"{folder} changes faster than it can be read")
    return [cache[stem] for stem in sorted(cache) if cache[stem].height]


def find(folder: Path, inference_id: str) -> dict[str, Any] | None:
    """The row of one prediction, by its columns' names; the newest where an id was used twice; None where there is none."""
    import polars as pl

    frame = join(_frames(folder, pl.col(INFERENCE_ID) == inference_id))
    return frame.sort(RECEIVED_AT).row(-1, named=True) if frame.height else None


def earliest(folder: Path) -> datetime | None:
    """The first event_time of all that was captured; None where nothing was. Of Parquet files only the column is read."""
    import polars as pl

    found = []
    for _ in range(_RETRIES):
        try:
            for path in _files(folder):
                table = pl.scan_parquet(path) if path.suffix == ".parquet" else _segment(path.read_bytes()).lazy()
                found.append(table.select(pl.col(EVENT_TIME).min()).collect().item())
            break
        except FileNotFoundError:
            found.clear()
    else:  # not None: that would say that nothing was captured
        raise FileNotFoundError(f"{folder} changes faster than it can be read")
    return min((at for at in found if at is not None), default=None)
