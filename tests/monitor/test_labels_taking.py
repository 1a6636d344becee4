"""Large imports: in any tables and ranges they do what one import does, as a whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput, NoRoom
from modelyard.monitor import labels
from modelyard.monitor.labelfiles import LINE
from modelyard.monitor.labels import Added, segments, taking

from .test_labels_ledger import Killed, day, dying, files, frame, held


def take(folder: Path, tables: list[pl.DataFrame], at: float = 0.0) -> tuple[Added, list[str]]:
    with tempfile.TemporaryDirectory() as spool:
        one = labels.Taking(Path(spool), "row {}".format)
        for table in tables:
            one.take(table)
        added = one.add(folder, day(at))
        return added, [id for ids in one.ids() for id in ids]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "PART", 8)
    monkeypatch.setattr(taking, "_SAMPLES", 4)


IDS = st.sampled_from([f"id{i:02}" for i in range(40)] + ["é", "z" * 40])
# a label's value follows from its id and time, so that no two rows contradict each other at one time
ROWS = st.lists(st.tuples(IDS, st.one_of(st.none(), st.integers(0, 5))), max_size=60)


def table(rows: list[tuple[str, int | None]], dated: bool, salt: int = 0) -> pl.DataFrame:
    at = [None if hour is None or not dated else day(hour) for _, hour in rows]
    values = [float((sum(map(ord, id)) + (hour if dated else salt) * 7) % 5) if hour is not None else None for id, hour in rows]
    return pl.DataFrame(
        {"inference_id": [id for id, _ in rows], "label": values, "labelled_at": at, LINE: range(1, len(rows) + 1)},
        schema_overrides={"inference_id": pl.String, "label": pl.Float64, "labelled_at": pl.Datetime("us", "UTC"), LINE: pl.Int64},
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ROWS, st.lists(st.integers(0, 60), max_size=4), st.booleans(), st.integers(0, 1)), min_size=1, max_size=4))
def test_any_tables_do_what_one_import_does(imports: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as home:
        whole, parts = Path(home, "whole"), Path(home, "parts")
        for number, (rows, cuts, dated, salt) in enumerate(imports):
            given = table(rows, dated, salt)
            edges = [0, *sorted(min(cut, given.height) for cut in cuts), given.height]
            one = labels.add(given, whole, day(number))
            other, ids = take(parts, [given[a:b] for a, b in pairwise(edges)], number)
            assert one == other
            assert sorted(ids) == sorted(set(given.drop_nulls("label")["inference_id"]))
            assert labels.latest(whole).equals(labels.latest(parts))
            again, _ = take(parts, [given.reverse()], number + 0.5)
            assert (again.new, again.corrected, again.repeated) == (0, 0, one.new + one.corrected + one.repeated)
            assert labels.add(given, parts, day(number + 0.6)).new == 0, "it is the same import, whoever takes it in"
            assert labels.latest(whole).equals(labels.latest(parts))
        assert labels.received(whole, None).equals(labels.received(parts, None))


MANY = pl.DataFrame({"inference_id": [f"id{i:03}" for i in range(100)], "label": [i % 2 for i in range(100)]})


def test_a_large_import_lies_in_several_files_and_is_merged_with_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "FAN", 10**6)
    added, _ = take(tmp_path, [MANY[:60], MANY[60:]])
    assert added == Added(100, 0, 0) and len(files(tmp_path)) > 8
    monkeypatch.setattr(segments, "FAN", 4)
    labels.add(frame({"other": 1}), tmp_path, day(1))
    assert len(files(tmp_path)) < 4 and len(held(tmp_path)) == 101
    assert take(tmp_path, [MANY], 2)[0] == Added(0, 0, 100)


@pytest.mark.parametrize("dead", [Killed, lambda: OSError(errno.ENOSPC, "No space left on device")])
def test_wherever_it_is_killed_all_of_it_counts_or_nothing(tmp_path: Path, dead: Any) -> None:
    before = tmp_path / "before"
    labels.add(frame({"id001": 5, "other": 1}), before, day(0))
    steps = 0
    while True:
        folder = tmp_path / f"killed-{steps}"
        shutil.copytree(before, folder)
        try:
            with dying(steps, dead) as done:
                take(folder, [MANY[:50], MANY[50:]], 1)
        except (Killed, NoRoom, OSError):
            pass
        found = held(folder)
        assert found in (held(before), {"other": 1, **dict(MANY.iter_rows())}), f"torn at step {steps}: {done[-1:]}"
        assert all(segment.about.part_of in {"", *_imports(folder)} for segment in segments.listed(folder)), "torn parts are gone"
        added, _ = take(folder, [MANY], 2)
        assert held(folder) == {"other": 1, **dict(MANY.iter_rows())} and added.repeated + added.new + added.corrected == 100
        if len(done) < steps:
            break
        steps += 1
    assert steps > 20, "each file is synced and renamed"


def test_a_large_correction_back_is_taken_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """The import was taken in once: its parts must not count before the last of them is there, all the same."""
    other, before, wanted = MANY.with_columns(pl.col("label") + 1), tmp_path / "before", dict(MANY.iter_rows())
    take(before, [MANY], 0)
    take(before, [other], 1)
    steps = 0
    while True:
        folder = tmp_path / f"killed-{steps}"
        shutil.copytree(before, folder)
        try:
            with dying(steps) as done:
                take(folder, [MANY[:50], MANY[50:]], 2)
        except Killed:
            pass
        assert held(folder) in (held(before), wanted), f"torn at step {steps}: {done[-1:]}"
        take(folder, [MANY], 3)
        left = files(folder)
        assert held(folder) == wanted and take(folder, [MANY], 4)[0] == Added(0, 0, 100) and files(folder) == left
        if len(done) < steps:
            break
        steps += 1
    assert steps > 20


def _imports(folder: Path) -> set[str]:
    return set().union(*(segment.about.imports for segment in segments.listed(folder)))


def test_two_labels_at_once_are_refused_with_their_line_and_none_is_taken(tmp_path: Path) -> None:
    rows = MANY.with_row_index(LINE, 1)
    twice = pl.DataFrame({LINE: [101], "inference_id": ["id042"], "label": [1]}, schema=rows.schema)
    with pytest.raises(BadInput, match="prediction 'id042' has two labels") as caught:
        take(tmp_path, [rows, twice])
    assert caught.value.where == "row 101" and held(tmp_path) == {} and files(tmp_path) == []
    with pytest.raises(BadInput, match="there is no inference_id") as caught:
        take(tmp_path, [rows, twice.with_columns(inference_id=pl.lit(""))])
    assert caught.value.where == "row 101"


def test_of_a_large_import_no_more_is_held_than_a_range_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = labels.ledger.once
    monkeypatch.setattr(labels.ledger, "once", lambda rows, place: looked.append(rows.height) or real(rows, place))  # type: ignore[func-returns-value]
    shuffled = MANY.sample(fraction=1.0, shuffle=True, seed=1)
    take(tmp_path, [shuffled[i : i + 10] for i in range(0, 100, 10)])
    assert sum(looked) == 100 and max(looked) <= 24
