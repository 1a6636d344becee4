"""Where a rising or falling test of a float64 turns, to the last bit: bisection over the doubles in their order."""

from __future__ import annotations

import struct
from collections.abc import Callable

from modelyard.serve.plan.floats import LARGEST

_double, _whole = struct.Struct("<d"), struct.Struct("<q")
_SIGN = 0x7FFFFFFFFFFFFFFF


def ordinal(x: float) -> int:
    """The place of a double among all doubles in their order; 0.0 and -0.0 have the same."""
    found: int = _whole.unpack(_double.pack(x))[0]
    return found if found >= 0 else -(found & _SIGN)


def double(place: int) -> float:
    """The double at a place."""
    found: float = _double.unpack(_whole.pack(place))[0] if place >= 0 else -_double.unpack(_whole.pack(-place))[0]
    return found


def last_true(test: Callable[[float], bool], near: float | None = None) -> float | None:
    """The largest finite double that passes a test which holds up to some value and not from there on; None where it holds of none.

    `near` is a guess: a good one saves most of the tries.
    """
    low, high = ordinal(-LARGEST), ordinal(LARGEST)
    if not test(-LARGEST):
        return None
    if test(LARGEST):
        return LARGEST
    if near is not None and abs(near) < LARGEST:
        low, high = _around(test, ordinal(near), low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if test(double(middle)):
            low = middle
        else:
            high = middle
    return double(low)


def _around(test: Callable[[float], bool], guess: int, low: int, high: int) -> tuple[int, int]:
    """Places between which the test turns, found by ever longer steps from a guess."""
    step = 1
    if test(double(guess)):
        while guess + step < high and test(double(guess + step)):
            guess, step = guess + step, 2 * step
        return guess, min(guess + step, high)
    while guess - step > low and not test(double(guess - step)):
        guess, step = guess - step, 2 * step
    return max(guess - step, low), guess


def first_true(test: Callable[[float], bool], near: float | None = None) -> float | None:
    """The smallest finite double that passes a test which holds from some value on; None where it holds of none."""
    found = last_true(lambda x: test(-x), None if near is None else -near)
    return None if found is None else -found
