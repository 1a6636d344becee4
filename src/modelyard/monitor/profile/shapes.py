"""Making a baseline: the bins of each column, then the counts in them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.config.spec import KINDS
from modelyard.errors import BadInput
from modelyard.monitor import joint
from modelyard.monitor.profile import counting, reading, sketch
from modelyard.monitor.profile.reading import Kind
from modelyard.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

BINS, CATEGORIES = 20, 100


def baseline(table: pl.DataFrame | pl.LazyFrame, signature: Signature, scores: pl.DataFrame | None = None) -> dict[str, Any]:
    """The baseline of a version, JSON-ready.

    Args:
        table: a predictions table; its f.* columns are profiled, one after the other: of a scan, no more than one lies in memory.
        scores: the predictions table whose y.* columns are profiled, by default `table` itself. Give the hold-out where `table`
            is what the model was trained on: a model's scores on its own training rows are not those it gives later.

    Raises:
        BadInput: a table is empty, or lacks a feature or the score.
    """
    return with_scores(of_features(table, signature), table if scores is None else scores, signature)


def of_features(table: pl.DataFrame | pl.LazyFrame, signature: Signature) -> dict[str, Any]:
    """A baseline but for the scores (`with_scores`), which are not needed for it."""
    import polars as pl

    lazy = table.lazy()
    known = lazy.collect_schema()
    kinds: dict[str, Kind] = {c.name: KINDS[c.type] for c in signature.columns}
    _verify([n for n in kinds if tables.feature(n) not in known])
    rows = int(lazy.select(pl.len()).collect().item())
    if not rows:
        raise _no_rows()
    features = {tables.feature(n) for n in kinds}
    others = [n for n in known if n.startswith((tables.FEATURE, tables.EXTRA)) and n not in features]
    return {
        "format": 2,
        "rows": rows,
        "columns": {n: _column(lazy.select(tables.feature(n)).collect()[tables.feature(n)], k) for n, k in kinds.items()},
        "extra": {n: rows - int(lazy.select(pl.col(n).null_count()).collect().item()) for n in others},
        "joint": _joint(lazy, rows, signature),
    }


def with_scores(features: dict[str, Any], scores: pl.DataFrame | pl.LazyFrame, signature: Signature) -> dict[str, Any]:
    """The baseline of `features` and of the answers in `scores`, a predictions table. Raises BadInput as `baseline` does."""
    lazy = scores.lazy()
    known = lazy.collect_schema()
    score, kind = _score(signature, known)
    _verify([score] if score not in known else [])
    answers = lazy.select(score).collect()[score]
    if answers.is_empty():
        raise _no_rows()
    return {**features, "score": {"column": score, "rows": len(answers), **_column(answers, kind)}}


def _verify(lacking: list[str]) -> None:
    if lacking:
        raise BadInput(f"the baseline table lacks {', '.join(map(repr, lacking))}", where="baseline")


def _no_rows() -> BadInput:
    return BadInput("the baseline table has no rows", where="baseline")


def _score(signature: Signature, columns: Any) -> tuple[str, Kind]:
    """The output whose distribution stands for the model's answers."""
    if signature.answer == "number":
        return tables.PREDICTION, "numeric"
    positive = tables.output(signature.positive_output)
    if signature.positive_class is not None and positive in columns:
        return positive, "numeric"
    return tables.PREDICTION, "categorical"


def _column(column: pl.Series, kind: Kind) -> dict[str, Any]:
    """A column's bins with its own counts in them."""
    if kind == "categorical":
        seen, missing = reading.words(column)
        return counting.count_words(seen, missing, _categorical(seen))
    values = reading.numbers(column)
    return counting.count_numbers(values, _numeric(values))


def _numeric(values: NDArray[np.float64]) -> dict[str, Any]:
    """The bins of a column of numbers: its quantiles, or each value's own where there are few."""
    import numpy as np

    rising = np.sort(values[np.isfinite(values)])
    if not rising.size:
        return {"kind": "numeric", "low": None, "edges": [], "sketch": sketch.shape(rising)}
    shape, edges = sketch.shape(rising), rising[np.append(True, rising[1:] != rising[:-1])]
    if edges.size > BINS:
        often = 2 * edges.size < rising.size
        edges = np.unique(rising[[math.ceil(rising.size * k / BINS) - 1 for k in range(1, BINS + 1)]])
        edges = edges if often else _ends(edges, rising, shape)
    return {"kind": "numeric", "low": float(rising[0]), "edges": edges.tolist(), "sketch": shape}


def _ends(edges: NDArray[np.float64], rising: NDArray[np.float64], shape: dict[str, Any]) -> NDArray[np.float64]:
    """Edges, raised to the ends of the sketch's cells, so that these tell how many values lie below (1.5 ns a value less in each
    window); where that would move more than a tenth of a bin's rows, they stay."""
    import numpy as np

    ends = sketch.ends_of(edges, float(rising[-1]), shape)
    moved = np.searchsorted(rising, ends, side="right") - np.searchsorted(rising, edges, side="right")
    return np.unique(np.where(sketch.are_ends(ends, shape) & (moved * BINS * 10 <= rising.size), ends, edges))


def _categorical(seen: pl.DataFrame) -> dict[str, Any]:
    """The bins of a column of categories: its most frequent values."""
    import polars as pl

    often = seen.sort(pl.col("n"), pl.col("v"), descending=[True, False])
    return {
        "kind": "categorical",
        "counts": dict.fromkeys(often["v"].head(CATEGORIES), 0),
        "other": int(often["n"].slice(CATEGORIES).sum()),
        "once": int((often["n"] == 1).sum()),
    }


def _joint(lazy: pl.LazyFrame, rows: int, signature: Signature) -> dict[str, Any] | None:
    """The relations between the columns by every other row, and the errors of the rows between them, which no fit has seen."""
    import polars as pl

    each, row = max(1, math.ceil(rows / joint.FIT_ROWS)), "row"
    features = lazy.select(tables.feature(n) for n in signature.names).with_row_index(row)
    sample = features.filter(pl.col(row) % each == 0).drop(row).collect(engine="streaming")
    fitted = joint.fit(sample.gather_every(2), signature)
    return None if fitted is None else {**fitted, **counting.errors(sample.gather_every(2, 1), fitted)}
