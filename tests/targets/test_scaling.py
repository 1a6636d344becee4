from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from modelyard.targets.scaling import PRESSED, SETTLE, Bounds, Memory, Seen, step

LOOK = 0.2
BOUNDS = st.builds(
    lambda least, more, idle: Bounds(least, max(1, least + more), idle), st.integers(0, 4), st.integers(0, 5), st.floats(0, 60)
)


def play(bounds: Bounds, looks: list[tuple[bool, int]], runners: int | None = None) -> list[int]:
    """The number after each look at a version that is (busy, has waiting) so and so; idle time is counted as the endpoint does."""
    number, memory, idle, found = bounds.least if runners is None else runners, Memory(), 0.0, []
    for tick, (busy, waiting) in enumerate(looks):
        idle = 0.0 if busy else idle + LOOK
        seen = Seen(number, number if busy else 0, waiting if number else 0, 0 if number else waiting, idle)
        number, memory = step(memory, seen, tick * LOOK, bounds)
        found.append(number)
    return found


LOOKS = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=300)


@given(BOUNDS, LOOKS, st.integers(0, 12))
def test_it_stays_within_its_bounds_whatever_happens(bounds: Bounds, looks: list[tuple[bool, int]], runners: int) -> None:
    assert all(bounds.least <= number <= bounds.most for number in play(bounds, looks, runners))


@given(BOUNDS, LOOKS)
def test_it_changes_by_one_and_not_again_before_it_has_settled(bounds: Bounds, looks: list[tuple[bool, int]]) -> None:
    numbers = [bounds.least, *play(bounds, looks)]
    changes = [tick for tick in range(1, len(numbers)) if numbers[tick] != numbers[tick - 1]]
    assert all(abs(numbers[tick] - numbers[tick - 1]) == 1 for tick in changes)
    woken = [tick for tick in changes if numbers[tick - 1] == 0]  # a request that waits for a first runner waits for nothing else
    for before, after in itertools.pairwise(changes):
        assert after in woken or (after - before) * LOOK >= SETTLE - 1e-9


@given(BOUNDS, st.integers(0, 12), st.floats(0.1, 100))
def test_the_same_load_never_makes_it_flap(bounds: Bounds, runners: int, share: float) -> None:
    """Under a load that never changes, a number that rose does not fall again, and the other way round."""
    for busy, waiting in ((True, 3), (True, 0), (False, 0)):
        numbers = play(bounds, [(busy, waiting)] * 400, min(max(runners, bounds.least), bounds.most))
        assert numbers in (sorted(numbers), sorted(numbers, reverse=True))


def test_pressure_must_last_and_a_burst_is_not_enough() -> None:
    bounds, looks = Bounds(1, 4, 60), round(PRESSED / LOOK)
    assert set(play(bounds, ([(True, 3)] * (looks - 1) + [(False, 0)]) * 20)) == {1}
    numbers = play(bounds, [(True, 3)] * 100)
    assert numbers[looks - 1] == 1 and numbers[looks] == 2
    assert numbers[-1] == 4


def test_one_that_is_idle_for_long_ends_and_the_least_stay() -> None:
    numbers = play(Bounds(1, 4, 10), [(False, 0)] * 400, runners=4)
    assert numbers[round(10 / LOOK) - 2] == 4 and numbers[-1] == 1


def test_the_first_request_wakes_one_at_once_and_it_ends_when_idle() -> None:
    bounds = Bounds(0, 1, 5)
    assert play(bounds, [(False, 0), (False, 2)]) == [0, 1]
    assert play(bounds, [(False, 1), *[(False, 0)] * 40])[-1] == 0


def test_least_is_kept_whatever_is_seen() -> None:
    assert step(Memory(), Seen(0), 0.0, Bounds(2, 4, 1))[0] == 2
    assert step(Memory(), Seen(6, idle=0), 0.0, Bounds(2, 4, 1))[0] == 4
