"""Label requests: of the predictions that nobody has labelled, those whose labels teach the most.

**Uncertain**: the model's answer could easily have been another one. Classes: 1 less the margin between the two likeliest (T. Scheffer,
C. Decomain, S. Wrobel, IDA 2001); where a threshold decides, how near the score is to it, 1 at the threshold and 0 at either end; of
several labels the most doubtful counts. Anomalies have a score of no scale: the rank of its distance from the threshold. Numbers have no
doubt of their own: there it is how unlike the training data a row is, by the rank of the mean of its columns' distances from the middle
of their distribution.
**Drifted**: a row stands in a bin, or has a category, that is far more frequent now than in the training data (more than chance has it):
log2 of the ratio of the shares, as x / (1 + x), of the column where it is greatest.
Where rows have drifted, half of the choice is theirs: what a model is sure of where it never was says little.
**By chance**: a part is drawn evenly from all. Only these say how the model does on the whole, and they find what it is wrong about
without a doubt.

**Diverse**: rows are chosen one after the other, in turns by doubt and by drift, times d / (d + r), d the distance from the nearest one
chosen (Gower's: the mean over the columns, ranks of numbers and equality of categories) and r what is near in these rows. So a near
duplicate of a chosen row comes when nothing else is left (in the spirit of O. Sener, S. Savarese, ICLR 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.monitor.profile import reading
from modelyard.monitor.words import percent, written
from modelyard.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]

Say = Callable[[int], str]
"""The sentence behind a row's figure."""

REASON, PRIORITY = "reason", "priority"
POOL = 20
"""Candidates for each row that is asked for, among which the diverse ones are looked for."""
WORK = 1_000_000_000
"""Rows chosen, times candidates, times columns, that are compared at the most (some ten seconds): of thousands that are asked for there are
fewer candidates, and at last those that are left over are taken as they are wanted, however alike."""
CHANCE = 1e-4
"""How often so many rows in a cell may come by chance: it is the greatest of many that is looked at."""
LIFTED = 1.5
"""Ratio of shares from which a cell has drifted at all."""


@dataclass(frozen=True)
class _Column:
    """One feature of all rows. cell: in which of the baseline's cells, (rows,). place: rank from 0 to 1, or the cell's number where the
    values have no order, (rows,). names: what each cell is called. now, before: rows in each cell."""

    name: str
    ordered: bool
    cell: Whole
    place: Floats
    names: list[str]
    now: Floats
    before: Floats


def choose(
    rows: pl.DataFrame, signature: Signature, baseline: Mapping[str, Any], count: int, *, by_chance: float = 0.1, seed: int = 0
) -> pl.DataFrame:
    """The `count` rows to ask about, most wanted first, with `reason` (a sentence) and `priority` (0 to 2; null by chance).

    Args:
        rows: a predictions table without labels, each inference_id once; its order says nothing.
        baseline: of the model, in whose bins the rows are looked at.
        by_chance: share of `count` that is drawn evenly from all rows.
        seed: of that draw, and of ties.
    """
    import numpy as np
    import polars as pl

    rows = rows.sort(tables.INFERENCE_ID)
    count = min(count, rows.height)
    if not count:
        return rows.with_columns(pl.lit("").alias(REASON), pl.lit(None, pl.Float64).alias(PRIORITY)).head(0)
    rng = np.random.default_rng(seed)
    columns = [_column(rows, name, c) for name, c in baseline["columns"].items() if tables.feature(name) in rows.columns]
    doubt, doubts = _doubt(rows, signature, columns)
    drift, drifts = _drift(columns, rows.height)
    even = rng.choice(rows.height, round(count * by_chance), replace=False)
    left = np.setdiff1d(np.arange(rows.height), even)
    turns = [doubt, drift * (1 + doubt)] if drift[left].any() else [doubt]
    most = min(max(POOL * count, 100), max(count, WORK // (count * max(1, len(columns)))))
    firsts = [left[np.lexsort((rng.random(left.size), -turn[left]))][:most] for turn in turns]
    chosen = _diverse(np.unique(np.concatenate(firsts)), turns, columns, count - even.size, rng)
    priority = doubt + drift
    said = [_reason(int(i), (doubt, doubts), (drift, drifts)) for i in chosen] + ["drawn by chance, whatever the model said"] * even.size
    ranks = [*priority[chosen].tolist(), *[None] * even.size]
    places = [*chosen.tolist(), *even.tolist()]
    return rows[places].with_columns(pl.Series(REASON, said, pl.String), pl.Series(PRIORITY, ranks, pl.Float64))


# -- where rows stand in the baseline ----------------------------------------------------------------------------------------


def _column(rows: pl.DataFrame, name: str, baseline: Mapping[str, Any]) -> _Column:
    import numpy as np

    values = rows[tables.feature(name)]
    numeric = baseline["kind"] == "numeric"
    cell, place, names, before = _numbers(values, baseline) if numeric else _categories(values, baseline)
    now = np.bincount(cell, minlength=len(names)).astype(float)
    return _Column(name, numeric, cell, place, names, now, np.array(before, float))


def _numbers(values: pl.Series, baseline: Mapping[str, Any]) -> tuple[Whole, Floats, list[str], list[int]]:
    """Cells: below, each bin, above, missing. A place is the share of the baseline's bins below; missing has one of its own."""
    import numpy as np

    x = reading.numbers(values)
    edges = np.array(baseline["edges"], float)
    low, bins = baseline["low"], len(edges)
    gone = np.isnan(x)
    cell = np.searchsorted(edges, x, side="left") + 1
    cell[x < (low if low is not None else -math.inf)] = 0
    cell[gone] = bins + 2
    place = np.full(len(x), -0.5)
    if bins and low is not None:
        place[~gone] = np.interp(x[~gone], np.unique([low, *edges]), np.linspace(0, 1, len(np.unique([low, *edges]))))
    bounds = [low, *edges.tolist()]
    names = [f"below {_short(low)}", *(f"{_short(a)}..{_short(b)}" for a, b in pairwise(bounds))]
    return cell, place, [*names, f"above {_short(bounds[-1])}", "missing"], [*baseline["counts"], baseline["missing"]]


def _categories(values: pl.Series, baseline: Mapping[str, Any]) -> tuple[Whole, Floats, list[str], list[int]]:
    """Cells: each named category, one for all others, missing. Places tell the others apart, too."""
    import polars as pl

    text = written(values)
    named = list(baseline["counts"])
    place = {value: i for i, value in enumerate(named)}
    others = text.drop_nulls().unique().sort()
    place |= {value: len(named) + 2 + i for i, value in enumerate(others) if value not in place}
    at = text.replace_strict(place, default=None, return_dtype=pl.Int64).fill_null(len(named) + 1)
    cell = at.to_numpy().copy()
    cell[cell > len(named) + 1] = len(named)
    counts = [*baseline["counts"].values(), baseline["other"], baseline["missing"]]
    return (
        cell,
        at.to_numpy().astype(float),
        [*(f"'{v[:40]}'" for v in named), "a value that training rarely or never saw", "missing"],
        counts,
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


# -- what makes a row wanted --------------------------------------------------------------------------------------------------------------


def _doubt(rows: pl.DataFrame, signature: Signature, columns: list[_Column]) -> tuple[Floats, Say]:
    """From 0 to 1, of shape (rows,), and the sentence behind each."""
    scores = _scores(rows, signature)
    if scores is None:
        return _unlike(columns, rows.height)
    if signature.problem_type == "anomaly_detection":
        return _near(scores[:, 0], signature.decision_threshold)
    if signature.positive_class is not None or signature.answer == "labels":
        names = [str(signature.positive_class)] if signature.positive_class is not None else [str(c) for c in signature.classes]
        return _undecided(scores, 0.5 if signature.decision_threshold is None else signature.decision_threshold, names)
    return _between(scores, [str(c) for c in signature.classes])


def _near(scores: Floats, threshold: float | None) -> tuple[Floats, Say]:
    """Scores of any scale: by the rank of how far they are from the threshold, or from the middle where the model keeps its own."""
    import numpy as np

    away = np.abs(scores - (np.median(scores) if threshold is None else threshold))
    return 1 - _ranks(away), lambda i: f"its score {scores[i]:.4g} is among the nearest to what decides"


def _undecided(scores: Floats, threshold: float, names: list[str]) -> tuple[Floats, Say]:
    """Probabilities of shape (rows, names), each decided by itself."""
    import numpy as np

    cut = min(max(threshold, 1e-6), 1 - 1e-6)
    near = np.where(scores < cut, scores / cut, (1 - scores) / (1 - cut)).clip(0, 1)
    at = near.argmax(1)
    return near.max(1), lambda i: f"{names[at[i]]} is {scores[i, at[i]]:.3f} likely, {cut:.3g} decides"


def _between(scores: Floats, names: list[str]) -> tuple[Floats, Say]:
    """Probabilities of shape (rows, names), of which the greatest decides."""
    import numpy as np

    order = np.argsort(scores, 1)[:, -2:]
    two = np.take_along_axis(scores, order, 1)

    def say(i: int) -> str:
        (second, first), (q, p) = order[i], two[i]
        return f"{names[first]} is {p:.3f} likely, {names[second]} {q:.3f}"

    return 1 - (two[:, 1] - two[:, 0]).clip(0, 1), say


def _scores(rows: pl.DataFrame, signature: Signature) -> Floats | None:
    """(rows, scores): of the positive class alone where there is one; None where the rows lack them."""
    import numpy as np
    import polars as pl

    names = [tables.output(n) for n in signature.outputs[1:]]
    if signature.problem_type == "anomaly_detection" or signature.positive_class is not None:
        names = [tables.output(signature.positive_output)]
    if not names or any(n not in rows.columns for n in names):
        return None
    return np.asarray(np.nan_to_num(rows.select(pl.col(names).cast(pl.Float64).fill_null(0.0)).to_numpy()), float)


def _unlike(columns: list[_Column], rows: int) -> tuple[Floats, Say]:
    """How unlike the training data a row is; ranks, from 0 to 1."""
    import numpy as np

    away = np.zeros(rows)
    for column in columns:
        share = column.before / max(1.0, column.before.sum())
        middle = np.abs(2 * (np.cumsum(share) - share / 2) - 1) if column.ordered else 1 - share / max(share.max(), 1e-9)
        if column.ordered:
            middle[-1] = 1 - share[-1]  # missing has no place in the order
            middle[[0, -2]] = 1.5  # beyond all that training saw
        away += middle[column.cell]
    ranks = _ranks(away)
    return ranks, lambda i: f"less like the training data than {percent(ranks[i])} of the rows"


def _drift(columns: list[_Column], rows: int) -> tuple[Floats, Say]:
    """From 0 to 1, of shape (rows,), and the sentence behind each."""
    import numpy as np
    from scipy.special import betainc, betaincinv

    most, which = np.zeros(rows), np.zeros(rows, np.int64)
    for place, column in enumerate(columns):
        total, now = max(1.0, column.before.sum()), column.now
        share, expected = now / rows, (column.before + 0.5) / (total + 0.5 * len(column.before))
        most_before = betaincinv(column.before + 2, np.maximum(total - column.before, 1.0), 1 - CHANCE)  # nobody is beyond the farthest
        by_chance = betainc(np.maximum(now, 1), rows - np.maximum(now, 1) + 1, most_before)
        drifted = (share > LIFTED * expected) & (by_chance < CHANCE)
        lift = np.log2(np.where(drifted, share / expected, 1.0))[column.cell]
        which[lift > most] = place
        most = np.maximum(most, lift)

    def say(i: int) -> str:
        column = columns[which[i]]
        cell = column.cell[i]
        share, was = column.now[cell] / rows, column.before[cell] / max(1.0, column.before.sum())
        return f"{column.name} is {column.names[cell]}: {percent(share)} of the rows, {percent(was)} in training"

    return most / (1 + most), say


def _ranks(values: Floats) -> Floats:
    """From 0 for the least to 1 for the greatest; equal ones share theirs."""
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return middle[inverse] / max(1, len(values) - 1)


def _reason(i: int, doubt: tuple[Floats, Say], drift: tuple[Floats, Say]) -> str:
    """What speaks for a row: both where both do, else the greater."""
    said = [doubt[1](i)] if doubt[0][i] >= 0.5 or doubt[0][i] >= drift[0][i] else []
    return "; ".join(said + ([drift[1](i)] if drift[0][i] > 0 else []))


# -- which of them together --------------------------------------------------------------------------------------------------------------


def _diverse(pool: Whole, turns: list[Floats], columns: list[_Column], count: int, rng: np.random.Generator) -> Whole:
    """`count` of the pool's rows, in the order in which they were chosen: by each of `turns` (priorities of all rows) in turn."""
    import numpy as np

    count = min(count, pool.size)
    if not columns or not count:
        return pool[np.argsort(-turns[0][pool], kind="stable")][:count]
    matrix = np.stack([c.place[pool] for c in columns], 1)
    ordered = np.array([c.ordered for c in columns])
    some = rng.choice(pool.size, min(64, pool.size), replace=False)
    near = float(np.median([np.partition(_distances(matrix, ordered, i), min(5, pool.size - 1))[min(5, pool.size - 1)] for i in some]))
    wanted, nearest, chosen = [turn[pool] + 1e-9 for turn in turns], np.full(pool.size, np.inf), list[int]()
    for step in range(min(count, max(1, WORK // matrix.size))):
        apart = nearest / (nearest + max(near, 1e-9)) if chosen else 1.0
        score = wanted[step % len(wanted)] * apart
        score[chosen] = -1.0
        chosen.append(int(score.argmax()))
        nearest = np.minimum(nearest, _distances(matrix, ordered, chosen[-1]))
    rest = np.setdiff1d(np.arange(pool.size), chosen)
    rest = rest[np.argsort(-np.max(wanted, 0)[rest], kind="stable")]
    return pool[[*chosen, *rest[: count - len(chosen)]]]


def _distances(matrix: Floats, ordered: NDArray[np.bool_], i: int) -> Floats:
    """Gower's, of every row from the i-th; missing is as far from a number as numbers can be."""
    import numpy as np

    apart = np.where(ordered, np.minimum(np.abs(matrix - matrix[i]), 1.0), matrix != matrix[i])
    return np.asarray(apart.mean(1), float)
