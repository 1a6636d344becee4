"""The catalogue of metrics: what they are called, which way is better, which problem types have them.

Loads neither NumPy nor Polars: `modelyard check` reads the names from here. The numbers are made by quality/kernels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from modelyard.signature import ProblemType

BINARY: ProblemType = "binary_classification"
MULTI: ProblemType = "multiclass_classification"
LABELS: ProblemType = "multilabel_classification"
REGRESSION: ProblemType = "regression"
RANKING: ProblemType = "ranking"
FORECASTING: ProblemType = "forecasting"
ANOMALY: ProblemType = "anomaly_detection"
Needs = Literal["score", "prediction", "build"]
AT = (5, 10)
"""Places of a ranked list that count where nothing else is said."""


@dataclass(frozen=True)
class Metric:
    """A metric's facts. `needs`: computed from the score (probabilities), from the answer (the prediction), or measured in the build."""

    name: str
    title: str
    greater_is_better: bool
    needs: Needs
    problem_types: tuple[ProblemType, ...]
    meaning: str

    def sentence(self, value: float) -> str:
        """The value as a sentence, e.g. `ROC AUC is 0.712 (higher is better): ...`."""
        if not math.isfinite(value):
            return f"{self.title} is undefined on these rows."
        return f"{self.title} is {value:.4g} ({'higher' if self.greater_is_better else 'lower'} is better): {self.meaning}."


Row = tuple[str, str, bool, Needs, tuple[ProblemType, ...], str]


def _rows() -> tuple[Row, ...]:
    """Every metric, those of one problem type in the order in which they are shown; the first is its headline."""
    one, many, several, numbers, series, strange = (BINARY,), (MULTI,), (LABELS,), (REGRESSION,), (FORECASTING,), (ANOMALY,)
    both, scored, cut = (BINARY, MULTI), (BINARY, MULTI, ANOMALY), (BINARY, ANOMALY)
    macro, errors = (MULTI, LABELS), (REGRESSION, FORECASTING)
    return (
        ("roc_auc", "ROC AUC", True, "score", scored, "chance that a positive row scores above a negative one; 0.5 is a coin toss"),
        ("average_precision", "Average precision", True, "score", cut, "area under the precision-recall curve"),
        ("log_loss", "Log loss", False, "score", both, "surprise at what came true, in nats a row"),
        ("brier", "Brier score", False, "score", both, "mean squared error of the probabilities"),
        ("ece", "Calibration error", False, "score", both, "how far scores and observed rates lie apart, over 15 bins"),
        ("ks_statistic", "KS statistic", True, "score", one, "greatest gap between the scores' distributions of the two classes"),
        ("lift_top_decile", "Lift of the top tenth", True, "score", one, "how many times more positives the best-scored tenth holds"),
        ("gain_top_decile", "Gain of the top tenth", True, "score", one, "share of the positives that the best-scored tenth holds"),
        ("micro_f1", "Micro F1", True, "prediction", several, "F1 of all yes-or-no answers together"),
        ("subset_accuracy", "Subset accuracy", True, "prediction", several, "share of rows whose labels are all right"),
        ("hamming_loss", "Hamming loss", False, "prediction", several, "share of wrong yes-or-no answers over rows and labels"),
        ("accuracy", "Accuracy", True, "prediction", both, "share of right answers"),
        ("balanced_accuracy", "Balanced accuracy", True, "prediction", both, "recall averaged over the classes"),
        ("precision", "Precision", True, "prediction", cut, "share of predicted positives that are positive"),
        ("recall", "Recall", True, "prediction", cut, "share of positives that were found"),
        ("specificity", "Specificity", True, "prediction", cut, "share of negatives that were left alone"),
        ("f1", "F1", True, "prediction", cut, "harmonic mean of precision and recall"),
        ("share_flagged", "Share flagged", False, "prediction", strange, "share of rows that are called an anomaly"),
        ("macro_f1", "Macro F1", True, "prediction", macro, "F1 averaged over the classes, each alike"),
        ("weighted_f1", "Weighted F1", True, "prediction", macro, "F1 averaged over the classes by how often they occur"),
        ("samples_f1", "Samples F1", True, "prediction", several, "F1 of each row's labels, averaged over the rows"),
        ("micro_precision", "Micro precision", True, "prediction", several, "share of the labels given that hold"),
        ("macro_precision", "Macro precision", True, "prediction", macro, "precision averaged over the classes, each alike"),
        ("samples_precision", "Samples precision", True, "prediction", several, "precision of each row's labels, averaged over the rows"),
        ("micro_recall", "Micro recall", True, "prediction", several, "share of the labels that hold which were given"),
        ("macro_recall", "Macro recall", True, "prediction", macro, "recall averaged over the classes, each alike"),
        ("samples_recall", "Samples recall", True, "prediction", several, "recall of each row's labels, averaged over the rows"),
        ("mcc", "Matthews correlation", True, "prediction", both, "correlation of answer and truth; 0 is chance, 1 is perfect"),
        ("cohen_kappa", "Cohen's kappa", True, "prediction", both, "agreement of answer and truth beyond chance"),
        ("top_3_accuracy", "Top-3 accuracy", True, "score", many, "share of rows whose class is among the three best scored"),
        ("macro_roc_auc", "Macro ROC AUC", True, "score", several, "ROC AUC averaged over the labels"),
        ("micro_roc_auc", "Micro ROC AUC", True, "score", several, "ROC AUC of all yes-or-no answers together"),
        ("macro_average_precision", "Macro average precision", True, "score", several, "average precision averaged over the labels"),
        ("lrap", "Label ranking average precision", True, "score", several, "how pure the list of labels is down to each one that holds"),
        ("coverage_error", "Coverage error", False, "score", several, "how far down the list of labels one must go to have all that hold"),
        ("ranking_loss", "Label ranking loss", False, "score", several, "share of label pairs in the wrong order"),
        ("mae", "Mean absolute error", False, "prediction", errors, "mean size of an error, in the label's unit"),
        ("rmse", "Root mean squared error", False, "prediction", errors, "like the mean error, large errors weighing more"),
        (
            "mase",
            "Mean absolute scaled error",
            False,
            "prediction",
            series,
            "mean error over that of the season before; 1 is as good",
        ),
        ("median_ae", "Median absolute error", False, "prediction", numbers, "half of the errors are smaller"),
        ("mape", "Mean absolute percentage error", False, "prediction", errors, "mean error as a share of the label"),
        ("smape", "Symmetric percentage error", False, "prediction", series, "mean error as a share of label and answer averaged, 0 to 2"),
        ("wape", "Weighted percentage error", False, "prediction", errors, "sum of the errors as a share of the sum of the labels"),
        ("total_error", "Error of the total", False, "prediction", series, "how far the sum of the answers is off, as a share: the bias"),
        ("rmsle", "Root mean squared log error", False, "prediction", numbers, "error of the logarithms; undefined below 0"),
        ("poisson_deviance", "Poisson deviance", False, "prediction", numbers, "misfit of counts; undefined for answers not above 0"),
        ("gamma_deviance", "Gamma deviance", False, "prediction", numbers, "misfit relative to the size; undefined where not above 0"),
        ("max_error", "Largest error", False, "prediction", numbers, "size of the worst error"),
        ("explained_variance", "Explained variance", True, "prediction", numbers, "like R squared, a constant error forgiven"),
        ("r2", "R squared", True, "prediction", numbers, "share of the label's variance explained; 0 is as good as its mean"),
        ("latency_p50_ms", "Median latency", False, "build", (), "half of single rows are answered faster, in milliseconds"),
        ("latency_p99_ms", "99th percentile of latency", False, "build", (), "all but one in a hundred rows are answered faster, in ms"),
        ("model_size_mb", "Size of the model", False, "build", (), "the model's files, in megabytes of 1,000,000 bytes"),
    )


FAMILIES: dict[str, Metric] = {
    row[0]: Metric(*row)
    for row in (
        (
            "ndcg_at",
            "NDCG of the first {}",
            True,
            "prediction",
            (RANKING,),
            "gain of the order, as a share of the best order's",
        ),
        ("map_at", "MAP of the first {}", True, "prediction", (RANKING,), "precision at each relevant row of the first places, averaged"),
        ("mrr_at", "MRR of the first {}", True, "prediction", (RANKING,), "one over the place of the first relevant row, averaged"),
        (
            "precision_at",
            "Precision of the first {}",
            True,
            "prediction",
            (RANKING, ANOMALY),
            "share of these places that are relevant",
        ),
        ("recall_at", "Recall of the first {}", True, "prediction", (RANKING, ANOMALY), "share of what is relevant among the first places"),
        ("hit_rate_at", "Hit rate of the first {}", True, "prediction", (RANKING,), "share of groups with something relevant up front"),
    )
}
"""Metrics of ranked lists, by so many places: `ndcg_at` is `ndcg_at_5`, `ndcg_at_10` and so on."""

_AT = re.compile(rf"({'|'.join(FAMILIES)})_([1-9][0-9]{{0,3}})")


def family(name: str) -> tuple[str, int] | None:
    """(`ndcg_at`, 5) for `ndcg_at_5`; None for a metric without places, or with more than 1000."""
    found = _AT.fullmatch(name)
    return (found[1], int(found[2])) if found and int(found[2]) <= 1000 else None


class Catalogue(Mapping[str, Metric]):
    """Every metric by name. Iterating gives those without places; `catalogue["ndcg_at_7"]` is known nevertheless."""

    def __init__(self) -> None:
        self._fixed = {row[0]: Metric(*row) for row in _rows()}

    def __getitem__(self, name: str) -> Metric:
        if (placed := family(name)) is None:
            return self._fixed[name]
        fact, places = FAMILIES[placed[0]], placed[1]
        return Metric(name, fact.title.format(places), fact.greater_is_better, fact.needs, fact.problem_types, fact.meaning)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fixed)

    def __len__(self) -> int:
        return len(self._fixed)


class Directions(Mapping[str, bool]):
    """Whether more of a metric is better, by its name, over a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __getitem__(self, name: str) -> bool:
        return self._catalogue[name].greater_is_better

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogue)

    def __len__(self) -> int:
        return len(self._catalogue)


METRICS = Catalogue()
GREATER_IS_BETTER = Directions(METRICS)


def names_for(problem_type: ProblemType, *, at: Sequence[int] = AT) -> tuple[str, ...]:
    """Names of the metrics that a problem type has, the headline one first; `at`: the places that count in ranked lists."""
    placed = tuple(f"{name}_{k}" for name, fact in FAMILIES.items() if problem_type in fact.problem_types for k in at)
    fixed = tuple(name for name, metric in METRICS.items() if problem_type in metric.problem_types)
    return (*placed, *fixed) if problem_type == RANKING else (*fixed, *placed)


_SHARES = frozenset(
    {"roc_auc", "average_precision", "ece", "ks_statistic", "gain_top_decile", "subset_accuracy", "hamming_loss", "share_flagged", "lrap"}
    | {"top_3_accuracy", "macro_roc_auc", "micro_roc_auc", "macro_average_precision", "ranking_loss", "accuracy", "balanced_accuracy"}
    | {"precision", "recall", "specificity", "f1", "weighted_f1"}
    | {f"{way}_{what}" for way in ("micro", "macro", "samples") for what in ("f1", "precision", "recall")}
)


def ends(name: str) -> tuple[float, float]:
    """The least and the greatest value that a metric can have; infinite where there is none, or where the metric is somebody's own."""
    if name in _SHARES or family(name) is not None:
        return 0.0, 1.0
    if name in ("mcc", "cohen_kappa"):
        return -1.0, 1.0
    if name in ("r2", "explained_variance"):
        return -math.inf, 1.0
    signed = name not in METRICS or name == "total_error"
    return (-math.inf if signed else 0.0), math.inf


def measured_in_build() -> tuple[str, ...]:
    """Names of what a build measures besides the metrics of its problem type, whatever that is; gates may name them."""
    return tuple(name for name, metric in METRICS.items() if metric.needs == "build")
