"""What differs between two tables: columns, rows, and how each column's values moved. Behind `modelyard data diff A B`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.data.columns import type_of
from modelyard.errors import BadInput, NotFound

if TYPE_CHECKING:
    import polars as pl

BINS, CATEGORIES = 10, 20


def diff(a: Path, b: Path) -> dict[str, Any]:
    """Two tables (Parquet or csv files, or folders of a snapshot) side by side.

    Gives `rows: [a, b]`, `added`, `removed` (column names), `retyped` (`{column, before, after}`), and `columns`, a summary of
    each shared column: `{column, type, missing: [share, share], mean|distinct: [a, b], psi}`. PSI is the population stability
    index sum((p - q) ln(p / q)) over the deciles of `a` (numbers, times) or its 20 commonest values and the rest, missing values
    being a bin of their own; half a row is added to each bin so that an empty one stays finite. It is None where types differ or
    a table is empty.

    Raises NotFound or BadInput for a table that is not there or cannot be read.
    """
    left, right = _read(a), _read(b)
    shared = [name for name in left.columns if name in right.columns]
    kinds = {name: (_kind(left[name]), _kind(right[name])) for name in shared}
    return {
        "rows": [left.height, right.height],
        "added": [name for name in right.columns if name not in left.columns],
        "removed": [name for name in left.columns if name not in right.columns],
        "retyped": [{"column": n, "before": x, "after": y} for n, (x, y) in kinds.items() if x != y],
        "columns": [_summary(left[name], right[name], *kinds[name]) for name in shared],
    }


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    file = path / "data.parquet" if path.is_dir() else path
    if not file.is_file():
        raise NotFound(f"there is no table at {path}")
    try:
        if file.suffix == ".csv":
            return pl.read_csv(file, infer_schema_length=None)
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise BadInput(f"{path} cannot be read as a table", where=str(path)) from exc


def _kind(series: pl.Series) -> str:
    return type_of(series.dtype) or str(series.dtype)


def _summary(a: pl.Series, b: pl.Series, before: str, after: str) -> dict[str, Any]:
    found: dict[str, Any] = {"column": a.name, "type": after, "missing": [_share_missing(a), _share_missing(b)]}
    if before in ("int", "float", "bool") and after in ("int", "float", "bool"):
        found["mean"] = [a.mean(), b.mean()]
    else:
        found["distinct"] = [a.n_unique(), b.n_unique()] if before == after else None
    known = before in ("int", "float", "bool", "str", "datetime")
    found["psi"] = _psi(a, b, before) if before == after and known and len(a) and len(b) else None
    return found


def _share_missing(series: pl.Series) -> float:
    return series.null_count() / len(series) if len(series) else 0.0


def _psi(a: pl.Series, b: pl.Series, kind: str) -> float:
    import numpy as np
    import polars as pl

    if kind in ("int", "float", "datetime"):
        x, y = (s.to_physical().cast(pl.Float64).drop_nulls().drop_nans().to_numpy() for s in (a, b))
        edges = np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1)[1:-1])) if len(x) else np.array([])
        counts = [np.bincount(np.searchsorted(edges, v, side="left"), minlength=len(edges) + 1) for v in (x, y)]
    else:
        top = a.drop_nulls().cast(pl.String).value_counts(sort=True, name="rows").head(CATEGORIES)[a.name].to_list()
        texts = [s.drop_nulls().cast(pl.String) for s in (a, b)]
        counts = []
        for text in texts:
            known = [int((text == value).sum()) for value in top]
            counts.append(np.array([*known, len(text) - sum(known)]))
    sizes = (len(a), len(b))
    shares = []
    for count, size in zip(counts, sizes, strict=True):
        full = np.append(count, size - count.sum()) + 0.5
        shares.append(full / full.sum())
    p, q = shares
    return float(np.sum((p - q) * np.log(p / q)))
