"""A sketch of the distribution of numbers: counts in buckets whose width grows with the distance from the baseline's centre.

A value x falls into the bucket that the top 16 bits of the float64 e = d + sign(d) unit, d = x - centre, name: its sign, its exponent and
four bits of its mantissa, so 16 buckets an octave. They are as wide as |e| / 16 at most: a quantile read off is wrong by at most
(|x - centre| + unit) / 16, wherever the values went, and there is nothing to compute but one addition and one histogram. Buckets hold
for every value, not for the ones seen, so sketches add up exactly, in any order (unlike KLL's or t-digest's), and a hundred or so hold a
bell curve, whatever the number of rows. It is the idea of DDSketch (C. Masson, J. E. Rim, H. K. Lee, VLDB 12(12), 2019), with the
baseline's centre for its zero and a linear middle.

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

KEYS, FEW = 1 << 16, 1 << 13
"""Buckets that there are, and values up to which those that are used are looked up among them."""
_SIGN = 1 << 15
_SIGN_BIT = 1 << 63
_REST = 48  # bits of a float64 below its top 16


def shape(rising: NDArray[np.float64]) -> dict[str, Any]:
    """Centre and unit for a column with these finite values, sorted: median and half the distance between the quartiles."""
    if not rising.size:
        return {"centre": 0.0, "unit": 1.0, "at": [], "counts": []}
    first, centre, third = (float(rising[rising.size * k // 4]) for k in (1, 2, 3))
    spread = third / 2 - first / 2  # no overflow
    spread = spread or float(rising[-1] / 8 - rising[0] / 8) or max(abs(centre), 1.0) / 1024
    return {"centre": centre, "unit": max(spread, 1e-300), "at": [], "counts": []}


class Buckets:
    """Counts by bucket while values go by; of few values without the half megabyte that counts of all buckets take."""

    def __init__(self, shape: dict[str, Any]) -> None:
        self._shape, self._unit = shape, _bits(shape["unit"])
        self._few: list[NDArray[np.int64]] = []
        self._held = 0
        self._counts: NDArray[np.int64] | None = None

    def add(self, values: NDArray[np.float64], work: NDArray[np.float64], other: NDArray[np.float64]) -> None:
        """Finite values; `work` and `other`, of the same shape, are written over."""
        import numpy as np

        bits, unit = work.view(np.uint64), other.view(np.uint64)
        with np.errstate(over="ignore"):
            np.subtract(values, self._shape["centre"], out=work)
            np.bitwise_and(bits, np.uint64(_SIGN_BIT), out=unit)  # copysign(unit, work), in half the time
            np.bitwise_or(unit, np.uint64(self._unit), out=unit)
            np.add(work, other, out=work)
        keys = np.right_shift(bits, np.uint64(_REST), out=bits).view(np.int64)
        if self._held + len(keys) <= FEW:
            self._few.append(keys.copy())
            self._held += len(keys)
            return
        if self._counts is None:
            self._counts = np.bincount(np.concatenate(self._few or [keys[:0]]), minlength=KEYS)
            self._held = FEW
        np.add.at(self._counts, keys, 1)

    def done(self) -> dict[str, Any]:
        """The sketch."""
        import numpy as np

        if self._counts is None:
            keys, counts = np.unique(np.concatenate(self._few) if self._few else np.empty(0, np.int64), return_counts=True)
        else:
            keys = np.flatnonzero(self._counts)
            counts = self._counts[keys]
        zero = _key(self._shape["unit"])
        at = np.where(keys < _SIGN, keys - zero + 1, -(keys - _SIGN - zero + 1))
        order = np.argsort(at)
        return {"centre": self._shape["centre"], "unit": self._shape["unit"], "at": at[order].tolist(), "counts": counts[order].tolist()}


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


def _key(value: float) -> int:
    return _bits(value) >> _REST


def _value(key: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", key << _REST))[0]) if key < 0x7FF0 else math.inf
