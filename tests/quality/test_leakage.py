"""Leaks that were put there are found, by name; and tables without one are left in peace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from modelyard.quality.leakage import duplicates, target, time_order
from modelyard.signature import Column, Signature

N = 2000


def signature(problem: str, *names: str, classes: tuple[object, ...] = ()) -> Signature:
    columns = tuple(Column(n, "float") for n in names)
    return Signature(problem, columns, classes=classes, target_col="y", time_col="at", id_col="id")  # type: ignore[arg-type]


def features(seed: int = 0, n: int = N) -> dict[str, pl.Series]:
    rng = np.random.default_rng(seed)
    strong = rng.normal(size=n)
    return {
        "strong": pl.Series(strong),
        "word": pl.Series(rng.choice(list("abcd"), n)),
        "gap": pl.Series([None if r < 0.1 else float(r) for r in rng.random(n)]),
        "id": pl.Series([f"i{k}" for k in range(n)]),
        "many": pl.Series([f"w{k % (n // 2)}" for k in range(n)]),
        "constant": pl.Series([1] * n),
    }


BINARY = [
    ("a copy", lambda y: pl.Series(y)),
    ("a copy turned round", lambda y: pl.Series(-3.0 * y + 1)),
    ("as text", lambda y: pl.Series(np.where(y == 1, "late", "on time"))),
    ("a code that no order tells", lambda y: pl.Series(np.where(y == 1, 5, np.arange(len(y)) % 2 * 9))),
    ("missing where it is 0", lambda y: pl.Series([None if v == 0 else float(k % 7) for k, v in enumerate(y)])),
    ("a number that lies apart", lambda y: pl.Series(y * 10 + np.linspace(0, 9, len(y)))),
]


@pytest.mark.parametrize("leak", [leak for _, leak in BINARY], ids=[name for name, _ in BINARY])
def test_a_feature_that_tells_a_class_is_named(leak: object) -> None:
    y = np.random.default_rng(1).integers(0, 2, N)
    table = pl.DataFrame({**features(), "leak": leak(y), "y": y})  # type: ignore[operator]
    found = target(table, signature("binary_classification", "leak", *features(), classes=(0, 1)), "block")
    assert not found.ok and found.blocks and list(found.evidence["features"]) == ["leak"]
    assert found.sentence.startswith("leak tells y by itself (ROC AUC 1)") and "data.schema.exclude" in found.sentence


def test_a_strong_feature_is_no_leak() -> None:
    table = pl.DataFrame(features())
    table = table.with_columns(y=(pl.col("strong") + pl.Series(np.random.default_rng(2).normal(0, 0.3, N)) > 0).cast(int))
    found = target(table, signature("binary_classification", *features(), classes=(0, 1)), "block")
    assert found.ok and not found.blocks and "no feature tells" in found.sentence
    numbers = table.with_columns(y=pl.col("strong") * 3 + pl.Series(np.random.default_rng(3).normal(0, 1, N)))
    assert target(numbers, signature("regression", *features()), "warn").ok


def test_numbers_and_many_classes_leak_too() -> None:
    rng = np.random.default_rng(4)
    y = rng.gamma(2, 2, N)
    table = pl.DataFrame({**features(), "log": np.log(y), "copy": y, "y": y})
    found = target(table, signature("regression", *features(), "log", "copy"), "warn")
    assert set(found.evidence["features"]) == {"log", "copy"} and "and so do 1 more" in found.sentence and not found.blocks
    kinds = rng.choice(["ant", "bee", "cow"], N)
    table = pl.DataFrame({**features(), "code": pl.Series(kinds).replace_strict({"ant": 7, "bee": 1, "cow": 4}), "y": kinds})
    found = target(table, signature("multiclass_classification", *features(), "code", classes=("ant", "bee", "cow")), "warn")
    assert list(found.evidence["features"]) == ["code"]


def test_a_number_that_never_repeats_tells_several_classes_too() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 4, N)
    apart = {
        "middle last": np.array([0.0, 3, 1, 2])[y] + rng.random(N) * 0.5,
        "when": pl.Series(y * 10**9 + np.arange(N)).cast(pl.Datetime("us")),
    }
    holes = pl.Series(np.where(y == 2, np.nan, y + rng.random(N) * 0.5)).fill_nan(None)
    table = pl.DataFrame({**features(), **apart, "holes": holes, "y": y})
    noise = pl.Series(y + rng.normal(0, 0.3, N))
    names = (*features(), *apart, "holes", "noise")
    found = target(table.with_columns(noise=noise), signature("multiclass_classification", *names, classes=(0, 1, 2, 3)), "warn")
    assert set(found.evidence["features"]) == {*apart, "holes"} and found.evidence["measure"] == "accuracy"


def test_to_say_never_of_a_rare_class_tells_nothing() -> None:
    y = np.zeros(20_000, dtype=np.int64)
    y[:4], y[4:8] = 1, 2
    rng = np.random.default_rng(6)
    table = pl.DataFrame({"word": rng.choice(["a", "b"], len(y)), "number": rng.normal(size=len(y)), "y": y})
    assert target(table, signature("multiclass_classification", "word", "number", classes=(0, 1, 2)), "block").ok


def test_rows_of_the_holdout_that_training_saw_are_counted() -> None:
    table = pl.DataFrame({"a": range(1000), "b": [None, 2.5] * 500, "id": range(1000), "y": [0, 1] * 500})
    train, test = table.head(900), pl.concat([table.tail(100), table.head(5).with_columns(id=pl.lit(7) + pl.col("id"))])
    signed = signature("binary_classification", "a", "b", classes=(0, 1))
    found = duplicates(train, test, signed, "warn", 0.01)
    assert not found.ok and found.evidence["rows"] == 5 and found.evidence["such as"] == ["7", "8", "9", "10", "11"]
    assert duplicates(train, test, signed, "warn", 0.05).ok and duplicates(train, table.tail(100), signed, "block", 0.0).ok
    other = test.with_columns(y=1 - pl.col("y"))  # the same features, another answer: nothing to remember
    assert duplicates(train, other, signed, "block", 0.0).ok


def test_training_after_the_holdout_is_told() -> None:
    at = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=k) for k in range(100)]
    table = pl.DataFrame({"at": at, "y": [0, 1] * 50})
    signed = signature("binary_classification", "a", classes=(0, 1))
    assert (ok := time_order(table.head(80).lazy(), table[80:], signed, "block", "time")) is not None and ok.ok
    found = time_order(table[::2], table[1::2], signed, "block", "random")
    assert found is not None and found.blocks and found.evidence["rows"] == 49
    assert "49 of 50 rows of training happened after the hold-out's first, on 2025-01-01 01:00:00" in found.sentence
    assert "split: {by: time}" in found.sentence
    assert time_order(table, table, Signature("regression", ()), "block", "random") is None
