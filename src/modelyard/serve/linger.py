"""How long a runner waits, after a batch, for the callers who have just been answered: decisions, without a clock or a loop.

A call of a model costs about the same for one row and for many. Of callers who ask again at once, some are back earlier than others: a
runner that went on with those would leave the rest for a second call, and each would wait for both.
"""

from __future__ import annotations

SHARE = 0.15
"""Of the time that the batch took."""


def patience(calls: int, seconds: float, most: float) -> float:
    """Seconds to wait for more after a batch of so many calls that took `seconds`, at most `most`. After one call nobody is waited for."""
    return min(SHARE * seconds, most) if calls > 1 else 0.0


def is_whole(calls: int, rows: int, *, expected: int, max_rows: int) -> bool:
    """Whether nobody else need be waited for: all callers who may be back are, or a batch has no room for more."""
    return calls >= expected or rows >= max_rows
