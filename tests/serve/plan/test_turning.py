from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.plan.floats import LARGEST
from modelyard.serve.plan.turning import double, first_true, last_true, ordinal

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite)
def test_places_of_doubles_are_in_their_order(x: float) -> None:
    assert double(ordinal(x)) == x
    if x < LARGEST:
        assert ordinal(math.nextafter(x, math.inf)) == ordinal(x) + 1 or x == -5e-324


@given(finite, st.one_of(st.none(), finite))
def test_a_turn_is_found_to_the_last_bit_whatever_the_guess(edge: float, guess: float | None) -> None:
    for near in (guess, edge, math.nextafter(edge, 0.0)):
        assert last_true(lambda x: x <= edge, near) == edge
        assert first_true(lambda x: x >= edge, near) == edge


def test_no_turn() -> None:
    assert last_true(lambda x: False, 1.0) is None
    assert last_true(lambda x: True) == LARGEST
    assert first_true(lambda x: x > LARGEST) is None
    assert first_true(lambda x: True) == -LARGEST
