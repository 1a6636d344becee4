"""Labelled predictions as arrays, and the sums over weightings that every kernel is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")
MATRIX = 16
"""Columns up to which sums by index are made as a product of matrices."""


@dataclass(frozen=True)
class Rows:
    """Labelled predictions as arrays.

    truth: (n,) class index, or the label itself where answers are numbers; of several labels a row, (n, k) booleans. predicted:
    likewise, -1 for an answer that is no class; None when an answer is missing. scores: (n, k) in the order of the classes, for two
    classes (n, 2) with the positive one last; None when absent or not finite. classes: k; 0 where answers are numbers. names: (k,)
    the classes as text. weights: (n,) of mean 1, None where each row counts alike. groups: (n,) the list that a row belongs to, as
    an index from 0 (ranking). naive_error: what the errors of a forecast are scaled by.
    """

    truth: npt.NDArray[Any]
    predicted: npt.NDArray[Any] | None
    scores: Floats | None
    classes: int
    names: tuple[str, ...] = ()
    weights: Floats | None = None
    groups: Ints | None = None
    naive_error: float | None = None
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, members: Ints) -> Rows:
        """Some of the rows, by their index."""

        def of(values: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
            return None if values is None else values[members]

        groups = None if self.groups is None else np.unique(self.groups[members], return_inverse=True)[1].astype(np.int64)
        parts = (self.truth[members], of(self.predicted), of(self.scores), self.classes, self.names, of(self.weights), groups)
        return Rows(*parts, naive_error=self.naive_error)

    def weighting(self, counts: Floats | None = None) -> Floats:
        """How much each row weighs, float64 (b, n): `counts` (b, n) times the rows' own weights; by default once each."""
        counts = np.ones((1, len(self.truth))) if counts is None else counts
        return counts if self.weights is None else counts * self.weights

    def once(self, key: Any, make: Callable[[], T], w: Floats | None = None) -> T:
        """What `make` gives, made once for these rows, or once for these rows and this very array `w` (until another comes)."""
        if w is not None:
            if self._made.get("w") is not w:
                kept = {k: v for k, v in self._made.items() if isinstance(k, tuple) and k[0] == "rows"}
                self._made.clear()
                self._made.update(kept, w=w)
            key = ("w", key)
        else:
            key = ("rows", key)
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    @cached_property
    def orders(self) -> list[tuple[Ints, Ints]]:
        """For each class: rows by falling score, and where in that order each run of equal scores ends."""
        assert self.scores is not None
        return [falling_order(self.scores[:, k]) for k in range(self.classes)]


def falling_order(score: Floats) -> tuple[Ints, Ints]:
    """Rows by falling score, and where in that order each run of equal scores ends."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    return order, np.flatnonzero(np.append(np.diff(falling) != 0, True))


def ratio(top: Floats, bottom: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom != 0, top / bottom, np.nan)


def total(rows: Rows, w: Floats) -> Floats:
    """Summed weight, shape (b,)."""
    return rows.once("total", lambda: w.sum(axis=1), w)


def mean(rows: Rows, key: str, values: Callable[[], Floats], w: Floats) -> Floats:
    """Weighted mean of values a row, which are made once under `key`; rows whose value is NaN are left out."""
    found = rows.once(key, values)
    known = rows.once((key, "known"), lambda: None if not np.isnan(found).any() else (~np.isnan(found)).astype(np.float64))
    if known is None:
        return ratio(w @ found, total(rows, w))
    return ratio(w @ np.nan_to_num(found), w @ known)


def counts(rows: Rows, key: str, index: Callable[[], npt.NDArray[Any]], size: int, w: Floats, values: Floats | None = None) -> Floats:
    """Summed weight (times `values`, if given) of each index 0..size-1, shape (b, size); other indices are left out."""
    found = rows.once(key, index)
    if len(w) > 1 and size <= MATRIX:  # a product of matrices is many times faster than counting, where there are few columns

        def spread() -> Floats:
            cells = np.asarray(found[:, None] == np.arange(size), dtype=np.float64)
            return cells if values is None else cells * values[:, None]

        summed: Floats = w @ rows.once((key, "matrix"), spread)
        return summed
    inside = (found >= 0) & (found < size)
    weights = w[:, inside] if values is None else w[:, inside] * values[inside]
    flat = np.arange(len(w))[:, None] * size + found[inside].astype(np.int64)[None, :]
    return np.asarray(np.bincount(flat.ravel(), weights.ravel(), minlength=len(w) * size), dtype=np.float64).reshape(len(w), size)


def nanmean(values: Floats, axis: int) -> Floats:
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis).astype(np.float64))
