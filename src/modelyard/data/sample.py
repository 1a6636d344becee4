"""A sample of a large table: so many rows, the same ones each time, whatever the batches they come in.

Every row gets a number that follows from its place in the table and the seed, by SplitMix64 (Steele, Lea, Flood: Fast splittable
pseudorandom number generators, OOPSLA 2014); those with the least numbers are the sample. So all rows are as likely, rows added at the end
push out few, and no more than the sample's own places are held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.config.spec import Sample

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


class Draw:
    """Sees which rows may be drawn, in order, and then says which are."""

    def __init__(self, sample: Sample) -> None:
        import numpy as np

        self._size, self._seed, self._seen = sample.rows, sample.seed, 0
        self._places = np.zeros(0, dtype=np.int64)
        self._numbers = np.zeros(0, dtype=np.uint64)
        self._left = 0

    def see(self, eligible: pl.Series) -> None:
        """Truth values of the table's next rows."""
        import numpy as np

        places = eligible.arg_true().to_numpy().astype(np.int64) + self._seen
        self._seen += len(eligible)
        self._places = np.concatenate([self._places, places])
        self._numbers = np.concatenate([self._numbers, _numbers(places, self._seed)])
        if len(self._places) > 2 * self._size:
            self._shrink()

    def rows(self) -> NDArray[np.int64] | None:
        """The places drawn, rising; None where there are no more rows than were asked for."""
        import numpy as np

        if len(self._places) <= self._size and not self._left:
            return None
        self._shrink()
        return np.sort(self._places)

    def _shrink(self) -> None:
        import numpy as np

        if len(self._places) > self._size:
            least = np.argpartition(self._numbers, self._size - 1)[: self._size]
            self._left += len(self._places) - self._size
            self._places, self._numbers = self._places[least], self._numbers[least]


def _numbers(places: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's output for the state `seed + place`; a bijection, so no two rows tie."""
    import numpy as np

    with np.errstate(over="ignore"):
        offset = np.uint64(seed % 2**64) * np.uint64(0xD1B54A32D192ED03)
        z = (places.astype(np.uint64) + offset + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def chosen(batch: pl.DataFrame, first: int, rows: NDArray[np.int64] | None) -> pl.DataFrame:
    """The rows of `batch`, whose first is the table's row `first`, that are in the sample."""
    import numpy as np

    if rows is None:
        return batch
    start, end = np.searchsorted(rows, [first, first + batch.height])
    return batch[rows[start:end] - first]
