from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Data
from modelyard.data.splits import split
from modelyard.errors import BadInput


def config(**parts: Any) -> Data:
    return Data.model_validate({"source": {"using": "csv", "location": "x"}, "target_col": "y", "time_col": "t", "split": parts})


def table(moments: list[int]) -> pl.DataFrame:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame({"row": range(len(moments)), "t": [start + timedelta(hours=m) for m in moments]})


RATIOS = st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.0, 0.2), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)])


@given(st.lists(st.integers(0, 30), min_size=4, max_size=60), RATIOS, st.sampled_from(["time", "random"]), st.integers(0, 2**31))
def test_every_row_is_in_one_part(moments: list[int], ratios: tuple[float, float, float], by: str, seed: int) -> None:
    frame, data = table(moments), config(by=by, ratios=ratios, seed=seed)
    try:
        parts = split(frame, data)
    except BadInput as exc:
        # only a single instant, or very few rows, cannot be split
        assert "would be empty" in exc.what
        assert len(set(moments)) <= 2 or len(moments) * min(r for r in ratios if r) < 2
        return
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(pl.concat(parts.values())["row"].to_list()) == list(range(len(moments)))
    again = split(frame, data)
    assert all(parts[name].equals(again[name]) for name in parts)


@given(st.lists(st.integers(0, 500), min_size=10, max_size=80))
def test_no_test_row_is_older_than_a_train_row(moments: list[int]) -> None:
    if len(set(moments)) < 4:
        return
    parts = split(table(moments), config(by="time"))
    ordered = [parts[n]["t"] for n in ("train", "validation", "test") if parts[n].height]
    for earlier, later in pairwise(ordered):
        assert earlier.max() < later.min()  # type: ignore[operator]


def test_ties_stay_together_and_sizes_are_near_the_ratios() -> None:
    parts = split(table([i // 10 for i in range(1000)]), config(by="time"))
    assert [parts[n].height for n in parts] == [700, 150, 150]
    assert [p.height for p in split(table(list(range(1000))), config(by="random")).values()] == [700, 150, 150]


def test_random_depends_on_the_seed_alone_and_is_pinned() -> None:
    parts = split(table(list(range(20))), config(by="random", seed=42, ratios=[0.6, 0.2, 0.2]))
    # pinned: a change here would change every model that is built again
    assert parts["test"]["row"].to_list() == [6, 7, 10, 14]
    assert split(table(list(range(20))), config(by="random", seed=43))["test"]["row"].to_list() != [6, 7, 10, 14]


def test_provided() -> None:
    frame = pl.DataFrame({"y": [1, 2, 3], "part": ["test", "train", "train"]})
    parts = split(frame, config(by="provided", column="part"))
    assert {n: p["y"].to_list() for n, p in parts.items()} == {"train": [2, 3], "validation": [], "test": [1]}
    for values, said in [
        (["test", "train", "val"], "says 'val'"),
        (["test", "train", None], "says None"),
        (["train"] * 3, "test part"),
    ]:
        with pytest.raises(BadInput, match=said):
            split(frame.with_columns(part=pl.Series(values)), config(by="provided", column="part"))
    with pytest.raises(BadInput, match="there is no column `prat`"):
        split(frame, config(by="provided", column="prat"))
