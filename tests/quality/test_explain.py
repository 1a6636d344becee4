"""Explanations by asking the model: Shapley's axioms and definition, what they cost, and what is kept of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import permutations
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.quality.explain import Choice, Explanation, Game, attribute, choose, kernel, partial_dependence, plots, summary
from modelyard.quality.explain.permutation import permutation

Function = Callable[[pl.DataFrame], np.ndarray]


def table(rows: int, seed: int) -> pl.DataFrame:
    """Columns of every type, with holes and repeated values."""
    draw = np.random.default_rng(seed)
    found = pl.DataFrame(
        {
            "number": draw.normal(size=rows),
            "whole": draw.integers(0, 3, rows),
            "text": draw.choice(["x", "y", "z"], rows),
            "truth": draw.random(rows) < 0.5,
            "at": draw.integers(0, 10**15, rows),
        }
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    return found.with_columns(pl.when(pl.Series(draw.random(rows) < 0.2)).then(None).otherwise(pl.col(c)).alias(c) for c in found.columns)


def tangled(rows: pl.DataFrame) -> np.ndarray:
    """A function in which every column acts with others."""
    number, whole = rows["number"].fill_null(0.5).to_numpy(), rows["whole"].fill_null(7).to_numpy()
    text, truth = (rows["text"].fill_null("x") == "x").to_numpy(), rows["truth"].fill_null(False).to_numpy()
    late = rows["at"].dt.epoch("us").fill_null(0).to_numpy() / 1e15
    return np.tanh(number * whole) + np.where(text & truth, number, late) + text * truth * late


def shapley(ask: Function, rows: pl.DataFrame, usual: pl.DataFrame) -> np.ndarray:
    """(rows, features): the mean over all orders of joining of what each one's joining changes, row by row."""
    names = rows.columns
    result = np.zeros((rows.height, len(names)))
    for i in range(rows.height):
        for order in permutations(range(len(names))):
            mixed, before = usual, ask(usual).mean()
            for j in order:
                mixed = mixed.with_columns(pl.lit(rows[names[j]][i], dtype=usual[names[j]].dtype).alias(names[j]))
                after = ask(mixed).mean()
                result[i, j] += after - before
                before = after
    return result / math.factorial(len(names))


def test_all_coalitions_give_the_definition() -> None:
    rows, usual = table(3, 1), table(4, 2)
    game = Game(tangled, rows, usual)
    expected = shapley(tangled, rows, usual)
    np.testing.assert_allclose(kernel.exact(game), expected, atol=1e-12)
    np.testing.assert_allclose(kernel.regression(game, 2**5 - 2, 0), expected, atol=1e-9)
    assert game.base == pytest.approx(tangled(usual).mean())


def _methods() -> dict[str, Callable[[Game, int], np.ndarray]]:
    return {"exact": lambda g, s: kernel.exact(g), "kernel": lambda g, s: kernel.regression(g, 14, s), "permutation": permutation}


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**32), st.sampled_from(sorted(_methods())))
def test_shares_of_a_row_sum_to_its_output_and_idle_features_get_nothing(rows: int, width: int, usual: int, seed: int, name: str) -> None:
    draw = np.random.default_rng(seed)
    x, z = draw.integers(0, 3, (rows, width)), draw.integers(0, 3, (usual, width))  # many equal values
    weight = draw.normal(size=(width, width)) * (np.arange(width) != 1)[:, None] * (np.arange(width) != 1)  # feature 1 is idle

    def ask(t: pl.DataFrame) -> np.ndarray:
        return np.sin(np.einsum("ri,ij,rj->r", t.to_numpy(), weight, t.to_numpy()))

    game = Game(ask, pl.DataFrame(x), pl.DataFrame(z))
    values = _methods()[name](game, seed)
    assert values.shape == (rows, width)
    np.testing.assert_allclose(values.sum(axis=1) + game.base, ask(pl.DataFrame(x)), atol=1e-9)
    if width > 1 and name != "kernel":  # an idle feature's share in a regression on some coalitions is only about nothing
        np.testing.assert_allclose(values[:, 1], 0, atol=1e-12)
    again = Game(ask, pl.DataFrame(x), pl.DataFrame(z))
    np.testing.assert_array_equal(_methods()[name](again, seed), values)
    if name == "permutation":
        assert game.asked <= rows + usual + rows * usual * 2 * max(width - 1, 0)


def test_an_order_and_its_reverse_are_exact_for_features_that_act_in_pairs() -> None:
    rows, usual = table(5, 3), table(6, 4)

    def pairs(t: pl.DataFrame) -> np.ndarray:
        number, whole = t["number"].fill_null(0).to_numpy(), t["whole"].fill_null(0).to_numpy()
        return number * whole + whole * t["truth"].fill_null(False).to_numpy() + (t["text"] == "x").fill_null(False).to_numpy()

    game = Game(pairs, rows, usual)
    np.testing.assert_allclose(permutation(game, 0), kernel.exact(game), atol=1e-12)


def test_random_orders_and_few_coalitions_come_near() -> None:
    draw = np.random.default_rng(0)
    x, z, w = draw.normal(size=(20, 10)), draw.normal(size=(50, 10)), draw.normal(size=10)

    def ask(t: pl.DataFrame) -> np.ndarray:
        n = t.to_numpy()
        return np.tanh(n @ w) + n[:, 0] * n[:, 9] * (n[:, 4] > 0)

    game = Game(ask, pl.DataFrame(x), pl.DataFrame(z))
    expected = kernel.exact(game)
    for values in (permutation(game, 1), kernel.regression(game, 150, 1)):
        assert np.sqrt(np.mean((values - expected) ** 2)) < 0.15 * expected.std()


def test_mixtures_that_are_the_same_are_asked_once() -> None:
    rows = pl.DataFrame({"a": [1, 1], "b": ["x", "x"], "c": [1.0, float("nan")]})
    asked: list[int] = []

    def ask(t: pl.DataFrame) -> np.ndarray:
        asked.append(t.height)
        return np.arange(t.height, dtype=float) * 0 + 1

    game = Game(ask, rows, rows)
    before = sum(asked)
    np.testing.assert_array_equal(permutation(game, 0), np.zeros((2, 3)))
    assert before == 4 and sum(asked) == 4  # one column differs at most: no mixture is new
    kernel.exact(game)
    assert sum(asked) - 4 <= 2 * (2 + 1)  # a mixture a pair, and one more where the column differs


def test_the_method_and_the_background_follow_the_work() -> None:
    small = choose("auto", 10, 4, 100)
    assert (small.method, small.exact, small.background, small.coalitions) == ("kernel", True, 100, 14)
    wide = choose("auto", 500, 30, 100)
    assert (wide.method, wide.exact) == ("permutation", False)
    assert wide.background * 500 * 58 <= 1_000_000 < (wide.background + 1) * 500 * 58
    assert f"{wide.background} of 100 rows of the background" in wide.why
    assert choose("permutation", 10, 4, 100).method == "permutation"
    assert choose("permutation", 100_000, 50, 100).background == 10
    asked = choose("kernel", 500, 30, 100)
    assert asked.method == "kernel" and not asked.exact and asked.coalitions >= 60 and asked.background < 100
    assert choose("auto", 1, 1, 5).exact and choose("kernel", 3, 200, 10).coalitions > 400


@pytest.mark.parametrize("method", ["kernel", "permutation"])
def test_a_choice_is_carried_out(method: str) -> None:
    rows, usual = table(4, 5), table(6, 6)
    game = Game(tangled, rows, usual)
    choice = choose(method, 4, 5, 6)
    expected = permutation(game, 3) if method == "permutation" else kernel.exact(game)
    np.testing.assert_array_equal(attribute(game, choice, 3), expected)
    few = Choice("kernel", 6, 12, False, "")
    assert attribute(game, few, 3).shape == (4, 5)


def test_partial_dependence_is_the_mean_with_a_value_put_into_every_row() -> None:
    rows = table(150, 7)

    def ask(t: pl.DataFrame) -> np.ndarray:
        return (
            np.exp(t["whole"].fill_null(9).to_numpy())
            + (t["text"] == "y").fill_null(False).to_numpy() * t["truth"].fill_null(True).to_numpy()
        )

    found = {row["feature"]: row for row in partial_dependence(ask, rows, rows.columns)}
    assert found["whole"]["grid"] == [0, 1, 2]
    other = 1.0 * (rows["text"] == "y").fill_null(False).to_numpy() * rows["truth"].fill_null(True).to_numpy()
    np.testing.assert_allclose(found["whole"]["mean"], np.exp([0, 1, 2]) + other.mean())
    np.testing.assert_allclose(found["whole"]["low"], np.exp([0, 1, 2]) + np.quantile(other, 0.1))
    np.testing.assert_allclose(found["whole"]["high"], np.exp([0, 1, 2]) + np.quantile(other, 0.9))
    assert sorted(found["text"]["grid"]) == ["x", "y", "z"] and sorted(found["truth"]["grid"]) == [False, True]
    assert len(found["number"]["grid"]) == 20 and found["number"]["grid"] == sorted(found["number"]["grid"])
    assert all(isinstance(value, str) for value in found["at"]["grid"])
    assert partial_dependence(ask, rows.with_columns(whole=pl.lit(1)), ["whole"]) == []
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("name", ["count", "rows", "value"])
def test_a_feature_may_be_called_as_what_is_counted(name: str) -> None:
    rows = pl.DataFrame({name: ["a", "b", "b"]})
    (found,) = partial_dependence(lambda t: (t[name] == "a").cast(float).to_numpy(), rows, [name])
    assert (found["feature"], found["grid"], found["mean"]) == (name, ["b", "a"], [0.0, 1.0])


def document(rows: pl.DataFrame, **more: Any) -> dict[str, Any]:
    game = Game(tangled, rows, rows[:5])
    explanation = Explanation(
        game.features, permutation(game, 0), game.base, "probability", "probability_late", "permutation", "why", 5, 0.0
    )
    found = summary(explanation, rows)
    return {**found, "partial_dependence": partial_dependence(tangled, rows, rows.columns), **more}


def test_what_is_kept() -> None:
    rows = table(620, 8).with_columns(idle=pl.lit(float("nan")))
    found = document(rows)
    strengths = [row["mean_abs"] for row in found["global"]]
    assert strengths == sorted(strengths, reverse=True)
    assert found["global"][-1] == {"feature": "idle", "mean_abs": 0.0, "mean": 0.0}
    sample = found["sample"]
    assert len(sample["values"]) == len(sample["attributions"]) == 500 and found["rows"] == 620
    assert {len(row) for row in sample["values"]} == {6} == {len(row) for row in sample["attributions"]}
    json.dumps(found, allow_nan=False)
    assert {row[5] for row in sample["values"]} == {None}


def test_pictures_are_whole_and_safe_and_the_same_again() -> None:
    rows = (
        table(60, 9)
        .rename({"text": "<script>alert(1)</script> & x", "number": "a_{1}$^2$"})
        .with_columns(idle=pl.lit(None, dtype=pl.Float64))
    )

    def ask(t: pl.DataFrame) -> np.ndarray:
        return tangled(t.rename({"<script>alert(1)</script> & x": "text", "a_{1}$^2$": "number"}))

    game = Game(ask, rows, rows[:5])
    found = summary(Explanation(game.features, permutation(game, 0), game.base, "score", "score", "permutation", "why", 5, 0.0), rows)
    found["partial_dependence"] = partial_dependence(ask, rows, rows.columns)
    pictures = plots.plots(found, detailed=6)
    assert [p.svg for p in plots.plots(found, detailed=6)] == [p.svg for p in pictures]
    assert len(pictures) == 2 + 6 + 5 and len({p.name for p in pictures}) == len(pictures)
    for picture in pictures:
        tree = ElementTree.fromstring(picture.svg.replace("xlink:href", "href"))  # noqa: S314 - our own
        assert "script" not in {element.tag.rpartition("}")[2] for element in tree.iter()}
        assert not re.search(r"#0[0-9a-b]0[0-9a-b][0-9a-f]{2}", picture.svg)  # every stand-in became a colour of the page
    swarm = pictures[1].svg
    assert "color-mix(in oklab, var(--c2) 100%, var(--c1))" in swarm and "idle" not in swarm
    assert ">1 other<" in pictures[0].svg


def test_nothing_explained_draws_nothing_and_all_alike_draws_something() -> None:
    empty = {"global": [], "sample": {"features": [], "values": [], "attributions": []}}
    assert plots.plots(empty) == []
    same = pl.DataFrame({"a": [1.0] * 4, "b": ["x"] * 4})
    game = Game(lambda t: np.full(t.height, 0.5), same, same)
    found = summary(
        Explanation(game.features, permutation(game, 0), game.base, "prediction", "prediction", "permutation", "", 4, 0.0), same
    )
    assert len(plots.plots(found)) == 4
