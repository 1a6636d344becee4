"""The drift monitor over captured rows: what a window is held against, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.flows import history
from modelyard.flows.monitor import drift
from modelyard.flows.monitor.window import Window
from modelyard.monitor import profile
from modelyard.monitor.book import Word
from modelyard.serve import captured
from modelyard.signature import Column, Signature

from ..releases import SIGNATURE
from ..watched import DAY, T0, Watched, settings

USUAL = [i / 100 for i in range(1000)]
HIGH = [x + 9 for x in USUAL]
SITES = ["north", "south"] * 500
Make = Callable[..., "World"]


class World(Watched):
    """What a version was built on is `USUAL`; its hold-out has two sites."""

    def _staging(self, version: str) -> Path:
        folder = super()._staging(version)
        rows = pl.DataFrame({"f.x": USUAL, "y.prediction": [2 * x for x in USUAL], "x.site": SITES})
        (folder / "baseline.json").write_text(json.dumps(profile.baseline(rows, SIGNATURE)))
        rows.write_parquet(folder / "holdout.parquet")
        return folder

    def at(self, at: datetime, x: list[float], version: str = "1", **more: Any) -> None:
        times = pl.Series([at + timedelta(seconds=i) for i in range(len(x))], dtype=pl.Datetime("us", "UTC"))
        columns = {"inference_id": [f"{at:%d%H%M}-{version}-{i}" for i in range(len(x))], "event_time": times, "received_at": times}
        frame = pl.DataFrame({**columns, "version": version, "latency_ms": 1.0, "f.x": x, **more})
        captured.add(history.folder(self.shop, "demo"), frame.with_columns((2 * pl.col("f.x")).alias("y.prediction")))

    def word(self, days: int = 1) -> Word:
        """The newest word on drift, `days` days after T0."""
        self.time.advance_to(T0 + days * DAY)
        self.look()
        return self.words("drift")[-1]


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(drift: dict[str, Any], deploy: dict[str, Any] | None = None, **monitor: Any) -> World:
        words = settings()
        words["monitor"] = {**words["monitor"], **monitor, "drift": {"min_rows": 100, **drift}}
        words["deploy"] = {**words["deploy"], **(deploy or {})}
        return World(home, monkeypatch, words)

    return make


def test_without_a_season_training_decides(make: Make) -> None:
    world = make({})
    world.at(T0, HIGH)
    word = world.word()
    assert word.status == "violated" and "season" not in word.evidence


def test_what_is_as_a_week_ago_did_not_move(make: Make) -> None:
    world = make({"season": {"period": "7d", "count": 2}})
    world.at(T0, HIGH)
    first = world.word()
    assert first.status == "violated" and "held against training alone" in first.reason, "there is no earlier week"
    world.at(T0 + 7 * DAY, HIGH)
    then = world.word(8)
    assert then.status == "healthy"
    assert then.evidence["season"] == {
        "spans": 1,
        "rows": 1000,
        "as_ever": ["x", "y.prediction"],
        "used": True,
    }
    world.at(T0 + 8 * DAY, HIGH)
    assert world.word(9).status == "violated", "but not at that weekday"


def test_what_another_version_answered_a_week_ago_says_how_its_rows_were_and_not_its_scores(make: Make) -> None:
    world = make({"season": {"period": "7d", "count": 1}})
    world.register("2")
    world.at(T0, HIGH, version="2")
    world.at(T0 + 7 * DAY, HIGH)
    word = world.word(8)
    assert word.evidence["moved"] == [] and word.evidence["season"]["as_ever"] == ["x"]
    assert word.status == "violated" and word.evidence["prediction"]["moved"]


def test_a_segment_that_moved_warns_though_the_whole_did_not(make: Make) -> None:
    world = make({}, segments=["site", "elsewhere"])
    sites = ["north"] * 900 + ["south"] * 100
    world.at(T0, [*(i / 90 for i in range(900)), *HIGH[:100]], **{"x.site": sites})
    word = world.word()
    assert word.status == "warning" and "moved in a segment: site=south (x, y.prediction)" in word.reason
    assert word.evidence["segments"]["judged"] == 2
    assert "no segments by elsewhere, which the hold-out or the capture lacks" in word.reason


def test_segments_of_too_few_rows_are_not_judged(make: Make) -> None:
    world = make({}, segments=["site"])
    world.at(T0, [*(i / 90.5 for i in range(905)), *HIGH[:95]], **{"x.site": ["north"] * 905 + ["south"] * 95})
    word = world.word()
    assert word.evidence["segments"] == {"judged": 1, "moved": [], "moved_count": 0}


def test_a_column_that_the_capture_does_not_keep_is_left_out_and_named(make: Make) -> None:
    world = make({}, {"capture": {"redact": [{"column": "x", "how": "drop"}]}})
    world.at(T0, USUAL)
    word = world.word()
    assert word.evidence["redacted"] == ["x"] and "since the capture does not keep it: x" in word.reason and word.status == "healthy"


def test_a_column_that_the_version_does_not_know_yet_is_left_out_and_named(make: Make) -> None:
    """A config with a new feature is in force before the version that learned from it."""
    world = make({"columns": ["x", "new"], "overrides": {"new": {"measure": "ks"}}})
    world.at(T0, HIGH)
    word = world.word()
    assert word.status == "violated" and word.evidence["moved"] == ["x"]
    assert word.reason.endswith("; not judged, since version 1 has no such feature: new")


@pytest.mark.parametrize("gone", ["baseline", "version"])
def test_a_version_that_has_nothing_to_be_held_against_is_unknown_and_says_so(
    make: Make, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    world = make({})
    world.at(T0, USUAL, version="1" if gone == "baseline" else "7")
    path = world.shop.bundle(world.shop.version("demo", "1")) / "baseline.json"
    if gone == "baseline":
        monkeypatch.setattr(bundle, "open", lambda digest, home: SimpleNamespace(path=path.parent, signature=SIGNATURE))
        path.unlink()
    word = world.word()
    said = {"baseline": "version 1 was registered without a baseline", "version": "version 7 of `demo` answered, and is not registered"}
    assert (word.status, word.reason) == ("unknown", f"drift: {said[gone]}")


def test_the_columns_that_no_longer_go_together_are_named() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(3000)
    columns = {"f.a": x, "f.b": x + 0.2 * rng.standard_normal(3000), "f.c": rng.standard_normal(3000), "f.d": rng.standard_normal(3000)}
    rows = pl.DataFrame({**columns, "y.prediction": rng.standard_normal(3000)})
    signature = Signature("regression", tuple(Column(name, "float") for name in "abcd"), target_col="y")
    usual, torn = profile.baseline(rows, signature), rows.with_columns(rows["f.b"].shuffle(seed=1))
    config = Config.model_validate(settings())
    facts = {"config": config, "signature": signature, "rows": torn, "baseline": usual, "profile": profile.profile(torn, usual)}
    word = drift.judge(cast(Window, SimpleNamespace(**facts, segments={}, left_out={"site": 1200})))
    assert word.status == "warning" and set(word.evidence["joint"]["columns"][:2]) == {"a", "b"} and ", most of it " in word.reason
    assert word.reason.endswith("; not looked at by themselves: 1,200 rarer values of site")
    for columns, lost in (([], "a, b, c and 1 more"), (["a"], "b, c, d"), (["a", "b", "c"], "d"), (["a", "b", "c", "d"], "")):
        watch = {**settings()["monitor"], "drift": {"columns": columns}}
        some = Config.model_validate(settings(monitor=watch))
        word = drift.judge(cast(Window, SimpleNamespace(**{**facts, "config": some}, segments={}, left_out={})))
        assert word.reason.endswith(f"; the columns together are not judged without {lost}") == bool(lost), word.reason
        assert ("joint" in word.evidence) == (not lost)


def test_a_measure_that_does_not_fit_keeps_no_column_from_being_judged(make: Make) -> None:
    """A build refuses such a config; one in force may be newer than the version that answers."""
    odd = {"overrides": {"x": {"measure": "cramers_v", "threshold": 0.9}}, "prediction": {"measure": "l_infinity", "threshold": 0.05}}
    world = make(odd)
    world.at(T0, HIGH)
    word = world.word()
    assert word.status == "violated" and word.evidence["columns"][0]["measure"] == "psi"
    assert word.evidence["columns"][0]["threshold"] == 0.2 and word.evidence["prediction"]["threshold"] == 0.05
    assert word.reason.endswith("; by the usual measure, since 'cramers_v' does not measure numbers: x")


def test_a_score_that_its_measure_does_not_fit_is_judged(make: Make) -> None:
    world = make({"prediction": {"measure": "cramers_v"}})
    world.at(T0, USUAL)
    word = world.word()
    assert word.status == "healthy" and word.evidence["prediction"]["measure"] == "psi"
    assert word.reason.endswith("; by the usual measure, since 'cramers_v' does not measure numbers: the score")
