"""What would only show once a model is trained: weights and labels by which its answers cannot be judged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from modelyard.config.spec import Config
from modelyard.errors import BadInput
from modelyard.flows import judging
from modelyard.flows.site import Site

ROWS = pl.DataFrame({"x": [1.0, 2, 3, 4], "w": [1.0, 0, None, 2], "q": [1, 1, 2, 2], "y": [0, 1, 0, 1]})


def site(folder: Path, rows: pl.DataFrame, kind: str = "regression", **more: Any) -> Site:
    schema = {"weight_col": "w", **({"group_col": "q"} if kind == "ranking" else {})}
    config = Config.model_validate(
        {
            "version": 1,
            "model": {"name": "m", "problem_type": kind},
            "data": {"source": {"using": "csv", "location": "d.csv"}, "target_col": "y", "schema": schema},
            "train": {"framework": "sklearn", "entry_point": "train.py"},
            **more,
        }
    )
    run = SimpleNamespace(id="run", model="m")
    built = Site(cast(Any, SimpleNamespace(home=SimpleNamespace(runs=folder))), cast(Any, run), cast(Any, None), config)
    for name, table in (("train", ROWS), ("test", rows)):
        built.raw(name).parent.mkdir(parents=True)
        table.write_parquet(built.raw(name))
    return built


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (pl.Series([1.0, -1, 1, 1]), "weights must be 0 or above"),
        (pl.Series([1.0, float("inf"), 1, 1]), "weights must be 0 or above"),
        (pl.Series([0.0] * 4), "and not all 0"),
        (pl.Series(["much"] * 4), "`w` should hold numbers"),
        (pl.Series([0] * 4).cast(pl.Datetime("us", "UTC")), "`w` should hold numbers, and holds times"),
    ],
)
def test_weights_that_weigh_nothing_are_told_before_training(tmp_path: Path, weights: pl.Series, says: str) -> None:
    rows = ROWS.with_columns(weights.alias("w"))
    with pytest.raises(BadInput, match=says):
        judging.verify(site(tmp_path / "a", rows))
    judging.verify(site(tmp_path / "b", rows, preprocess={"entry_point": "prepare.py"}))  # which may make weights of them


@pytest.mark.parametrize("weights", [pl.Series([None] * 4, dtype=pl.Float64), pl.Series([True, False, True, None]), pl.Series(["1"] * 4)])
def test_weights_may_be_missing(tmp_path: Path, weights: pl.Series) -> None:
    judging.verify(site(tmp_path, ROWS.with_columns(weights.alias("w"))))


def test_a_ranking_s_labels_below_0_are_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="how relevant a row is: 0 or above"):
        judging.verify(site(tmp_path / "a", ROWS.with_columns(y=pl.Series([0, -1, 2, 3])), "ranking"))
    judging.verify(site(tmp_path / "b", ROWS, "ranking"))
