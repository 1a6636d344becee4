"""Train, validation and test: by time, by seed, by group, or as the data says. Every row of the snapshot is in exactly one of them.

Which rows go where is told by one column or by their number; the rows themselves are written a batch at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import Data
from modelyard.data.columns import need
from modelyard.data.parts import Parts, Writer
from modelyard.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

PARTS = ("train", "validation", "test")
BUCKETS = 128
"""Files at most that rows are dealt to on their way to another order; each is sorted in memory."""


@dataclass(frozen=True)
class Deal:
    """`part` (uint8) is a row's part, 0 to 2; `place` (int64), where given, its place among all rows once they are in order."""

    part: NDArray[np.uint8]
    place: NDArray[np.int64] | None = None


def split(table: Parts, data: Data, into: Callable[[str], Path]) -> dict[str, int]:
    """Write the three parts of `table` as Parquet files `into("train")`, `into("validation")` and `into("test")`; their rows.

    `time`: oldest rows train, newest test (stable order by `time_col`); rows of one instant stay together, so that no test row
    happened at a time that training has seen. `random`: a permutation by the frozen Mersenne generator of NumPy's RandomState,
    the same on every machine and NumPy version; rows keep the table's order inside a part. `group`: whole groups of
    `schema.group_col` by a permutation of their sorted values, cut where the rows come nearest to the ratios. `provided`: as the
    column says. Only validation may be empty, and only where its share is 0 or the column never names it.

    Held are 8 to 25 bytes a row, or the group column's different values. Raises BadInput when the column is missing, says something
    else, or train or test would be empty.
    """
    ways = {"provided": _provided, "time": _by_time, "group": _by_group, "random": _random}
    deal = ways[data.split.by](table, data)
    rows = {name: int((deal.part == i).sum()) for i, name in enumerate(PARTS)}
    for name in ("train", "test"):
        if not rows[name]:
            groups = " and too few groups" if data.split.by == "group" else ""
            said = f"the {name} part of the split would be empty: the data has {table.rows} rows{groups}"
            raise BadInput(said, where="data.split", next="give more rows, or other `ratios`")
    _write(table, deal, into)
    return rows


def _write(table: Parts, deal: Deal, into: Callable[[str], Path]) -> None:
    for name in PARTS:
        into(name).parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(into(name))) for name in PARTS]
        if deal.place is None or bool((deal.place[1:] > deal.place[:-1]).all()):
            first = 0
            for batch in table.batches():
                _hand_out(batch, deal.part[first : first + batch.height], writers)
                first += batch.height
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".sorting-", dir=into(PARTS[0]).parent.parent))
        _write_sorted(table, deal.part, deal.place, writers, Path(folder))


def _hand_out(batch: pl.DataFrame, part: NDArray[np.uint8], writers: list[Writer]) -> None:
    for i, writer in enumerate(writers):
        mine = part == i
        writer.write(batch if mine.all() else batch.filter(_series(mine)))  # an empty one too: the file has the columns


def _series(values: NDArray[Any]) -> pl.Series:
    import polars as pl

    return pl.Series("", values)


def _write_sorted(table: Parts, part: NDArray[np.uint8], place: NDArray[np.int64], writers: list[Writer], folder: Path) -> None:
    """Rows in the order of their places: dealt to buckets of neighbouring places on disk first, then sorted a bucket at a time."""
    import numpy as np

    at_once = next(table.batches()).height
    first, size = 0, max(at_once, 1, -(-len(place) // BUCKETS))
    with ExitStack() as stack:
        buckets = [stack.enter_context(_Bucket(folder / f"{i}.arrow")) for i in range(-(-len(place) // size))]
        for batch in table.batches():
            here = place[first : first + batch.height]
            first += batch.height
            ordered = batch.with_columns(_series(here).alias(_PLACE)).sort(_PLACE)
            owners = ordered[_PLACE].to_numpy() // size
            starts = np.flatnonzero(np.diff(owners, prepend=-1))
            for start, end in zip(starts, [*starts[1:], len(owners)], strict=True):
                buckets[owners[start]].write(ordered[start:end])
    in_order, first = np.empty_like(part), 0
    in_order[place] = part
    for bucket in buckets:
        rows = bucket.read().sort(_PLACE).drop(_PLACE)
        _hand_out(rows, in_order[first : first + rows.height], writers)
        first += rows.height
        bucket.path.unlink()


class _Bucket:
    """Rows on their way to another order: an Arrow file, which costs less than Parquet to write and to read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None

    def write(self, rows: pl.DataFrame) -> None:
        import polars as pl
        import pyarrow as pa

        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(str(self.path), table.schema, options=options)
        self._writer.write_table(table)

    def read(self) -> pl.DataFrame:
        import polars as pl
        import pyarrow as pa

        with pa.OSFile(str(self.path)) as file:
            return pl.DataFrame(pl.from_arrow(pa.ipc.open_file(file).read_all()))

    def __enter__(self) -> _Bucket:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


_PLACE = "\x1fplace"


def _cuts(rows: int, ratios: tuple[float, float, float]) -> tuple[int, int]:
    train = round(rows * ratios[0])
    return train, max(train, rows - round(rows * ratios[2]))


def _by_time(table: Parts, data: Data) -> Deal:
    import numpy as np

    time_col = data.time_col or ""
    need(time_col, table.schema, "data.time_col")
    moments, first = np.empty(table.rows, dtype=np.int64), 0
    for series in table.column(time_col):
        moments[first : first + len(series)] = series.to_physical().fill_null(-(2**63)).to_numpy()
        first += len(series)
    order = np.argsort(moments, kind="stable")
    cuts = []
    for cut in _cuts(table.rows, data.split.ratios):
        whole = cut
        if 0 < cut < table.rows and moments[order[cut - 1]] == (instant := moments[order[cut]]):
            first, after = int(np.count_nonzero(moments < instant)), int(np.count_nonzero(moments <= instant))
            # to the nearer edge of the instant, unless that empties an end
            whole = first if first > 0 and (cut - first <= after - cut or after >= table.rows) else after
        cuts.append(whole)
    del moments  # a large table's are much
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=order.dtype)
    return Deal((place >= cuts[0]).astype(np.uint8) + (place >= max(cuts)).astype(np.uint8), place)


def _random(table: Parts, data: Data) -> Deal:
    import numpy as np

    order = np.random.RandomState(data.split.seed).permutation(table.rows)
    first, second = _cuts(table.rows, data.split.ratios)
    part = np.zeros(table.rows, dtype=np.uint8)
    part[order[first:second]], part[order[second:]] = 1, 2
    return Deal(part)


def _by_group(table: Parts, data: Data) -> Deal:
    import numpy as np
    import polars as pl

    name = data.schema_.group_col or ""
    need(name, table.schema, "data.schema.group_col")
    counts = pl.DataFrame(schema={name: table.schema[name], "\x1frows": pl.UInt32})
    for series in table.column(name):
        if missing := series.null_count():
            hint = "give every row a group, or leave such rows out of the source"
            raise BadInput(f"{missing} rows or more have no `{name}`", where="data.schema.group_col", next=hint)
        more = series.value_counts(name="\x1frows")
        counts = pl.concat([counts, more.cast({"\x1frows": pl.UInt32})]).group_by(name).agg(pl.col("\x1frows").sum())
    counts = counts.sort(name)
    counts = counts[np.random.RandomState(data.split.seed).permutation(counts.height)]
    ends = np.cumsum(counts["\x1frows"].to_numpy().astype(np.int64))
    # the number of groups before a cut that leaves the rows nearest to the ratio
    first, second = (int(np.abs(np.concatenate([[0], ends]) - cut).argmin()) for cut in _cuts(table.rows, data.split.ratios))
    first = min(max(first, 1), counts.height - 1)  # where there are groups enough, train and test have one
    second = max(first, min(second, counts.height - 1))
    part_of = (np.arange(counts.height) >= first).astype(np.uint8) + (np.arange(counts.height) >= second).astype(np.uint8)
    lookup = counts.select(name).with_columns(_series(part_of.astype(np.uint8)).alias("\x1fpart"))
    found = [
        series.to_frame().join(lookup, on=name, how="left", maintain_order="left")["\x1fpart"].to_numpy() for series in table.column(name)
    ]
    return Deal(np.concatenate(found))


def _provided(table: Parts, data: Data) -> Deal:
    import numpy as np
    import polars as pl

    column = data.split.column or ""
    need(column, table.schema, "data.split.column")
    found: list[NDArray[np.uint8]] = []
    strange: set[str] = set()
    for series in table.column(column):
        said = series.cast(pl.String)
        strange |= {repr(value) for value in said.unique().to_list() if value not in PARTS}
        found.append(said.replace_strict(list(PARTS), [0, 1, 2], default=0, return_dtype=pl.UInt8).to_numpy())
    if strange:
        names = ", ".join(sorted(strange)[:5])
        raise BadInput(f"column `{column}` says {names}; it may say train, validation or test", where="data.split.column")
    return Deal(np.concatenate(found))
