"""Profiles: a predictions table as counts in the bins of a baseline, small enough for JSON and enough to judge drift by.

A baseline is made once, from what a version was trained and evaluated on, and fixes the bins; a profile counts a window into
them, in one Polars pass. A column of numbers has at most 20 bins, quantiles of the baseline, bounded by its least and greatest
value, and one bin below and one above; so a value that training never saw is never hidden among those that it did. A column of
categories has its 100 most frequent values and `other`, which is 0 where these are all; only then is a value outside them
`new`.

    {"format": 1, "rows": int,
     "columns": {NAME: {"kind": "numeric", "low": float | None, "edges": [float, ...], "counts": [int, ...], "missing": int,
                        "min", "max", "mean": float | None}
                    | {"kind": "categorical", "counts": {VALUE: int}, "other": int, "new": int, "fresh": {VALUE: int},
                       "once": int, "missing": int}},
     "score": {"column": "y....", "rows": int, ...as a column}}

`counts` of numbers: below `low`, then up to each edge (the last is the greatest value), then above; missing is null or NaN.
`once` (baseline only): how many values came once, which tells how many unseen ones there may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

BINS, CATEGORIES, FRESH = 20, 100, 5
Kind = Literal["numeric", "categorical"]


def baseline(table: pl.DataFrame, signature: Signature, scores: pl.DataFrame | None = None) -> dict[str, Any]:
    """The baseline of a version, JSON-ready.

    Args:
        table: a predictions table; its f.* columns are profiled.
        scores: the predictions table whose y.* columns are profiled, by default `table` itself. Give the hold-out where `table`
            is what the model was trained on: a model's scores on its own training rows are not those it gives later.

    Raises:
        BadInput: a table is empty, or lacks a feature or the score.
    """
    scores = table if scores is None else scores
    kinds: dict[str, Kind] = {c.name: "categorical" if c.type in ("str", "bool") else "numeric" for c in signature.columns}
    score, kind = _score(signature, scores)
    lacking = [n for n in kinds if tables.feature(n) not in table.columns]
    lacking += [] if score in scores.columns else [score]
    if lacking:
        raise BadInput(f"the baseline table lacks {', '.join(map(repr, lacking))}", where="baseline")
    if table.is_empty() or scores.is_empty():
        raise BadInput("the baseline table has no rows", where="baseline")
    shapes = {name: _shape(table[tables.feature(name)], kinds[name]) for name in kinds}
    columns = _count(table, {tables.feature(n): s for n, s in shapes.items()})
    scored = _count(scores, {score: _shape(scores[score], kind)})
    return {
        "format": 1,
        "rows": table.height,
        "columns": {n: columns[tables.feature(n)] for n in shapes},
        "score": {"column": score, "rows": scores.height, **scored[score]},
    }


def profile(table: pl.DataFrame, baseline: dict[str, Any]) -> dict[str, Any]:
    """A window counted into a baseline's bins, in the same form; a column that the window lacks is missing in every row."""
    score = baseline["score"]
    shapes = {tables.feature(n): c for n, c in baseline["columns"].items()}
    counted = _count(table, {**shapes, score["column"]: score})
    return {
        "format": 1,
        "rows": table.height,
        "columns": {n: counted[tables.feature(n)] for n in baseline["columns"]},
        "score": {"column": score["column"], "rows": table.height, **counted[score["column"]]},
    }


def _score(signature: Signature, table: pl.DataFrame) -> tuple[str, Kind]:
    """The output whose distribution stands for the model's answers."""
    if signature.answer == "number":
        return tables.PREDICTION, "numeric"
    positive = tables.output(signature.positive_output)
    if signature.positive_class is not None and positive in table.columns:
        return positive, "numeric"
    return tables.PREDICTION, "categorical"


def _shape(column: pl.Series, kind: Kind) -> dict[str, Any]:
    """A column's bins, without counts."""
    return _numeric_shape(column) if kind == "numeric" else _categorical_shape(column)


def _numeric_shape(column: pl.Series) -> dict[str, Any]:
    import numpy as np
    import polars as pl

    values = column.to_frame("v").select(_number("v", column.dtype))["v"].drop_nulls().to_numpy()
    values = values[np.isfinite(values)]
    if not values.size:
        return {"kind": "numeric", "low": None, "edges": []}
    if pl.Series(values).n_unique() <= BINS:
        edges = np.unique(values)  # each value its own bin
    else:
        ranks = [math.ceil(values.size * k / BINS) - 1 for k in range(1, BINS + 1)]
        edges = np.unique(np.partition(values, sorted(set(ranks)))[ranks])
    return {"kind": "numeric", "low": float(values.min()), "edges": edges.tolist()}


def _categorical_shape(column: pl.Series) -> dict[str, Any]:
    import polars as pl

    seen = column.to_frame("v").select(_text("v", column.dtype)).drop_nulls()["v"].value_counts(name="n")
    seen = seen.sort(pl.col("n"), pl.col("v"), descending=[True, False])
    return {
        "kind": "categorical",
        "counts": dict.fromkeys(seen["v"].head(CATEGORIES), 0),
        "other": int(seen["n"].slice(CATEGORIES).sum()),
        "once": int((seen["n"] == 1).sum()),
    }


def _number(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as float64 (times in microseconds), null where missing."""
    import polars as pl

    column = pl.col(name)
    if dtype in (pl.Date, pl.Datetime):
        column = column.dt.timestamp("us")
    whole = dtype.is_integer() or dtype.is_temporal()
    number = column.cast(pl.Float64, strict=False)
    return number if whole else number.fill_nan(None)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as strings; a whole float is written like the integer, since classes travel as either."""
    import polars as pl

    column = pl.col(name)
    if not dtype.is_float():
        return column.cast(pl.String)
    column = column.fill_nan(None)
    whole = column.cast(pl.Int64, strict=False)
    return pl.when(column == whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String)).alias(name)


def _count(table: pl.DataFrame, shapes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Counts of all columns by one query; `shapes` by column of the table."""
    import polars as pl

    absent = [pl.lit(None, pl.Float64).alias(n) for n in shapes if n not in table.columns]
    frame = table.lazy().with_columns(absent) if absent else table.lazy()
    dtypes = {n: table.schema.get(n, pl.Float64()) for n in shapes}
    clean = [_number(n, dtypes[n]) if s["kind"] == "numeric" else _text(n, dtypes[n]) for n, s in shapes.items()]
    wanted = [e for n, s in shapes.items() for e in (_numeric_counts(n, s) if s["kind"] == "numeric" else _categorical_counts(n))]
    row = frame.select(clean).select(wanted)
    answer = row.collect()
    return {
        n: _read_numeric(answer, n, s, table.height) if s["kind"] == "numeric" else _read_categorical(answer, n, s)
        for n, s in shapes.items()
    }


def _numeric_counts(name: str, shape: dict[str, Any]) -> Iterable[pl.Expr]:
    import polars as pl

    column = pl.col(name)
    yield column.null_count().alias(f"{name}\0missing")
    yield column.min().alias(f"{name}\0min")
    yield column.max().alias(f"{name}\0max")
    yield column.mean().alias(f"{name}\0mean")
    if shape["low"] is not None:
        yield (column < shape["low"]).sum().alias(f"{name}\0below")
    for i, edge in enumerate(shape["edges"]):
        yield (column <= edge).sum().alias(f"{name}\0{i}")


def _categorical_counts(name: str) -> Iterable[pl.Expr]:
    import polars as pl

    yield pl.col(name).value_counts(name="n").implode().alias(f"{name}\0counts")


def _read_numeric(answer: pl.DataFrame, name: str, shape: dict[str, Any], rows: int) -> dict[str, Any]:
    def read(what: str) -> Any:
        return answer.item(0, f"{name}\0{what}")

    missing = int(read("missing"))
    up_to = [int(read("below"))] if shape["low"] is not None else [0]
    up_to += [int(read(str(i))) for i in range(len(shape["edges"]))] + [rows - missing]
    counts = [up_to[0], *(b - a for a, b in pairwise(up_to))]
    facts = {what: _finite(read(what)) for what in ("min", "max", "mean")}
    return {"kind": "numeric", "low": shape["low"], "edges": shape["edges"], "counts": counts, "missing": missing, **facts}


def _read_categorical(answer: pl.DataFrame, name: str, shape: dict[str, Any]) -> dict[str, Any]:
    import polars as pl

    seen = answer[f"{name}\0counts"].item().struct.unnest()
    missing = int(seen.filter(pl.col(name).is_null())["n"].sum())
    seen = seen.drop_nulls(name)
    known = seen.filter(pl.col(name).is_in(list(shape["counts"])))
    rest = seen.filter(~pl.col(name).is_in(list(shape["counts"]))).sort(pl.col("n"), pl.col(name), descending=[True, False])
    outside, complete = int(rest["n"].sum()), not shape["other"]
    counts = {**dict.fromkeys(shape["counts"], 0), **dict(zip(known[name], known["n"], strict=True))}
    return {
        "kind": "categorical",
        "counts": counts,
        "other": 0 if complete else outside,
        "new": outside if complete else 0,
        "fresh": dict(zip(rest[name].head(FRESH), rest["n"].head(FRESH), strict=True)) if complete else {},
        "once": shape["once"],
        "missing": missing,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
