from __future__ import annotations

import json
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor.profile import baseline, counting, parquet, profile, profile_batches, reading, scan, shapes, sketch, tallies
from modelyard.signature import Column, Signature

NUMBER = Signature("regression", (Column("x", "float"),))
WORD = Signature("regression", (Column("x", "str"),))


def table(values: object, dtype: pl.DataType | None = None) -> pl.DataFrame:
    x = pl.Series("f.x", values, dtype, strict=False)
    return pl.DataFrame([x, pl.Series("y.prediction", np.linspace(0, 1, len(x)))])


def numbers(values: object, against: object) -> dict[str, object]:
    made = json.loads(json.dumps(baseline(table(against, pl.Float64()), NUMBER), allow_nan=False))
    return profile(table(values, pl.Float64()), made)["columns"]["x"]  # type: ignore[no-any-return]


def test_many_numbers_fall_into_twenty_nearly_equal_bins() -> None:
    """Edges that are raised to where the sketch counts take a tenth of a bin's rows along, at most."""
    values = np.random.default_rng(1).standard_normal(10_000)
    made = baseline(table(values), NUMBER)["columns"]["x"]
    assert sum(made["counts"]) == 10_000 and made["missing"] == made["counts"][0] == made["counts"][-1] == 0
    assert len(made["counts"]) == 22 and all(450 <= n <= 550 for n in made["counts"][1:-1])
    assert (made["low"], made["edges"][-1]) == (values.min(), values.max()) == (made["min"], made["max"])
    exact = np.quantile(values, np.arange(1, 21) / 20, method="inverted_cdf")
    assert all(0 <= np.sum((values > e) & (values <= raised)) <= 50 for e, raised in zip(exact, made["edges"], strict=True))
    assert sketch.are_ends(np.array(made["edges"][:-1]), made["sketch"]).sum() >= 18, "else each costs a pass over the values"
    assert made["mean"] == pytest.approx(values.mean())


@pytest.mark.parametrize("repeated", [lambda v: v.round(2), lambda v: (100 * v).round(), lambda v: v.round(1) ** 3])
def test_edges_of_values_that_come_more_than_once_are_such_values(repeated: Callable[[Any], Any]) -> None:
    values = repeated(np.random.default_rng(1).standard_normal(10_000))
    edges = baseline(table(values), NUMBER)["columns"]["x"]["edges"]
    assert np.array_equal(edges, np.unique(np.quantile(values, np.arange(1, 21) / 20, method="inverted_cdf")))


def test_few_values_have_a_bin_each() -> None:
    assert numbers([1, 2, 2, 5], against=[1, 2, 5, 5])["edges"] == [1, 2, 5]
    assert numbers([1, 2, 2, 5], against=[1, 2, 5, 5])["counts"] == [0, 1, 2, 1, 0]


def test_values_outside_the_range_missing_and_infinite_are_counted_apart() -> None:
    got = numbers([0.9, 1, 3, 3.1, None, math.nan, math.inf, -math.inf], against=[1, 2, 3])
    assert got["counts"] == [2, 1, 0, 1, 2] and got["missing"] == 2
    assert got["infinite"] == 2 and (got["min"], got["max"], got["mean"]) == (0.9, 3.1, 2.0), "moments are of the finite values"


def test_a_column_without_any_value_in_the_baseline() -> None:
    got = numbers([1.5, None], against=[None, None])
    assert got["counts"] == [0, 1] and got["missing"] == 1


@given(
    st.lists(st.none() | st.floats(width=32), min_size=1, max_size=80),
    st.lists(st.none() | st.floats(width=32) | st.integers(-3, 3).map(float), max_size=80),
)
@pytest.mark.parametrize("few", [0, 40, tallies.FEW])
def test_counts_are_those_of_a_plain_loop(few: int, against: list[float | None], values: list[float | None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "FEW", few)
        got = numbers(values, against)
    edges, low = got["edges"], got["low"]
    expected = [0] * (len(edges) + 2)  # type: ignore[arg-type]
    for v in values:
        if v is None or math.isnan(v):
            continue
        below = low is not None and v < low  # type: ignore[operator]
        expected[0 if below else 1 + sum(v > e for e in edges)] += 1  # type: ignore[attr-defined]
    assert got["counts"] == expected
    assert sum(expected) + int(got["missing"]) == len(values)  # type: ignore[call-overload]


@given(
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=60, unique=True),
    st.lists(st.floats() | st.sampled_from([0.0, -0.0, 5e-324, -5e-324]), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=3),
)
def test_many_values_are_counted_as_few_are(against: list[float], values: list[float], cuts: list[int]) -> None:
    """Whichever way, and in however many parts: all counts and the sketch are equal, the moments to rounding."""
    shape = json.loads(json.dumps(shapes._numeric(np.array(against))))
    given_, parts = np.array(values), np.split(np.array(values), sorted(min(c, len(values)) for c in cuts))
    found = [counting.count_numbers(given_, shape)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "FEW", 0)
        patch.setattr(tallies, "CHUNK", 7)
        tally = tallies.Numbers(shape)
        for part in parts:
            tally.add(part)
        found.append(tally.done())
    assert not tallies._scratch().cells.any(), "the next column counts from zero"
    moments = [(one.pop("mean"), one.pop("m2")) for one in found]
    assert found[0] == found[1]
    if all(abs(v) < 1e150 for v in values if math.isfinite(v)):
        scale = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
        for (a, b), tolerance in zip(zip(*moments, strict=True), (1e-300 + 1e-12 * scale, 1e-300 + 1e-9 * scale**2), strict=True):
            assert a == b or a == pytest.approx(b, rel=1e-9, abs=tolerance)


def test_infinite_values_and_zeros_of_either_sign_are_told_by_cells_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    shape = shapes._numeric(rng.standard_normal(10_000))
    values = np.concatenate([rng.standard_normal(9_000), [-math.inf] * 3, [math.inf] * 2])
    got = counting.count_numbers(values, shape)
    assert sketch.are_ends(np.array(shape["edges"]), shape["sketch"]).sum() >= 18
    assert (
        got["counts"] == np.bincount(np.where(values < shape["low"], 0, 1 + np.searchsorted(shape["edges"], values)), minlength=22).tolist()
    )
    assert got["counts"][0] >= 3 and got["counts"][-1] >= 2 and got["infinite"] == 5

    monkeypatch.setattr(tallies, "FEW", 0)
    shape = {"kind": "numeric", "low": -1.0, "edges": [-0.0, 1.0], "sketch": {"centre": 0.0, "unit": 1.0, "at": [], "counts": []}}
    assert counting.count_numbers(np.array([-0.0, 0.0, 0.5]), shape)["counts"] == [0, 2, 1, 0]


@pytest.mark.parametrize("at", [0.0, 1.0, -40.0, 1e6, 1e12])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
def test_moments_are_exact_wherever_the_values_went(at: float, spread: float) -> None:
    values = at + spread * np.random.default_rng(2).standard_normal(20_000)
    got = numbers(values, against=np.random.default_rng(3).standard_normal(1000))
    assert got["mean"] == pytest.approx(values.mean(), rel=1e-12, abs=1e-12)
    assert got["m2"] == pytest.approx(len(values) * values.var(), rel=1e-9, abs=1e-30 + len(values) * (at * 1e-15) ** 2)


def test_a_column_that_cannot_be_counted_leaves_nothing_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).standard_normal(100_000)
    shape, measure = shapes._numeric(values), tallies.Numbers._measure
    calls: list[int] = []

    def fail(self: Any, *words: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        measure(self, *words)

    monkeypatch.setattr(tallies.Numbers, "_measure", fail)
    with pytest.raises(MemoryError):
        tallies.Numbers(shape).add(values)
    assert len(calls) == 2
    assert counting.count_numbers(values, shape)["counts"] == counting.count_numbers(values[::-1], shape)["counts"]
    assert sum(counting.count_numbers(values, shape)["sketch"]["counts"]) == 100_000


def test_categories_new_ones_and_missing() -> None:
    made = json.loads(json.dumps(baseline(table(["a", "a", "b", None]), WORD)))
    got = profile(table(["a", "z", "z", "y", None, None]), made)["columns"]["x"]
    assert got["counts"] == {"a": 1, "b": 0} and (got["new"], got["other"], got["missing"]) == (3, 0, 2)
    assert list(got["fresh"].items()) == [("z", 2), ("y", 1)]
    assert made["columns"]["x"]["once"] == 1


def test_beyond_a_hundred_categories_the_rest_is_other_and_nothing_is_new() -> None:
    values = [f"v{i}" for i in range(150) for _ in range(200 - i)]
    made = baseline(table(values), WORD)
    column = made["columns"]["x"]
    assert list(column["counts"]) == [f"v{i}" for i in range(100)]
    assert column["other"] == sum(200 - i for i in range(100, 150)) and column["new"] == 0
    got = profile(table(["v0", "v120", "unheard of"]), made)["columns"]["x"]
    assert (got["counts"]["v0"], got["other"], got["new"], got["fresh"]) == (1, 2, 0, {"unheard of": 1, "v120": 1})


def test_every_type_of_a_signature_is_profiled() -> None:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    signature = Signature(
        "binary_classification",
        (Column("i", "int"), Column("b", "bool"), Column("t", "datetime"), Column("s", "str")),
        classes=(0, 1),
        positive_class=1,
    )
    frame = pl.DataFrame(
        {
            "f.i": pl.Series([1, 2, None, 4]),
            "f.b": [True, False, None, True],
            "f.t": [start + timedelta(days=d) for d in range(4)],
            "f.s": pl.Series(["a", "b", "a", None], dtype=pl.Categorical),
            "y.prediction": [0, 1, 1, 0],
            "y.probability_0": [0.9, 0.2, 0.1, 0.8],
            "y.probability_1": [0.1, 0.8, 0.9, 0.2],
        }
    )
    made = baseline(frame, signature)
    assert made["columns"]["b"]["counts"] == {"true": 2, "false": 1}
    assert made["columns"]["t"]["max"] == (start + timedelta(days=3)).timestamp() * 1e6
    assert made["columns"]["s"]["counts"] == {"a": 2, "b": 1}
    assert made["score"]["column"] == "y.probability_1" and made["score"]["counts"] == [0, 1, 1, 1, 1, 0]
    again = profile(frame, json.loads(json.dumps(made)))
    assert again["columns"] == made["columns"] and again["score"] == made["score"]


def test_classes_are_the_same_as_integers_and_as_floats() -> None:
    signature = Signature("multiclass_classification", (Column("x", "float"),), classes=(0, 1, 2))
    whole = pl.DataFrame({"f.x": [1.0, 2.0, 3.0], "y.prediction": [0, 1, 2]})
    made = baseline(whole, signature)
    assert made["score"]["kind"] == "categorical"
    assert profile(whole.cast({"y.prediction": pl.Float64}), made)["score"] == made["score"]


def test_what_quality_is_judged_by() -> None:
    got = numbers([0, 0.0, -1, 2.5, 7, None, -math.inf], against=[1, 2, 3])
    assert {k: got[k] for k in ("zeros", "negatives", "whole", "infinite", "missing")} == {
        "zeros": 2, "negatives": 2, "whole": 4, "infinite": 1, "missing": 1,
    }  # fmt: skip
    assert got["m2"] == pytest.approx(5 * np.var([0, 0, -1, 2.5, 7]))


def test_columns_that_are_no_feature_are_named_with_how_often_they_have_a_value() -> None:
    made = baseline(table([1.0, 2.0]).with_columns(pl.Series("x.shop", ["a", None])), NUMBER)
    assert made["extra"] == {"x.shop": 1}
    window = table([1.0, 2.0, 3.0]).with_columns(pl.Series("f.colour", ["red", None, "blue"]), pl.lit("b").alias("x.shop"))
    assert profile(window, made)["extra"] == {"f.colour": 2, "x.shop": 3}


def test_of_times_and_text_in_a_numbers_place_what_can_be_read_is_counted() -> None:
    made = baseline(table([1.0, 2.0]), NUMBER)
    assert profile(table(["1", "2.5", "none", None], pl.String()), made)["columns"]["x"]["counts"] == [0, 1, 0, 1]


@pytest.mark.parametrize("rows", [3, 60_000])
def test_arrow_and_polars_tables_give_the_same_profile(rows: int) -> None:
    rng = np.random.default_rng(rows)
    signature = Signature(
        "binary_classification", tuple(Column(n, t) for n, t in (("i", "int"), ("w", "str"), ("g", "str"))), classes=(0, 1)
    )
    frame = pl.DataFrame(
        {
            "f.i": pl.Series(rng.integers(-5, 50, rows)).set(pl.Series(rng.random(rows) < 0.1), None),
            "f.w": pl.Series(rng.choice(["a", "b", "c"], rows)).set(pl.Series(rng.random(rows) < 0.1), None),
            "f.g": pl.Series(rng.integers(0, 20_000, rows)).cast(pl.String),
            "y.prediction": rng.integers(0, 2, rows),
            "x.e": rng.random(rows),
        }
    )
    made = baseline(frame, signature)
    arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    coded = arrow.set_column(1, "f.w", arrow["f.w"].dictionary_encode())
    wanted = profile(frame, made)
    assert profile(arrow, made) == profile(coded, made) == profile(coded.to_batches()[0], made) == wanted
    cut = profile_batches(coded.to_batches(max_chunksize=max(1, rows // 3)), made)["columns"]["g"]
    assert all(cut[k] == wanted["columns"]["g"][k] for k in ("counts", "other", "new", "missing")), "heavy hitters are only bounded"
    assert baseline(frame.lazy(), signature) == made


def test_scores_may_come_from_the_hold_out() -> None:
    made = baseline(table([1.0, 2.0]).drop("y.prediction"), NUMBER, scores=table([1.0, 2.0, 3.0]))
    assert (made["rows"], made["score"]["rows"]) == (2, 3)


def test_a_column_that_a_window_lacks_is_missing_and_one_that_the_baseline_lacks_is_an_error() -> None:
    made = baseline(table([1.0, 2.0]), NUMBER)
    assert profile(table([1.0, 2.0]).drop("f.x"), made)["columns"]["x"]["missing"] == 2
    with pytest.raises(BadInput, match=r"lacks 'x'"):
        baseline(pl.DataFrame({"z": [1]}), NUMBER)
    with pytest.raises(BadInput, match=r"lacks 'y.prediction'"):
        baseline(table([1.0]).drop("y.prediction"), NUMBER)
    with pytest.raises(BadInput, match="no rows"):
        baseline(table([1.0]), NUMBER, scores=table([1.0]).clear())
    with pytest.raises(BadInput, match="no rows"):
        baseline(table([1.0]).clear(), NUMBER)


def test_an_empty_window_has_a_profile() -> None:
    got = profile(table([1.0]).clear(), baseline(table([1.0, 2.0]), NUMBER))
    assert got["rows"] == 0 and got["columns"]["x"]["counts"] == [0, 0, 0, 0]


def test_a_baseline_of_another_format_is_an_error() -> None:
    with pytest.raises(BadInput, match="older Modelyard"):
        profile(table([1.0]), {**baseline(table([1.0]), NUMBER), "format": 1})


@pytest.mark.parametrize(
    ("values", "as_number", "as_word"),
    [
        (pl.Series([None, None]), [None, None], {}),
        (pl.Series(["7", "x", None], dtype=pl.Categorical), [7, None, None], {"7": 1, "x": 1}),
        (pl.Series(["7"], dtype=pl.Enum(["7"])), [7], {"7": 1}),
        (pl.Series([True, None]), [1, None], {"true": 1}),
        (pl.Series([timedelta(seconds=1)]), [1e6], {"1000000": 1}),
        (pl.Series([datetime(1970, 1, 2, tzinfo=UTC).date()]), [86400e6], {"1970-01-02": 1}),
        (pl.Series([b"7", b"\xff"]), [None, None], {"7": 1, "\ufffd": 1}),
        (pl.Series([object()]), [None], {}),
        (pl.Series([[1], None]), [None, None], {}),
        (pl.Series([{"a": 1}]), [None], {}),
        (pl.Series([1.0, -0.0, 0.0, 2.5, math.nan]), [1, 0, 0, 2.5, None], {"1": 1, "0": 2, "2.5": 1}),
    ],
)
def test_a_column_of_any_type_is_read(values: pl.Series, as_number: list[float | None], as_word: dict[str, int]) -> None:
    read = reading.numbers(values)
    assert [None if math.isnan(v) else v for v in read] == as_number
    seen, missing = reading.words(values)
    assert dict(seen.iter_rows()) == as_word and missing == len(values) - sum(as_word.values())


@pytest.mark.parametrize("most", [128, 300, 600, 10_000])
def test_parquet_files_are_counted_column_by_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """In parts of a column, or a row group of it at once; the file that lacks a column lacks it in each row."""
    rng = np.random.default_rng(7)
    signature = Signature("regression", (Column("n", "float"), Column("n.more", "float"), Column("w", "str")))
    words = pl.Series(rng.choice(["a", "b", "c"], 1000)).set(pl.Series(rng.random(1000) < 0.1), None)
    frame = pl.DataFrame(
        {
            "f.n": pl.Series(rng.normal(size=1000)).set(pl.Series(rng.random(1000) < 0.1), None),
            "f.n.more": rng.normal(size=1000),
            "f.w": words,
            "f.z": pl.Series(rng.choice(["a", "b"], 1000)).set(pl.Series(rng.random(1000) < 0.1), None),
            "y.prediction": rng.normal(size=1000),
            "other": "x",
        }
    )
    made = baseline(frame, signature)
    frame.head(700).write_parquet(tmp_path / "0.parquet", row_group_size=300)
    frame.tail(300).drop("f.n.more").write_parquet(tmp_path / "1.parquet", row_group_size=300)
    monkeypatch.setattr(scan, "PART", most)
    monkeypatch.setattr(counting, "JOINT_ROWS", 100)
    got, wanted = (
        profile_batches(parquet(sorted(tmp_path.iterdir())), made),
        profile_batches([frame.head(700), frame.tail(300).drop("f.n.more")], made),
    )
    assert all(
        column.pop(k) == pytest.approx(wanted["columns"][n].pop(k))
        for n, column in got["columns"].items()
        for k in ("mean", "m2")
        if k in column
    )
    assert all(got["score"].pop(k) == pytest.approx(wanted["score"].pop(k)) for k in ("mean", "m2"))
    assert got["joint"].pop("sum") == pytest.approx(wanted["joint"].pop("sum"))
    assert got["joint"].pop("squares") == pytest.approx(wanted["joint"].pop("squares"))
    assert got == wanted
    assert got["rows"] == 1000 and got["columns"]["n.more"]["missing"] == 300 and got["joint"]["rows"] > 50
    assert got["extra"] == {"f.z": frame["f.z"].count()}


def test_no_more_of_a_parquet_file_is_held_than_a_part_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    pl.DataFrame({"f.n": np.zeros(2 * scan.PART + 1)}).write_parquet(path, row_group_size=2 * scan.PART + 1)
    (file,) = parquet([path])
    assert [(name, len(part)) for name, part in file.parts(["f.n"])] == [("f.n", scan.PART), ("f.n", scan.PART), ("f.n", 1)]


def test_a_scan_that_is_left_reads_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "t.parquet", []
    pl.DataFrame({f"f.{i}": [1.0] for i in range(50)}).write_parquet(path)
    (file,) = parquet([path])
    parts = scan._parts
    monkeypatch.setattr(scan, "_parts", lambda *words: (read.append(words[2]), parts(*words))[1])
    going = file.parts(f"f.{i}" for i in range(50))
    next(going)
    going.close()
    assert 0 < len(read) <= scan.AHEAD + 1
    assert not [t for t in threading.enumerate() if t.name.startswith("reading")]


def test_no_batch_is_held_once_it_is_counted() -> None:
    rng = np.random.default_rng(8)
    usual = pl.DataFrame({"f.n": rng.normal(size=200), "f.w": rng.choice(["a", "b"], 200), "y.prediction": rng.normal(size=200)})
    made = baseline(usual, Signature("regression", (Column("n", "float"), Column("w", "str"))))
    given_out: list[weakref.ref[object]] = []
    alive: list[int] = []

    def batches() -> Iterator[object]:
        for i in range(6):
            alive.append(sum(ref() is not None for ref in given_out))
            numbers = rng.normal(size=60_000)
            batch = pa.record_batch({"f.n": numbers, "f.w": [f"v{i}"] * 60_000, "y.prediction": numbers})
            given_out.append(weakref.ref(batch))
            yield batch
            del batch

    assert made["joint"] is not None
    assert profile_batches(batches(), made)["rows"] == 360_000
    assert max(alive) <= 1, "the one that was counted last"


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=8))
def test_rows_for_the_joint_error_are_evenly_spread_however_they_come(lengths: list[int]) -> None:
    rows = pl.DataFrame({"f.i": np.arange(sum(lengths))})
    sample, at = counting.Sample(), 0
    for length in lengths:
        sample.begin(length)
        cut = length // 3
        for begin, end in ((0, cut), (cut, length)):
            sample.take("f.i", rows["f.i"].slice(at + begin, end - begin))
        sample.end()
        at += length
    taken = sample.rows["f.i"].to_numpy() if rows.height else np.empty(0)
    step = int(taken[1]) if len(taken) > 1 else 1
    assert np.array_equal(taken, np.arange(0, rows.height, step))
    assert len(taken) <= counting.JOINT_ROWS and (step == 1 or len(taken) >= counting.JOINT_ROWS // 2)
