"""What differs between two tables: columns, rows, and how each column's values moved. Behind `modelyard data diff A B`.

Measures of a column, from both tables' present values:

- `psi`, the population stability index sum((p - q) ln(p / q)) over the deciles of A (numbers, times) or its 20 commonest values and the
  rest, missing values being a bin of their own; half a row is added to each bin so that an empty one stays finite.
- `ks` (numbers, times), the Kolmogorov-Smirnov distance: the most that the two distribution functions are apart, 0 to 1.
- `cramers_v` (text, truth values), Cramer's V of the table of the two by their values: sqrt(chi-square / rows), 0 to 1.

They are sizes of an effect, not tests: with enough rows every difference is significant, and few matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.data import profile
from modelyard.data.columns import type_of
from modelyard.data.parts import Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

DECILES, CATEGORIES, NAMED = 10, 20, 10
MOST = 1000
"""Different values from which on a column's new and gone ones are counted and not named: it holds ids, not categories."""


def diff(a: Parts, b: Parts) -> dict[str, Any]:
    """Two tables side by side, a column at a time.

    Gives `rows: [a, b]`, `added`, `removed` (column names), `retyped` (`{column, before, after}`), and `columns`, a summary of
    each shared column: `{column, type, missing: [share, share], distinct: [a, b], mean: [a, b] (numbers), psi, ks | cramers_v,
    histogram: {edges, counts: [[...], [...]]} (numbers, times; times in microseconds) | top: [[value, rows in a, rows in b], ...],
    new, gone: {count, rows, values} (text, truth values)}`. Of a column whose type changed, or of a type that no model takes, only
    `missing` is given, and `psi` None.
    """
    shared = [name for name in a.schema if name in b.schema]
    kinds = {name: (_kind(a, name), _kind(b, name)) for name in shared}
    return {
        "rows": [a.rows, b.rows],
        "added": [name for name in b.schema if name not in a.schema],
        "removed": [name for name in a.schema if name not in b.schema],
        "retyped": [{"column": n, "before": x, "after": y} for n, (x, y) in kinds.items() if x != y],
        "columns": [_summary(a, b, name, *kinds[name]) for name in shared],
    }


def _kind(table: Parts, name: str) -> str:
    return type_of(table.schema[name]) or str(table.schema[name])


def _summary(a: Parts, b: Parts, name: str, before: str, after: str) -> dict[str, Any]:
    said: dict[str, Any] = {"column": name, "type": after, "psi": None}
    if before == after and before in profile.NUMBERS:
        return said | _of_numbers(a, b, name, before)
    if before == after and before in ("str", "bool"):
        return said | _of_values(a, b, name)
    gone = [sum(series.null_count() for series in table.column(name)) for table in (a, b)]
    return said | {"missing": _shares(gone, a, b)}


def _shares(counts: list[int], a: Parts, b: Parts) -> list[float]:
    return [count / table.rows if table.rows else 0.0 for count, table in zip(counts, (a, b), strict=True)]


def _of_numbers(a: Parts, b: Parts, name: str, kind: str) -> dict[str, Any]:
    import numpy as np

    x, y = (profile.numbers(table, name) for table in (a, b))
    missing = [profile.missing(table, name, len(v)) for table, v in ((a, x), (b, y))]
    said: dict[str, Any] = {"missing": _shares(missing, a, b), "distinct": [profile.different(x), profile.different(y)]}  # sorted now
    if kind != "datetime":
        said["mean"] = [float(v.mean(dtype=np.float64)) if len(v) else None for v in (x, y)]
    if len(x) and len(y):
        edges = profile.bins(np.array([min(x[0], y[0]), max(x[-1], y[-1])], dtype=x.dtype))
        counts = [np.diff(np.searchsorted(v, edges[1:-1], side="left"), prepend=0, append=len(v)).tolist() for v in (x, y)]
        said["histogram"] = {"edges": edges.tolist(), "counts": counts}
        said["ks"] = _ks(x, y)
    said["psi"] = _psi(*_deciles(x, y), a.rows, b.rows) if a.rows and b.rows else None
    return said


def _deciles(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Counts of both in the deciles of `x`; both are sorted."""
    import numpy as np

    edges = np.unique(np.quantile(x, np.linspace(0, 1, DECILES + 1)[1:-1])) if len(x) else np.array([])
    first, second = (np.diff(np.searchsorted(v, edges, side="right"), prepend=0, append=len(v)) for v in (x, y))
    return first, second


def _ks(x: Numbers, y: Numbers) -> float:
    """The most that the two distribution functions are apart, looked at where either steps; both are sorted."""
    import numpy as np

    apart = 0.0
    for points, other in ((x, y), (y, x)):
        for start in range(0, len(points), 1 << 20):
            some = points[start : start + (1 << 20)]
            for side in ("left", "right"):
                here = np.searchsorted(points, some, side=side) / len(points)
                there = np.searchsorted(other, some, side=side) / len(other)
                apart = max(apart, float(np.abs(here - there).max()))
    return apart


def _of_values(a: Parts, b: Parts, name: str) -> dict[str, Any]:
    import numpy as np

    (keys, x), (others, y) = (np.unique(profile.hashes(table, name), return_counts=True) for table in (a, b))
    every = np.union1d(keys, others)
    first, second = np.zeros(len(every), dtype=np.int64), np.zeros(len(every), dtype=np.int64)
    first[np.searchsorted(every, keys)], second[np.searchsorted(every, others)] = x, y
    missing = [a.rows - int(first.sum()), b.rows - int(second.sum())]
    said: dict[str, Any] = {"missing": _shares(missing, a, b), "distinct": [len(keys), len(others)]}
    order = np.argsort(-first, kind="stable")
    top = order[: min(CATEGORIES, len(keys))]
    if a.rows and b.rows:
        counted = [np.append(v[top], v.sum() - v[top].sum()) for v in (first, second)]
        said["psi"] = _psi(counted[0], counted[1], a.rows, b.rows)
        said["cramers_v"] = _cramers_v(first, second)
    come, gone = np.flatnonzero(first == 0), np.flatnonzero(second == 0)
    named = len(every) <= MOST
    new = come[np.argsort(-second[come], kind="stable")][:NAMED] if named else come[:0]
    old = gone[np.argsort(-first[gone], kind="stable")][:NAMED] if named else gone[:0]
    values = profile.looked_up(a, name, every[np.concatenate([top, old])].tolist()) if len(keys) else {}
    values |= profile.looked_up(b, name, every[new].tolist())
    shown = sorted([*top, *new], key=lambda i: (-first[i], -second[i], str(values[int(every[i])])))[:CATEGORIES]
    said["top"] = [[values[int(every[i])], int(first[i]), int(second[i])] for i in shown]
    for word, places, chosen, counts in (("new", come, new, second), ("gone", gone, old, first)):
        said[word] = {"count": len(places), "rows": int(counts[places].sum()), "values": [values[int(every[i])] for i in chosen]}
    return said


def _psi(x: Numbers, y: Numbers, rows_x: int, rows_y: int) -> float:
    """Over the bins of `x` and `y`, and one more for the rows that are in none."""
    import numpy as np

    p, q = (np.append(v, size - v.sum()) + 0.5 for v, size in ((x, rows_x), (y, rows_y)))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def _cramers_v(x: Numbers, y: Numbers) -> float | None:
    """None where one of them is empty."""
    import numpy as np

    m, n = int(x.sum()), int(y.sum())
    if not m or not n:
        return None
    both = (x + y).astype(np.float64)
    off = x - both * m / (m + n)
    chi_square = float(np.sum(np.square(off) / (both * m / (m + n))) + np.sum(np.square(off) / (both * n / (m + n))))
    return float(np.sqrt(chi_square / (m + n)))
