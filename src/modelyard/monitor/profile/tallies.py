"""What is counted of one column while its values go by."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.monitor.profile import heavy, merging, sketch

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Truths = NDArray[np.bool_]

CHUNK = 65_536
"""Values that are looked at together: their half a megabyte stays in a core's cache while some fifteen passes go over it."""
FEW = 8_192
"""Values up to which they are looked at in the end, all at once, and without counts of cells, which take longer to begin with."""
_LANES = 128
"""Eight truths are added at a time, each in a byte of its own, which does not overflow within so many."""
PLAIN = 2_000
"""Different values up to which a dictionary is quicker than a query."""


class Numbers:
    """Counts, moments and sketch of a column of numbers. Not for two threads at once."""

    def __init__(self, shape: dict[str, Any]) -> None:
        import numpy as np

        self._shape = shape
        low = [] if shape["low"] is None else [math.nextafter(shape["low"], -math.inf)]
        self._asked = np.array([*low, *shape["edges"], math.nextafter(0.0, -math.inf), 0.0]) + 0.0  # no negative zero
        """Just below `low`, each edge, just below zero, zero: how many values are at most each point?"""
        self._ends = np.zeros(len(self._asked), np.bool_)
        """Of which points the sketch's cells tell it."""
        self._points = np.sort(self._asked)
        self._up_to = np.zeros(len(self._points), np.int64)
        """The other points, rising, and how many values are at most each."""
        self._seen = self._missing = self._whole = self._infinite = self._lowest = 0
        self._min, self._max = math.inf, -math.inf
        self._moments: list[tuple[int, float | None, float | None]] = []
        self._buckets = sketch.Buckets(shape["sketch"])
        self._few: list[Floats] | None = []
        """All values so far, while they are few."""
        self._held = 0

    def lack(self, rows: int) -> None:
        """Rows in which the column was not there at all."""
        self._missing += rows

    def add(self, values: Floats) -> None:
        """`values` of shape (rows,), NaN where missing."""
        import numpy as np

        parts = [values]
        if self._few is not None:
            self._held += len(values)
            if self._held <= FEW:
                self._few.append(values.copy())
                return
            parts, self._few = [*self._few, values], None
            self._ends = sketch.are_ends(self._asked, self._shape["sketch"])
            self._points = np.sort(self._asked[~self._ends])
            self._up_to = self._up_to[: len(self._points)]
        try:
            for part in parts:
                for begin in range(0, len(part), CHUNK):
                    self._chunk(part[begin : begin + CHUNK])
        finally:
            self._buckets.collect(_scratch().cells)
        if len(self._moments) > 1000:
            self._moments = [self._moment()]

    def _chunk(self, x: Floats) -> None:
        import numpy as np

        least = x.min()
        if np.isnan(least):  # a minimum takes NaN along
            kept = x[~np.isnan(x)]
            self._missing += len(x) - len(kept)
            if not len(kept):
                return
            x, least = kept, kept.min()
        most = x.max()
        self._seen += len(x)
        first, last = self._points.searchsorted([least, most])
        self._up_to[first:last] += _up_to(x, self._points[first:last])
        self._up_to[last:] += len(x)
        if least == -math.inf or most == math.inf:
            finite = x[np.isfinite(x)]
            self._infinite += len(x) - len(finite)
            self._lowest += int(np.count_nonzero(x == -math.inf))
            if not len(finite):
                return
            x, least, most = finite, finite.min(), finite.max()
        self._min, self._max = min(self._min, float(least)), max(self._max, float(most))
        self._measure(x, float(least), float(most))

    def _measure(self, x: Floats, least: float, most: float) -> None:
        """Moments and sketch of finite values between two of them."""
        import numpy as np

        n, room = len(x), _scratch()
        work, other = room.work[:n], room.other[:n]
        np.rint(x, out=work)
        self._whole += int(np.count_nonzero(np.equal(x, work, out=room.truths[:n])))
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(x, self._shape["sketch"]["centre"], out=work)
            self._moments.append(_moments(x, self._shape["sketch"]["centre"], work, other))
        if self._few is None:
            self._buckets.add(work, other, room.cells, least, most)
        else:
            self._buckets.few(work, other)

    def _moment(self) -> tuple[int, float | None, float | None]:
        return (sum(n for n, _, _ in self._moments), *merging.moments(self._moments))

    def _places(self) -> NDArray[np.int64]:
        """How many values are at most each point that is asked for."""
        import numpy as np

        if not self._ends.any():
            return self._up_to[self._points.searchsorted(self._asked)]
        found = np.empty(len(self._asked), np.int64)
        found[self._ends] = self._buckets.up_to(self._asked[self._ends]) + self._lowest
        found[~self._ends] = self._up_to[self._points.searchsorted(self._asked[~self._ends])]
        return found

    def done(self) -> dict[str, Any]:
        """The column of a profile. Once, after all values."""
        import numpy as np

        if self._few and len(values := np.concatenate(self._few)):
            self._chunk(values)
        finite = self._seen - self._infinite
        _, mean, m2 = self._moment()
        *up_to, negatives, not_positive = self._places().tolist()
        up_to = up_to if self._shape["low"] is not None else [0, *up_to]
        return {
            "kind": "numeric",
            "low": self._shape["low"],
            "edges": self._shape["edges"],
            "counts": [up_to[0], *(b - a for a, b in pairwise([*up_to, self._seen]))],
            "missing": self._missing,
            "min": self._min if finite else None,
            "max": self._max if finite else None,
            "mean": mean,
            "m2": m2,
            "zeros": not_positive - negatives,
            "negatives": negatives,
            "whole": self._whole,
            "infinite": self._infinite,
            "sketch": self._buckets.done(),
        }


def _up_to(x: Floats, points: Floats) -> NDArray[np.int64]:
    """How many values are at most each point. At most `CHUNK` values."""
    import numpy as np

    rows = -(-len(x) // (8 * _LANES)) * 8 * _LANES
    held = _scratch().truths
    each = max(1, len(held) // max(rows, 1))
    counts = [np.empty(0, np.int64)]
    for begin in range(0, len(points), each):
        some = points[begin : begin + each]
        truths = held[: len(some) * rows].reshape(len(some), rows)
        np.less_equal(x, some[:, None], out=truths[:, : len(x)])
        truths[:, len(x) :] = False
        added = np.add.reduce(truths.view(np.uint64).reshape(len(some), -1, _LANES), axis=2)
        counts.append(np.add.reduce(added.view(np.uint8), axis=1, dtype=np.int64))
    return np.concatenate(counts)


def _moments(x: Floats, centre: float, away: Floats, other: Floats) -> tuple[int, float | None, float | None]:
    """Count, mean and sum of squared deviations of values, of which `away` is what is left less a centre. `other` is written over."""
    import numpy as np

    n, beyond = len(x), float(away.sum())
    squares = float(np.einsum("i,i", away, away))  # no BLAS: it would start threads of its own
    mean, m2 = centre + beyond / n, squares - beyond * beyond / n
    if not m2 > squares / 1e6:  # the centre is so far away that digits were lost, or something is infinite
        mean = float(x.sum() / n)
        np.subtract(x, mean, out=other)
        m2 = float(np.einsum("i,i", other, other))
    return n, merging.known(mean), merging.known(m2)


class _Room(NamedTuple):
    """Scratch for the numbers of a chunk, twice, for truths of each, and for counts of a column's cells, zero between two parts."""

    work: Floats
    other: Floats
    truths: Truths
    cells: NDArray[np.int64]


_held = threading.local()


def _scratch() -> _Room:
    """This thread's own, that stays in its core's cache."""
    import numpy as np

    if not hasattr(_held, "room"):
        _held.room = _Room(np.empty(CHUNK), np.empty(CHUNK), np.empty(24 * CHUNK, np.bool_), np.zeros(sketch.CELLS, np.int64))
    room: _Room = _held.room
    return room


class Categories:
    """Counts of a column of categories. Not for two threads at once."""

    def __init__(self, shape: dict[str, Any]) -> None:
        self._shape = shape
        self._counts: dict[str, int] = dict.fromkeys(shape["counts"], 0)
        self._outside = self._missing = self._error = 0
        self._fresh: dict[str, int] = {}

    def lack(self, rows: int) -> None:
        """Rows without a value."""
        self._missing += rows

    def add(self, seen: pl.DataFrame) -> None:
        """Different values and how often each came: two columns, text without null and integers."""
        import polars as pl

        if seen.height > PLAIN:
            value, n = (pl.col(name) for name in seen.columns)
            known = value.is_in(list(self._counts))
            rest = seen.filter(~known)
            self._outside += int(rest.select(n.sum()).item())
            most = rest.top_k(heavy.KEPT + 1, by=n)
            cut = int(most.select(n.min()).item()) if most.height > heavy.KEPT else 0
            left = rest.filter(n > cut).with_columns(n - cut)
            self._hit(dict(left.iter_rows()), cut)
            seen = seen.filter(known)
        self.add_few(seen.iter_rows())

    def add_few(self, seen: Iterable[tuple[str, int]]) -> None:
        """Some values and how often each came, the same one more than once, too."""
        fresh: dict[str, int] = {}
        for word, count in seen:
            if word in self._counts:
                self._counts[word] += count
            else:
                fresh[word] = fresh.get(word, 0) + count
        self._outside += sum(fresh.values())
        self._hit(fresh, 0)

    def _hit(self, fresh: dict[str, int], error: int) -> None:
        if fresh or error:
            self._fresh, self._error = heavy.merge([(self._fresh, self._error), (fresh, error)])

    def done(self) -> dict[str, Any]:
        """The column of a profile."""
        complete = not self._shape["other"]
        return {
            "kind": "categorical",
            "counts": self._counts,
            "other": 0 if complete else self._outside,
            "new": self._outside if complete else 0,
            "fresh": self._fresh,
            "fresh_error": self._error,
            "once": self._shape["once"],
            "missing": self._missing,
        }
