"""The arithmetic of the bias metrics, in NumPy, on counts: many tallies at once.

All metrics but the flip test depend on the rows only through how many there are of each kind. A kernel takes `Cells`, b tallies of
rows by [group, label, prediction, subgroup], and answers float64 of shape (b,): a plain metric is the case b = 1, and a bootstrap
is b multinomial draws of the tally, which has exactly the distribution of drawing rows with replacement.

Values, undefined cases included, are those of `smclarify` 0.5 (Clarify's open library), to which the tests hold them: a rate 0/0
counts as 0, x/0 is infinite, the difference of two equal infinities is 0, and where that library raises an error the answer is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
A, D = 0, 1
"""Places on the first axis of a tally: the group that may be favoured, the one that may be wronged."""
BLOCK = 4_000_000
"""Numbers of resampled tallies held at once: 32 MB."""


@dataclass(frozen=True)
class Tally:
    """Rows by kind: what they are counted as, what one weighs, and how many there are; arrays of the kinds that occur.

    place: int64, an index into a flat (2, 2, 2, groups) array by [is d, label is good, prediction is good, subgroup], rising.
    weight: float64; None where every row weighs 1.
    """

    place: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    groups: int
    weight: Floats | None = None

    def counts(self, drawn: npt.NDArray[Any]) -> Floats:
        """From rows of each kind, (b, kinds), to summed weights, (b, 2, 2, 2, groups)."""
        found = np.zeros((len(drawn), 8 * self.groups))
        if not len(self.place):
            pass
        elif self.weight is None:
            found[:, self.place] = drawn
        else:
            places, starts = np.unique(self.place, return_index=True)
            found[:, places] = np.add.reduceat(drawn * self.weight, starts, axis=1)
        return found.reshape(-1, 2, 2, 2, self.groups)

    @property
    def whole(self) -> Floats:
        """The summed weights of the rows as they are, (1, 2, 2, 2, groups)."""
        return self.counts(self.rows[None])

    def resample(self, draws: int, seed: int) -> Iterator[Floats]:
        """Bootstrap counts in blocks of shape (b, 2, 2, 2, groups), `draws` in all, each of as many rows as there are."""
        random, total = np.random.default_rng(seed), int(self.rows.sum())
        step = max(1, BLOCK // max(1, len(self.place), 8 * self.groups))
        for start in range(0, draws if total else 0, step):
            yield self.counts(random.multinomial(total, self.rows / total, size=min(step, draws - start)))


def tally(
    disadvantaged: Bools,
    label: Bools,
    predicted: Bools | None = None,
    group: npt.NDArray[Any] | None = None,
    groups: int = 1,
    weight: Floats | None = None,
) -> Tally:
    """Count n rows by kind. All arrays are (n,); `group` holds codes 0..groups-1; `weight` is what a row counts as.

    Without predictions every row counts as predicted bad, and the pre-training kernels, which alone make sense then, do not look.
    """
    code: npt.NDArray[Any] = disadvantaged.astype(np.int64 if groups > 2**12 else np.int16)  # small numbers, since it is all memory
    for bit in (label, predicted):
        np.multiply(code, 2, out=code)
        if bit is not None:
            np.add(code, bit, out=code)
    if group is not None:
        np.multiply(code, groups, out=code)
        np.add(code, group.astype(code.dtype), out=code)
    if weight is None:
        rows = np.bincount(code, minlength=8 * groups)
        filled = np.flatnonzero(rows)
        return Tally(filled, rows[filled], groups)
    pairs = np.empty(len(code), dtype=[("place", np.int64), ("weight", np.float64)])
    pairs["place"], pairs["weight"] = code, weight
    kinds, times = np.unique(pairs, return_counts=True)
    return Tally(kinds["place"], times, groups, kinds["weight"])


@dataclass(frozen=True)
class Cells:
    """counts: float64 (b, 2, 2, 2, g), see `tally`. grouped: whether the subgroups mean something."""

    counts: Floats
    grouped: bool = False

    @cached_property
    def kinds(self) -> Floats:
        """(b, 2, 2, 2): rows by [group, label, prediction]."""
        return np.asarray(self.counts.sum(axis=4))

    @cached_property
    def size(self) -> Floats:
        return np.asarray(self.kinds.sum(axis=(2, 3)))

    @cached_property
    def labels(self) -> Floats:
        """(b, 2, 2): rows by [group, label]."""
        return np.asarray(self.kinds.sum(axis=3))

    @cached_property
    def answers(self) -> Floats:
        """(b, 2, 2): rows by [group, prediction]."""
        return np.asarray(self.kinds.sum(axis=2))

    @cached_property
    def both(self) -> Bools:
        """(b,): whether neither group is empty."""
        return np.asarray((self.size > 0).all(axis=1))


def _divide(top: Floats, bottom: Floats) -> Floats:
    """0/0 is 0, x/0 infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((bottom == 0) & (top == 0), 0.0, top / bottom)


def _minus(left: Floats, right: Floats) -> Floats:
    """Two equal infinities differ by 0."""
    with np.errstate(invalid="ignore"):
        return np.where(left == right, 0.0, left - right)


def _gap(cells: Cells, rates: Floats, first: int) -> Floats:
    """rates: (b, 2), one a group. The rate of `first` less the other's; NaN where a group is empty."""
    return np.where(cells.both, _minus(rates[:, first], rates[:, 1 - first]), np.nan)


def _shares(cells: Cells) -> tuple[Floats, Floats]:
    """Shares of the labels that both groups have, and 0 elsewhere: (b, 2) of group a and of d; NaN where there is no such label."""
    shares = _divide(cells.labels, cells.size[:, :, None])
    common: Bools = np.asarray((shares > 0).all(axis=1))
    known = np.where(common.any(axis=1, keepdims=True), np.where(common, 1.0, 0.0), np.nan)
    return shares[:, A] * known, shares[:, D] * known


def _divergence(p: Floats, q: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(p == 0, 0.0, p * np.log(p / q)).sum(axis=1))


def _disparity(cells: Cells, outcome: Floats) -> Floats:
    """outcome: (b, 2, 2, g), rows by [group, outcome, subgroup]. The mean disparity of the subgroups, weighted by their rows."""
    total = outcome.sum(axis=1)
    share = _divide(outcome[:, D], total)
    weight = total.sum(axis=1)
    found = _divide((weight * (share[:, 0] - share[:, 1])).sum(axis=1), weight.sum(axis=1))
    defined = (total.sum(axis=2) > 0).all(axis=1) & cells.grouped
    return np.where(defined, found, np.nan)


def ci(cells: Cells) -> Floats:
    a, d = cells.size[:, A], cells.size[:, D]
    return np.where(cells.both, _divide(a - d, a + d), np.nan)


def dpl(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.labels[:, :, 1], cells.size), A)


def kl(cells: Cells) -> Floats:
    return _divergence(*_shares(cells))


def js(cells: Cells) -> Floats:
    a, d = _shares(cells)
    middle = (a + d) / 2
    return (_divergence(a, middle) + _divergence(d, middle)) / 2


def _distance(cells: Cells) -> Floats:
    a, d = _shares(cells)
    return np.abs(a - d)


def lp(cells: Cells) -> Floats:
    return np.asarray(np.sqrt((_distance(cells) ** 2).sum(axis=1)))


def tvd(cells: Cells) -> Floats:
    return np.asarray(_distance(cells).sum(axis=1) / 2)


def ks(cells: Cells) -> Floats:
    return np.asarray(_distance(cells).max(axis=1))


def cddl(cells: Cells) -> Floats:
    return _disparity(cells, cells.counts.sum(axis=3))


def _accepted(cells: Cells) -> Floats:
    return _divide(cells.answers[:, :, 1], cells.size)


def dppl(cells: Cells) -> Floats:
    return _gap(cells, _accepted(cells), A)


def di(cells: Cells) -> Floats:
    rate = _accepted(cells)
    return np.where(cells.both, _divide(rate[:, D], rate[:, A]), np.nan)


def dca(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.labels[:, :, 1], cells.answers[:, :, 1]), A)


def dcr(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.labels[:, :, 0], cells.answers[:, :, 0]), D)


def sd(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.kinds[:, :, 0, 0], cells.labels[:, :, 0]), D)


def rd(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.kinds[:, :, 1, 1], cells.labels[:, :, 1]), A)


def dar(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.kinds[:, :, 1, 1], cells.answers[:, :, 1]), A)


def drr(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.kinds[:, :, 0, 0], cells.answers[:, :, 0]), D)


def ad(cells: Cells) -> Floats:
    right = cells.kinds[:, :, 0, 0] + cells.kinds[:, :, 1, 1]
    return _gap(cells, _divide(right, cells.size), A)


def te(cells: Cells) -> Floats:
    return _gap(cells, _divide(cells.kinds[:, :, 1, 0], cells.kinds[:, :, 0, 1]), D)


def cddpl(cells: Cells) -> Floats:
    return _disparity(cells, cells.counts.sum(axis=2))


def ge(cells: Cells) -> Floats:
    """Speicher et al. (2018), "A Unified Approach to Quantifying Algorithmic Unfairness", with alpha 2."""
    kinds = cells.kinds.sum(axis=1)
    rows, twice = kinds.sum(axis=(1, 2)), kinds[:, 0, 1]
    once = kinds[:, 0, 0] + kinds[:, 1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (once + 2 * twice) / rows
        spread = once * (1 / mean**2 - 1) + twice * (4 / mean**2 - 1) - kinds[:, 1, 0]
        return np.where(mean > 0, spread / (2 * rows), np.nan)


_ALL = (ci, dpl, kl, js, lp, tvd, ks, cddl, dppl, di, dca, dcr, sd, rd, dar, drr, ad, te, cddpl, ge)
KERNELS: dict[str, Callable[[Cells], Floats]] = {kernel.__name__.upper(): kernel for kernel in _ALL}
"""All metrics but FT, by name."""


def why_undefined(metric: str, cells: Cells) -> str:
    """Why a metric of the first tally is NaN."""
    conditional = {"CDDL": cells.labels, "CDDPL": cells.answers}
    if metric in conditional:
        good = conditional[metric][0, :, 1].sum()
        kind = "labels" if metric == "CDDL" else "predictions"
        if not cells.grouped:
            return "it needs `group_col`, the column whose values make the subgroups"
        return f"there are no {'good' if not good else 'bad'} {kind}"
    if metric == "GE":
        return "there are no rows" if not cells.size[0].sum() else "all predictions are false negatives"
    if not cells.both[0]:
        return "the facet is empty" if not cells.size[0, D] else "nothing but the facet is there"
    return "the two groups have no label in common"
