"""Drift: how far a window's columns and scores have moved from the baseline, and whether chance alone explains it.

**PSI**, the population stability index over the cells of a column, sum((p - q) ln(p / q)), p the window's shares and q the
baseline's. Missing, new, below the range and above it are cells too. An empty cell counts as half a row, or as the other side's
share where that is less; where no cell is empty this is the textbook's formula.

**Small samples.** Where nothing moved, PSI / (1/n + 1/m) is about chi-square distributed with B - 1 degrees of freedom for n
and m rows in B cells, so its mean is (B - 1)(1/n + 1/m): 0.1 for 200 rows in 20 cells, whatever the fixed threshold (B.
Yurdakul, J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model Validation 14(4), 2020).
Hence two rules:
1. neighbouring bins, and rare categories, are pooled until each is expected to hold `MIN_EXPECTED` rows of the smaller side (in
   the spirit of W. G. Cochran, 1954; more than his 5, since that also keeps the noise below 1 / MIN_EXPECTED);
2. a column moved when its PSI reaches the config's threshold *and* the value that chance exceeds once in 1 / `CHANCE` windows,
   (1/n + 1/m) times that quantile of chi-square. A value that the baseline never had is expected as often as its values that
   came once (I. J. Good, Biometrika 40, 1953).

**Evidence** beside it: Jensen-Shannon distance (base 2), chi-square of the two-by-B table (both sides as samples), and, for
numbers, the Kolmogorov-Smirnov distance on the bins, which can only underestimate the exact one, with its asymptotic p-value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import Drift
from modelyard.errors import BadInput
from modelyard.monitor.verdicts import Status, Verdict
from modelyard.monitor.words import did_you_mean, listing, percent
from modelyard.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_EXPECTED = 15
CHANCE = 0.001


@dataclass(frozen=True)
class DriftResult:
    """A verdict with every watched column's figures (those that moved most first) and the score's, all JSON-ready."""

    verdict: Verdict
    columns: list[dict[str, Any]]
    prediction: dict[str, Any]


def judge(profile: dict[str, Any], baseline: dict[str, Any], drift: Drift, signature: Signature) -> DriftResult:
    """Judge a window's profile against its baseline (see `profile`).

    Violated when at least `drift.share` of the watched features moved, or the score did; a warning when fewer moved.

    Raises:
        BadInput: `drift.columns` names something that is no feature.
    """
    watched = signature.names if drift.columns is None else drift.columns
    for name in watched:
        if name not in baseline["columns"]:
            raise BadInput(f"'{name}' is no feature", where="monitor.drift.columns", next=did_you_mean(name, signature.names))
    rows = int(profile["rows"])
    facts: dict[str, Any] = {"rows": rows, "baseline_rows": baseline["rows"]}
    facts |= {"psi": drift.psi, "share": drift.share, "prediction_psi": drift.prediction_psi, "min_rows": drift.min_rows}
    if rows < max(1, drift.min_rows):
        said = f"drift: {rows:,} rows in the window, {drift.min_rows:,} are needed" if rows else "drift: no rows in the window"
        return DriftResult(Verdict("drift", "unknown", said, facts), [], {})
    size = (rows, int(baseline["rows"]))
    columns = [_measure(n, profile["columns"][n], baseline["columns"][n], size, drift.psi) for n in watched]
    columns.sort(key=lambda c: (not c["moved"], -c["psi"] / c["needed"]))
    score, before = profile["score"], baseline["score"]
    prediction = _measure(before["column"], score, before, (rows, int(before["rows"])), drift.prediction_psi)
    status, said = _conclude(columns, prediction, drift.share)
    facts |= {"moved": [c["column"] for c in columns if c["moved"]], "columns": columns, "prediction": prediction}
    return DriftResult(Verdict("drift", status, said, facts), columns, prediction)


def psi(p: Floats, q: Floats, n: float, m: float) -> float:
    """Population stability index of the shares `p` of `n` rows against `q` of `m` rows; both of shape (cells,)."""
    import numpy as np

    p, q = np.where(p > 0, p, np.minimum(0.5 / n, q)), np.where(q > 0, q, np.minimum(0.5 / m, p))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (p - q) * np.log(p / q)
    return float(np.where(p == q, 0.0, terms).sum())


def psi_by_chance(cells: int, n: float, m: float) -> float:
    """The PSI of `cells` cells that chance alone exceeds in a share `CHANCE` of windows of `n` rows against `m`."""
    from scipy.special import chdtri

    return float((1 / n + 1 / m) * chdtri(cells - 1, CHANCE)) if cells > 1 else 0.0


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for disjoint ones."""
    import numpy as np
    from scipy.special import rel_entr

    middle = (p + q) / 2
    return float(np.sqrt(max(0.0, (rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2 / np.log(2))))


def chi_square(now: Floats, before: Floats) -> float:
    """p-value of the chi-square test of homogeneity of two rows of counts (no correction)."""
    import numpy as np
    from scipy.special import chdtrc

    table = np.stack([now, before])[:, now + before > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return 1.0
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def kolmogorov_smirnov(now: Floats, before: Floats) -> tuple[float, float]:
    """Distance and asymptotic p-value of the two-sample test on ordered bins of counts."""
    import numpy as np
    from scipy.special import kolmogorov

    n, m = now.sum(), before.sum()
    if not n or not m:
        return 0.0, 1.0
    distance = float(np.abs(np.cumsum(now) / n - np.cumsum(before) / m).max())
    return distance, float(kolmogorov(np.sqrt(n * m / (n + m)) * distance))


def _measure(name: str, now: dict[str, Any], before: dict[str, Any], size: tuple[int, int], threshold: float) -> dict[str, Any]:
    """All figures of one column; `size` is the rows of the window and of the baseline."""
    import numpy as np

    n, m = size
    cells = _numeric_cells if now["kind"] == "numeric" else _categories
    counts, reference = cells(now, before, min(n, m))
    used = counts + reference > 0
    p, q = counts[used] / n, reference[used] / m
    value, chance = psi(p, q, n, m), psi_by_chance(int(used.sum()), n, m)
    needed = max(threshold, chance)
    figures: dict[str, Any] = {"column": name, "kind": now["kind"], "psi": value, "chance": chance, "needed": needed}
    figures |= {"moved": value >= needed, "js": jensen_shannon(p, q), "chi_square_p": chi_square(counts, reference)}
    if now["kind"] == "numeric":
        figures["ks"], figures["ks_p"] = kolmogorov_smirnov(np.array(now["counts"], float), np.array(before["counts"], float))
        figures["mean"], figures["mean_before"] = now["mean"], before["mean"]
        figures["outside_range"] = (now["counts"][0] + now["counts"][-1]) / n
    else:
        figures["new"], figures["new_values"] = now["new"] / n, list(now["fresh"])
    return {**figures, "missing": now["missing"] / n, "missing_before": before["missing"] / m}


def _numeric_cells(now: dict[str, Any], before: dict[str, Any], smaller: int) -> tuple[Floats, Floats]:
    """Counts (window, baseline) of: below, missing, above, then bins pooled from the left."""
    import numpy as np

    total = sum(before["counts"]) + before["missing"]
    (below, *inner, above), (below0, *inner0, above0) = now["counts"], before["counts"]
    cells = [(below, below0), (now["missing"], before["missing"]), (above, above0)]
    pooled: list[tuple[int, int]] = []
    a = b = 0
    for count, reference in zip(inner, inner0, strict=True):
        a, b = a + count, b + reference
        if b * smaller >= MIN_EXPECTED * total:
            pooled.append((a, b))
            a = b = 0
    if pooled:
        a, b = a + pooled[-1][0], b + pooled[-1][1]
        pooled[-1] = (a, b)
    else:
        pooled = [(a, b)]
    table = np.array(cells + pooled, float)
    return table[:, 0], table[:, 1]


def _categories(now: dict[str, Any], before: dict[str, Any], smaller: int) -> tuple[Floats, Floats]:
    """Counts (window, baseline) of: missing, new, rare ones and others together, then each frequent category."""
    import numpy as np

    counts, reference = now["counts"], before["counts"]
    seen = sum(reference.values()) + before["other"]
    total = seen + before["missing"]
    often = [c for c, k in reference.items() if k * smaller >= MIN_EXPECTED * total]
    rare, rare0 = (sum(kept.values()) - sum(kept[c] for c in often) for kept in (counts, reference))
    unseen = 0 if before["other"] else before["once"]
    cells = [(now["missing"], before["missing"]), (now["new"], 0), (rare + now["other"], rare0 + before["other"])]
    table = np.array(cells + [(counts[c], reference[c]) for c in often], float)
    if unseen:
        table[2:, 1] *= 1 - unseen / seen
        table[1, 1] = unseen
    return table[:, 0], table[:, 1]


def _conclude(columns: list[dict[str, Any]], prediction: dict[str, Any], share: float) -> tuple[Status, str]:
    moved = [c for c in columns if c["moved"]]
    enough = bool(moved) and len(moved) >= share * len(columns) - 1e-9
    status: Status = "violated" if enough or prediction["moved"] else "warning" if moved else "healthy"
    parts = []
    if moved:
        names = listing([_named(c, first=i == 0) for i, c in enumerate(moved)])
        below = "" if enough else f", below the {percent(share)} that count"
        parts.append(f"{len(moved)} of {_features(len(columns))} moved ({names}){below}")
    elif columns:
        top = columns[0]
        most = f"{top['column']} PSI {top['psi']:.2f} of {top['needed']:.2f}"
        parts.append(f"none of {_features(len(columns))} moved (most: {most})")
    held = "the score moved" if prediction["moved"] else "the score holds"
    parts.append(f"{held} ({_details(prediction, 'PSI ')})")
    return status, "drift: " + "; ".join(parts)


def _features(count: int) -> str:
    return f"{count} feature{'' if count == 1 else 's'}"


def _named(column: dict[str, Any], first: bool) -> str:
    return f"{column['column']} {_details(column, 'PSI ' if first else '')}"


def _details(column: dict[str, Any], unit: str) -> str:
    """The PSI, and what is plainly new: values that training never saw, or values that are missing."""
    text = f"{unit}{column['psi']:.2f}"
    if column.get("new"):
        text += f" with new value '{column['new_values'][0]}' and such in {percent(column['new'])}"
    if column["missing"] >= column["missing_before"] + 0.01:
        text += f" with {percent(column['missing'])} missing, {percent(column['missing_before'])} before"
    return text
