"""How many rows a batch may have, by what batches have taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.pace import SAVED, SECONDS, Pace

CALL, EACH = st.floats(1e-4, 1), st.floats(1e-7, 1)
ROWS = st.lists(st.integers(1, 2000), max_size=20)
LIMITS = st.integers(1, 4096)


def after(call: float, each: float, rows: list[int]) -> Pace:
    """What is known of a model that takes `call` seconds a call and `each` a row, once it has answered batches of so many rows."""
    pace = Pace()
    for count in rows:
        pace.took(count, call + each * count)
    return pace


def test_nothing_is_known_at_first() -> None:
    assert Pace().most(1024) == 1024 and Pace().rows_per_second == 0.0


@given(CALL, EACH, ROWS, LIMITS)
def test_a_batch_has_at_least_two_rows_and_no_more_than_are_allowed(call: float, each: float, rows: list[int], limit: int) -> None:
    assert min(limit, 2) <= after(call, each, rows).most(limit) <= limit


@given(CALL, EACH, st.integers(2, 2000), ROWS)
def test_fewer_rows_than_are_allowed_take_little_time_or_bring_nearly_all_there_is(
    call: float, each: float, several: int, rows: list[int]
) -> None:
    most = after(call, each, [1, several, *rows]).most(10**6)
    takes = call + each * most
    if most < 10**6:
        more = most + 1
        assert each * more > SECONDS * 0.999, "it could take more rows in that time"
        assert more / (call + each * more) > SAVED * 0.999 / each, "more rows would still bring much"
    assert most == 2 or takes - call <= SECONDS * 1.001 or (most - 1) / (call + each * (most - 1)) < SAVED * 1.001 / each


def test_what_one_batch_took_by_chance_is_soon_forgotten() -> None:
    pace = after(0.003, 1e-6, [1, 64, 64])
    assert pace.most(1024) == 1024
    pace.took(64, 2.0)
    assert pace.most(1024) < 64
    batches = 0
    while pace.most(1024) < 64:
        rows, batches = pace.most(1024), batches + 1
        pace.took(rows, 0.003 + 1e-6 * rows)
    assert batches < 20


def test_what_it_knows_of_a_model_follows_it() -> None:
    pace = after(0.001, 0.02, [1, 8, 8])
    assert pace.most(1024) == 2
    for _ in range(40):
        pace.took(2, 0.001 + 2e-5)
    assert pace.most(1024) == 1024


@given(CALL, EACH, ROWS)
def test_rows_a_second_lie_between_those_of_the_batches(call: float, each: float, rows: list[int]) -> None:
    rates = [count / (call + each * count) for count in rows]
    found = after(call, each, rows).rows_per_second
    assert min(rates, default=0.0) * 0.999 <= found <= max(rates, default=0.0) * 1.001
