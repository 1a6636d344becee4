"""The arithmetic of the metrics, in NumPy: many weightings of the same rows at once.

Every kernel takes `Rows` (n rows, arrays) and `w`, float64 of shape (b, n): b weightings, each a weight >= 0 a row. It answers
float64 of shape (b,), NaN where the metric is undefined for that weighting. A plain metric is the case b = 1; a bootstrap resample
is the weighting that counts how often each row was drawn; a slice is the weighting that is 0 elsewhere. So all three run the same
code, rows are sorted only once, and what several kernels need of one `w` is made once (`Rows.once`): hand on the same array.
Definitions are scikit-learn's (User Guide, "Metrics and scoring"), to which the tests hold them within 1e-9; where scikit-learn
answers 0 or 1 with a warning because a ratio is 0/0, these say NaN. `ece` is Guo et al. (2017), "On Calibration of Modern Neural
Networks".
"""

from __future__ import annotations

from collections.abc import Callable

from modelyard.quality.catalogue import family
from modelyard.quality.kernels import classes, labels, lists, numbers
from modelyard.quality.kernels.classes import auc_of_class
from modelyard.quality.kernels.rows import Floats, Ints, Rows

__all__ = ["KERNELS", "Floats", "Ints", "Kernel", "Rows", "auc_of_class", "find"]

Kernel = Callable[[Rows, Floats], Floats]

_OF_SCORES = (
    classes.roc_auc,
    classes.average_precision,
    classes.log_loss,
    classes.brier,
    classes.ece,
    classes.ks_statistic,
    classes.lift_top_decile,
    classes.gain_top_decile,
    classes.top_3_accuracy,
)
_OF_ANSWERS = (
    classes.accuracy,
    classes.balanced_accuracy,
    classes.precision,
    classes.recall,
    classes.specificity,
    classes.f1,
    classes.share_flagged,
    classes.macro_f1,
    classes.weighted_f1,
    classes.macro_precision,
    classes.macro_recall,
    classes.mcc,
    classes.cohen_kappa,
)
_OF_LABELS = (
    labels.subset_accuracy,
    labels.hamming_loss,
    labels.micro_f1,
    labels.micro_precision,
    labels.micro_recall,
    labels.samples_f1,
    labels.samples_precision,
    labels.samples_recall,
    labels.macro_roc_auc,
    labels.micro_roc_auc,
    labels.macro_average_precision,
    labels.lrap,
    labels.coverage_error,
    labels.ranking_loss,
)
_OF_NUMBERS = (
    numbers.mae,
    numbers.rmse,
    numbers.mase,
    numbers.mape,
    numbers.smape,
    numbers.wape,
    numbers.total_error,
    numbers.rmsle,
    numbers.poisson_deviance,
    numbers.gamma_deviance,
    numbers.max_error,
    numbers.median_ae,
    numbers.explained_variance,
    numbers.r2,
)
KERNELS: dict[str, Kernel] = {k.__name__: k for k in (*_OF_SCORES, *_OF_ANSWERS, *_OF_LABELS, *_OF_NUMBERS)}
_PLACED = (lists.ndcg_at, lists.map_at, lists.mrr_at, lists.precision_at, lists.recall_at, lists.hit_rate_at)
FAMILIES: dict[str, Callable[[Rows, Floats, int], Floats]] = {k.__name__: k for k in _PLACED}


def find(name: str) -> Kernel:
    """The kernel of a metric of the catalogue. Raises KeyError for one that has none."""
    placed = family(name)
    if placed is None:
        return KERNELS[name]
    kernel, places = FAMILIES[placed[0]], placed[1]
    return lambda rows, w: kernel(rows, w, places)
