"""When two versions' answers to one row count as different. One rule for mirrors, shadows and the replay gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.signature import Signature

TOLERANCE = 0.05
"""Share of a number's size within which two numbers agree."""


def disagrees(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]], signature: Signature, scale: float = 0.0) -> list[bool]:
    """For each row, whether two answers differ enough to matter to a caller. Both hold `prediction`, of the same rows.

    Classes, labels and anomalies differ where the prediction is another one; their scores may move. Numbers differ by more than 5% of
    the greater of the two, or of `scale` where that is greater: a typical size of the target (such as the standard deviation of the
    champion's predictions), so that numbers around zero are not held to nothing. The mean error of a naive forecast, where the signature
    has it, is a scale as well. A missing or infinite number agrees with an equal one only.
    """
    pairs = zip(one["prediction"], other["prediction"], strict=True)
    if signature.answer != "number":
        return [a != b for a, b in pairs]
    least = max(abs(scale), abs(signature.naive_error or 0.0))
    return [_far(a, b, least) for a, b in pairs]


def _far(one: float | None, other: float | None, scale: float) -> bool:
    if one is None or other is None:
        return one is not other
    if one == other or (one != one and other != other):
        return False
    size = max(abs(one), abs(other), scale)
    return not (size < float("inf") and abs(one - other) <= TOLERANCE * size)
