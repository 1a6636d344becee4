"""A model that learned nothing: what any model must beat to be worth having, measured on the same hold-out.

Classes get their shares of the training rows as probabilities, and the most frequent one as the answer; several labels likewise, each
by itself; numbers the training labels' mean, or their median where a metric counts absolute errors; rankings an order by lot;
forecasts the value of their series one season of rows before; anomalies are never called.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.quality.metrics import compute
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

OF_MEDIAN = frozenset({"mae", "median_ae", "mape", "wape", "max_error"})
"""Metrics of which the median, not the mean, is the best constant, or is as good a one."""
KINDS = {"class": "most frequent class", "labels": "most frequent labels", "number": "mean or median"}


def measure(holdout: pl.DataFrame, signature: Signature, learned: pl.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """{"kind": what stands for no learning, "metrics": `compute`'s values of it on the hold-out}.

    holdout: a predictions table with `label`. learned: the training rows, columns named as in the data, the target among them.
    Raises BadInput as `compute` does.
    """
    kind, problem = KINDS[signature.answer], signature.problem_type
    if problem == "anomaly_detection":
        return {"kind": "never an anomaly", "metrics": compute(_never(holdout, signature), signature)}
    if problem == "ranking":
        return {"kind": "order by lot", "metrics": compute(_by_lot(holdout, seed), signature)}
    if problem == "forecasting":
        return {"kind": "value a season ago", "metrics": compute(_seasonal(holdout, signature, learned), signature)}
    if signature.answer == "number":
        return {"kind": kind, "metrics": _constant(holdout, signature, learned)}
    shares = _shares(signature, learned)
    return {"kind": kind, "metrics": compute(_by_shares(holdout, signature, shares), signature)}


def naive_error(learned: pl.DataFrame, signature: Signature) -> float | None:
    """Mean absolute error of the seasonal naive forecast on the training rows; None where no series is longer than a season."""
    import polars as pl

    ordered = _ordered(learned, signature)
    before = pl.col("value").shift(signature.season).over("series")
    found = ordered.select((pl.col("value") - before).abs().mean()).item()
    return None if found is None or not math.isfinite(found) else float(found)


def _ordered(table: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """(series, time, value, row), each series in the order of its time; columns named as in the data."""
    import polars as pl

    keys = [c for c in signature.entity_cols if c in table.columns]
    series = pl.concat_str([pl.col(c).cast(pl.String).fill_null("") for c in keys], separator="\x1f") if keys else pl.lit("")
    time = pl.col(signature.time_col) if signature.time_col else pl.int_range(pl.len())
    found = table.select(series.alias("series"), time.alias("time"), pl.col(signature.target_col).cast(pl.Float64).alias("value"))
    return found.with_row_index("row").sort("series", "time", maintain_order=True)


def _seasonal(holdout: pl.DataFrame, signature: Signature, learned: pl.DataFrame) -> pl.DataFrame:
    """Of a series that is new, or not a season old: its last value, else the mean of the training labels."""
    import polars as pl

    names = {**{tables.feature(c): c for c in signature.entity_cols}, **{tables.extra(c): c for c in signature.entity_cols}}
    if signature.time_col:
        names[tables.EVENT_TIME] = signature.time_col
    names[tables.LABEL] = signature.target_col
    wanted = list(dict.fromkeys(names.values()))
    ours = holdout.select(pl.col(old).alias(new) for old, new in names.items() if old in holdout.columns)
    history = learned.select(c for c in wanted if c in learned.columns)
    both = pl.concat([history.with_columns(mine=False), ours.with_columns(mine=True)], how="diagonal_relaxed")
    ordered = _ordered(both, signature)
    mean = float(learned[signature.target_col].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]  # a float or None
    value = pl.col("value").forward_fill()
    known = pl.coalesce(pl.col("value").shift(signature.season).over("series"), value.shift(1).over("series"), pl.lit(mean))
    answers = ordered.with_columns(known.alias("answer")).sort("row")["answer"].slice(history.height)
    return holdout.with_columns(answers.alias(tables.PREDICTION))


def _never(holdout: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    import polars as pl

    usual = next((c for c in signature.classes if c != signature.positive_class), None)
    return holdout.with_columns(pl.lit(usual).alias(tables.PREDICTION), pl.lit(0.0).alias(tables.output("score")))


def _by_lot(holdout: pl.DataFrame, seed: int) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    return holdout.with_columns(pl.Series(tables.PREDICTION, np.random.default_rng(seed).random(holdout.height)))


def _weights(learned: pl.DataFrame, signature: Signature) -> pl.Series:
    import polars as pl

    name = signature.weight_col
    return learned[name].cast(pl.Float64).fill_null(1) if name in learned.columns else pl.repeat(1.0, learned.height, eager=True)


def _constant(holdout: pl.DataFrame, signature: Signature, learned: pl.DataFrame) -> dict[str, float]:
    import numpy as np
    import polars as pl

    values, weights = learned[signature.target_col].cast(pl.Float64).to_numpy(), _weights(learned, signature).to_numpy()
    known = np.isfinite(values)
    values, weights = values[known], weights[known]
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[order])
    median = values[order][min(int(np.searchsorted(passed, passed[-1] / 2)), len(values) - 1)]
    mean = float(np.average(values, weights=weights))
    by_mean, by_median = (compute(holdout.with_columns(pl.lit(float(c)).alias(tables.PREDICTION)), signature) for c in (mean, median))
    return {name: by_median[name] if name in OF_MEDIAN else value for name, value in by_mean.items()}


def _shares(signature: Signature, learned: pl.DataFrame) -> list[float]:
    """The weighted share of the training rows with each class (or label), in the signature's order."""
    import numpy as np
    import polars as pl

    from modelyard.quality.encode import encode

    goal, weight = pl.col(signature.target_col), signature.weight_col
    named = [pl.col(weight).alias(tables.extra(weight))] if weight is not None and weight in learned.columns else []
    rows = encode(learned.select(goal.alias(tables.LABEL), goal.alias(tables.PREDICTION), *named), signature)
    w = rows.weighting()[0] / len(rows)
    held = rows.truth if rows.truth.ndim == 2 else rows.truth[:, None] == np.arange(rows.classes)
    by_name = dict(zip(rows.names, (w @ held).tolist(), strict=True))
    return [by_name[str(c)] for c in signature.classes]


def _by_shares(holdout: pl.DataFrame, signature: Signature, shares: list[float]) -> pl.DataFrame:
    import polars as pl

    cut, classes = signature.decision_threshold if signature.decision_threshold is not None else 0.5, signature.classes
    if signature.answer == "labels":
        said: Any = (signature.label_separator or "|").join(str(c) for c, share in zip(classes, shares, strict=True) if share >= cut)
    elif signature.problem_type == "binary_classification":
        positive = shares[classes.index(signature.positive_class)] >= cut
        said = next(c for c in classes if (c == signature.positive_class) == positive)
    else:
        said = classes[shares.index(max(shares))]
    scores = [pl.lit(share).alias(tables.output(f"probability_{c}")) for c, share in zip(classes, shares, strict=True)]
    return holdout.with_columns(pl.lit(said).alias(tables.PREDICTION), *scores)
