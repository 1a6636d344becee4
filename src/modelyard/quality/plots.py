"""Pictures of a predictions table: how well scores separate, how honest they are, where errors lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.quality.encode import encode
from modelyard.quality.kernels import Floats, Rows, auc_of_class
from modelyard.quality.svg import FIVE, FOUR, INK, MUTED, ONE, PAPER, THREE, TWO, Plot, draw, short
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

Sketch = tuple[str, str, str, Callable[["Axes"], None]]
MAX_POINTS = 1500
MAX_CLASSES = 12
LINES = (ONE, TWO, THREE, FOUR, FIVE)


def plots(table: pl.DataFrame, signature: Signature, *, seed: int = 0) -> list[Plot]:
    """The pictures that suit the problem type; none where there is nothing to draw (no labelled rows, no scores).

    table: a predictions table with `label`. Curves and clouds are thinned to 1500 points, by a seeded draw. Two calls give the
    same bytes.
    Raises BadInput as `encode` does.
    """
    rows = encode(table, signature)
    if not len(rows.truth):
        return []
    if signature.problem_type == "regression":
        sketches = _regression(rows, seed) if rows.predicted is not None else []
    else:
        sketches = _classification(rows, signature)
    wide = len(sketches) in (1, 2, 4)  # they fill rows of two, others rows of three
    return [draw(name, title, reading, paint, wide=wide) for name, title, reading, paint in sketches]


def _classification(rows: Rows, signature: Signature) -> list[Sketch]:
    names = rows.names
    found: list[Sketch] = []
    both = len(np.unique(rows.truth)) > 1
    if rows.scores is not None and both:
        found.append(("roc", "ROC curve", _ROC, lambda ax: _roc(ax, rows, names)))
        if rows.classes == 2:
            found.append(("pr", "Precision and recall", _PR, lambda ax: _precision_recall(ax, rows)))
    if rows.scores is not None:
        found.append(("calibration", "Calibration", _CALIBRATION, lambda ax: _calibration(ax, rows)))
        cut = signature.decision_threshold if rows.classes == 2 else None
        found.append(("scores", "Scores", _SCORES, lambda ax: _score_histogram(ax, rows, names, cut)))
    if rows.predicted is not None and rows.classes <= MAX_CLASSES:
        found.append(("confusion", "Confusion", _CONFUSION, lambda ax: _confusion(ax, rows, names)))
    if rows.scores is not None and rows.classes == 2 and both:
        found.append(("threshold", "Choice of threshold", _THRESHOLD, lambda ax: _thresholds(ax, rows, signature)))
    return found


_ROC = "The higher above the dashed diagonal, the better the scores tell the classes apart; on it they tell nothing."
_PR = "From left to right: how pure the predicted positives stay as more positives are found; dashed is guessing."
_CALIBRATION = "On the diagonal, a score of 0.8 comes true 8 times in 10; below it the model is too sure. Whiskers: 95% intervals."
_SCORES = "The less the colours overlap, the easier the groups are told apart; each colour sums to 1."
_CONFUSION = "Each row is what was true, each column what was answered; right answers lie on the diagonal. Shares are of the row."
_THRESHOLD = "What a different decision threshold would give: precision against recall, with the one in use marked."
_PREDICTED = "Points on the diagonal are exact; a cloud that bends away from it is missed structure."
_RESIDUALS = "Errors should scatter evenly around 0 whatever was predicted; a slope or a funnel is structure that was missed."
_ERRORS = "Centred on 0 means that errors cancel out; a long tail means rare, large misses."
_DECILES = "Rows in ten groups by prediction: where the lines part, the level is biased there."


def _thin(count: int) -> np.typing.NDArray[np.int64]:
    """At most 400 evenly spread indices of a curve with `count` points, both ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, 400)).astype(np.int64))


def _curve(rows: Rows, k: int) -> tuple[Floats, Floats, Floats]:
    """True positives, false positives and score at each distinct score of class k, falling."""
    assert rows.scores is not None
    order, ends = rows.orders[k]
    hit = (rows.truth[order] == k).astype(np.float64)
    found = np.cumsum(hit)[ends]
    return found, ends + 1.0 - found, rows.scores[order, k][ends]


def _roc(ax: Axes, rows: Rows, names: tuple[str, ...]) -> None:
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    counts = np.bincount(rows.truth, minlength=rows.classes)
    shown = [1] if rows.classes == 2 else [int(k) for k in np.argsort(-counts, kind="stable")[: len(LINES)] if counts[k]]
    for color, k in zip(LINES, shown, strict=False):
        tp, fp, _ = _curve(rows, k)
        at = _thin(len(tp))
        x, y = np.append(0, fp[at] / max(fp[-1], 1)), np.append(0, tp[at] / max(tp[-1], 1))
        area = float(auc_of_class(rows, k, np.ones((1, len(rows.truth))))[0])
        label = f"area {area:.3f}" if rows.classes == 2 else f"{short(names[k])} ({area:.3f})"
        if len(shown) == 1:
            ax.fill_between(x, y, color=color, alpha=0.12, linewidth=0)
        ax.plot(x, y, color=color, linewidth=2, label=label)
    _frame(ax, "false positive rate", "true positive rate")
    ax.legend(loc="lower right")


def _precision_recall(ax: Axes, rows: Rows) -> None:
    tp, fp, _ = _curve(rows, 1)
    at, base = _thin(len(tp)), tp[-1] / len(rows.truth)
    recall, precision = np.append(0, tp[at] / tp[-1]), tp[at] / (tp[at] + fp[at])
    precision = np.append(precision[0], precision)
    ax.axhline(base, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    ax.fill_between(recall, precision, step="pre", color=ONE, alpha=0.12, linewidth=0)
    ax.step(recall, precision, where="pre", color=ONE, linewidth=2)
    _frame(ax, "recall", "precision")
    # Precision is best read near the line it has: say what guessing gives, on the side of the line that is free.
    ax.annotate(f"positive rate {base:.3g}", (0.02, base), xytext=(0, 4 if base < 0.9 else -12), textcoords="offset points", color=MUTED)


def _calibration(ax: Axes, rows: Rows) -> None:
    assert rows.scores is not None
    top = rows.scores.argmax(axis=1)
    score = rows.scores[:, 1] if rows.classes == 2 else rows.scores.max(axis=1)
    hit = rows.truth == (1 if rows.classes == 2 else top)
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], score)
    n = np.bincount(bins, minlength=10)
    used = n > 0
    said, came = (np.bincount(bins, v, minlength=10)[used] / n[used] for v in (score, hit.astype(float)))
    low, high = _wilson(came, n[used].astype(np.float64))
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    ax.vlines(said, low, high, color=ONE, linewidth=1.5, alpha=0.45)
    ax.plot(said, came, color=ONE, linewidth=2, marker="o", markersize=5, markeredgecolor=PAPER)
    _frame(ax, "mean score in the bin" if rows.classes == 2 else "mean top score in the bin", "share that came true")


def _wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Wilson's 95% interval of a share (E. B. Wilson, 1927): honest for few rows and near 0 and 1."""
    z = 1.959964
    middle, half = (
        (share + z * z / (2 * n)) / (1 + z * z / n),
        z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return middle - half, middle + half


def _score_histogram(ax: Axes, rows: Rows, names: tuple[str, ...], cut: float | None) -> None:
    assert rows.scores is not None
    edges = np.linspace(0, 1, 31)
    if rows.classes == 2:
        groups = [(f"true {short(names[k])}", rows.scores[rows.truth == k, 1]) for k in (0, 1)]
    else:
        right = rows.truth == rows.scores.argmax(axis=1)
        groups = [("wrong", rows.scores.max(axis=1)[~right]), ("right", rows.scores.max(axis=1)[right])]
    for color, (label, scores) in zip((TWO, ONE), groups, strict=True):
        share = np.histogram(np.clip(scores, 0, 1), edges)[0] / max(len(scores), 1)
        ax.stairs(share, edges, fill=True, color=color, alpha=0.35)
        ax.stairs(share, edges, color=color, linewidth=1.5, label=f"{label} ({len(scores):,})")
    if cut is not None:
        ax.axvline(cut, color=INK, linewidth=1, linestyle=(0, (2, 2)), label=f"threshold {cut:g}")
    _frame(ax, f"score of {short(names[1])}" if rows.classes == 2 else "top score", "share of rows", unit=False)
    ax.set_xlim(0, 1)
    ax.legend(loc="best")


def _confusion(ax: Axes, rows: Rows, names: tuple[str, ...]) -> None:
    from matplotlib.patches import Rectangle

    assert rows.predicted is not None
    k = rows.classes
    inside = rows.predicted >= 0
    cells = np.bincount(rows.truth[inside] * k + rows.predicted[inside], minlength=k * k).reshape(k, k)
    share = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    for i in range(k):
        for j in range(k):
            color = ONE if i == j else TWO
            ax.add_patch(Rectangle((j, i), 0.96, 0.96, facecolor=color, alpha=0.08 + 0.62 * float(share[i, j]), linewidth=0))
            if k <= 4:
                ax.text(j + 0.48, i + 0.42, f"{cells[i, j]:,}", ha="center", va="center", color=INK, fontsize=15, fontweight="bold")
                ax.text(j + 0.48, i + 0.62, f"{share[i, j]:.1%}", ha="center", va="center", color=INK, fontsize=9)
            elif cells[i, j]:
                ax.text(j + 0.48, i + 0.5, f"{cells[i, j]}", ha="center", va="center", color=INK, fontsize=8)
    ticks, labels = np.arange(k) + 0.48, [short(n, 12) for n in names]
    ax.set(xlim=(0, k), ylim=(k, 0), xlabel="answered", ylabel="true", xticks=ticks, yticks=ticks)
    ax.set_xticklabels(labels, rotation=45 if k > 4 else 0, ha="right" if k > 4 else "center")
    ax.set_yticklabels(labels)
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)


def _thresholds(ax: Axes, rows: Rows, signature: Signature) -> None:
    tp, fp, score = _curve(rows, 1)
    at = _thin(len(tp))
    ax.plot(score[at], tp[at] / (tp[at] + fp[at]), color=ONE, linewidth=2, label="precision")
    ax.plot(score[at], tp[at] / tp[-1], color=TWO, linewidth=2, label="recall")
    if signature.decision_threshold is not None:
        ax.axvline(signature.decision_threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)), label="in use")
    _frame(ax, "decision threshold", "")
    ax.legend(loc="best")


def _regression(rows: Rows, seed: int) -> list[Sketch]:
    assert rows.predicted is not None
    truth, predicted = rows.truth.astype(np.float64), rows.predicted.astype(np.float64)
    if not np.isfinite(truth).all():
        return []
    error, count = truth - predicted, len(truth)
    kept = np.sort(np.random.default_rng(seed).choice(count, MAX_POINTS, replace=False)) if count > MAX_POINTS else np.arange(count)
    dots: dict[str, Any] = {
        "color": ONE,
        "linestyle": "none",
        "marker": "o",
        "markersize": 3.5,
        "markeredgewidth": 0,
        "alpha": 0.45,
    }

    def cloud(ax: Axes) -> None:
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        ax.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        ax.plot(predicted[kept], truth[kept], **dots)
        _frame(ax, "predicted", "true", unit=False)

    def residuals(ax: Axes) -> None:
        ax.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        ax.plot(predicted[kept], error[kept], **dots)
        _frame(ax, "predicted", "true - predicted", unit=False)

    def histogram(ax: Axes) -> None:
        counts, edges = np.histogram(error, bins=min(40, max(8, int(np.sqrt(count)))))
        ax.stairs(counts, edges, fill=True, color=ONE, alpha=0.35)
        ax.stairs(counts, edges, color=ONE, linewidth=1.5)
        ax.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        ax.axvline(float(error.mean()), color=TWO, linewidth=1.5, label=f"mean {error.mean():.3g}")
        _frame(ax, "true - predicted", "rows", unit=False)
        ax.legend(loc="best")

    def deciles(ax: Axes) -> None:
        groups = np.array_split(np.argsort(predicted, kind="stable"), min(10, count))
        at = np.arange(1, len(groups) + 1)
        ax.plot(at, [predicted[g].mean() for g in groups], color=MUTED, linewidth=2, marker="o", markersize=4, label="predicted")
        ax.plot(at, [truth[g].mean() for g in groups], color=ONE, linewidth=2, marker="o", markersize=5, label="true")
        _frame(ax, "tenth of the rows, by prediction", "mean", unit=False)
        ax.set_xticks(at)
        ax.legend(loc="best")

    return [
        ("predicted", "Predicted and true", _PREDICTED, cloud),
        ("residuals", "Residuals", _RESIDUALS, residuals),
        ("errors", "Size of the errors", _ERRORS, histogram),
        ("deciles", "Level by tenths", _DECILES, deciles),
    ]


def _frame(ax: Axes, x: str, y: str, *, unit: bool = True) -> None:
    ax.set(xlabel=x, ylabel=y)
    if unit:
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
