"""A weighted window: what each row weighs, and that only training sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Config
from modelyard.flows import weighing
from modelyard.flows.site import Order

from .watched import settings

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HALF = timedelta(days=30)


def words(half_life: str = "30d") -> dict[str, Any]:
    data = {"source": {"using": "csv", "location": "d.csv"}, "target_col": "y", "time_col": "at", "schema": {"weight_col": "w"}}
    return {**settings(), "data": data, "retrain": {"window": {"type": "weighted", "half_life": half_life}}}


DATA = Config.model_validate(words()).data


def table(days: list[float], weights: list[float | None] | None = None) -> pl.DataFrame:
    at = pl.Series("at", [T0 - timedelta(days=day) for day in days], dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame({"at": at, "w": weights or [1] * len(days), "x": range(len(days))})


def weighed(path: Path, frame: pl.DataFrame, half_life: timedelta | None = HALF) -> pl.DataFrame:
    frame.write_parquet(path)
    weighing.rewrite(path, DATA, half_life)
    return pl.read_parquet(path)


def test_a_row_weighs_half_for_each_half_life_and_by_its_own_weight(tmp_path: Path) -> None:
    found = weighed(tmp_path / "train.parquet", table([60, 30, 15, 0, 0], [1.0, 4.0, None, 1.0, 0.0]))
    assert found["w"].to_list() == pytest.approx([0.25, 2.0, 0.5**0.5, 1.0, 0.0], rel=1e-12)
    assert found["x"].to_list() == [0, 1, 2, 3, 4], "in the order they had"


def test_whole_weights_become_fractions_and_ages_beyond_all_bounds_nothing(tmp_path: Path) -> None:
    found = weighed(tmp_path / "train.parquet", table([0, 30 * 5000, 45]))
    assert found.schema["w"] == pl.Float64 and found["w"].to_list() == pytest.approx([1, 0, 0.5**1.5])


def test_without_a_half_life_weights_are_left_as_they_are(tmp_path: Path) -> None:
    found = weighed(tmp_path / "test.parquet", table([90, 0], [3.0, None]), None)
    assert found["w"].to_list() == [3.0, None] and found.schema["w"] == pl.Float64


@given(st.lists(st.floats(0, 400), min_size=2, max_size=30), st.floats(0.1, 300))
def test_only_how_far_rows_lie_apart_counts(days: list[float], later: float) -> None:
    """Retrained later on the same rows, every weight would shrink alike: counted from the newest row none does."""
    age = pl.DataFrame({"age": [timedelta(days=day) for day in days], "later": [timedelta(days=day + later) for day in days]})
    now, then = (age.select(weighing.decay(pl.col(name), HALF)).to_series().to_numpy() for name in ("age", "later"))
    np.testing.assert_allclose(now / now.sum(), then / then.sum(), rtol=1e-9)
    np.testing.assert_allclose(now, 0.5 ** (np.array(days) / 30), rtol=1e-9)


def test_a_metric_of_the_hold_out_is_the_same_whatever_the_half_life(tmp_path: Path) -> None:
    """The hold-out's weights stay, so that no version looks better for having learned from the newest rows."""
    frame, raw = table([3, 2, 1, 0], [1.0, 2.0, 3.0, 4.0]), lambda name: tmp_path / f"{name}.parquet"
    for half_life in ("1d", "300d"):
        for name in ("train", "validation", "test"):
            frame.write_parquet(raw(name))
        order = Order({"production": words(half_life)}, "d", "/", "ada", [], learn_until=T0.isoformat())
        site: Any = SimpleNamespace(order=order, config=order.config, raw=raw)
        assert weighing.weigh(site) == order.config.retrain.window.half_life
        assert pl.read_parquet(raw("test"))["w"].to_list() == pl.read_parquet(raw("validation"))["w"].to_list() == [1, 2, 3, 4]
        assert pl.read_parquet(raw("train"))["w"][0] != 1


def test_a_first_build_weighs_nothing(tmp_path: Path) -> None:
    site: Any = SimpleNamespace(order=Order({"production": words()}, "d", "/", "ada", []), config=Config.model_validate(words()))
    assert weighing.weigh(site) is None
