"""The drift alarm of a roll-out: each version's rows against its own baseline, and only what moved for the new one alone rings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.config.spec import Config, Drift, Rollback
from modelyard.flows import drifting
from modelyard.monitor import drift, profile
from modelyard.monitor.verdicts import Verdict

from .releases import SIGNATURE, config
from .watched import T0, Watched

USUAL = [i / 100 for i in range(1000)]
SHIFTED = [x + 9 for x in USUAL]
WATCHED, BOUNDS = Drift(min_rows=100), Rollback()
Make = Callable[[Sequence[float], Sequence[float]], Watched]


class World(Watched):
    """Version 2's baseline is of its own."""

    learned: Sequence[float] = USUAL

    def _staging(self, version: str) -> Path:
        folder = super()._staging(version)
        if version == "2":
            rows = pl.DataFrame({"f.x": list(self.learned), "y.prediction": [2 * x for x in self.learned]})
            (folder / "baseline.json").write_text(json.dumps(profile.baseline(rows, SIGNATURE)))
        return folder


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(learned: Sequence[float], asked: Sequence[float], champion: Sequence[float] | None = None) -> World:
        world = World(home, monkeypatch)
        world.learned = learned
        world.register("2")
        world.capture([f"n{i}" for i in range(len(asked))], T0, asked, "2")
        rows = asked if champion is None else champion
        world.capture([f"o{i}" for i in range(len(rows))], T0, rows, "1")
        return world

    return make


def rings(world: Watched, since: timedelta = timedelta(0), **capture: Any) -> str:
    settled = {**config(), "monitor": {"drift": {"min_rows": 100}}, "deploy": {"capture": capture}}
    return drifting.of_step(world.shop, "demo", "2", "1", T0 + since, Config.model_validate(settled))


def test_rows_like_those_it_was_built_on_ring_nothing(make: Make) -> None:
    assert rings(make(USUAL, USUAL)) == ""


def test_a_version_that_learned_from_other_rows_rings(make: Make) -> None:
    said = rings(make(SHIFTED, USUAL))
    assert said.startswith("the new version's rows are not what it was built on: its inputs x (PSI ")
    assert "and its score (PSI " in said and said.endswith("moved, and not so for the champion")


@pytest.mark.parametrize("how", ["drop", "hash"])
def test_what_the_capture_does_not_keep_as_it_came_is_not_judged(make: Make, how: str) -> None:
    """A feature that the champion does not know would ring for nothing but its being personal data."""
    said = rings(make(SHIFTED, USUAL), redact=[{"column": "x", "how": how}])
    assert said.startswith("the new version's rows are not what it was built on: its score (PSI ")


def test_a_shift_of_the_world_is_no_fault_of_the_new_version(make: Make) -> None:
    assert rings(make(USUAL, SHIFTED)) == ""


def test_too_few_rows_ring_nothing(make: Make) -> None:
    assert rings(make(SHIFTED, USUAL[:99])) == ""


def test_a_few_large_bodies_ring_nothing_however_many_rows_they_have(make: Make) -> None:
    """Each is of one hour, and goes to one version as a whole: by its rows the new version's hours are others than the champion's."""
    hours = sorted(USUAL)
    world = make(USUAL, [], USUAL)  # type: ignore[call-arg]
    assert rings(world) == ""
    for i in range(0, 1000, 100):
        body = hours[i : i + 100] if i < 400 else []
        world.capture([f"b{i + k}" for k in range(len(body))], T0 + timedelta(seconds=i), body, "2", together=True)
    assert rings(world) == "", "four requests"
    world.capture([f"s{i}" for i in range(400)], T0, hours[:400], "2")
    assert "its inputs x (PSI " in rings(world), "as many rows, each asked for by itself"


def test_rows_of_before_the_step_do_not_count(make: Make) -> None:
    assert rings(make(SHIFTED, USUAL), since=timedelta(seconds=950)) == ""


def test_at_the_last_step_nobody_answers_beside_it_and_nothing_rings(make: Make) -> None:
    """What moved against the rows of months may be the hour, which the champion's rows of another hour do not show."""
    world = make(SHIFTED, USUAL)
    later = T0 + timedelta(hours=2)
    world.capture([f"late{i}" for i in range(1000)], later, USUAL, "2")
    assert rings(world, timedelta(hours=2)) == ""


def test_without_a_yardstick_nothing_rings(make: Make) -> None:
    world = make(SHIFTED, USUAL, [])  # type: ignore[call-arg]
    assert rings(world) == ""


def test_a_score_that_moved_alone_rings() -> None:
    """Inputs as ever, and answers other than in its hold-out; the champion's are as they were."""
    rows = pl.DataFrame({"f.x": USUAL, "y.prediction": [2 * x for x in USUAL]})
    as_ever = profile.baseline(rows, SIGNATURE)
    turned = profile.baseline(rows.with_columns(-pl.col("y.prediction")), SIGNATURE)
    ours, theirs = (drift.judge(profile.profile(rows, base), base, WATCHED, SIGNATURE) for base in (turned, as_ever))
    said = drifting.alone(ours, theirs, WATCHED.share, BOUNDS)
    assert "its score (PSI " in said and "inputs" not in said
    assert drifting.alone(ours, ours, WATCHED.share, BOUNDS) == "", "both moved"


def test_a_strict_config_rings_for_any_feature() -> None:
    columns = [{"column": f"c{i}", "moved": i == 0, "measure": "psi", "value": 0.3, "threshold": 0.2} for i in range(10)]
    calm = {"column": "y.prediction", "moved": False, "measure": "psi", "value": 0.0, "threshold": 0.2}
    ours = drift.DriftResult(Verdict("drift", "warning", ""), columns, calm)
    theirs = replace(ours, columns=[{**c, "moved": False, "value": 0.05} for c in columns])
    assert drifting.alone(ours, theirs, 0.3, Rollback(drift="violated")) == ""
    assert "its inputs c0 (PSI 0.30) moved" in drifting.alone(ours, theirs, 0.3, Rollback(drift="warning"))
    assert drifting.alone(ours, ours, 0.3, Rollback(drift="warning")) == "", "the champion's moved too"


def test_what_the_champions_rows_nearly_show_too_is_the_worlds_and_rings_nothing() -> None:
    """Of the weekdays of a few days both are far from months; which of the two passes the threshold is chance."""
    weekday = {"column": "weekday", "moved": True, "measure": "psi", "value": 0.13, "threshold": 0.1}
    calm = {"column": "y.prediction", "moved": False, "measure": "psi", "value": 0.0, "threshold": 0.1}
    ours = drift.DriftResult(Verdict("drift", "violated", ""), [weekday], calm)
    theirs = replace(ours, columns=[{**weekday, "moved": False, "value": 0.09}])
    assert drifting.alone(ours, theirs, 0.1, Rollback()) == ""
    far = replace(ours, columns=[{**weekday, "value": 0.20}])
    assert "its inputs weekday (PSI 0.20) moved" in drifting.alone(far, theirs, 0.1, Rollback())
    stranger = replace(theirs, columns=[])
    assert drifting.alone(ours, stranger, 0.1, Rollback()), "the champion has no such column"
