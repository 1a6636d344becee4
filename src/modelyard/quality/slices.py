"""Parts of a predictions table: the metrics of each value of a column, and the part where a metric is worst.

The search is after Chung et al. (2019), "Automated Data Slicing for Model Validation: A Big Data - AI Integration Approach": values
of single columns (numbers in quartiles) and, if asked, of pairs of columns. A part so small that chance explains it is no finding:
the parts are ranked by a lower bound of their gap to the whole, at a level corrected for how many were looked at (Bonferroni).
"""

from __future__ import annotations

import difflib
import itertools
import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.quality.metrics import GREATER_IS_BETTER, compute, values
from modelyard.quality.resample import MOST_ROWS, clusters, of_some, replicates, some_of
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from modelyard.quality.kernels import Ints, Rows

MAX_VALUES = 50
FEW_NUMBERS = 20
"""Numbers with more distinct values are cut at their quartiles."""
BINS = 4
OTHER, MISSING = "(other)", "(missing)"
CROSSED = 11
"""Columns that are crossed in pairs, the ones with the weakest parts first."""
CLOSELY, DRAWS = 30, 100
"""Parts whose own spread is measured, and by how many resamples."""


def by_slice(table: pl.DataFrame, signature: Signature, column: str) -> list[dict[str, Any]]:
    """The metrics of each part of the table, by the values of one column (a feature or an extra one, named as in the data).

    Answers dicts of `column`, `value` (text), and `compute`'s values; most rows first. A column of numbers with more than 20
    values is cut at its quartiles; beyond the 50 most frequent values, the rest are one slice `(other)`; nulls are the slice
    `(missing)`.
    Raises BadInput when the table has no such column.
    """
    found = [{"column": column, "value": name, **compute(part, signature)} for name, part in tables_of(table, signature, column).items()]
    return sorted(found, key=lambda s: (-s["rows"], s["value"]))


def tables_of(table: pl.DataFrame, signature: Signature, column: str) -> dict[str, pl.DataFrame]:
    """The judged rows of each part, by its name; see `by_slice`."""
    from modelyard.quality.encode import usable

    source = place(table, column)
    if source is None:
        known = [c.split(".", 1)[1] for c in table.columns if c.startswith((tables.FEATURE, tables.EXTRA))]
        near = difflib.get_close_matches(column, known, 1)
        raise BadInput(
            f"there is no column '{column}' to slice by",
            where="evaluate.slices",
            next=f"did you mean '{near[0]}'?" if near else f"the columns are {', '.join(known[:20])}",
        )
    judged = table.filter(usable(table, signature))
    names, codes = parts(judged[source])
    return {name: judged.filter(codes == k) for k, name in enumerate(names)}


def place(table: pl.DataFrame, column: str) -> str | None:
    """The column of a predictions table that holds a column of the data: a feature, or one that came along; None where there is none."""
    return tables.place(table.columns, column) or (column if column in table.columns else None)


def parts(series: pl.Series) -> tuple[list[str], Ints]:
    """The names of a column's parts, and which one each row belongs to: an index (n,). Every part has a row."""
    import numpy as np
    import polars as pl

    series = series.fill_nan(None) if series.dtype.is_float() else series
    known = series.drop_nulls()
    if series.dtype.is_numeric() and known.n_unique() > FEW_NUMBERS:
        return _quartiles(series)
    distinct = series.unique()
    words = series.replace_strict(distinct, pl.Series([_word(v) for v in distinct.to_list()], dtype=pl.String), return_dtype=pl.String)
    counted = words.alias("word").value_counts(name="rows").sort("rows", "word", descending=[True, False])["word"].to_list()
    names = [*counted[:MAX_VALUES], *([OTHER] if len(counted) > MAX_VALUES else [])]
    codes = words.replace_strict(names[:MAX_VALUES], list(range(len(names[:MAX_VALUES]))), default=MAX_VALUES, return_dtype=pl.Int64)
    return names, np.asarray(codes.to_numpy())


def _word(value: Any) -> str:
    if value is None or value != value:
        return MISSING
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _quartiles(series: pl.Series) -> tuple[list[str], Ints]:
    import numpy as np

    found = series.cast(float).fill_null(math.nan).to_numpy()
    edges = np.unique(np.quantile(found[np.isfinite(found)], np.linspace(0, 1, BINS + 1)))
    texts = _told_apart(edges.tolist())
    names = [f"{a} to {b}" for a, b in itertools.pairwise(texts)] or texts
    index = np.clip(np.searchsorted(edges, found, side="right") - 1, 0, len(names) - 1)
    index[np.isnan(found)] = len(names)
    present, codes = np.unique(index, return_inverse=True)
    return [[*names, MISSING][k] for k in present], codes.astype(np.int64)


def _told_apart(edges: list[float]) -> list[str]:
    """Distinct numbers, with as many digits as it takes to tell each from the next (4 or more): a name stands for one part only."""
    texts = [f"{edge:.4g}" for edge in edges]
    for digits in range(5, 18):
        if len(set(texts)) == len(texts):
            break
        texts = [f"{edge:.{digits}g}" for edge in edges]
    return texts


@dataclass(frozen=True)
class Worst:
    """The weakest part by one metric. `gap`: how much worse than `overall` it is at the least (see the module); `members`: its rows
    among those that were judged, an index."""

    metric: str
    columns: tuple[str, ...]
    values: tuple[str, ...]
    rows: int
    value: float
    overall: float
    gap: float
    looked_at: int
    members: Ints

    @property
    def description(self) -> str:
        return " and ".join(f"{column} = {value}" for column, value in zip(self.columns, self.values, strict=True))

    def to_dict(self) -> dict[str, Any]:
        names = ("metric", "description", "columns", "values", "rows", "value", "overall", "gap", "looked_at")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class _Part:
    columns: tuple[str, ...]
    values: tuple[str, ...]
    members: Ints
    value: float
    score: float
    """Gap to the whole, in standard deviations of a random part of that size; positive is worse."""


def worst(
    table: pl.DataFrame, signature: Signature, metric: str, *, min_rows: int, depth: int, seed: int = 0, level: float = 0.95
) -> tuple[Worst | None, int]:
    """The part of the judged rows where `metric` is worst, None where none is worse than the whole beyond chance; and how many were
    looked at: parts with `min_rows` rows where the metric is defined, of the values of features and of columns that came along.

    With `depth` 2 pairs of columns are crossed, at most the 11 columns with the weakest parts. Of a ranking, only columns that are the
    same for all rows of a group. Beyond 100,000 rows it looks at as many of them. The same table and seed give the same part.
    Raises BadInput as `compute` does.
    """
    import numpy as np

    from modelyard.quality.encode import encode, usable

    judged = table.filter(usable(table, signature))
    whole, joined = encode(judged, signature), clusters(judged, signature)
    overall = float(values(whole, (metric,), whole.weighting())[metric][0])
    if not math.isfinite(overall):
        return None, 0
    coded = {name: parts(judged[place(judged, name) or name]) for name in candidates(judged, signature)}
    full, rows = dict(coded), whole
    if (some := some_of(len(whole), joined, MOST_ROWS, seed)) is not None:
        rows, joined = whole.take(some), of_some(joined, some)
        coded = {name: (names, codes[some]) for name, (names, codes) in coded.items()}
    sample = replicates(rows, joined, (metric,), draws=DRAWS, seed=seed)[metric]
    look = _Look(rows, metric, min_rows, overall, float(np.nanstd(sample)))
    single = {name: look.at((name,), names, codes) for name, (names, codes) in coded.items()}
    found = [part for some in single.values() for part in some]
    if depth == 2:
        weakest = sorted((max(p.score for p in some), name) for name, some in single.items() if some)
        crossed = sorted(name for _, name in weakest[-CROSSED:])
        found += [p for a, b in itertools.combinations(crossed, 2) for p in look.at((a, b), *_crossed(coded[a], coded[b]))]
    best = _weakest(look, found, joined, seed, level)
    return (best if best is None or some is None else _in_full(best, whole, full)), len(found)


def _in_full(best: Worst, whole: Rows, full: dict[str, tuple[list[str], Ints]]) -> Worst:
    """A part that was found among some of the rows, with all of its rows."""
    import numpy as np

    inside = [full[column][1] == full[column][0].index(value) for column, value in zip(best.columns, best.values, strict=True)]
    members = np.flatnonzero(np.logical_and.reduce(inside))
    part = whole.take(members)
    value = float(values(part, (best.metric,), part.weighting())[best.metric][0])
    return replace(best, rows=len(members), value=value, members=members)


def candidates(judged: pl.DataFrame, signature: Signature) -> list[str]:
    """Columns whose values make parts: features, and what came along, but for the weight and the group."""
    apart = {signature.weight_col, signature.group_col, signature.id_col, signature.time_col}
    names = [c.split(".", 1)[1] for c in judged.columns if c.startswith((tables.FEATURE, tables.EXTRA))]
    names = [n for n in dict.fromkeys(names) if n not in apart and judged[place(judged, n) or n].dtype.is_nested() is False]
    if signature.problem_type != "ranking":
        return names
    group = tables.extra(signature.group_col or "")
    groups = judged[group].n_unique()
    return [n for n in names if judged.select(group, place(judged, n) or n).n_unique() == groups]


def _crossed(one: tuple[list[str], Ints], other: tuple[list[str], Ints]) -> tuple[list[tuple[str, str]], Ints]:
    names = list(itertools.product(one[0], other[0]))
    return names, one[1] * len(other[0]) + other[1]


@dataclass(frozen=True)
class _Look:
    """One metric, looked at in parts."""

    rows: Rows
    metric: str
    min_rows: int
    overall: float
    spread: float
    """Standard deviation of the metric over resamples of the whole."""

    @property
    def sign(self) -> int:
        return 1 if GREATER_IS_BETTER[self.metric] else -1

    def chance(self, size: int) -> float:
        """Standard deviation of the metric of a random part of `size` rows."""
        return self.spread * math.sqrt(max(0.0, len(self.rows) / size - 1))

    def score(self, value: float, size: int) -> float:
        gap, chance = self.sign * (self.overall - value), self.chance(size)
        return gap / chance if chance else gap * math.inf if gap else 0.0

    def at(self, columns: tuple[str, ...], names: list[Any], codes: Ints) -> list[_Part]:
        """The parts of these columns that are large enough, and where the metric is defined."""
        import numpy as np

        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
        found = []
        for k, name in enumerate(names):
            value = (name,) if isinstance(name, str) else name
            members = np.sort(order[edges[k] : edges[k + 1]])
            if len(members) < self.min_rows or len(members) == len(codes) or OTHER in value:
                continue
            part = self.rows.take(members)
            measured = float(values(part, (self.metric,), part.weighting())[self.metric][0])
            if math.isfinite(measured):
                found.append(_Part(columns, value, members, measured, self.score(measured, len(members))))
        return found


def _weakest(look: _Look, found: list[_Part], joined: Ints | None, seed: int, level: float) -> Worst | None:
    """Of the parts that stand out most, the one whose gap is greatest at the least."""
    import numpy as np

    near = sorted((p for p in found if p.score > 0), key=lambda p: (-p.score, p.columns, p.values))[:CLOSELY]
    strict = NormalDist().inv_cdf(1 - (1 - level) / max(1, len(found)))
    best: Worst | None = None
    for part in near:
        size = len(part.members)
        gap, chance = look.sign * (look.overall - part.value), look.chance(size)
        if gap - strict * chance <= (best.gap if best else 0.0):
            continue  # it cannot come to more, whatever its own spread is
        drawn = replicates(look.rows.take(part.members), of_some(joined, part.members), (look.metric,), draws=DRAWS, seed=seed)[look.metric]
        if np.isnan(drawn).mean() > 0.1:
            continue
        # A part whose resamples hardly differ has seen too little to differ: chance at large bounds its spread from below.
        gap -= strict * max(float(np.nanstd(drawn)), chance)
        if gap > (best.gap if best else 0.0):
            best = Worst(look.metric, part.columns, part.values, size, part.value, look.overall, gap, len(found), part.members)
    return best
