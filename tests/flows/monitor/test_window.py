"""A window's profiles: counted once, kept, counted again when rows came, and let go of with the capture."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.flows import capturing, history
from modelyard.flows.monitor import drift, profiling
from modelyard.flows.monitor import window as window_module
from modelyard.flows.monitor.window import Window
from modelyard.monitor import profile
from modelyard.monitor.windows import Span
from modelyard.serve import captured

from ..watched import DAY, T0, Watched, settings

HOUR = timedelta(hours=1)


def window(world: Watched, at: Any = T0) -> Window:
    shop = world.shop
    return Window(shop, "demo", shop.config("demo"), shop.model("demo"), Span(at, at + DAY))


def answer(world: Watched, ids: list[str], at: Any, shops: list[str | None]) -> None:
    """Answers with a column beside the features."""
    times = pl.Series([at] * len(ids), dtype=pl.Datetime("us", "UTC"))
    columns = {"inference_id": ids, "event_time": times, "received_at": times, "version": "1", "latency_ms": 1.0}
    frame = pl.DataFrame({**columns, "f.x": [1.0] * len(ids), "x.shop": shops, "y.prediction": [2.0] * len(ids)})
    captured.add(history.folder(world.shop, "demo"), frame)


def test_a_profile_is_kept_and_counted_again_when_rows_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(tmp_path / "home", monkeypatch)
    world.capture([f"a{i}" for i in range(20)], T0 + HOUR)
    first = window(world).profile
    assert first == profile.profile(window(world).rows, window(world).baseline) and first["rows"] == 20
    counted: list[int] = []
    real = profile.profile
    monkeypatch.setattr(profiling, "profile", lambda rows, base: counted.append(rows.height) or real(rows, base))  # type: ignore[func-returns-value]
    assert window(world).profile == first and not counted
    world.capture(["late"], T0 + 2 * HOUR)
    assert window(world).profile["rows"] == 21 and counted == [21]
    assert window(world).profile["rows"] == 21 and counted == [21]
    assert profile.Profiles(world.shop.home.profiles("demo")).between("1", T0, T0 + DAY) == window(world).profile


def test_a_window_without_rows_is_counted_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(tmp_path / "home", monkeypatch)
    assert window(world).profile["rows"] == 0
    assert not world.shop.home.profiles("demo").exists()


def test_a_profile_that_cannot_be_kept_is_judged_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(tmp_path / "home", monkeypatch)
    world.capture(["a"], T0 + HOUR)
    blocked = world.shop.home.profiles("demo")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("no folder")
    assert window(world).profile["rows"] == 1


def test_segments_are_profiled_by_value_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = settings()
    words["monitor"]["segments"] = ["shop", "x", "nowhere"]
    world = Watched(tmp_path / "home", monkeypatch, words)
    answer(world, ["1", "2", "3", "4"], T0 + HOUR, ["b", "a", "b", None])
    found = window(world).segments
    assert {name: one["rows"] for name, one in found.items()} == {"shop=b": 2, "shop=a": 1, "x=1": 4}
    assert list(found) == ["shop=b", "shop=a", "x=1"] and window(world).left_out == {}
    monkeypatch.setattr(profiling, "profile", lambda rows, base: pytest.fail("counted twice"))
    assert window(world).segments == found
    store = profile.Profiles(world.shop.home.profiles("demo"))
    assert store.between("1", T0, T0 + DAY, "shop=b") == found["shop=b"]


def test_a_segment_is_called_the_same_whatever_else_is_in_the_window() -> None:
    for others in ([], [2.5]):
        words, often = profiling.values(pl.DataFrame({"x.shop": [1.0, 1.0, 2.0, None, *others]}), "shop")
        assert words[:4].to_list() == ["1", "1", "2", None] and often["1"] == 2


def test_of_very_many_segments_the_most_frequent_are_profiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = settings()
    words["monitor"]["segments"] = ["shop"]
    world = Watched(tmp_path / "home", monkeypatch, words)
    shops: list[str | None] = [f"s{i:02}" for i in range(60)] + ["s59"]
    answer(world, [str(i) for i in range(61)], T0 + HOUR, shops)
    seen = window(world)
    assert len(seen.segments) == 50 and seen.left_out == {"shop": 10} and seen.segments["shop=s59"]["rows"] == 2
    assert "not looked at by themselves: 10 rarer values of shop" in drift.judge(seen).reason


def test_profiles_go_with_the_rows_they_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {**settings(), "deploy": {"capture": {"retain": "3d"}}}
    world = Watched(tmp_path / "home", monkeypatch, words)
    for day in range(6):
        world.capture([f"d{day}"], T0 + day * DAY + HOUR)
        assert window(world, T0 + day * DAY).profile["rows"] == 1
    world.time.advance_to(T0 + 6 * DAY)
    capturing.tidy(world.shop, "demo", "production")
    left = sorted(path.name for path in world.shop.home.profiles("demo").iterdir())
    assert left == ["2026-03-04.windows", "2026-03-05.windows", "2026-03-06.windows"]


def test_a_small_window_is_held_whole_however_large_its_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(tmp_path / "home", monkeypatch)
    times = pl.Series([T0 + i * HOUR / 10 for i in range(1000)], dtype=pl.Datetime("us", "UTC"))
    columns = {"inference_id": [str(i) for i in range(1000)], "event_time": times, "received_at": times, "version": "1", "latency_ms": 1.0}
    captured.add(history.folder(world.shop, "demo"), pl.DataFrame({**columns, "f.x": 1.0, "y.prediction": 2.0}))
    monkeypatch.setattr(window_module, "MOST_ROWS", 300)
    assert window(world).share == 1 and window(world).rows.height == 240


def test_of_a_window_too_large_to_be_held_all_rows_are_counted_and_a_share_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(tmp_path / "home", monkeypatch)
    for part in range(5):  # a file each
        x = [(37 * i + part) % 1000 / 100 for i in range(400)]
        world.capture([f"{part}-{i}" for i in range(400)], T0 + part * HOUR, x)
    whole = window(world).profile
    world.shop.home.profiles("demo").rename(tmp_path / "away")
    monkeypatch.setattr(window_module, "MOST_ROWS", 600)
    large = window(world)
    assert large.share == 0.25 and 400 < large.rows.height <= 600 and large.counts == {"1": 2000}
    assert large.rows.equals(window(world).rows), "the same rows each time"
    assert large.profile["rows"] == 2000 and large.profile["columns"]["x"]["counts"] == whole["columns"]["x"]["counts"]
    kept = window(world)
    monkeypatch.setattr(profiling, "profile_batches", lambda *_: pytest.fail("counted again"))
    assert kept.profile == large.profile
    world.time.advance_to(T0 + DAY)
    world.look()
    (word,) = world.words("drift")
    assert word.evidence["rows"] == 2000 and word.evidence["looked_at"] == 0.25 and "25% of the window's" in word.reason
