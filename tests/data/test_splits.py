from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Data
from modelyard.data import splits
from modelyard.data.parts import Parts
from modelyard.errors import BadInput


def config(**parts: Any) -> Data:
    return Data.model_validate({"source": {"using": "csv", "location": "x"}, "target_col": "y", "time_col": "t", "split": parts})


def split(frame: pl.DataFrame, data: Data, rows: int = 7) -> dict[str, pl.DataFrame]:
    """The parts, of a table that comes a few rows at a time."""
    pieces = tuple(frame[i : i + rows] for i in range(0, frame.height, rows))
    with TemporaryDirectory() as folder:
        counts = splits.split(Parts(pieces, frame.schema), data, lambda name: Path(folder) / name / f"{name}.parquet")
        parts = {name: pl.read_parquet(Path(folder) / name / f"{name}.parquet", memory_map=False) for name in counts}
    assert counts == {name: part.height for name, part in parts.items()}
    assert all(part.schema == frame.schema for part in parts.values())
    return parts


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


@given(st.lists(st.integers(0, 12), min_size=3, max_size=80), RATIOS, st.integers(0, 2**31))
def test_groups_stay_whole(groups: list[int], ratios: tuple[float, float, float], seed: int) -> None:
    frame = pl.DataFrame({"row": range(len(groups)), "g": [f"g{i}" for i in groups]})
    data = Data.model_validate(
        {
            "source": {"using": "csv", "location": "x"},
            "target_col": "y",
            "schema": {"group_col": "g"},
            "split": {"by": "group", "ratios": ratios, "seed": seed},
        }
    )
    if len(set(groups)) == 1:
        with pytest.raises(BadInput, match="too few groups"):
            split(frame, data)
        return
    parts = split(frame, data)
    assert sorted(pl.concat(parts.values())["row"].to_list()) == list(range(len(groups)))
    seen = [set(part["g"]) for part in parts.values()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert seen[0] and seen[2]
    # which groups go where hangs on neither the rows' order nor the batches they come in
    assert [set(part["g"]) for part in split(frame.reverse(), data, 3).values()] == seen
    largest = max(groups.count(g) for g in groups)
    assert abs(parts["train"].height - ratios[0] * len(groups)) <= largest + 1


def test_a_row_without_a_group_is_refused() -> None:
    frame = pl.DataFrame({"g": ["a", None, "b"]})
    data = Data.model_validate(
        {"source": {"using": "csv", "location": "x"}, "target_col": "y", "schema": {"group_col": "g"}, "split": {"by": "group"}}
    )
    with pytest.raises(BadInput, match="1 rows or more have no `g`"):
        split(frame, data)


def test_rows_out_of_time_are_sorted_on_disk() -> None:
    moments = [(i * 7919) % 1000 for i in range(1000)]
    frame = table(moments)
    parts = split(frame, config(by="time"), 13)  # buckets of 52 rows
    assert pl.concat(parts.values()).equals(frame.sort("t", maintain_order=True))
