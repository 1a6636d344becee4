"""Bias of a window of production: the comparisons that a version was built with, on the rows that it answered.

What is compared, and what a good outcome is, stands in the version's own bias.json (`analysis.analyse`). The flip test is left out: it
looks for each row's nearest neighbours of the other group, who are other people in each window, and takes far longer than all others.

**Intervals.** A group with no good answer among 30 rows has not a rate of 0 for sure, but the plain bootstrap, which draws what was
seen, says so. So half a row is added to each kind of row before drawing (Jeffreys' prior; L. D. Brown, T. T. Cai, A. DasGupta, "Interval
estimation for a binomial proportion", Statistical Science 16, 2001), and the interval's two widths are laid about the value as measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.quality.bias import facets
from modelyard.quality.bias.analysis import Good
from modelyard.quality.bias.kernels import KERNELS, Bools, Cells, Floats, Tally, tally, why_undefined
from modelyard.quality.bias.measure import People, subgroups
from modelyard.signature import Signature

LABEL_FREE = ("DPPL", "DI", "CDDPL")
"""The metrics that need answers only."""
MONITORED = tuple(name for name in (*LABEL_FREE, "DCA", "DCR", "SD", "RD", "DAR", "DRR", "AD", "TE", "GE"))
LEVEL, RESAMPLES, SEED = 0.95, 500, 42
HALF = 0.5
Row = dict[str, Any]
"""metric, facet (`carrier=UA`), column, value (None where undefined, `error` then saying why), low and high (of `LEVEL`), and rows and
others: how many of group d and of group a were counted."""


def columns(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a window's table needs beside its answers."""
    beside = [document.get(key) for key in ("group_col", "weight_col")]
    named = [name for facet in document["facets"] for name in facet["columns"]]
    return tuple(dict.fromkeys([*named, *(name for name in beside if name is not None)]))


def measured(
    document: Mapping[str, Any], table: pl.DataFrame, signature: Signature, metrics: Sequence[str], beside: pl.DataFrame | None = None
) -> list[Row]:
    """The metrics of each comparison. table: a predictions table; beside: the `columns` of its rows under their own names, by default in
    the table itself (see `analysis.analyse`); metrics that need labels look at the rows that have one. Raises BadInput for a document of
    a build that did not keep its comparisons."""
    good, beside = _good(document), table if beside is None else beside
    answered = facets.known_rows(table[tables.PREDICTION])
    labelled = answered & facets.known_rows(table[tables.LABEL]) if tables.LABEL in table.columns else answered & False
    found: list[Row] = []
    for known, names in ((answered, LABEL_FREE), (labelled, tuple(set(MONITORED) - set(LABEL_FREE)))):
        wanted = [name for name in metrics if name in names]
        if wanted and known.any():
            part, own = table.filter(known), beside.filter(known)
            people = _people(document, good, part, own, signature, labels=names is not LABEL_FREE)
            found += [row for facet in document["facets"] for row in _compared(facet, people, own, wanted, names is LABEL_FREE)]
    return found


def baseline(document: Mapping[str, Any], metrics: Sequence[str]) -> list[Row]:
    """The same of the hold-out, as the build measured it; its interval is never narrower than its few rows allow."""
    _good(document)
    stretch = 1.0 if document["level"] is None else _z(LEVEL) / _z(document["level"])
    return [row for facet in document["facets"] for row in _before(facet, metrics, stretch)]


def unweighted(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as if each row had weighed 1, for windows whose rows come without weights: from the counts that are kept. CDDPL, which
    needs those of each subgroup, is left out."""

    def counted(facet: Mapping[str, Any]) -> list[Row]:
        cells = Cells(np.asarray(facet["cells"], dtype=np.float64)[None, ..., None])
        values = {name: float(KERNELS[name](cells)[0]) for name in MONITORED if name != "CDDPL"}
        return [
            {"metric": name, "value": value if math.isfinite(value) else None, "low": None, "high": None} for name, value in values.items()
        ]

    facets = [{**facet, "post_training": counted(facet)} if "cells" in facet else facet for facet in document["facets"]]
    return {**document, "weight_col": None, "facets": facets}


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _good(document: Mapping[str, Any]) -> Good:
    if "outcome" not in document or any("conditions" not in facet for facet in document["facets"]):
        raise BadInput("the version was built before comparisons were kept for production", next="build it again")
    outcome = document["outcome"]
    return Good(tuple(outcome["classes"]), outcome["above"], outcome["score_from"])


def _people(
    document: Mapping[str, Any], good: Good, table: pl.DataFrame, beside: pl.DataFrame, signature: Signature, *, labels: bool
) -> People:
    more: dict[str, Any] = {}
    if document["group_col"] is not None:
        more["group"], more["groups"] = subgroups(beside[document["group_col"]])
    if (weight := document.get("weight_col")) is not None:
        more["weight"] = facets.weights(beside[weight])
    if good.score_from is None:
        predicted = good.of(table[tables.PREDICTION])
    else:
        predicted = np.asarray(table[tables.output(signature.positive_output)].cast(pl.Float64).to_numpy() >= good.score_from)
    return People(good.of(table[tables.LABEL]) if labels else np.zeros(table.height, dtype=bool), predicted=predicted, **more)


def _compared(facet: Mapping[str, Any], people: People, beside: pl.DataFrame, metrics: Sequence[str], label_free: bool) -> list[Row]:
    conditions = tuple(facets.Condition(**{**c, "keys": tuple(c["keys"]), "texts": tuple(c["texts"])}) for c in facet["conditions"])
    inside, known = facets.Group(conditions, "").find(beside)
    counted = people.tally(inside, known)
    cells = Cells(counted.whole, people.group is not None)
    widths = _widths(people, inside, known, counted, metrics, label_free)
    head = {"facet": facet["name"], "column": facet["column"], "rows": int(inside.sum()), "others": int((known & ~inside).sum())}
    return [
        {**head, "metric": name, **_about(float(KERNELS[name](cells)[0]), *widths[name], why_undefined(name, cells))} for name in metrics
    ]


def _about(value: float, below: float, above: float, error: str) -> Row:
    if math.isnan(value):
        return {"value": None, "low": None, "high": None, "error": error}
    return {"value": value, "low": value - below, "high": value + above}


def _widths(
    people: People, inside: Bools, known: Bools, counted: Tally, metrics: Sequence[str], label_free: bool
) -> dict[str, tuple[float, float]]:
    """How far below and above its value each metric's interval reaches."""
    grouped = people.group is not None
    plain = counted if people.weight is None else _unweighted(people, inside, known)
    found = _spread([smoothed(plain, label_free)], grouped, metrics)
    if people.weight is None:
        return found
    weighed = _spread(list(counted.resample(RESAMPLES, SEED)), grouped, metrics)
    return {name: (max(found[name][0], weighed[name][0]), max(found[name][1], weighed[name][1])) for name in metrics}


def _unweighted(people: People, inside: Bools, known: Bools) -> Tally:
    assert people.predicted is not None
    group = None if people.group is None else people.group[known]
    return tally(inside[known], people.label[known], people.predicted[known], group, people.groups)


def smoothed(counted: Tally, label_free: bool = False) -> Floats:
    """Bootstrap counts (b, 2, 2, 2, groups) of the rows with half a row more of each kind, shared by its subgroups. Without labels, all
    rows are of one."""
    rows = counted.counts(counted.rows[None])[0]
    more = np.full(rows.shape, HALF / counted.groups)
    if label_free:
        more[:, 1] = 0.0
    total = int(counted.rows.sum())
    shares = (rows + more).ravel()
    drawn = np.random.default_rng(SEED).multinomial(total, shares / shares.sum(), size=RESAMPLES)
    return drawn.astype(np.float64).reshape(-1, *rows.shape)


def _spread(blocks: Sequence[Floats], grouped: bool, metrics: Sequence[str]) -> dict[str, tuple[float, float]]:
    cells = [Cells(block, grouped) for block in blocks]
    return {name: _ends(np.concatenate([KERNELS[name](block) for block in cells]) if cells else np.empty(0)) for name in metrics}


def _ends(drawn: Floats) -> tuple[float, float]:
    """The interval's ends, as seen from its middle; infinite where draws are, or where none is defined."""
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return math.inf, math.inf
    low, middle, high = map(float, np.quantile(defined, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="inverted_cdf"))
    return tuple(math.inf if math.isnan(width) else max(width, 0.0) for width in _minus(low, middle, high))  # type: ignore[return-value]


def _minus(low: float, middle: float, high: float) -> tuple[float, float]:
    return (middle - low if math.isfinite(middle) else math.inf), (high - middle if math.isfinite(middle) else math.inf)


def _before(facet: Mapping[str, Any], metrics: Sequence[str], stretch: float) -> list[Row]:
    """A facet's rows of the hold-out, their intervals stretched to `LEVEL` and no narrower than those of its counts."""
    head = {"facet": facet["name"], "column": facet["column"], "rows": facet["rows"], "others": facet["others"]}
    asked = [row for row in facet["post_training"] if row["metric"] in metrics]
    counts = np.asarray(facet["cells"], dtype=np.int64).ravel()
    plain = Tally(np.flatnonzero(counts), counts[counts > 0], 1)
    floors = _spread([smoothed(plain)], True, [row["metric"] for row in asked])
    return [{**head, "metric": row["metric"], **_stretched(row, floors[row["metric"]], stretch)} for row in asked]


def _stretched(row: Mapping[str, Any], floor: tuple[float, float], stretch: float) -> Row:
    value = row["value"]
    if not isinstance(value, float):  # undefined, or infinite
        return {"value": None, "low": None, "high": None, "error": row.get("error", "it is infinite")}

    def width(end: Any) -> float:
        return stretch * abs(end - value) if isinstance(end, float) else 0.0 if end is None else math.inf

    return _about(value, max(width(row["low"]), floor[0]), max(width(row["high"]), floor[1]), "")
