"""Metrics of a predictions table: what they are called, which way is better, and their values.

Importing this module loads neither NumPy nor Polars nor Matplotlib: `modelyard check` reads the names from here.
"""

from __future__ import annotations

import difflib
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.signature import ProblemType, Signature

if TYPE_CHECKING:
    import polars as pl

BINARY: ProblemType = "binary_classification"
MULTI: ProblemType = "multiclass_classification"
REGRESSION: ProblemType = "regression"
MAX_SLICE_VALUES = 50
SLICE_BINS = 4


@dataclass(frozen=True)
class Metric:
    """A metric's facts. `needs` says what it is computed from: the score (probabilities), or the answer (the prediction)."""

    name: str
    title: str
    greater_is_better: bool
    needs: Literal["score", "prediction"]
    problem_types: tuple[ProblemType, ...]
    meaning: str

    def sentence(self, value: float) -> str:
        """The value as a sentence, e.g. `ROC AUC is 0.712 (higher is better): ...`."""
        if not math.isfinite(value):
            return f"{self.title} is undefined on these rows."
        return f"{self.title} is {value:.4g} ({'higher' if self.greater_is_better else 'lower'} is better): {self.meaning}."


def _metrics() -> dict[str, Metric]:
    both, one, many, numbers = (BINARY, MULTI), (BINARY,), (MULTI,), (REGRESSION,)
    rows: tuple[tuple[str, str, bool, Literal["score", "prediction"], tuple[ProblemType, ...], str], ...] = (
        ("roc_auc", "ROC AUC", True, "score", both, "chance that a positive row scores above a negative one; 0.5 is a coin toss"),
        ("average_precision", "Average precision", True, "score", one, "area under the precision-recall curve"),
        ("log_loss", "Log loss", False, "score", both, "surprise at what came true, in nats a row"),
        ("brier", "Brier score", False, "score", both, "mean squared error of the probabilities"),
        ("ece", "Calibration error", False, "score", both, "how far scores and observed rates lie apart, over 15 bins"),
        ("accuracy", "Accuracy", True, "prediction", both, "share of right answers"),
        ("balanced_accuracy", "Balanced accuracy", True, "prediction", both, "recall averaged over the classes"),
        ("precision", "Precision", True, "prediction", one, "share of predicted positives that are positive"),
        ("recall", "Recall", True, "prediction", one, "share of positives that were found"),
        ("specificity", "Specificity", True, "prediction", one, "share of negatives that were left alone"),
        ("f1", "F1", True, "prediction", one, "harmonic mean of precision and recall"),
        ("macro_f1", "Macro F1", True, "prediction", many, "F1 averaged over the classes, each alike"),
        ("weighted_f1", "Weighted F1", True, "prediction", many, "F1 averaged over the classes by how often they occur"),
        ("mae", "Mean absolute error", False, "prediction", numbers, "mean size of an error, in the label's unit"),
        ("rmse", "Root mean squared error", False, "prediction", numbers, "like the mean error, large errors weighing more"),
        ("median_ae", "Median absolute error", False, "prediction", numbers, "half of the errors are smaller"),
        ("mape", "Mean absolute percentage error", False, "prediction", numbers, "mean error as a share of the label"),
        ("max_error", "Largest error", False, "prediction", numbers, "size of the worst error"),
        ("r2", "R squared", True, "prediction", numbers, "share of the label's variance explained; 0 is as good as its mean"),
    )
    return {row[0]: Metric(*row) for row in rows}


METRICS: dict[str, Metric] = _metrics()
GREATER_IS_BETTER: dict[str, bool] = {name: metric.greater_is_better for name, metric in METRICS.items()}


def names_for(problem_type: ProblemType) -> tuple[str, ...]:
    """Names of the metrics that a problem type has, the headline one first."""
    return tuple(name for name, metric in METRICS.items() if problem_type in metric.problem_types)


def compute(table: pl.DataFrame, signature: Signature) -> dict[str, float]:
    """Every metric of the problem type, in the catalogue's order, then `rows` and (binary) `positive_rate`.

    table: a predictions table with `label`, `y.prediction` and, for classification, `y.probability_CLASS`. Rows whose label is
    null or NaN are left out; `rows` counts the others. A metric is NaN where it is undefined: no rows, one class for `roc_auc`,
    an answer or a score that is missing or not finite, no score column.
    Of several classes, one that the signature does not know is always answered wrongly, so that a new class shows as a loss.
    Raises BadInput when `label` or `y.prediction` is missing, or a label of a binary problem is neither class.
    """
    import numpy as np

    from modelyard.quality.encode import encode
    from modelyard.quality.kernels import KERNELS

    rows = encode(table, signature)
    ones = np.ones((1, len(rows.truth)))
    values: dict[str, float] = {}
    for name in names_for(signature.problem_type):
        given = rows.scores if METRICS[name].needs == "score" else rows.predicted
        with np.errstate(over="ignore", invalid="ignore"):
            values[name] = math.nan if given is None or not len(rows.truth) else float(KERNELS[name](rows, ones)[0])
    values["rows"] = float(len(rows.truth))
    if signature.problem_type == BINARY:
        values["positive_rate"] = float((rows.truth == 1).mean()) if len(rows.truth) else math.nan
    return values


def by_slice(table: pl.DataFrame, signature: Signature, column: str) -> list[dict[str, Any]]:
    """The metrics of each part of the table, by the values of one column (a feature or an extra one, named as in the data).

    Answers dicts of `column`, `value` (text), and `compute`'s values; most rows first. A column of numbers with more than 20
    values is cut at its quartiles; beyond the 50 most frequent values, the rest are one slice `(other)`; nulls are the slice
    `(missing)`.
    Raises BadInput when the table has no such column.
    """
    import polars as pl

    source = next((c for c in (tables.feature(column), tables.extra(column), column) if c in table.columns), None)
    if source is None:
        known = [c.split(".", 1)[1] for c in table.columns if c.startswith((tables.FEATURE, tables.EXTRA))]
        near = difflib.get_close_matches(column, known, 1)
        raise BadInput(
            f"there is no column '{column}' to slice by",
            where="evaluate.slices",
            next=f"did you mean '{near[0]}'?" if near else f"the columns are {', '.join(known[:20])}",
        )
    labelled = table.filter(_has_label(table))
    values = _slice_values(labelled[source])
    parts = labelled.with_columns(pl.Series("__slice", values)).partition_by("__slice", as_dict=True, include_key=False)
    found = [{"column": column, "value": str(key[0]), **compute(part, signature)} for key, part in parts.items()]
    return sorted(found, key=lambda s: (-s["rows"], s["value"]))


def _has_label(table: pl.DataFrame) -> pl.Series:
    from modelyard.quality.encode import has_label

    return has_label(table)


def _slice_values(series: pl.Series) -> list[str]:
    """The slice that each row belongs to, as text."""
    known = series.drop_nulls()
    if series.dtype.is_numeric() and known.n_unique() > 20:
        return _quartiles(series)
    text = [_word(value) for value in series.to_list()]
    counts: dict[str, int] = {}
    for value in text:
        counts[value] = counts.get(value, 0) + 1
    kept = set(sorted(counts, key=lambda v: (-counts[v], v))[:MAX_SLICE_VALUES])
    return [value if value in kept else "(other)" for value in text]


def _word(value: Any) -> str:
    if value is None or value != value:
        return "(missing)"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _quartiles(series: pl.Series) -> list[str]:
    import numpy as np

    values = series.cast(float).fill_null(math.nan).to_numpy()
    finite = values[np.isfinite(values)]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, SLICE_BINS + 1)))
    names = [f"{a:.4g} to {b:.4g}" for a, b in itertools.pairwise(edges)] or [f"{edges[0]:.4g}"]
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)
    return ["(missing)" if math.isnan(v) else names[i] for v, i in zip(values, index, strict=True)]
