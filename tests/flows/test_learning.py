"""What a retraining learns from, where nothing was taught since the last one: the same rows, which are not put together again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.config.spec import STAGES
from modelyard.data import snapshots
from modelyard.durable import Run
from modelyard.events import VersionRegistered
from modelyard.flows import build, history, sourcing, steps
from modelyard.flows.site import Order, Site

from .watched import DAY, T0, Watched, settings


class Learner:
    """A model whose version 2 was retrained a day after T0, on a file of ten rows and three captured ones with labels."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, **window: Any) -> None:
        self.repository = home / "repository"
        self.repository.mkdir(parents=True)
        pl.DataFrame({"id": [f"s{i}" for i in range(10)], "x": [float(i) for i in range(10)], "y": [2.0 * i for i in range(10)]}).write_csv(
            self.repository / "data.csv"
        )
        words = settings(**({"retrain": {"window": window}} if window else {}))
        words["data"] = {**words["data"], "id_col": "id"}
        self.world = Watched(home, monkeypatch, words)
        self.words, self.extended = words, list[str]()
        self.world.capture(["a", "b", "c", "d"], T0 + timedelta(hours=1))
        self.world.time.advance_to(T0 + DAY)
        self.world.label({"a": 2.0, "b": 2.0, "c": 2.0, "early": 5.0})
        self.first = self.retrained()
        facts = dict.fromkeys(("code_digest", "lock_digest", "config_digest"), "0")
        told = VersionRegistered(
            "demo",
            self.first[0].run.id,
            "2",
            self.world.shop.version("demo").digest,
            data_digest=self.first[1]["digest"],
            source_digest=self.first[1]["source"],
            recipe_digest=self.first[0].order.recipe,
            commit=None,
            dirty=False,
            metrics={},
            gates=[],
            **facts,
        )
        self.world.shop.record([told])
        extend = history.extend
        monkeypatch.setattr(history, "extend", lambda *args: self.extended.append("again") or extend(*args))  # type: ignore[func-returns-value]

    def retrained(self, **how: Any) -> tuple[Site, dict[str, Any]]:
        """The data of a retraining now."""
        until = self.world.time.now().isoformat()
        order = Order(dict.fromkeys(map(str, STAGES), self.words), "d", str(self.repository), "ada", [], learn_until=until, **how)
        order = replace(order, configs={stage: order.config.model_dump(mode="json", by_alias=True) for stage in map(str, STAGES)})
        run: Run = self.world.run("retrain", asdict(order))
        site = Site(self.world.shop, run, order, order.config)
        return site, run.step("data", steps.data, site)


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Learner]:
    return lambda **window: Learner(home, monkeypatch, **window)


def test_without_a_new_label_the_rows_are_taken_as_they_were(make: Callable[..., Learner]) -> None:
    learner = make()
    assert learner.first[1]["captured"] == 3 and learner.first[1]["rows"] == 13
    learner.world.capture(["unlabelled"], T0 + DAY)
    learner.world.time.advance_to(T0 + 3 * DAY)
    site, data = learner.retrained()
    assert learner.extended == [] and {**data} == {**learner.first[1]}
    same = build._unchanged(site, {"digest": "0"}, data, {"digest": "0"})
    assert same.value == "2", "so that no version is made of them"


@pytest.mark.parametrize("what", ["a label", "a correction", "a prediction that its label had waited for"])
def test_whatever_teaches_something_new_is_learned(make: Callable[..., Learner], what: str) -> None:
    learner = make()
    learner.world.time.advance_to(T0 + 2 * DAY)
    if what == "a label":
        learner.world.label({"d": 9.0})
    elif what == "a correction":
        learner.world.label({"a": 7.0})
    else:
        learner.world.capture(["early"], T0 + DAY + timedelta(hours=2))
    learner.world.time.advance_to(T0 + 3 * DAY)
    _, data = learner.retrained()
    assert learner.extended == ["again"] and data["digest"] != learner.first[1]["digest"]


def test_a_source_that_changed_is_learned_anew(make: Callable[..., Learner]) -> None:
    learner = make()
    with (learner.repository / "data.csv").open("a") as file:
        file.write("s10,10.0,20.0\n")
    _, data = learner.retrained()
    assert learner.extended == ["again"] and data["rows"] == 14


def test_a_person_may_have_everything_done_again(make: Callable[..., Learner]) -> None:
    learner = make()
    site, data = learner.retrained(cache=False)
    assert learner.extended == ["again"] and data["digest"] == learner.first[1]["digest"]
    assert build._unchanged(site, {"digest": "0"}, data, {"digest": "0"}).value is None


def test_the_snapshot_that_is_gone_is_made_again(make: Callable[..., Learner], monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make()
    found = snapshots.find
    gone = learner.first[1]["digest"]

    def find(digest: str, home: Path) -> snapshots.Snapshot:
        if digest == gone and not learner.extended:
            raise sourcing.NotFound("gone")
        return found(digest, home)

    monkeypatch.setattr(snapshots, "find", find)
    assert learner.retrained()[1]["digest"] == gone and learner.extended == ["again"]
