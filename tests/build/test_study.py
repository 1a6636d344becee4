"""What a study proposes, and which hyperparameters it says mattered."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modelyard.build.study import Study, _explained, best, importances
from modelyard.config.spec import Range, Tune


def tune(**asked: Any) -> Tune:
    return Tune.model_validate({"objective": {"metric": "m"}, **asked})


choices = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["a", "1", ""])),
    min_size=2,
    max_size=5,
    unique_by=lambda v: (type(v), v),
)
ranges = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(10, 10**6), st.booleans()).map(lambda t: {"int": t[:2], "log": t[2]}),
    st.tuples(st.floats(1e-6, 1.0), st.floats(1.5, 1e6), st.booleans()).map(lambda t: {"float": t[:2], "log": t[2]}),
    choices.map(lambda values: {"choice": values}),
)


@settings(max_examples=10)
@given(space=st.dictionaries(st.sampled_from("abc"), ranges, min_size=1), sampler=st.sampled_from(["tpe", "random"]), seed=st.integers())
def test_proposals_lie_in_the_space_and_a_study_made_again_proposes_the_same(space: dict[str, Any], sampler: str, seed: int) -> None:
    asked = tune(space=space, sampler=sampler, seed=seed)
    first, tried = Study(asked, "maximize"), []
    for number in range(1, 14):
        params = first.ask()
        for name, values in asked.space.items():
            value = params[name]
            if values.choice is not None:
                assert any(type(choice) is type(value) and choice == value for choice in values.choice)
            else:
                least, greatest = values.int_ or values.float_ or (math.nan, math.nan)
                assert type(value) is (int if values.int_ else float) and least <= value <= greatest
        tried.append(params)
        first.tell(number, "failed" if number % 5 == 0 else "complete", float(number % 3))
        if number == 12:
            again = Study(asked, "maximize")
            for n, params in enumerate(tried, start=1):
                again.again(params)
                again.tell(n, "failed" if n % 5 == 0 else "complete", float(n % 3))
    assert again.ask() == tried[-1]


def test_a_sampler_that_learns_finds_more_than_chance_does() -> None:
    def mean(sampler: str) -> float:
        study = Study(tune(space={"x": {"float": [-10.0, 10.0]}, "y": {"float": [-10.0, 10.0]}}, sampler=sampler), "minimize")
        found = []
        for number in range(1, 61):
            params = study.ask()
            found.append((params["x"] - 3) ** 2 + params["y"] ** 2)
            study.tell(number, "complete", found[-1])
        return sum(found[30:]) / 30

    assert mean("tpe") < mean("random") / 2


@pytest.mark.parametrize(("pruner", "ended"), [("median", True), ("hyperband", True), ("none", False)])
def test_the_worst_of_many_is_to_end_early_and_the_best_is_not(pruner: str, ended: bool) -> None:
    study = Study(tune(space={"x": {"float": [0.0, 1.0]}}, pruner=pruner), "maximize")

    def ends(number: int, level: float) -> bool:
        study.ask()
        told = any(study.report(number, step, level + step / 100) for step in range(27))
        study.tell(number, "pruned" if told else "complete", None if told else level)
        return told

    for number in range(1, 9):
        ends(number, 5.0 - number / 100)
    assert ends(9, -50.0) is ended
    assert not ends(10, 50.0)


def test_the_best_is_complete_and_of_equals_the_first() -> None:
    told = [
        {"number": number, "state": state, "value": value}
        for number, state, value in (
            (1, "failed", None),
            (2, "pruned", 9.0),
            (3, "complete", 4.0),
            (4, "complete", 1.0),
            (5, "complete", 4.0),
        )
    ]
    assert best(told, "maximize") == told[2] and best(told, "minimize") == told[3]
    assert best(told[:2], "maximize") is None


def trials(*columns: list[Any]) -> list[dict[str, Any]]:
    return [
        {"state": "complete", "value": value, "params": dict(zip("abc", params, strict=False))}
        for value, *params in zip(*columns, strict=True)
    ]


SPACE = {"a": Range.model_validate({"float": [0, 1]}), "b": Range.model_validate({"choice": [1, True, None]})}


@given(st.data())
def test_epsilon_squared_is_what_follows_from_scipys_f(data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 3), min_size=8, max_size=40))
    ranks = [float(r) for r in data.draw(st.permutations(range(len(groups))))]
    members = [[r for r, g in zip(ranks, groups, strict=True) if g == which] for which in sorted(set(groups))]
    k, n = len(members), len(ranks)
    if k < 2 or n - k < 1:
        assert _explained(ranks, groups) == 0
        return
    f = stats.f_oneway(*members).statistic
    expected = 1.0 if math.isinf(f) else (f - 1) * (k - 1) / (f * (k - 1) + n - k)
    assert _explained(ranks, groups) == pytest.approx(max(0.0, expected), abs=1e-9)


@given(values=st.lists(st.integers(0, 50), min_size=8, max_size=40), noise=st.randoms(use_true_random=False))
def test_importances_are_shares_of_ranks(values: list[int], noise: Any) -> None:
    b = [noise.choice([1, True, None]) for _ in values]
    a = [noise.random() for _ in values]
    found = importances(trials([float(v) for v in values], a, b), SPACE)
    assert found is None or (sum(found.values()) == pytest.approx(1) and min(found.values()) >= 0)
    assert found == importances(trials([math.exp(v) for v in values], a, b), SPACE), "any rising function of the values says the same"


def test_what_matters_stands_out_and_chance_does_not() -> None:
    n = range(40)
    a, b = [i / 40 for i in n], [(1, True, None)[i % 3] for i in n]
    by_number = importances(trials([(x - 0.5) ** 2 for x in a], a, b), SPACE)
    by_choice = importances(trials([1.0 if x is True else 5.0 if x == 1 else 3.0 for x in b], a, b), SPACE)
    assert by_number is not None and list(by_number) == ["a", "b"] and by_number["a"] > 0.95
    assert by_choice is not None and list(by_choice) == ["b", "a"] and by_choice["b"] > 0.95
    assert importances(trials([1.0] * 40, a, b), SPACE) is None
    assert importances(trials([(x - 0.5) ** 2 for x in a[:7]], a[:7], b[:7]), SPACE) is None, "too few"
