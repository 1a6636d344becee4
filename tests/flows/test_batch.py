"""Files of rows through a version, on a person's word and on a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.clock import ReplayClock
from modelyard.config.spec import Config
from modelyard.errors import BadInput, NotFound
from modelyard.flows import batch
from modelyard.serve.batch.order import Shape
from modelyard.yard import Yard

from .live import GOOD, Live, words
from .watched import DAY, T0, Watched, settings


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    made = Live(home, monkeypatch, {"1": GOOD}, {"2": 3.0})
    made.accept(words())
    made.register("1", "2")
    yield made
    made.close()


def test_runners_and_row_plans_answer_files(world: Live, tmp_path: Path) -> None:
    pl.DataFrame({"x": [1.0, 2.5], "note": ["a", "b"]}).write_csv(tmp_path / "in.csv")
    for version, slope in (("1", 2), ("2", 3)):
        done = batch.batch(world.shop, "demo", version, tmp_path / "in.csv", tmp_path / "out.csv", workers=2)
        assert (done["version"], done["rows"], done["refused"]) == (version, 2, 0)
        found = pl.read_csv(tmp_path / "out.csv")
        assert found["prediction"].to_list() == [slope, 2.5 * slope] and found["row"].to_list() == [0, 1]
    shape = Shape(join=True, output_filter="$['note', 'prediction']")
    assert batch.batch(world.shop, "demo", None, tmp_path / "in.csv", tmp_path / "out.jsonl", shape=shape)["version"] == "2"
    assert pl.read_ndjson(tmp_path / "out.jsonl").rows() == [("a", 3.0), ("b", 7.5)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"workers": 65}, "1 to 64 workers"),
        ({"shape": Shape(input_filter="x")}, r"does not begin with \$"),
        ({"shape": Shape(output_filter="$..x")}, "does not hold from"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_starts(world: Live, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        batch.batch(world.shop, "demo", "1", tmp_path / "none.csv", tmp_path / "out.csv", **more)
    with pytest.raises(NotFound):
        batch.batch(world.shop, "demo", "2", tmp_path / "none.csv", tmp_path / "out.csv")


def scheduled(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    asked = {"schedule_expression": "0 6 * * *", "input": "in", "output": "out"}
    return Watched(home, monkeypatch, settings(deploy={"batch": asked}))


def due(world: Watched, now: datetime) -> datetime | None:
    return batch.due(world.shop.config("demo"), world.shop.model("demo"), now)


def test_a_missed_instant_is_made_up_for_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = scheduled(home, monkeypatch)
    assert due(world, T0 + timedelta(hours=5)) is None
    six = T0 + timedelta(hours=6)
    assert due(world, six) == six
    assert due(world, six + 9 * DAY + timedelta(hours=3)) == six + 9 * DAY, "of ten missed ones, one"
    record = world.shop.runs.start("demo", "batch", {}, by="the schedule", id=batch.run_id("demo", six + 9 * DAY))
    world.shop.runs.end(record, "done")
    assert due(world, six + 9 * DAY + timedelta(hours=3)) is None
    assert due(world, six + 10 * DAY) == six + 10 * DAY


def test_nothing_is_due_without_a_version_or_a_schedule(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = scheduled(home, monkeypatch)
    state = world.shop.model("demo")
    assert batch.due(Config.model_validate(settings()), state, T0 + DAY) is None
    assert batch.due(world.shop.config("demo"), type(state)("demo"), T0 + DAY) is None


def test_the_schedule_starts_a_run_that_predicts_what_is_new(world: Live, tmp_path: Path) -> None:
    asked = {"schedule_expression": "* * * * *", "input": "in", "output": "out/predictions"}
    world.release("1", ("production",))
    world.shop.record([_in_force(words(batch=asked), tmp_path)])
    (tmp_path / "in").mkdir()
    said = []
    for number, name in enumerate(("monday", "tuesday", "wednesday")):
        record = world.shop.runs.start("demo", "batch", {}, by="the schedule", id=batch.run_id("demo", T0 + number * DAY))
        said.append(world.shop.runs.execute(record, lambda run: batch.scheduled(world.shop, run)))
        world.shop.runs.end(record, "done", said[-1])
        pl.DataFrame({"x": [1.0, 2.0]}).write_parquet(tmp_path / "in" / f"{name}.parquet")
    nothing = "0 rows in 0 files by demo:1, 0 of them new"  # as on a day on which nothing came
    assert said == [nothing, "2 rows in 1 files by demo:1, 1 of them new", "4 rows in 2 files by demo:1, 1 of them new"]
    assert pl.read_parquet(tmp_path / "out" / "predictions" / "tuesday.parquet")["prediction"].to_list() == [2.0, 4.0]


def _in_force(config: dict[str, Any], folder: Path) -> Any:
    from modelyard.config.spec import STAGES
    from modelyard.events import ConfigInForce

    return ConfigInForce("demo", "up-0", "config-2", {str(stage): config for stage in STAGES}, str(folder))


def test_a_yard_starts_it_at_its_instant_and_not_twice(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = scheduled(home, monkeypatch)
    world.shop.close()
    asked: list[str] = []
    monkeypatch.setattr(batch, "scheduled", lambda shop, run: asked.append(run.id) or "done")
    clock = ReplayClock(T0 + timedelta(hours=5))
    yard = Yard(home, clock)
    try:
        for hours in (5, 6, 7, 8, 30):
            clock.advance_to(T0 + timedelta(hours=hours))
            yard.tick("demo")
            for run in list(yard._going._futures):
                yard.wait(run, 20)
    finally:
        yard.close()
    assert asked == [batch.run_id("demo", T0 + timedelta(hours=6)), batch.run_id("demo", T0 + timedelta(hours=30))]
