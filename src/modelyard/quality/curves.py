"""What a predictions table looks like, as the numbers that pictures are drawn from: how well scores separate, how honest they are, where
errors lie. `plots` draws them. Rows weigh as they do in the metrics, except where rows are counted.

Curves and clouds are thinned, so that the numbers of a million rows are as few as those of a thousand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard import tables
from modelyard.quality.encode import encode, usable
from modelyard.quality.kernels import Floats, Rows, find
from modelyard.quality.kernels.classes import area, precision_area, tallies
from modelyard.quality.kernels.rows import ratio
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

MAX_POINTS, CURVE = 1200, 300
MAX_CLASSES, MAX_LINES, MAX_LABELS = 12, 5, 60
"""Classes of a confusion matrix; ROC curves; labels (or classes) in a table of them, the most frequent first."""
MAX_SERIES = 4
PLACES = (1, 2, 3, 5, 10, 15, 20)
DIGITS = 5
Numbers = list[float | None]


def curves(table: pl.DataFrame, signature: Signature, *, seed: int = 0) -> dict[str, Any]:
    """The numbers that suit the problem type; none where there is nothing to draw (no labelled rows, no scores).

    table: a predictions table with `label`. Answers JSON values, each key where it applies:

    roc: [{"name", "area", "x", "y"}] a class; pr: {"recall", "precision", "base"}; calibration: {"said", "came", "low", "high", "rows"}
    a bin; scores: {"edges", "groups": [{"name", "rows", "share"}], "threshold", "axis"}; confusion: {"classes", "cells"} (by truth);
    threshold: {"at", "precision", "recall", "in_use"}; by_class: [{"name", "rows", "precision", "recall", "f1", "roc_auc"}];
    cloud: {"predicted", "true"}; errors: {"edges", "counts", "mean"}; deciles: {"predicted", "true"}; series: [{"name", "at", "true",
    "predicted"}]; ranking: {"at", "ndcg", "hit_rate"}.
    Curves have at most 300 points, clouds 1200, by a seeded draw. Raises BadInput as `encode` does.
    """
    rows = encode(table, signature)
    if not len(rows.truth):
        return {}
    if signature.answer == "labels":
        return _labels(rows)
    if signature.answer == "class":
        return _classes(rows, signature)
    if rows.predicted is None or not np.isfinite(rows.truth.astype(np.float64)).all():
        return {}
    found = _numbers(rows, seed)
    if signature.problem_type == "ranking":
        found = _ranking(rows)
    if signature.problem_type == "forecasting" and (lines := _series(table, signature)):
        found = {"series": lines, **found}
    return found


def _classes(rows: Rows, signature: Signature) -> dict[str, Any]:
    found: dict[str, Any] = {}
    both, two = len(np.unique(rows.truth)) > 1, rows.classes == 2
    strange = signature.problem_type == "anomaly_detection"
    if rows.scores is not None and both:
        found["roc"] = _roc(rows)
        if two:
            found["pr"] = _precision_recall(rows)
    if rows.scores is not None:
        if not strange:  # whose scores are no probabilities
            found["calibration"] = _calibration(rows)
        cut = signature.decision_threshold if two else None
        found["scores"] = _scores(rows, cut, strange)
    if rows.predicted is not None and rows.classes <= MAX_CLASSES:
        k, inside = rows.classes, rows.predicted >= 0
        cells = np.bincount(rows.truth[inside] * k + rows.predicted[inside], minlength=k * k).reshape(k, k)
        found["confusion"] = {"classes": list(rows.names), "cells": cells.tolist()}
    if rows.scores is not None and two and both:
        found["threshold"] = _thresholds(rows, signature)
    if rows.classes > 2:
        found["by_class"] = _by_class(rows)
    return found


def _labels(rows: Rows) -> dict[str, Any]:
    found: dict[str, Any] = {"by_class": _by_class(rows)}
    if rows.scores is not None and not bool(rows.truth.all() or not rows.truth.any()):
        frequent = [int(k) for k in np.argsort(-rows.truth.sum(axis=0), kind="stable")[:MAX_LINES]]
        found["roc"] = [_roc_line(rows, k) for k in frequent if 0 < rows.truth[:, k].sum() < len(rows)]
    return found


def _by_class(rows: Rows) -> list[dict[str, Any]]:
    """A row a class or label, the most frequent first."""
    several = rows.truth.ndim == 2
    count = rows.truth.sum(axis=0) if several else np.bincount(rows.truth, minlength=rows.classes)
    w = rows.weighting()
    precision = recall = f1 = np.full(rows.classes, math.nan)
    if rows.predicted is not None:
        hits, true, predicted = (part[0] for part in tallies(rows, w))
        precision, recall, f1 = ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, true + predicted)
    found = []
    for k in np.argsort(-count, kind="stable")[:MAX_LABELS]:
        judged = rows.scores is not None and 0 < count[k] < len(rows)
        tp, fp = _curve(rows, int(k))[:2] if judged else (np.zeros(0), np.zeros(0))
        found.append(
            {
                "name": rows.names[k],
                "rows": int(count[k]),
                "precision": _one(precision[k]),
                "recall": _one(recall[k]),
                "f1": _one(f1[k]),
                "roc_auc": _one(area(tp[None], fp[None])[0]) if judged else None,
                "average_precision": _one(precision_area(tp[None], fp[None])[0]) if judged else None,
            }
        )
    return found


def _hits(rows: Rows, k: int) -> Floats:
    return np.asarray(rows.truth[:, k] if rows.truth.ndim == 2 else rows.truth == k, dtype=np.float64)


def _curve(rows: Rows, k: int) -> tuple[Floats, Floats, Floats]:
    """Weight of true positives, of false positives, and the score, at each distinct score of class k, falling."""
    assert rows.scores is not None
    order, ends = rows.orders[k]
    hit, w = _hits(rows, k)[order], rows.weighting()[0][order]
    return np.cumsum(hit * w)[ends], np.cumsum((1 - hit) * w)[ends], rows.scores[order, k][ends]


def _roc(rows: Rows) -> list[dict[str, Any]]:
    counts = np.bincount(rows.truth, minlength=rows.classes)
    shown = [1] if rows.classes == 2 else [int(k) for k in np.argsort(-counts, kind="stable")[:MAX_LINES] if counts[k]]
    return [_roc_line(rows, k) for k in shown]


def _roc_line(rows: Rows, k: int) -> dict[str, Any]:
    tp, fp, _ = _curve(rows, k)
    at = _thin(len(tp))
    x, y = np.append(0, ratio(fp[at], fp[-1])), np.append(0, ratio(tp[at], tp[-1]))
    return {"name": rows.names[k], "area": _one(area(tp[None], fp[None])[0]), "x": _plain(x), "y": _plain(y)}


def _precision_recall(rows: Rows) -> dict[str, Any]:
    tp, fp, _ = _curve(rows, 1)
    at = _thin(len(tp))
    precision = tp[at] / (tp[at] + fp[at])
    recall = np.append(0, tp[at] / tp[-1])
    return {"recall": _plain(recall), "precision": _plain(np.append(precision[0], precision)), "base": _one(tp[-1] / (tp[-1] + fp[-1]))}


def _thresholds(rows: Rows, signature: Signature) -> dict[str, Any]:
    tp, fp, score = _curve(rows, 1)
    at = _thin(len(tp))
    line = {"at": _plain(score[at]), "precision": _plain(tp[at] / (tp[at] + fp[at])), "recall": _plain(tp[at] / tp[-1])}
    return {**line, "in_use": signature.decision_threshold}


def _calibration(rows: Rows) -> dict[str, Any]:
    assert rows.scores is not None
    two = rows.classes == 2
    score = rows.scores[:, 1] if two else rows.scores.max(axis=1)
    hit = rows.truth == (1 if two else rows.scores.argmax(axis=1))
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], score)
    n = np.bincount(bins, minlength=10)
    used = n > 0
    mean, came = (np.bincount(bins, v, minlength=10)[used] / n[used] for v in (score, hit.astype(float)))
    low, high = _wilson(came, n[used].astype(np.float64))
    return {"said": _plain(mean), "came": _plain(came), "low": _plain(low), "high": _plain(high), "rows": n[used].tolist()}


def _wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of a share (E. B. Wilson, 1927): honest for few rows and near 0 and 1."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def _scores(rows: Rows, cut: float | None, strange: bool) -> dict[str, Any]:
    """The scores' histogram: by true class where there are two, else of right and wrong answers."""
    assert rows.scores is not None
    top = rows.scores[:, 1] if rows.classes == 2 else rows.scores.max(axis=1)
    if rows.classes == 2:
        groups = [(f"true {rows.names[k]}", top[rows.truth == k]) for k in (0, 1)]
    else:
        right = rows.truth == rows.scores.argmax(axis=1)
        groups = [("wrong", top[~right]), ("right", top[right])]
    low, high = (float(top.min()), float(top.max())) if strange else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, 31)
    found = []
    for name, scores in groups:
        share = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / max(len(scores), 1)
        found.append({"name": name, "rows": len(scores), "share": _plain(share)})
    axis = "score" if strange else f"score of {rows.names[1]}" if rows.classes == 2 else "top score"
    return {"edges": _plain(edges), "groups": found, "threshold": cut, "axis": axis}


def _numbers(rows: Rows, seed: int) -> dict[str, Any]:
    assert rows.predicted is not None
    truth, predicted = rows.truth.astype(np.float64), rows.predicted.astype(np.float64)
    error, count = truth - predicted, len(truth)
    kept = np.sort(np.random.default_rng(seed).choice(count, MAX_POINTS, replace=False)) if count > MAX_POINTS else np.arange(count)
    counts, edges = _histogram(error, min(40, max(8, int(np.sqrt(count)))))
    groups = np.array_split(np.argsort(predicted, kind="stable"), min(10, count))
    return {
        "cloud": {"predicted": _plain(predicted[kept]), "true": _plain(truth[kept])},
        "errors": {"edges": _plain(edges), "counts": counts.tolist(), "mean": _one(error.mean())},
        "deciles": {key: [_one(values[g].mean()) for g in groups] for key, values in (("predicted", predicted), ("true", truth))},
    }


def _histogram(values: Floats, bins: int) -> tuple[Any, Floats]:
    """Counts (bins,) and edges (bins + 1,); one bin where values are so great, and so alike, that no numbers lie between them."""
    try:
        return np.histogram(values, bins=bins)
    except ValueError:
        return np.array([len(values)]), np.array([values.min(), np.nextafter(values.max(), np.inf)])


def _ranking(rows: Rows) -> dict[str, Any]:
    """Quality of the order by how many places count, up to the longest list."""
    if rows.groups is None or not len(rows.groups):
        return {}
    longest, w = int(np.bincount(rows.groups).max()), rows.weighting()
    at = [k for k in PLACES if k <= longest] or [1]
    curve = {name: [_one(find(f"{name}_at_{k}")(rows, w)[0]) for k in at] for name in ("ndcg", "hit_rate")}
    return {"ranking": {"at": at, **curve}}


def _series(table: pl.DataFrame, signature: Signature) -> list[dict[str, Any]]:
    """Truth and forecast over time: the sum of all series where there are several, and the longest of them."""
    import polars as pl

    if tables.EVENT_TIME not in table.columns:
        return []
    names = [tables.extra(n) if tables.extra(n) in table.columns else tables.feature(n) for n in signature.entity_cols]
    names = [name for name in names if name in table.columns]
    known = table.filter(usable(table, signature)).select(
        pl.col(tables.EVENT_TIME).alias("at"),
        pl.col(tables.LABEL).cast(pl.Float64).alias("true"),
        pl.col(tables.PREDICTION).cast(pl.Float64).alias("predicted"),
        pl.concat_str([pl.col(n).cast(pl.String).fill_null("missing") for n in names], separator=", ").alias("name")
        if names
        else pl.lit("").alias("name"),
    )
    sizes = known.group_by("name").len().sort(["len", "name"], descending=[True, False])["name"].to_list()
    found = [] if len(sizes) == 1 else [_line("all together", known)]
    return found + [_line(name, known.filter(pl.col("name") == name)) for name in sizes[: MAX_SERIES - len(found)]]


def _line(name: str, rows: pl.DataFrame) -> dict[str, Any]:
    import polars as pl

    by_time = rows.group_by("at").agg(pl.col("true").sum(), pl.col("predicted").sum()).sort("at").drop_nulls("at")
    at = _thin(by_time.height) if by_time.height else np.zeros(0, dtype=np.int64)
    kept = by_time[at]
    times = [t.isoformat() for t in kept["at"].to_list()]
    return {"name": name, "at": times, "true": _plain(kept["true"].to_numpy()), "predicted": _plain(kept["predicted"].to_numpy())}


def _thin(count: int) -> np.typing.NDArray[np.int64]:
    """At most 300 evenly spread indices of a curve with `count` points, both ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, CURVE)).astype(np.int64))


def _one(value: Any) -> float | None:
    """Five digits are more than a picture shows."""
    return float(f"{float(value):.{DIGITS}g}") if math.isfinite(value) else None


def _plain(values: Any) -> Numbers:
    return [_one(value) for value in values]
