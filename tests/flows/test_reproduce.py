"""Where two versions part, in words; whole reproductions are in test_build.py, which has the versions for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from modelyard import tables
from modelyard.config.spec import Config
from modelyard.flows import reproduce

from .releases import SIGNATURE, config


def table(answers: list[float | None], ids: list[str] | None = None) -> pl.DataFrame:
    return pl.DataFrame({tables.INFERENCE_ID: ids or [str(n) for n in range(len(answers))], "y.prediction": answers})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (table([1.0, 2.0]), table([1.0, 2.0]), []),
        (table([1.0, None]), table([1.0, None]), []),
        (table([1.0, 2.0, 3.0]), table([1.0, 2.5, 4.0]), ["y.prediction differs in 2 rows, first in row 1: 2.0 became 2.5"]),
        (table([1.0, 2.0]), table([1.0, None]), ["y.prediction differs in 1 rows, first in row 1: 2.0 became None"]),
        (table([1.0, float("nan")]), table([1.0, float("nan")]), []),
        (table([1.0]), table([1.0, 2.0]), ["the hold-outs have other rows"]),
        (table([1.0]), table([1.0], ["other"]), ["the hold-outs have other rows"]),
    ],
)
def test_where_predictions_part(before: pl.DataFrame, after: pl.DataFrame, said: list[str]) -> None:
    assert reproduce._parted(before, after, SIGNATURE) == said


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([["features", "1"], ["preprocess", "2"], ["train", "3"]], ""),
        ([["features", "1"], ["preprocess", "2"], ["train", "9"]], "; the files that `train` made are the first to differ "
         "(`features`, `preprocess` made the same)"),
        ([["preprocess", "9"], ["features", "9"], ["train", "9"]], "; the files that `features` made are the first to differ"),
        ([["features", "1"], ["preprocess", "2"]], "; the files that `train` made are the first to differ "
         "(`features`, `preprocess` made the same)"),
    ],
)  # fmt: skip
def test_the_first_step_to_make_something_else(after: list[list[str]], said: str) -> None:
    assert reproduce._parting_step([["features", "1"], ["preprocess", "2"], ["train", "3"]], after) == said
    assert reproduce._parting_step([], after) == "", "a version of before kept none"


def test_what_tuning_found_is_what_is_trained_again() -> None:
    asked: dict[str, Any] = {**config(), "train": {**config()["train"], "hyperparameters": {"depth": 3}}}
    asked["train"]["tune"] = {"objective": {"metric": "mae"}, "space": {"depth": {"int": [1, 9]}}}
    tuned = reproduce._settled(Config.model_validate(asked), {"hyperparameters": {"depth": 7}}).train
    assert tuned is not None and dict(tuned.hyperparameters) == {"depth": 7} and tuned.tune is None
    plain = reproduce._settled(Config.model_validate(asked), {}).train
    assert plain is not None and dict(plain.hyperparameters) == {"depth": 3}


def test_a_commit_that_is_not_to_be_had_is_said() -> None:
    code = {"commit": "0" * 40, "dirty": False, "digest": "d"}
    site: Any = SimpleNamespace(repository=Path("/nowhere"))
    assert reproduce._at_commit(site, code) == "the bundle's code; commit 0000000000 is not to be had in the repository"
    assert reproduce._at_commit(site, {**code, "commit": None}) == "the bundle's code, which was not in Git"
