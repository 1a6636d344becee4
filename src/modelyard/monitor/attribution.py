"""Attribution drift: whether the features weigh in the order in which they did when the version was built.

SageMaker Clarify's measure: features are ranked by their importance now (mean absolute attribution), the importance they had is each
one's gain, and nDCG is the discounted sum of the gains in that order over the best there could be,

    nDCG = (sum over ranks i of a(f'_i) / log2(i + 1)) / (sum over ranks i of a(f_i) / log2(i + 1)),

f' falling by importance now and f by importance then, a the importance then; below 0.9 the attributions have drifted. Features of the
same importance share their places' discounts (as scikit-learn's `ndcg_score`, which Clarify uses; F. McSherry, M. Najork, ECIR 2008).

**Chance.** Both importances are means over a few hundred rows. How low nDCG falls though nothing moved is asked of the hold-out itself: of
two samples of its rows drawn with replacement, one as large as the hold-out's and one as the window's, it is lower once in 1 / `CHANCE`
times. A window is violated below that value and `min_ndcg` both, and a warning where it has gone half of the way there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import AttributionDrift
from modelyard.monitor.verdicts import Status, Verdict
from modelyard.monitor.words import listing, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CHANCE, DRAWS, SEED = 0.001, 2000, 42
TOP, KEPT = 5, 20
"""Features that are named, and those of which the evidence keeps the weight."""
LARGEST = 1e200
LEAST = 0.01
"""A change of a feature's share of all importance that is worth a word."""


@dataclass(frozen=True)
class Moved:
    """A feature's share of all importance and its rank, when the version was built and now."""

    name: str
    was: float
    now: float
    rank_was: int
    rank: int

    def __str__(self) -> str:
        return f"{self.name} {percent(self.was)} -> {percent(self.now)} (rank {self.rank_was} -> {self.rank})"

    def to_dict(self) -> dict[str, Any]:
        facts = {"rank": self.rank, "rank_was": self.rank_was}
        return {"name": self.name, "value": round(self.now, 5), "was": round(self.was, 5), **facts}


def ndcg(gains: Sequence[float], weights: Sequence[float]) -> float:
    """nDCG of the features' order by `weights`, now, with `gains`, then; both (features,), not negative. 1 where no feature ever gained."""
    import numpy as np

    gain, weight = np.asarray(gains, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    discount = 1 / np.log2(np.arange(len(gain)) + 2)
    best = float(np.sort(gain)[::-1] @ discount)
    if best == 0:
        return 1.0
    _, place, count = np.unique(-weight, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=gain) / count
    ends = np.cumsum(count)
    summed = np.concatenate([[0.0], np.cumsum(discount)])
    return float(means @ (summed[ends] - summed[ends - count])) / best


def chance(attributions: Floats, rows: int) -> float:
    """The nDCG below which a window of `rows` falls once in 1 / `CHANCE` times though nothing moved. attributions: (rows, features)."""
    import numpy as np

    size, draw = len(attributions), np.random.default_rng(SEED)
    strength = np.abs(attributions)

    def means(count: int) -> Floats:
        """(draws, features): mean importance of `count` rows drawn with replacement."""
        drawn = draw.integers(0, size, (DRAWS, count)) + size * np.arange(DRAWS)[:, None]
        times = np.bincount(drawn.ravel(), minlength=DRAWS * size).reshape(DRAWS, size)
        return np.asarray(times @ strength / count)

    usual, window = means(size), means(rows)
    discount = 1 / np.log2(np.arange(strength.shape[1]) + 2)
    ordered = np.take_along_axis(usual, np.argsort(-window, axis=1, kind="stable"), axis=1)
    best = np.sort(usual, axis=1)[:, ::-1] @ discount
    found = np.divide(ordered @ discount, best, out=np.ones(DRAWS), where=best > 0)
    return float(np.quantile(found, CHANCE, method="lower"))


def judge(features: Sequence[str], before: Floats, now: Floats, asked: AttributionDrift, facts: Mapping[str, Any]) -> Verdict:
    """The verdict on a window. before, now: attributions of the hold-out and of the window, (rows, features). facts: of the window (rows,
    method), for the evidence."""
    import numpy as np

    evidence = {**facts, "explained": len(now), "min_ndcg": asked.min_ndcg}
    for rows, whose in ((before, "the hold-out"), (now, "the window")):
        if endless := [name for name, column in zip(features, rows.T, strict=True) if not np.isfinite(column).all()]:
            said = f"the weight of {listing(endless)} in some row of {whose} is beyond all numbers: look at its greatest values"
            return Verdict("attribution", "unknown", f"attribution: {said}", evidence)
    before, now = _summable(before), _summable(now)
    was, is_ = np.abs(before).mean(axis=0), np.abs(now).mean(axis=0)
    if not was.any():
        return Verdict("attribution", "unknown", "attribution: no feature had any weight when the version was built", evidence)
    found, low = ndcg(was.tolist(), is_.tolist()), chance(before, len(now))
    changes = _changes(features, was, is_)
    moved = [m for m in sorted(changes, key=lambda m: (-abs(m.now - m.was), m.name)) if abs(m.now - m.was) >= LEAST][:TOP]
    status: Status = "healthy"
    if found < min(asked.min_ndcg, low):
        status = "violated"
    elif found < min((1 + asked.min_ndcg) / 2, low):
        status = "warning"
    evidence |= {"ndcg": round(found, 6), "chance": round(low, 6), "moved": [m.to_dict() for m in moved] if status != "healthy" else []}
    top = sorted(changes, key=lambda m: (m.rank, m.name))[:KEPT]
    evidence["importance"] = {m.name: [round(m.was, 4), round(m.now, 4)] for m in top}
    return Verdict("attribution", status, f"attribution: {_said(status, found, low, asked, moved)}", evidence)


def _summable(rows: Floats) -> Floats:
    """The same up to a factor, which nothing here depends on, such that no sum of them overflows."""
    import numpy as np

    greatest = float(np.abs(rows).max(initial=0.0))
    return rows / greatest if greatest > LARGEST else rows


def _said(status: Status, found: float, low: float, asked: AttributionDrift, moved: Sequence[Moved]) -> str:
    if status == "healthy":
        return f"the features weigh as they did (nDCG {found:.3f})"
    bound = f"{asked.min_ndcg:g} is needed" if status == "violated" else f"chance alone gives {low:.3f} or more"
    names = listing([str(m) for m in moved], 3)
    return f"the features weigh in another order (nDCG {found:.3f}, {bound})" + (f": {names}" if names else "")


def _changes(features: Sequence[str], was: Floats, now: Floats) -> list[Moved]:
    import numpy as np

    def shares(strength: Floats) -> Floats:
        return strength / total if (total := float(strength.sum())) > 0 else strength

    def ranks(strength: Floats) -> list[int]:
        places = np.empty(len(strength), dtype=int)
        places[np.argsort(-strength, kind="stable")] = np.arange(1, len(strength) + 1)
        return [int(place) for place in places]

    columns = zip(features, shares(was).tolist(), shares(now).tolist(), ranks(was), ranks(now), strict=True)
    return [Moved(*row) for row in columns]
