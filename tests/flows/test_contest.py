"""A/B tests by late labels: what both versions answered in the test, as far as the truth of it is known."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.config.spec import Config
from modelyard.deploy.rollout import Contest, Rollout
from modelyard.errors import GateRefused
from modelyard.events import Promoted
from modelyard.flows import contest
from modelyard.flows.moves import Move
from modelyard.quality.paired import Trial

from .releases import config
from .watched import T0, Watched, settings

STATE = Rollout("2", "1", (50,), "ab", metric="mae")


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    strategy = {"type": "ab", "bake": "1s", "metric": "mae"}
    words = settings(deploy={**config()["deploy"], "strategy": strategy})
    words["monitor"] = {**words["monitor"], "performance": {"min_labels": 30}}
    world = Watched(home, monkeypatch, words)
    world.register("2")
    return world


def answered(world: Watched, version: str, error: float, rows: int = 60, known: int = 60, at: Any = T0) -> None:
    """Rows that a version answered (2 x each), and how far the truth was away."""
    ids = [f"{version}-{at:%H}-{i}" for i in range(rows)]
    world.capture(ids, at, [float(i % 7) for i in range(rows)], version)
    world.label({id: 2.0 * (i % 7) + error * (1 + i % 3) for i, id in enumerate(ids[:known])})


def judged(world: Watched, since: Any = T0) -> Contest | None:
    run = world.run("deploy", {})
    move = Move(world.shop, run, "2", "production", "1", Config.model_validate(world.settings["production"]))
    return contest.judge(move, STATE, since)


def test_the_better_one_wins(world: Watched) -> None:
    answered(world, "1", 1.0)
    answered(world, "2", 0.2)
    found = judged(world)
    assert found is not None and found.won
    said = "mae 0.4 against the champion's 2 on 60 and 60 labelled rows, better beyond chance (better in 100% of 1,000 resamples)"
    assert found.sentence == said


@pytest.mark.parametrize("error", [1.0, 1.01, 5.0])
def test_alike_or_worse_does_not_win(world: Watched, error: float) -> None:
    answered(world, "1", 1.0)
    answered(world, "2", error)
    found = judged(world)
    assert found is not None and not found.won and "not better beyond chance" in found.sentence


def test_a_little_better_by_chance_does_not_win(world: Watched) -> None:
    answered(world, "1", 1.0)
    answered(world, "2", 0.98)
    found = judged(world)
    assert found is not None and not found.won


def test_it_waits_until_both_have_labels_enough(world: Watched) -> None:
    answered(world, "1", 1.0)
    answered(world, "2", 0.2, known=29)
    assert judged(world) is None
    world.label({"2-00-29": 2.0})
    assert judged(world) is not None


def test_what_was_answered_before_the_test_does_not_count(world: Watched) -> None:
    answered(world, "1", 1.0)
    answered(world, "2", 0.2)
    assert judged(world, T0 + timedelta(hours=1)) is None
    answered(world, "1", 1.0, at=T0 + timedelta(hours=2))
    answered(world, "2", 9.0, at=T0 + timedelta(hours=2))
    found = judged(world, T0 + timedelta(hours=1))
    assert found is not None and not found.won


@pytest.mark.parametrize(
    ("old", "new", "differences", "greater", "won"),
    [
        (0.8, 0.9, [0.1] * 19 + [-0.1], True, True),
        (0.8, 0.9, [0.1] * 18 + [-0.1] * 2, True, False),
        (0.8, 0.9, [-0.1] * 20, False, False),
        (0.9, 0.8, [-0.1] * 20, False, True),
        (0.8, math.nan, [0.1] * 20, True, False),
        (0.8, 0.9, [math.nan] * 20, True, False),
    ],
)
def test_verdicts(old: float, new: float, differences: list[float], greater: bool, won: bool) -> None:
    trial = Trial("roc_auc", 20, {"roc_auc": old}, {"roc_auc": new}, tuple(differences))
    assert contest.verdict(trial, greater, (20, 20)).won is won


def test_a_whole_ab_test_ends_by_its_labels(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    real = contest.judge

    def judge(move: Move, state: Rollout, since: Any) -> Contest | None:
        return real(move, state, T0)  # the captured rows of this test carry its own clock

    monkeypatch.setattr(contest, "judge", judge)
    answered(world, "1", 1.0)
    answered(world, "2", 0.2)
    world.release("2", ("production",))
    assert world.applied()[-2:] == [{"2": 50, "1": 50}, {"2": 100}]
    assert [s.sticky for s in world.target.applied if s.stage == "production"][-2:] == [True, False]
    assert world.events(Promoted)[-1].reason.startswith("mae 0.4 against the champion's 2")

    world.register("3")
    answered(world, "3", 5.0)
    with pytest.raises(GateRefused, match="demo:3 was rolled back: mae"):
        world.release("3", ("production",))
    assert world.serves() == ({"2": 100}, "2")
