"""The study on detection (bench/monitor/study.py): shifts are of the size they are called, and its page says what a run gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.monitor import profile
from tests.conftest import ROOT

STABLE, CLEAR = "stable", "mean 1.0 sd, a third of the columns"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The study's module with an empty folder for what was done; its own modules, which are found by their folder, go afterwards."""
    import sys

    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "bench" / "monitor"))
    import study as module  # type: ignore[import-not-found]

    monkeypatch.setattr(module, "DONE", tmp_path)
    yield module
    for name in {n for n in sys.modules if n.split(".")[0] in ("study", "detection", "run", "rows", "bounds", "environments")} - before:
        del sys.modules[name]


def moved(study: Any, name: str, seed: int) -> tuple[Any, pl.DataFrame, pl.DataFrame, list[str]]:
    """The set of hotel rates, a window of it before and after a shift, and the columns."""
    from detection import sets, shifts  # type: ignore[import-not-found]

    real, random = sets.load("hotel-rates"), np.random.default_rng(seed)
    shift = next(s for s in shifts.SHIFTS if s.name == name)
    reference = real.rows.rename({n: f"f.{n}" for n in real.names})
    columns = shifts.choose(shift, real, reference, random)
    window = real.rows.drop("target").sample(2000, seed=seed)
    return real, window, shifts.apply(shift, window, columns, 1, random), columns


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_moves_by_so_many_deviations_and_whole_numbers_stay_whole(study: Any, seed: int) -> None:
    real, before, after, (column,) = moved(study, "mean 0.5 sd, one column", seed)
    name = column.split("=")[0]
    deviation = real.rows[name].std()
    assert after[name].mean() - before[name].mean() == pytest.approx(0.5 * deviation, abs=2 / 2000**0.5)
    assert (after[name] % 1 == 0).all()
    assert after.drop(name).equals(before.drop(name))


def test_a_third_of_all_columns_moves(study: Any) -> None:
    real, before, after, columns = moved(study, CLEAR, 3)
    assert len(columns) == -(-len(real.names) // 3)
    assert [n for n in real.names if not before[n].equals(after[n])] == [
        n for n in real.names if any(c.startswith(n + "=") for c in columns)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_shares_and_missing_values_move_by_so_many_points(study: Any, seed: int) -> None:
    _, before, after, (column,) = moved(study, "share +10 points", seed)
    name, _, value = column.partition("=")
    assert (after[name] == value).sum() - (before[name] == value).sum() == 200
    _, before, after, (name,) = moved(study, "new category in 2%", seed)
    assert not set(before[name]) & {"never seen"} and (after[name] == "never seen").sum() == 40
    _, before, after, (name,) = moved(study, "missing +5 points", seed)
    assert after[name].null_count() - before[name].null_count() == 100


def test_a_broken_relation_leaves_every_column_as_it_was(study: Any) -> None:
    _, before, after, (name,) = moved(study, "broken relation", 1)
    assert after[name].sort().equals(before[name].sort()) and not after[name].equals(before[name])


def test_a_window_is_like_its_reference_and_a_word_by_the_default_settings_is_the_verdict(study: Any) -> None:
    from detection import rates

    records = study.work(study.Job("rodents", 0, (200,), (STABLE, CLEAR)))
    assert {r["shift"]: sum(s["shift"] == r["shift"] for s in records) for r in records} == {STABLE: 30, CLEAR: 10}
    assert all(rates.violated(r, rates.TUNED[0]) == (r["status"] == "violated") for r in records)
    assert not [r for r in records if r["shift"] == STABLE and (r["status"], r["quality"]) != ("healthy", "healthy")]
    assert all(r["status"] == "violated" for r in records if r["shift"] == CLEAR)
    assert study.work(study.Job("rodents", 0, (200,), (STABLE, CLEAR))) == records  # out of its file


def test_delays_and_rates(study: Any) -> None:
    from detection import rates

    def stream(number: int, alarms: list[bool]) -> list[dict[str, Any]]:
        place = {"set": "a", "cut": 0, "size": 200, "stream": number}
        return [{**place, "k": k, "dataset": alarmed} for k, alarmed in enumerate(alarms, 1)]

    records = stream(0, [False, True, False]) + stream(1, [False, False, False]) + stream(2, [True, True, False])
    assert rates.delay(records, lambda r: r["dataset"]) == rates.Delay(1.5, pytest.approx(1 / 3), 3)
    found = rates.rate(records, lambda r: r["dataset"])
    assert found == (3, 9) and found.at_most == pytest.approx(0.7007, abs=1e-3)
    assert rates.rate([], bool) is None and rates.delay([], bool) is None


def test_a_cut_keeps_references_and_windows_apart(study: Any) -> None:
    from detection import sets

    real = sets.load("rodents")
    marked = sets.replace(real, rows=real.rows.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias("month")))
    cut = sets.cut(marked, 4)
    assert not set(cut.reference["f.month"]) & set(cut.pool["month"])
    assert profile.baseline(cut.reference, real.signature)["rows"] == cut.reference.height == 10_000


@pytest.mark.slow
def test_the_page_says_what_a_run_gives(study: Any) -> None:
    """Rodents, whose data is in Git: no stable window violated, and the detected shares of the page."""
    from detection import rates, telling, windows

    names = ("missing +5 points", "share +20 points", "mean 0.5 sd, a third of the columns")
    records = [r for cut in range(CUTS) for r in study.work(study.Job("rodents", cut, (1000,), (STABLE, *names)))]
    assert telling.quiet(records)
    place = 1 + len(windows.SIZES) + windows.SHIFTED_SETS.index("rodents")
    page = {row[0]: row[place].split(" / ") for row in telling.lines(telling.PAGE.read_text(encoding="utf-8"), "ours")}
    for name in names:
        for rule, said in zip(rates.RULES[:3], page[name], strict=True):
            found = rates.rate([r for r in records if r["shift"] == name], rule.alarmed)
            assert 100 * found.share == pytest.approx(float(said.rstrip("%")), abs=15), (name, rule.name)


CUTS = 5
"""As many as the page is made of: which columns are shifted makes much of a figure."""
