"""Leakage: what a model must not have known. A feature that tells the target by itself, rows of the hold-out seen in training, rows
of training that lie after the hold-out's first.

After Kaufman et al. (2012), "Leakage in Data Mining: Formulation, Detection, and Avoidance". Pure: tables in, findings out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from modelyard.quality.kernels import Floats, Ints

    Rows = pl.DataFrame | pl.LazyFrame

TELLS = 0.999
"""ROC AUC, accuracy or R squared of a single feature from which on it is taken for the target itself."""
SAMPLE, MOST_VALUES, FOLDS = 50_000, 1_000, 5
LEAST_ROWS = 50
BEYOND = 0.9
"""Least share of the rows that are not of the most frequent class which a feature that tells several classes has right."""


@dataclass(frozen=True)
class Finding:
    """One check's outcome; `on_fail` says what a leak does to the build."""

    check: Literal["target", "duplicates", "time_order"]
    ok: bool
    on_fail: Literal["block", "warn"]
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        return not self.ok and self.on_fail == "block"


def target(train: Rows, signature: Signature, on_fail: Literal["block", "warn"], *, seed: int = 0) -> Finding:
    """Whether a feature by itself tells the target: its values, or that it is missing, with an AUC (two classes), accuracy (more) or R
    squared (numbers) above 0.999.

    train: the training rows, named as in the data; beyond 50,000 an even part stands for all. Each feature is judged as a number, by
    rank (of more classes: by its nearest neighbour's class), and, where it has at most 1000 values, as a code whose meaning is learned on
    four fifths of the rows and judged on the rest.
    """
    train = _sampled(train, [*signature.names, signature.target_col])
    if train.height < LEAST_ROWS:
        return Finding("target", True, on_fail, f"too few rows ({train.height}) to tell whether a feature is the target")
    kind, goal = _goal(train[signature.target_col], signature)
    found: dict[str, float] = {}
    for name in signature.names:
        if name in train.columns and (power := _power(train[name], kind, goal, seed)) >= TELLS:
            found[name] = round(power, 6)
    evidence = {"features": found, "measure": kind, "rows": train.height}
    if not found:
        return Finding("target", True, on_fail, f"no feature tells {signature.target_col} by itself", evidence)
    first = max(found, key=lambda n: found[n])
    more = f", and so do {len(found) - 1} more" if len(found) > 1 else ""
    hint = "leave it out (data.schema.exclude) if it is not known before the target is"
    said = f"{first} tells {signature.target_col} by itself ({kind} {found[first]:.4g}){more}: {hint}"
    return Finding("target", False, on_fail, said, evidence)


def _sampled(frame: Rows, names: list[str]) -> pl.DataFrame:
    import polars as pl

    query = frame.lazy()
    present = set(query.collect_schema())
    rows = int(query.select(pl.len()).collect().item())
    return query.select(n for n in names if n in present).gather_every(max(1, -(-rows // SAMPLE))).collect(engine="streaming")


def _goal(series: pl.Series, signature: Signature) -> tuple[str, Floats]:
    """How a feature's power is measured, and what it is to tell: numbers, or classes as numbers from 0."""
    import numpy as np
    import polars as pl

    if signature.answer == "number":
        return "R squared", series.cast(pl.Float64).to_numpy()
    text = series.cast(pl.String).fill_null("")
    values = sorted(text.unique().to_list())
    codes = text.replace_strict(values, list(range(len(values))), return_dtype=pl.Int64).to_numpy().astype(np.float64)
    return ("ROC AUC" if len(values) == 2 else "accuracy"), codes


def _power(feature: pl.Series, kind: str, goal: Floats, seed: int) -> float:
    """How well one feature tells the target: the best of its readings; 0 where it says nothing."""
    import numpy as np
    import polars as pl

    feature = feature.fill_nan(None) if feature.dtype.is_float() else feature
    readings = []
    gaps = feature.null_count()
    if 0 < gaps < feature.len():
        readings.append(feature.is_null().to_numpy().astype(np.float64))
    if feature.dtype.is_numeric() or feature.dtype.is_temporal() or feature.dtype == pl.Boolean:
        numbers = feature.to_physical().cast(pl.Float64)
        least = numbers.min() if gaps else None
        readings.append((numbers.fill_null(least if least is not None else 0) if gaps else numbers).to_numpy())
    by = _by_neighbour if kind == "accuracy" else _by_rank
    best = max((by(reading, goal, kind) for reading in readings), default=0.0)
    distinct = feature.n_unique()
    few_goals = kind != "accuracy" or goal.max() < MOST_VALUES
    if few_goals and 1 < distinct <= min(MOST_VALUES, feature.len() // 5):
        codes = feature.rank("dense").fill_null(0).to_numpy().astype(np.int64)
        best = max(best, _by_code(codes, goal, kind, seed))
    return best if kind != "accuracy" or _beyond_the_usual(best, goal) else 0.0


def _beyond_the_usual(accuracy: float, goal: Floats) -> bool:
    """Whether most of what the most frequent class does not get right is right: of a rare event, 99.9% are right by saying never."""
    import numpy as np

    usual = float(np.bincount(goal.astype(np.int64)).max() / len(goal))
    return usual < 1 and (accuracy - usual) / (1 - usual) >= BEYOND


def _by_neighbour(values: Floats, goal: Floats, kind: str) -> float:
    """Of a number against several classes: the accuracy of the class of its nearest neighbour among the other four fifths of the rows."""
    import numpy as np

    fold = np.random.default_rng(0).integers(0, FOLDS, len(values))
    right = 0
    for k in range(FOLDS):
        learn, asked = fold != k, values[fold == k]
        order = np.argsort(values[learn], kind="stable")
        known, classes = values[learn][order], goal[learn][order]
        if not len(known) or not len(asked):
            continue
        after = np.searchsorted(known, asked).clip(max=len(known) - 1)
        before = (after - 1).clip(min=0)
        with np.errstate(invalid="ignore"):
            nearest = np.where(asked - known[before] < known[after] - asked, before, after)
        right += int((classes[nearest] == goal[fold == k]).sum())
    return right / len(values)


def _by_rank(values: Floats, goal: Floats, kind: str) -> float:
    """Of a number against two classes: its AUC, either way round. Against numbers: the square of Spearman's correlation."""
    import numpy as np
    import polars as pl

    def rankdata(of: Floats) -> Floats:
        return pl.Series(of).rank("average").to_numpy()

    if np.ptp(values) == 0 or np.ptp(goal) == 0:
        return 0.0
    ranks = rankdata(values)
    if kind == "ROC AUC":
        ones = goal == 1
        n, m = int(ones.sum()), int((~ones).sum())
        area = (ranks[ones].sum() - n * (n + 1) / 2) / (n * m)
        return float(max(area, 1 - area))
    return float(np.corrcoef(ranks, rankdata(goal))[0, 1] ** 2)


def _by_code(codes: Ints, goal: Floats, kind: str, seed: int) -> float:
    """What the values of a feature meant on four fifths of the rows, judged on the rest: AUC, accuracy or R squared."""
    import numpy as np

    fold = np.random.default_rng(seed).integers(0, FOLDS, len(codes))
    size = int(codes.max()) + 1
    answers = np.empty(len(codes))
    for k in range(FOLDS):
        learn, ask = fold != k, fold == k
        if kind == "accuracy":
            classes = int(goal.max()) + 1
            seen = np.bincount(codes[learn] * classes + goal[learn].astype(np.int64), minlength=size * classes).reshape(size, classes)
            meaning = seen.argmax(axis=1).astype(np.float64)
            unseen = np.bincount(goal[learn].astype(np.int64)).argmax()
        else:
            meaning = np.bincount(codes[learn], goal[learn], minlength=size) / np.maximum(np.bincount(codes[learn], minlength=size), 1)
            unseen = goal[learn].mean()
        known = np.bincount(codes[learn], minlength=size) > 0
        answers[ask] = np.where(known, meaning, unseen)[codes[ask]]
    if kind == "accuracy":
        return float((answers == goal).mean()) if np.ptp(goal) else 0.0
    if kind == "ROC AUC":
        return _by_rank(answers, goal, kind)
    spread = float(((goal - goal.mean()) ** 2).sum())
    return 0.0 if spread == 0 else float(1 - ((goal - answers) ** 2).sum() / spread)


def duplicates(learned: Rows, holdout: Rows, signature: Signature, on_fail: Literal["block", "warn"], most: float) -> Finding:
    """Whether more than the share `most` of the hold-out's rows are in the training or validation rows too: the same features and the
    same target."""
    import polars as pl

    present = set(holdout.lazy().collect_schema())
    names = [*(n for n in signature.names if n in present), signature.target_col]

    def hashes(frame: Rows) -> pl.Series:  # 8 bytes a row, however wide it is
        return frame.lazy().select(pl.struct(names).hash(0).alias("hash")).collect(engine="streaming")["hash"]

    again = hashes(holdout).is_in(hashes(learned).unique().implode())
    rows, count, share = len(again), int(again.sum()), float(again.mean() or 0.0)  # type: ignore[arg-type]  # a float or None
    evidence: dict[str, Any] = {"rows": count, "of": rows, "share": share, "most": most}
    if signature.id_col is not None and count:
        ids = holdout.lazy().select(signature.id_col).collect()[signature.id_col]
        evidence["such as"] = [str(v) for v in ids.filter(again).head(5)]
    if not count:
        return Finding("duplicates", True, on_fail, f"none of the hold-out's {rows:,} rows is among those of training", evidence)
    said = f"{count:,} of the hold-out's {rows:,} rows ({share:.2%}) are among those of training too; {most:.2%} may be"
    return Finding("duplicates", share <= most, on_fail, said, evidence)


def time_order(learned: Rows, holdout: Rows, signature: Signature, on_fail: Literal["block", "warn"], by: str) -> Finding | None:
    """Whether rows of training lie after the hold-out's first; None where the data has no time. `by`: how the rows were split."""
    import polars as pl

    column = signature.time_col
    first: Any = None if column is None else holdout.lazy().select(pl.col(column).min()).collect().item()
    if column is None or first is None:
        return None
    late, rows = learned.lazy().select((pl.col(column) > first).sum(), pl.len().alias("rows")).collect(engine="streaming").row(0)
    evidence = {"rows": late, "of": rows, "hold-out from": str(first), "split by": by}
    if not late:
        return Finding("time_order", True, on_fail, "every row of training happened before the hold-out's first, or with it", evidence)
    hint = "" if by == "time" else f" (`split: {{by: time}}` keeps the newest rows for the hold-out; it is split by {by})"
    said = f"{late:,} of {rows:,} rows of training happened after the hold-out's first, on {str(first)[:19]}"
    return Finding("time_order", False, on_fail, said + hint, evidence)
