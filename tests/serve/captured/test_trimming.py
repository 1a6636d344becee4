from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.serve.captured import Trimmed, compact, read, trim

from ..capture.made import NOW, put, writer

MOMENT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOW)
HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A row an hour for four days, the last one at NOW."""
    w = writer(tmp_path)
    for hour in range(96):
        put(w, [f"{95 - hour}"], at=NOW - (95 - hour) * 3_600_000_000)
        if hour % 6 == 5:
            w.close()
            compact(tmp_path, today="20260921")
    compact(tmp_path, today="20260921")
    return tmp_path


def ages(folder: Path) -> list[int]:
    return sorted(map(int, read(folder)["inference_id"]))


def test_rows_older_than_asked_go_whole_files_or_not(folder: Path) -> None:
    done = trim(folder, before=MOMENT - 30 * HOUR)
    assert done.rows == 96 - len(ages(folder))
    assert max(ages(folder)) == 30
    assert done.since == MOMENT - 30 * HOUR and done.bytes > 0 and done.over == 0
    assert trim(folder, before=MOMENT - 30 * HOUR) == Trimmed()


def test_a_file_is_not_cut_again_for_every_minute(folder: Path) -> None:
    trim(folder, before=MOMENT - 30 * HOUR)
    names = sorted(path.name for path in folder.iterdir())
    assert trim(folder, before=MOMENT - 29.5 * HOUR).rows == 0
    assert sorted(path.name for path in folder.iterdir()) == names
    assert trim(folder, before=MOMENT - 28.5 * HOUR).rows == 2


def test_the_oldest_files_go_while_all_take_too_much(folder: Path) -> None:
    sizes = sorted((path.stat().st_blocks * 512 for path in folder.glob("*.parquet")), reverse=True)
    done = trim(folder, max_bytes=sum(sizes) - 1)
    left = ages(folder)
    assert done.rows == 96 - len(left) > 0 and done.bytes >= 1 and done.over == 0
    assert left == list(range(len(left))), "the oldest"
    assert done.since is not None and all(done.since <= MOMENT - age * HOUR for age in left)


def test_what_is_needed_stays_and_it_is_said_by_how_much_it_is_too_much(folder: Path) -> None:
    needed = MOMENT - 20 * HOUR
    done = trim(folder, before=MOMENT, max_bytes=1, keep_from=needed)
    assert set(range(21)) <= set(ages(folder)) and max(ages(folder)) <= 21
    assert done.over > 0


def test_nothing_asked_nothing_done(folder: Path, tmp_path: Path) -> None:
    assert trim(folder) == Trimmed() == trim(tmp_path / "none", max_bytes=1)
    assert len(ages(folder)) == 96


def test_an_open_segment_counts_and_stays(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["1"])
    assert trim(tmp_path, before=MOMENT + HOUR, max_bytes=100).over > 0
    assert ages(tmp_path) == [1]
