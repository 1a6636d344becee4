"""How fast a version's runners are, learned from the batches that they answer: decisions, without a clock or a loop.

A call of a model takes some time however many rows it has, and some for each of them. Rows that are put together save the first. Where
the second is the larger part they save next to nothing, and each of them waits for all the others' time.
"""

from __future__ import annotations

SECONDS = 0.05
"""What a batch's rows may take in any case."""
SAVED = 0.9
"""Of the rows a second that batches without end would bring: more rows than it takes to come to this share only make others wait."""
_FEWEST = 2  # of a batch of one row nothing is learned about a row
_NEW = 0.2


class Pace:
    """Of one version. `rows_per_second` is 0 as long as nothing is known."""

    def __init__(self) -> None:
        self.rows_per_second = 0.0
        self._single: float | None = None  # seconds of a row by itself
        self._each: float | None = None  # seconds that each further row takes

    def took(self, rows: int, seconds: float) -> None:
        """A batch of so many rows has taken so long."""
        rate = rows / seconds
        self.rows_per_second = _mixed(self.rows_per_second or rate, rate)
        if rows == 1:
            self._single = seconds if self._single is None else _mixed(self._single, seconds)
        elif self._single is not None:
            each = max(0.0, (seconds - self._single) / (rows - 1))
            self._each = each if self._each is None else _mixed(self._each, each)

    def most(self, limit: int) -> int:
        """Rows that the next batch may have, where `limit` is how many are allowed."""
        if limit < _FEWEST or not self._each or self._single is None:
            return limit
        by_itself = max(0.0, self._single - self._each)  # of a call, however many rows it has
        enough = by_itself * SAVED / (1 - SAVED) / self._each
        return min(limit, max(_FEWEST, int(SECONDS / self._each), int(enough)))


def _mixed(old: float, new: float) -> float:
    return (1 - _NEW) * old + _NEW * new
