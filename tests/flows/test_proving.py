"""Proof of a row plan against an oracle that may be otherwise in one row, in some, or only where rows come together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from modelyard.flows.proving import CHUNK, MOST_REFUSED, Prover, Unequal
from modelyard.serve.oracle import Columns
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.schema import Input, Linear, Link, Plan, Require
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Column, Signature

SIGNATURE = Signature("binary_classification", (Column("x", "float", True), Column("z", "float")), classes=(0, 1), positive_class=1)
NUMBER = Signature("regression", SIGNATURE.columns)
ROWS: list[list[Any]] = [[i / 100 - 15, (i % 7) / 7] for i in range(3000)]


def plan(weight: float = 1.0) -> RowPlan:
    """A logistic model of x, which refuses a missing x."""
    steps = (
        Require((0,), "present", "x is missing"),
        Linear((0, 1), ((weight, 0.0),), (0.25,)),
        Link((2,), "sigmoid"),
        Link((3,), "complement"),
    )
    inputs = tuple(Input(c.name, c.type, c.nullable) for c in SIGNATURE.columns)
    return RowPlan(Plan(inputs, steps, (4, 5), "Logistic"), SIGNATURE)


def native(row: list[Any], weight: float = 1.0) -> tuple[Any, ...]:
    if row[0] is None:
        raise ModelFailed("ValueError: Input X contains NaN.")
    p = 1 / (1 + math.exp(-(row[0] * weight + 0.25)))
    return (int(p >= 0.5), 1 - p, p)


class Fake:
    """An oracle that answers each row by `one`, and fails for all of a call's rows where that fails for any, or where `together` says."""

    def __init__(self, one: Callable[[list[Any]], tuple[Any, ...]], together: Callable[[int], bool] = lambda count: False) -> None:
        self.one, self.together, self.asked = one, together, 0
        self.sizes: list[int] = []

    def answers(self, columns: Columns, count: int) -> Columns:
        self.asked += 1
        self.sizes.append(count)
        if self.together(count):
            raise ModelFailed("together")
        found = [self.one([columns["x"][i], columns["z"][i]]) for i in range(count)]
        return {name: [answer[k] for answer in found] for k, name in enumerate(SIGNATURE.outputs)}


def proved(fake: Fake, rows: list[list[Any]] = ROWS, tolerance: float = 1e-9, by: RowPlan | None = None) -> Prover:
    prover = Prover(by or plan(), SIGNATURE, tolerance)
    prover.edges(rows, fake)  # type: ignore[arg-type]
    return prover


def test_equal_rows_are_proven_in_few_calls_and_refusals_one_by_one() -> None:
    fake = Fake(native)
    missing = [[None, 0.0]] * 900
    prover = proved(fake, [*ROWS, *missing])
    assert prover.proof.edge_rows == 3900 and prover.proof.refused_alike == pytest.approx(MOST_REFUSED, rel=0.2)
    assert fake.sizes.count(1) == prover.proof.refused_alike and fake.sizes[:3] == [CHUNK] * 3
    assert prover.proof.largest < 1e-12


def test_one_label_of_three_thousand_is_a_difference_however_near_the_threshold() -> None:
    odd = [-0.25 - 1e-12, 0.5]  # the plan says 0, by a hair

    def turned(row: list[Any]) -> tuple[Any, ...]:
        answer = native(row)
        return (1, *answer[1:]) if row == odd else answer

    with pytest.raises(Unequal, match=r"the edge row \(x = -0.250000000001, z = 0.5\): 0, and the model answers 1"):
        proved(Fake(turned), [*ROWS, odd])


def test_the_tolerance_is_kept_to() -> None:
    def shifted(by: float) -> Callable[[list[Any]], tuple[Any, ...]]:
        def one(row: list[Any]) -> tuple[Any, ...]:
            label, a, b = native(row)
            return label, a, b + by

        return one

    assert proved(Fake(shifted(5e-10))).proof.largest == pytest.approx(5e-10, rel=1e-3)
    with pytest.raises(Unequal, match="they may lie 1e-09 apart"):
        proved(Fake(shifted(5e-9)))
    assert "probability_1, the edge row" in proved(Fake(shifted(5e-9)), tolerance=1e-6).proof.where


def test_a_row_that_the_model_alone_refuses_is_found_among_thousands() -> None:
    odd = [3.5, 0.125]

    def failing(row: list[Any]) -> tuple[Any, ...]:
        if row == odd:
            raise ModelFailed("ValueError: no")
        return native(row)

    fake = Fake(failing)
    with pytest.raises(Unequal, match=r"x = 3.5, z = 0.125\): the plan answers it, and the model fails: ValueError: no"):
        proved(fake, [*ROWS[:1700], odd, *ROWS[1700:]])
    assert fake.asked < 40, "it is looked for in halves"


def test_a_row_that_the_plan_alone_refuses_is_found() -> None:
    with pytest.raises(Unequal, match=r"x = None, z = 0.5\): the plan refuses it, and the model answers 1"):
        proved(Fake(lambda row: (1, 0.25, 0.75) if row[0] is None else native(row)), [*ROWS, [None, 0.5]])


def test_a_model_that_fails_only_for_many_rows_is_asked_for_fewer() -> None:
    fake = Fake(native, lambda count: count > 300)
    assert proved(fake).proof.edge_rows == 3000
    assert max(size for size in fake.sizes if size <= 300) > 100


def test_a_model_that_never_answers_two_rows_together_has_no_plan_and_is_not_asked_for_ever() -> None:
    fake = Fake(native, lambda count: count > 1)
    with pytest.raises(Unequal, match="fails for rows together"):
        proved(fake)
    assert fake.asked < 1000


def columns(rows: list[list[Any]]) -> Columns:
    return {"x": [row[0] for row in rows], "z": [row[1] for row in rows]}


def recorded(rows: list[list[Any]]) -> Columns:
    found = [native(row) for row in rows]
    return {name: [answer[k] for answer in found] for k, name in enumerate(SIGNATURE.outputs)}


def test_the_hold_out_is_compared_whole_as_a_table_and_as_far_as_time_goes_row_by_row() -> None:
    prover = Prover(plan(), SIGNATURE, 1e-9)
    prover.holdout(columns(ROWS), recorded(ROWS), seconds=5)
    assert (prover.proof.rows, prover.proof.one_by_one) == (3000, 3000)
    short = Prover(plan(), SIGNATURE, 1e-9)
    short.holdout(columns(ROWS), recorded(ROWS), seconds=0)
    assert (short.proof.rows, short.proof.one_by_one) == (3000, 1)
    other = recorded(ROWS)
    other["prediction"][2999] = 1 - other["prediction"][2999]
    with pytest.raises(Unequal, match="row 2999 of the hold-out: 1, and the model answers 0"):
        Prover(plan(), SIGNATURE, 1e-9).holdout(columns(ROWS), other, seconds=5)
    with pytest.raises(Unequal, match=r"row \d+ of the hold-out"):
        Prover(plan(1.0001), SIGNATURE, 1e-9).holdout(columns(ROWS), recorded(ROWS), seconds=5)


def test_a_row_of_the_hold_out_that_the_plan_refuses_is_a_difference() -> None:
    known = recorded(ROWS)
    rows = [*ROWS[:5], [None, 0.0], *ROWS[6:]]
    with pytest.raises(Unequal, match="row 5 of the hold-out: the plan refuses it"):
        Prover(plan(), SIGNATURE, 1e-9).holdout(columns(rows), known, seconds=5)


def test_both_ways_of_the_plan_are_held_against_the_model() -> None:
    """One row and many are functions of their own: either may be wrong by itself."""
    one, many = plan(), plan()
    one.row = plan(1.01).row
    with pytest.raises(Unequal):
        proved(Fake(native), by=one)
    many.many = plan(1.01).many  # type: ignore[method-assign]
    with pytest.raises(Unequal):
        proved(Fake(native), by=many)


def test_numbers_are_compared_as_scores() -> None:
    inputs = tuple(Input(c.name, c.type, c.nullable) for c in NUMBER.columns)
    sums = RowPlan(Plan(inputs, (Linear((0, 1), ((2e6, 0.0),), (0.5,)),), (2,)), NUMBER)
    truth = {"prediction": [row[0] * 2e6 + 0.5 for row in ROWS]}
    prover = Prover(sums, NUMBER, 1e-9)
    prover.holdout(columns(ROWS), truth, seconds=5)
    truth["prediction"][7] += 1.0
    with pytest.raises(Unequal, match="row 7 of the hold-out: prediction"):
        prover.holdout(columns(ROWS), truth, seconds=5)


def test_a_row_of_the_hold_out_that_no_endpoint_lets_through_is_left_out() -> None:
    rows = [*ROWS[:10], [1.0, None], *ROWS[10:20]]
    known = recorded([*ROWS[:10], ROWS[0], *ROWS[10:20]])
    prover = Prover(plan(), SIGNATURE, 1e-9)
    prover.holdout(columns(rows), known, seconds=5)
    assert prover.proof.rows == prover.proof.one_by_one == 20
    known["prediction"][15] = 1 - known["prediction"][15]
    with pytest.raises(Unequal, match=r"^row 15 of the hold-out"):
        Prover(plan(), SIGNATURE, 1e-9).holdout(columns(rows), known, seconds=5)
