from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Data
from modelyard.data import profile as profiles
from modelyard.data import snapshots
from modelyard.data.compare import diff
from modelyard.data.parts import Parts, of
from modelyard.data.profile import profile


def pieces(frame: pl.DataFrame, size: int) -> Parts:
    return Parts(tuple(frame[i : i + size] for i in range(0, frame.height, size)), frame.schema)


def columns(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in json.loads(json.dumps(found, allow_nan=False))["columns"]}


VALUES = {
    "x": st.floats(-1e9, 1e9) | st.just(float("nan")),
    "i": st.integers(-(2**53), 2**53),
    "s": st.text(max_size=3),
    "b": st.booleans(),
    "t": st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),
}
TYPES = {"x": pl.Float64(), "i": pl.Int64(), "s": pl.String(), "b": pl.Boolean(), "t": pl.Datetime("us")}


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(1, 40))
    values = {name: draw(st.lists(st.none() | VALUES[name], min_size=rows, max_size=rows)) for name in VALUES}
    return pl.DataFrame({**values, "y": draw(st.lists(st.sampled_from([0, 1]), min_size=rows, max_size=rows))}, schema_overrides=TYPES)


@given(tables(), st.integers(1, 15))
def test_every_number_is_polars_own_whatever_the_batches(frame: pl.DataFrame, size: int) -> None:
    found = columns(profile(pieces(frame, size), "y"))
    assert found == columns(profile(of(frame), "y"))
    for name, said in found.items():
        present = frame[name].fill_nan(None).drop_nulls() if name == "x" else frame[name].drop_nulls()
        target = frame.filter(frame[name].is_not_null() & (frame[name].is_not_nan() if name == "x" else True))["y"].to_numpy()
        assert said["missing"] == frame.height - len(present)
        assert said["distinct"] == present.n_unique()
        if name in "sb":
            counts = present.value_counts(name="rows")
            assert (
                sorted((str(v), n) for v, n in said["top"]) == sorted((str(v), n) for v, n in counts.iter_rows()) or present.n_unique() > 20
            )
            for (value, rows), share in zip(said["top"], said["by_target"], strict=True):
                assert share == pytest.approx(target[(present == value).to_numpy()].mean())
                assert rows == (present == value).sum()
        elif len(present):
            edges, counts = said["histogram"]["edges"], said["histogram"]["counts"]
            assert sum(counts) == len(present) and len(counts) <= 20 and len(edges) == len(counts) + 1
            if name == "t":
                assert said["min"] == present.min().replace(tzinfo=UTC).isoformat()  # type: ignore[union-attr]
                continue
            assert (said["min"], said["max"]) == (present.min(), present.max())
            assert said["mean"] == pytest.approx(present.mean())
            assert said["std"] == pytest.approx(present.std(ddof=0), rel=1e-6, abs=1e-6)
            assert said["quantiles"]["0.5"] == present.sort()[len(present) // 2]
            if name != "y":
                weighed = np.array([s or 0.0 for s in said["by_target"]]) @ np.array(counts)
                assert weighed == pytest.approx(target.sum())


def test_a_constant_an_empty_column_and_ids() -> None:
    frame = pl.DataFrame({"c": [7] * 5, "none": pl.Series([None] * 5, dtype=pl.Float64), "id": list("edcba"), "nothing": [None] * 5})
    found = columns(profile(of(frame)))
    assert found["c"]["histogram"] == {"edges": [7.0, 8.0], "counts": [5]}
    assert (found["none"]["missing"], found["none"]["distinct"], found["none"]["min"]) == (5, 0, None)
    assert found["id"]["top"] == [[letter, 1] for letter in "abcde"]
    assert found["nothing"]["top"] == [] and "by_target" not in found["c"]


def test_numbers_without_end_and_of_64_bits_without_a_sign_are_not_missing() -> None:
    frame = pl.DataFrame({"x": [1.0, float("inf"), None, float("nan")], "u": pl.Series([2**64 - 1, 1, 2**63, None], dtype=pl.UInt64)})
    frame = frame.with_columns(pl.Series("y", [0, 1, 0, 1]))
    found = columns(profile(pieces(frame, 1), "y"))
    assert found == columns(profile(of(frame), "y"))
    assert (found["x"]["missing"], found["x"]["max"], sum(found["x"]["histogram"]["counts"])) == (2, 1.0, 1)
    assert (found["u"]["missing"], found["u"]["distinct"], found["u"]["max"]) == (1, 3, 2.0**64)
    (x, u, _) = diff(of(frame), of(frame.with_columns(pl.lit(0.5).alias("x"))))["columns"]
    assert (x["missing"], u["missing"], u["psi"]) == ([0.5, 0.0], [0.25, 0.25], 0.0)


def test_the_end_of_the_calendar_has_a_profile() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999999)
    said = columns(profile(of(pl.DataFrame({"t": [last, datetime(2020, 1, 1)]}))))["t"]
    assert said["max"] == last.replace(tzinfo=UTC).isoformat() == said["histogram"]["edges"][-1]


def test_the_share_of_the_positive_class_and_targets_without_an_average() -> None:
    frame = pl.DataFrame({"x": ["a", "a", "b"], "y": ["yes", "no", "no"]})
    assert columns(profile(of(frame), "y", "yes"))["x"]["by_target"] == [0.5, 0.0]
    assert profile(of(frame), "y")["target"] is None


def test_a_snapshots_profile_is_made_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data.model_validate({"source": {"using": "csv", "location": "x"}, "target_col": "y", "positive_class": 1})
    snapshot = snapshots.take(of(pl.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})), data, "UTC", home)
    first = profiles.of(snapshot, data, home)
    monkeypatch.setattr(profiles, "profile", lambda *_: pytest.fail("made again"))
    assert profiles.of(snapshot, data, home) == first
