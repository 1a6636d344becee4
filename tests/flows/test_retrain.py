"""Retraining: when there is nothing to learn, when two models cannot be compared, and what a fair comparison is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.build import bundle
from modelyard.durable import Run
from modelyard.errors import GateRefused
from modelyard.events import ApprovalRequested, ApprovalWaived, ChallengeJudged, ReplayJudged, StepDone, VersionRegistered
from modelyard.flows import release, retrain
from modelyard.flows.approval import decide
from modelyard.flows.site import Order
from modelyard.workshop import Workshop

from .releases import until
from .watched import DAY, T0, Watched, settings

UNSEEN = [f"c{i}" for i in range(260)]


class Trial:
    """A retraining whose build is a stand-in: version 2 is perfect and version 1 is not, on the hold-out's `ids`."""

    def __init__(self, world: Watched, monkeypatch: pytest.MonkeyPatch, **data: Any) -> None:
        self.world, self.promoted = world, list[str]()
        self.ids: list[str] = [f"s{i}" for i in range(100)]
        self.champion: dict[str, Any] | None = {"version": "1", "metrics": {}}
        words = settings()
        words["data"] = {**words["data"], "id_col": "id", **data}
        self.order = Order(dict.fromkeys(("staging", "production"), words), "d", "/", "ada", [], learn_until=(T0 + DAY).isoformat())
        learned = world.home.path / "learned.parquet"
        pl.DataFrame({"id": ["s1", "c0"]}).write_parquet(learned)
        monkeypatch.setattr(retrain.snapshots, "find", lambda digest, home: type("S", (), {"files": (learned,)}))
        monkeypatch.setattr(retrain, "build", self.build)
        monkeypatch.setattr(retrain, "release", lambda shop, run, version, **_: self.promoted.append(version))

    def build(self, shop: Workshop, run: Run) -> str:
        run.step("evaluate", lambda: {"champion": self.champion})
        folder = shop.home.runs / run.id
        folder.mkdir(parents=True, exist_ok=True)
        truth = pl.DataFrame({"inference_id": self.ids, "label": [float(i) for i in range(len(self.ids))]})
        truth.with_columns(pl.col("label").alias("y.prediction")).write_parquet(folder / "holdout.parquet")
        if self.champion and self.champion["metrics"] is not None:
            truth.with_columns((pl.col("label") + 1).alias("y.prediction")).write_parquet(folder / "champion.parquet")
        sealed = bundle.seal(self.world._staging("2"), {"entry_point": "serve.py", "framework": "sklearn"}, shop.home.path)
        facts = dict.fromkeys(("data_digest", "code_digest", "lock_digest", "config_digest"), "0")
        shop.record([VersionRegistered("demo", run.id, "2", sealed.digest, commit=None, dirty=False, metrics={}, gates=[], **facts)])
        return "2"

    def go(self) -> str:
        return retrain.retrain(self.world.shop, self.world.run("retrain", asdict(self.order)))


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trial]:
    return lambda **data: Trial(Watched(home, monkeypatch), monkeypatch, **data)


def test_nothing_new_is_a_sentence(make: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    """The version need not be the champion: a challenger that lost, or one that a build made, is of these rows too."""
    trial = make()
    trial.world.register("2")
    monkeypatch.setattr(retrain, "build", lambda shop, run: "2")
    assert trial.go() == "there is nothing new to learn from: demo:2 was made of these very rows"
    assert trial.world.events(ChallengeJudged) == [] and trial.promoted == []


def test_a_champion_that_could_not_answer_stays(make: Callable[..., Trial]) -> None:
    trial = make()
    trial.champion = {"version": "1", "metrics": None, "reason": "the new data lacks wind"}
    said = trial.go()
    assert said.startswith("demo:2 is kept as a challenger and not promoted.") and "the new data lacks wind" in said
    assert [c.promote for c in trial.world.events(ChallengeJudged)] == [False] and trial.promoted == []
    assert trial.world.shop.version("demo", "2").set_aside


def test_answers_of_another_champion_are_no_comparison(make: Callable[..., Trial]) -> None:
    trial = make(time_col="at", split={"by": "time"})
    trial.champion = {"version": "0", "metrics": {}}
    assert "version 1 became the champion while" in trial.go() and trial.promoted == []


def test_a_split_by_time_holds_the_newest_rows_back_by_itself(make: Callable[..., Trial]) -> None:
    trial = make(time_col="at", split={"by": "time"})
    said = trial.go()
    assert said.startswith("demo:2 is the champion now. The challenger is promoted: mae 0 against 1") and trial.promoted == ["2"]
    assert trial.world.events(ChallengeJudged)[0].evidence["rows"] == 100


def test_a_random_split_is_judged_on_rows_that_the_champion_cannot_have_seen(make: Callable[..., Trial]) -> None:
    trial = make(split={"by": "random"})
    trial.world.capture(UNSEEN, T0 + timedelta(hours=1))
    trial.ids += UNSEEN
    assert trial.go().startswith("demo:2 is the champion now")
    assert trial.world.events(ChallengeJudged)[0].evidence["rows"] == 259, "c0 was among the rows that it learned from"


@pytest.mark.parametrize(
    ("hours", "rows", "data"),
    [(1, 0, {"id_col": None}), (-1, 0, {}), (1, 199, {})],
    ids=["no ids", "captured before it was registered", "too few"],
)
def test_too_few_such_rows_promote_nothing(make: Callable[..., Trial], hours: int, rows: int, data: dict[str, Any]) -> None:
    trial = make(split={"by": "random"}, **data)
    trial.world.capture(UNSEEN, T0 + timedelta(hours=hours))
    trial.ids += UNSEEN[:200]
    said = trial.go()
    assert f"only {rows:,} rows of the hold-out are known to be newer than version 1" in said and trial.promoted == []
    assert not trial.world.events(ChallengeJudged)[0].promote


def test_a_challenger_that_a_gate_keeps_out_is_dropped_with_its_reason(make: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    trial = make(time_col="at", split={"by": "time"})

    def release(shop: Workshop, run: Run, version: str, **_: Any) -> None:
        told = ReplayJudged("demo", run.id, version, "1", False, "block", 0.4, "40.00% of the rows are answered otherwise")
        run.tell("production: replay", told)
        raise GateRefused(f"the replay of demo:2: {told.sentence}")

    monkeypatch.setattr(retrain, "release", release)
    with pytest.raises(GateRefused):
        trial.go()
    won, dropped = trial.world.events(ChallengeJudged)
    assert won.promote and not dropped.promote
    assert dropped.reason == "The champion stays: the replay of demo:2: 40.00% of the rows are answered otherwise."
    assert dropped.evidence == {"replay": "40.00% of the rows are answered otherwise"}
    assert trial.world.shop.version("demo", "2").set_aside, "it does not come up again by itself"


def test_what_the_replay_showed_is_part_of_how_a_retraining_ended(make: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    trial = make(time_col="at", split={"by": "time"})

    def release(shop: Workshop, run: Run, version: str, **_: Any) -> None:
        run.tell("production: replay", ReplayJudged("demo", run.id, version, "1", True, "block", 0.1, "900 captured requests"))

    monkeypatch.setattr(retrain, "release", release)
    assert trial.go().endswith(" The replay: 900 captured requests.")


def test_a_loser_counts_as_a_fruitless_retraining_and_a_winner_as_none(make: Callable[..., Trial]) -> None:
    trial = make()
    trial.champion = {"version": "1", "metrics": None, "reason": "the new data lacks wind"}
    trial.go()
    state = trial.world.shop.model("demo")
    assert state.fruitless == len(state.retrains) == 1
    trial.world.release("2", ("production",))
    assert trial.world.shop.model("demo").fruitless == 0


class Unreleased(Watched):
    """Version 1 was built and never deployed; who retrains is asked nothing."""

    def release(self, *args: Any, **kwargs: Any) -> None:
        pass


ASKING = {"environments": {"production": {"approval": {"required": True, "retrained": "not_required"}}}}


@pytest.mark.parametrize("by", ["ada", "the governor"])
def test_what_beat_nobody_is_asked_for_as_any_first_version(home: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """`approval.retrained: not_required` is for what won against the champion."""
    trial = Trial(Unreleased(home, monkeypatch), monkeypatch)
    configs = {stage: {**words, **ASKING} for stage, words in trial.order.configs.items()}
    trial.order, trial.champion = replace(trial.order, configs=configs, by=by), None
    monkeypatch.setattr(retrain, "release", release.release)
    shop = trial.world.shop
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(trial.go)
        until(lambda: bool(shop.model("demo").awaiting) or going.done())
        assert not going.done() and trial.world.applied() == [], "it waits"
        decide(shop, "demo", "2", approved=True, by="bob")
        assert going.result(10) == "demo:2 is the champion now"
    assert [a.asked_by for a in trial.world.events(ApprovalRequested)] == [by]
    assert trial.world.events(ApprovalWaived) == trial.world.events(ChallengeJudged) == []
    (why,) = [e.summary for e in trial.world.events(StepDone) if e.step == "champion"]
    assert why == "none in production to beat: it needs the approval that any first version does"


def test_what_beat_the_champion_enters_unasked_where_the_config_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(Watched(home, monkeypatch), monkeypatch, time_col="at", split={"by": "time"})
    configs = {stage: {**words, **ASKING} for stage, words in trial.order.configs.items()}
    trial.order = replace(trial.order, configs=configs)
    asked = list[bool]()
    monkeypatch.setattr(retrain, "release", lambda *_, retrained, **__: asked.append(retrained))
    assert trial.go().startswith("demo:2 is the champion now. The challenger is promoted") and asked == [True]
