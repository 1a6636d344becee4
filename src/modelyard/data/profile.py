"""Profiles: what a table holds, column by column, as numbers; `quality/profile_plots.py` draws them.

One column is read at a time, and held as 8 bytes a row: numbers and times as they are, everything else as 64-bit hashes, whose commonest
are then looked up. So counts are exact (but for two values of one hash, which a table of a thousand million different ones would have to
be lucky to meet), and memory does not hang on how wide the table or how long its texts are.

    {"rows": int, "target": NAME | None,
     "columns": [{"name", "type", "missing": int, "distinct": int,
                  "min", "max", "mean", "std": number | ISO text | None, "quantiles": {"0.01", ..., "0.99": number | ISO text},
                  "histogram": {"edges": [number | ISO text, ...], "counts": [int, ...]} | "top": [[value, count], ...],
                  "by_target": [number | None, ...]}]}

`histogram` (numbers, times): at most 20 bins of one width, the last closed. `top` (text, truth values): the 20 commonest values.
`by_target`, where the target has an average: that average (binary: the share of the positive class) in each bin or value, None where no
row is. Text has no `min` to `quantiles`. NaN counts as missing; an infinite number does not, and is in none of the numbers but this.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import files
from modelyard.config.spec import Data
from modelyard.data import snapshots
from modelyard.data.columns import type_of
from modelyard.data.parts import Parts
from modelyard.zones import FIRST, LAST

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

FORMAT = 2
BINS, TOP, EQUAL, STRETCH = 20, 20, 1000, 1 << 20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
NUMBERS = ("int", "float", "datetime")


def of(snapshot: snapshots.Snapshot, data: Data, home: Path) -> dict[str, Any]:
    """The profile of a snapshot, from home/profiles where it was made before."""
    words = [FORMAT, snapshot.digest, data.target_col, data.positive_class]
    name = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    file = home / "profiles" / f"{name}.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    made = profile(snapshots.table(snapshot), data.target_col, data.positive_class)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.replace(file, json.dumps(made, allow_nan=False).encode(), durable=False)
    return made


def profile(table: Parts, target: str | None = None, positive_class: Any = None) -> dict[str, Any]:
    """The profile of a table in canonical form or of plain types; other columns are left out. JSON-ready."""
    average = _average(table, target, positive_class)
    columns = [_column(table, name, None if name == target else average) for name in table.schema if type_of(table.schema[name])]
    return {"rows": table.rows, "target": target if average is not None else None, "columns": columns}


def _average(table: Parts, target: str | None, positive_class: Any) -> NDArray[np.float32] | None:
    """The target as numbers whose mean means something; None where it has none."""
    import numpy as np
    import polars as pl

    if target is None or target not in table.schema:
        return None
    kind = type_of(table.schema[target])
    if positive_class is None and kind not in ("int", "float", "bool"):
        return None

    def number(series: pl.Series) -> NDArray[np.float32]:
        found = series if positive_class is None else _is(series, positive_class)
        return found.cast(pl.Float32).fill_null(float("nan")).to_numpy()

    return np.concatenate([number(series) for series in table.column(target)])


def _is(series: pl.Series, value: Any) -> pl.Series:
    import polars as pl

    if series.dtype == pl.String or isinstance(value, str):
        return series.cast(pl.String) == str(value)
    return series.cast(pl.Float64) == float(value)


def numbers(table: Parts, name: str) -> NDArray[Any]:
    """A column's present numbers, or times in microseconds (UTC where they have no zone), in the table's order."""
    import numpy as np

    return np.concatenate([_numbers(series.drop_nulls()) for series in table.column(name)])


def _numbers(present: pl.Series) -> NDArray[Any]:
    import polars as pl

    if present.dtype == pl.Date:
        present = present.cast(pl.Datetime("us"))
    if isinstance(present.dtype, pl.Datetime):
        return present.dt.cast_time_unit("us").to_physical().to_numpy()
    if present.dtype.is_integer() and not (whole := present.cast(pl.Int64, strict=False)).null_count():
        return whole.to_numpy()
    values = present.cast(pl.Float64)
    return values.filter(values.is_finite()).to_numpy()


def missing(table: Parts, name: str, counted: int) -> int:
    """How many rows have no value. `counted`: those that `numbers` gives; infinite ones are not among them, nor missing."""
    if counted == table.rows or not table.schema[name].is_float():
        return table.rows - counted
    return sum(series.null_count() + int(series.is_nan().sum()) for series in table.column(name))


def hashes(table: Parts, name: str) -> NDArray[np.uint64]:
    """The hashes of a column's present values, in the table's order. The same value has the same hash in every table of a process."""
    import numpy as np

    return np.concatenate([_text(series.drop_nulls()).hash().to_numpy() for series in table.column(name)])


def _text(present: pl.Series) -> pl.Series:
    import polars as pl

    return present.cast(pl.String) if present.dtype not in (pl.String, pl.Boolean) else present


def looked_up(table: Parts, name: str, wanted: list[int]) -> dict[int, Any]:
    """The values behind hashes; the column is read no further than it takes to find them."""
    import polars as pl

    found: dict[int, Any] = {}
    left = set(wanted)
    for series in table.column(name) if left else ():
        values = _text(series.drop_nulls()).unique()
        known = pl.DataFrame({"key": values.hash(), "value": values})
        for key, value in known.filter(pl.col("key").is_in(pl.Series(sorted(left), dtype=pl.UInt64).implode())).iter_rows():
            found[key] = value
            left.discard(key)
        if not left:
            break
    return found


def _column(table: Parts, name: str, average: NDArray[np.float32] | None) -> dict[str, Any]:
    kind = type_of(table.schema[name])
    said: dict[str, Any] = {"name": name, "type": kind}
    return said | (_of_numbers(table, name, kind, average) if kind in NUMBERS else _of_values(table, name, average))


def _of_numbers(table: Parts, name: str, kind: str | None, average: NDArray[np.float32] | None) -> dict[str, Any]:
    import numpy as np

    values = numbers(table, name)
    shown = _moment if kind == "datetime" else _plain
    said: dict[str, Any] = {"missing": missing(table, name, len(values)), "distinct": 0, "min": None, "max": None}
    said |= {"mean": None, "std": None, "quantiles": {}, "histogram": {"edges": [], "counts": []}}
    if not len(values):
        return said
    edges = bins(values)
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    means = _Means(len(counts))
    targets = None if average is None else _of_present(table, name, average, len(values))
    for start in range(0, len(values), STRETCH):
        at = placed(values[start : start + STRETCH], edges)
        counts += np.bincount(at, minlength=len(counts))
        if targets is not None:
            means.add(at, targets[start : start + STRETCH])
    distinct = different(values)  # and sorted from here on
    mean = float(values.mean(dtype=np.float64))
    said |= {
        "distinct": distinct,
        "min": shown(values[0]),
        "max": shown(values[-1]),
        "mean": shown(mean),
        "std": _plain(_spread(values, mean)) if kind != "datetime" else None,
        "quantiles": {f"{q:g}": shown(values[min(int(q * len(values)), len(values) - 1)]) for q in QUANTILES},
        "histogram": {"edges": [shown(edge) for edge in edges], "counts": counts.tolist()},
    }
    if average is not None:
        said["by_target"] = means.found
    return said


class _Means:
    """The target's mean at each of a few places, of rows that come bit by bit."""

    def __init__(self, places: int) -> None:
        import numpy as np

        self._sums, self._rows = np.zeros(places), np.zeros(places, dtype=np.int64)

    def add(self, at: NDArray[np.int64], targets: NDArray[np.float32]) -> None:
        import numpy as np

        known = ~np.isnan(targets)
        self._sums += np.bincount(at[known], weights=targets[known], minlength=len(self._sums))
        self._rows += np.bincount(at[known], minlength=len(self._rows))

    @property
    def found(self) -> list[float | None]:
        return [float(s / r) if r else None for s, r in zip(self._sums, self._rows, strict=True)]


def bins(values: NDArray[Any]) -> NDArray[np.float64]:
    """Edges of at most 20 bins of one width from the least to the greatest value; whole numbers are not cut finer than by one."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    count = BINS if values.dtype.kind == "f" else int(min(BINS, max(high - low, 1)))
    if low == high:
        return np.array([low, low + 1 if low + 1 > low else np.nextafter(low, np.inf)])
    return np.unique(np.linspace(low, high, count + 1))


def placed(values: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each value; those outside count to the nearest."""
    import numpy as np

    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def _of_present(table: Parts, name: str, average: NDArray[np.float32], present: int) -> NDArray[np.float32]:
    """The target of the `present` rows in which a column has a value."""
    import numpy as np

    if present == table.rows:
        return average
    there: NDArray[np.bool_] = np.concatenate([_there(series).to_numpy() for series in table.column(name)])
    return np.compress(there, average)


def _there(series: pl.Series) -> pl.Series:
    return series.is_finite().fill_null(False) if series.dtype.is_float() else series.is_not_null()


def _of_values(table: Parts, name: str, average: NDArray[np.float32] | None) -> dict[str, Any]:
    import numpy as np

    found = hashes(table, name)
    distinct, counts = top(found)
    values = looked_up(table, name, list(counts))
    # among equals the order of their texts
    ranked = sorted(values, key=lambda key: (-counts[key], str(values[key])))[:TOP]
    said: dict[str, Any] = {"missing": table.rows - len(found), "distinct": distinct}
    said |= {"min": None, "max": None, "mean": None, "std": None, "quantiles": {}}
    said["top"] = [[values[key], counts[key]] for key in ranked]
    if average is not None:
        means, targets = _Means(len(ranked)), _of_present(table, name, average, len(found))
        order = np.argsort(np.array(ranked, dtype=np.uint64))
        keys = np.array(ranked, dtype=np.uint64)[order]
        for start in range(0, len(found), STRETCH):
            some = found[start : start + STRETCH]
            at = np.searchsorted(keys, some).clip(max=len(keys) - 1)
            hit = keys[at] == some
            means.add(order[at[hit]], targets[start : start + STRETCH][hit])
        said["by_target"] = means.found
    return said


def different(found: NDArray[Any]) -> int:
    """How many different ones there are. Sorts in place."""
    import numpy as np

    found.sort()
    return int(np.count_nonzero(found[1:] != found[:-1])) + min(len(found), 1)


def top(found: NDArray[np.uint64], most: int = TOP) -> tuple[int, dict[int, int]]:
    """How many different hashes there are, and the counts of the commonest: at least `most` where there are so many, and more of those
    that come equally often."""
    import numpy as np

    keys, counts = np.unique(found, return_counts=True)
    if not len(keys):
        return 0, {}
    least = np.partition(counts, -min(most, len(counts)))[-min(most, len(counts))]
    chosen = np.concatenate([np.flatnonzero(counts > least), np.flatnonzero(counts == least)[:EQUAL]])
    return len(keys), dict(zip(keys[chosen].tolist(), counts[chosen].tolist(), strict=True))


def _spread(values: NDArray[Any], mean: float) -> float:
    """The standard deviation, with no second copy of the column."""
    import numpy as np

    squares = sum(float(np.square(values[start : start + STRETCH] - mean).sum()) for start in range(0, len(values), STRETCH))
    return float(np.sqrt(squares / len(values)))


def _plain(value: Any) -> float | int | None:
    number: float | int = value.item() if hasattr(value, "item") else value
    return number if math.isfinite(number) else None


def _moment(value: Any) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=min(max(int(value), FIRST), LAST))).isoformat()  # edges are rounded
