"""A sketch of the distribution of numbers: counts in buckets whose width grows with the distance from the baseline's centre.

A value x falls into the bucket that the top 16 bits of the float64 e = d + sign(d) unit, d = x - centre, name: its sign, its exponent and
four bits of its mantissa, so 16 buckets an octave. They are as wide as |e| / 16 at most: a quantile read off is wrong by at most
(|x - centre| + unit) / 16, wherever the values went, and there is nothing to compute but one addition and one histogram. Buckets hold
for every value, not for the ones seen, so sketches add up exactly, in any order (unlike KLL's or t-digest's), and a hundred or so hold a
bell curve, whatever the number of rows. It is the idea of DDSketch (C. Masson, J. E. Rim, H. K. Lee, VLDB 12(12), 2019), with the
baseline's centre for its zero and a linear middle.

While values go by, the top 20 bits are counted: **cells**, sixteen to a bucket. Both rounding steps of e keep the order, so the values of
the cells up to one are exactly those up to the greatest of its values, its **end**: bins that reach up to ends need no count of their own.

    {"centre": float, "unit": float, "at": [int, ...], "counts": [int, ...]}

`at`: rising; 1, 2, ... are the buckets from the centre upwards, -1, -2, ... those downwards.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CELLS = 1 << 20
"""Cells that there are: those upwards from the centre, then those downwards."""
_SIDE = CELLS // 2
_SIGN_BIT = 1 << 63
_REST, _FINER = 48, 4  # bits of a float64 below its top 16; how many more of them name a cell
_CUT = _REST - _FINER
_NEAR = 64 * 16 << _FINER
"""Cells of 64 octaves. Counts go as far as values do, and where these go farther than that, which hardly any do, as far as they can."""


def shape(rising: Floats) -> dict[str, Any]:
    """Centre and unit for a column with these finite values, sorted: median and half the distance between the quartiles."""
    if not rising.size:
        return {"centre": 0.0, "unit": 1.0, "at": [], "counts": []}
    first, centre, third = (float(rising[rising.size * k // 4]) for k in (1, 2, 3))
    spread = third / 2 - first / 2  # no overflow
    spread = spread or float(rising[-1] / 8 - rising[0] / 8) or max(abs(centre), 1.0) / 1024
    return {"centre": centre, "unit": max(spread, 1e-300), "at": [], "counts": []}


class Buckets:
    """Counts by cell while values go by, and by bucket in the end. Not for two threads at once."""

    def __init__(self, shape: Mapping[str, Any]) -> None:
        import numpy as np

        self._centre, self._unit = float(shape["centre"]), float(shape["unit"])
        self._zero = _cell(self._unit)
        self._few: NDArray[np.int64] | None = None
        self._counts = [np.zeros(0, np.int64), np.zeros(0, np.int64)]
        """Of cells from the centre on, upwards and downwards."""
        self._least, self._most = math.inf, -math.inf

    def few(self, away: Floats, other: Floats) -> None:
        """All values that there are, as `add` has them: looked up among themselves."""
        self._few = self._keys(away, other).copy()

    def add(self, away: Floats, other: Floats, counts: NDArray[np.int64], least: float, most: float) -> None:
        """Finite values between two that are among them, less the centre: into `counts` of `CELLS`, until they are collected.

        `other` is of the shape of `away`; both are written over.
        """
        import numpy as np

        self._least, self._most = min(self._least, least), max(self._most, most)
        np.add.at(counts, self._keys(away, other), 1)

    def _keys(self, away: Floats, other: Floats) -> NDArray[np.int64]:
        """Cells, as they are numbered in counts of `CELLS`, in the place of `away`."""
        import numpy as np

        bits, unit = away.view(np.uint64), other.view(np.uint64)
        np.bitwise_and(bits, np.uint64(_SIGN_BIT), out=unit)  # copysign(unit, away), in half the time
        np.bitwise_or(unit, np.uint64(_bits(self._unit)), out=unit)
        with np.errstate(over="ignore"):
            np.add(away, other, out=away)
        return np.right_shift(bits, np.uint64(_CUT), out=bits).view(np.int64)

    def collect(self, counts: NDArray[np.int64]) -> None:
        """What was added lately is taken out of `counts`, which is all zeros again."""
        import numpy as np

        for side, far in enumerate((self._most - self._centre, self._centre - self._least)):
            if not far >= 0:
                continue
            seen = counts[side * _SIDE + self._zero : side * _SIDE + _cell(far + self._unit) + 1]
            held = self._counts[side]
            if len(seen) > len(held):
                self._counts[side] = np.zeros(len(seen) if len(seen) <= _NEAR else _SIDE - self._zero, np.int64)
                self._counts[side][: len(held)] = held
            used = np.flatnonzero(seen)  # no page of memory is taken that has no count
            self._counts[side][used] += seen[used]
            seen[:] = 0
        self._least, self._most = math.inf, -math.inf

    def _counted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells that have a value, rising, as 0, 1, ... from the centre upwards and -1, -2, ... downwards; and their counts."""
        import numpy as np

        if self._few is not None:
            keys, n = np.unique(self._few, return_counts=True)
            turn = int(np.searchsorted(keys, _SIDE))
            sides = [(keys[:turn] - self._zero, n[:turn]), (keys[turn:] - (_SIDE + self._zero), n[turn:])]
        else:
            sides = [(used := np.flatnonzero(counts), counts[used]) for counts in self._counts]
        (up, more), (down, less) = sides
        return np.concatenate([~down[::-1], up]), np.concatenate([less[::-1], more])

    def up_to(self, ends: Floats) -> NDArray[np.int64]:
        """How many values are at most each of these ends of cells."""
        import numpy as np

        rising, counts = self._counted()
        places = places_of(ends, {"centre": self._centre, "unit": self._unit})
        at = np.where(places < 0, places + self._zero, places - self._zero)
        return np.concatenate([[0], np.cumsum(counts)])[np.searchsorted(rising, at, side="right")]

    def done(self) -> dict[str, Any]:
        """The sketch."""
        import numpy as np

        rising, counts = self._counted()
        far = np.where(rising < 0, ~rising, rising)
        buckets = (far + self._zero >> _FINER) - ((self._zero >> _FINER) - 1)
        buckets = np.where(rising < 0, -buckets, buckets)
        if len(buckets):
            begin = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1]))
            buckets, counts = buckets[begin], np.add.reduceat(counts, begin)
        return {"centre": self._centre, "unit": self._unit, "at": buckets.tolist(), "counts": counts.tolist()}


def places_of(values: Floats, shape: Mapping[str, Any]) -> NDArray[np.int64]:
    """Numbers of the cells in which finite values lie, which rise with the values: 0 and up, -1 and down."""
    import numpy as np

    with np.errstate(over="ignore"):
        away = values - shape["centre"]
        keys: NDArray[np.int64] = ((away + np.copysign(shape["unit"], away)).view(np.uint64) >> np.uint64(_CUT)).view(np.int64)
    return np.where(keys < _SIDE, keys, ~(keys - _SIDE))


def are_ends(values: Floats, shape: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which of these finite values no greater one shares a cell with. Zeros are expected to be positive."""
    import numpy as np

    with np.errstate(over="ignore"):
        greater = np.nextafter(values, math.inf)
    places = places_of(np.concatenate([values, greater]), shape)
    return np.not_equal(*np.split(places, 2))


def ends_of(values: Floats, limit: float, shape: Mapping[str, Any]) -> Floats:
    """The ends of the cells in which finite values lie, but none beyond `limit`, which is as great as each of them."""
    import numpy as np

    cells, low, high = places_of(values, shape), _ordered(values), _ordered(np.full(len(values), limit))

    def look(at: NDArray[np.int64]) -> None:
        nonlocal low, high
        inside = places_of(_unordered(at), shape) == cells
        low, high = np.where(inside, at, low), np.where(inside, high, at - 1)

    for about in _ends_about(cells, shape):  # mostly hardly any steps are left after these
        look(np.clip(_ordered(about), low, high))
    while (low < high).any():
        look((low | high) - ((low ^ high) >> 1))  # halfway, rounded up, without overflow
    return _unordered(low)


def _ends_about(cells: NDArray[np.int64], shape: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Somewhat less and somewhat more than the ends of cells, by what rounding may make of them."""
    import numpy as np

    centre, unit, down = float(shape["centre"]), float(shape["unit"]), cells < 0
    nearest = np.where(down, ~cells, cells) << _CUT
    beyond = np.where(down, nearest, nearest | ((1 << _CUT) - 1)).view(np.float64)  # of the cell's |e|, that of its greatest value
    with np.errstate(over="ignore", invalid="ignore"):
        about = centre + np.copysign(beyond - unit, np.where(down, -1.0, 1.0))
        off = 4 * np.spacing(np.maximum(beyond, max(abs(centre), unit)))
        return np.nan_to_num(about - off), np.nan_to_num(about + off)


def _ordered(values: Floats) -> NDArray[np.int64]:
    """Integers in the order of float64, one for each."""
    import numpy as np

    bits = (values + 0.0).view(np.int64)
    return np.where(bits >= 0, bits, np.int64(-(2**63)) - bits)


def _unordered(order: NDArray[np.int64]) -> Floats:
    import numpy as np

    return np.where(order >= 0, order, np.int64(-(2**63)) - order).view(np.float64)


def bounds(sketch: Mapping[str, Any], at: int) -> tuple[float, float]:
    """Least and greatest value of a bucket (but for rounding)."""
    centre, unit = sketch["centre"], sketch["unit"]
    key = abs(at) - 1 + _key(unit)
    near, far = max(_value(key) - unit, 0.0), _value(key + 1) - unit
    return (centre + near, centre + far) if at > 0 else (centre - far, centre - near)


def quantile(column: dict[str, Any], q: float) -> float | None:
    """The value that a share `q` of a column's finite values does not exceed, wrong by less than one bucket; None without values."""
    found, low, high = column["sketch"], column["min"], column["max"]
    up_to = list(accumulate(found["counts"]))
    if not up_to or low is None or high is None:
        return None
    rank = min(max(math.ceil(q * up_to[-1]), 1), up_to[-1])
    if rank == 1 or rank == up_to[-1]:
        return float(low if rank == 1 else high)
    i = next(i for i, n in enumerate(up_to) if n >= rank)
    a, b = (min(max(edge, low), high) for edge in bounds(found, found["at"][i]))
    inside = (rank - (up_to[i] - found["counts"][i]) - 0.5) / found["counts"][i]
    return float(a + (b - a) * inside)


def _bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def _cell(value: float) -> int:
    return _bits(value) >> _CUT


def _key(value: float) -> int:
    return _bits(value) >> _REST


def _value(key: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", key << _REST))[0]) if key < 0x7FF0 else math.inf
