"""Rows that kill runners: after a death, what was in flight is tried alone, and what then kills again is refused ever after."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from modelyard.serve.refusals import ModelFailed
from modelyard.serve.rows import Rows

KEPT = 10_000
"""Bodies remembered a version, the latest."""


class Quarantine:
    """Of one version. Bodies are known by a digest of their values: a row alone, or the rows of one request together. `deaths` are those
    that runners died with."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self.deaths: OrderedDict[bytes, tuple[int, bool]] = OrderedDict()  # by digest: runners that died, and whether it was to blame

    def check(self, rows: Rows) -> bool:
        """Whether the body must go alone, since a runner died with it. Raises ModelFailed for one that killed."""
        if not self.deaths:
            return False
        deaths, blamed = self.deaths.get(_digest(rows), (0, False))
        if blamed:
            raise killed(rows, deaths)
        return deaths > 0

    def died(self, rows: Rows, *, alone: bool) -> int:
        """A runner died with these rows in flight. Returns how many died of them where they are to blame, else 0."""
        key = _digest(rows)
        before, _ = self.deaths.pop(key, (0, False))
        blamed = alone and before > 0
        self.deaths[key] = (before + 1, blamed)
        while len(self.deaths) > self._kept:
            self.deaths.popitem(last=False)
        return before + 1 if blamed else 0

    def answered(self, rows: Rows) -> None:
        """A runner answered a body that was tried alone: it is innocent."""
        self.deaths.pop(_digest(rows), None)


def killed(rows: Rows, deaths: int) -> ModelFailed:
    what = "this row has" if rows.count == 1 else "a row of these has"
    return ModelFailed(f"{what} killed the runner {deaths} times; it is not tried again", where="row 0" if rows.count == 1 else "")


def _digest(rows: Rows) -> bytes:
    return hashlib.blake2b(rows.encoded(), digest_size=16).digest()
