"""Labels as they are taken in, and the rows that a retraining learns from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.config.spec import Config
from modelyard.data.parts import of
from modelyard.errors import BadInput
from modelyard.flows import history
from modelyard.flows.holdout import SMOKE
from modelyard.monitor import labels

from .watched import DAY, T0, Watched, settings


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(home, monkeypatch)


def test_it_says_how_many_ids_are_those_of_a_prediction(world: Watched) -> None:
    world.capture(["a", "b", "smoke-test-0"], T0)
    took = {"new": 3, "corrected": 0, "repeated": 0, "blank": 1, "matched": 1, "waiting": 2}
    assert world.label({"a": 1.0, "smoke-test-0": 1.0, "later": 2.0, "b": None}) == took
    world.capture(["later"], T0 + DAY)
    known = history.predictions(world.shop, "demo")
    assert dict(known.select("inference_id", "label").iter_rows()) == {"a": 1.0, "b": None, "later": 2.0}, "a label may come first"


def test_our_own_requests_are_no_traffic_and_a_callers_are_whatever_their_ids(world: Watched) -> None:
    theirs = ["smoke-test-20", "smoke-tests", "smoke-test-", "smoke-test/7"]
    world.capture([SMOKE, f"{SMOKE}-0", f"{SMOKE}-123", "smoke-test", "smoke-test-0", "smoke-test-19", *theirs], T0)
    assert history.answers(world.shop, "demo")["inference_id"].to_list() == theirs
    assert world.label(dict.fromkeys([*theirs, f"{SMOKE}-0"], 1.0))["matched"] == len(theirs)


def test_a_label_that_is_no_answer_is_refused_and_none_is_taken(world: Watched) -> None:
    with pytest.raises(BadInput, match=r"label 'cat' of prediction 'b' is not a number, as the model's answers are \(and 1 more\)"):
        world.label({"a": "1.5", "b": "cat", "c": "dog"})
    with pytest.raises(BadInput, match="label inf of prediction 'a'"):
        world.label({"a": float("inf")})
    assert labels.latest(world.home.labels("demo")).is_empty()
    assert world.label({"a": "1.5", "b": None})["new"] == 1


def test_the_newest_rows_are_those_that_came_last(world: Watched) -> None:
    world.capture(["a", "b", "c"], T0)
    world.capture(["d", "smoke-test-1"], T0 + DAY, version="2")
    found = history.newest(world.shop, "demo", 3)
    assert found["inference_id"].to_list() == ["b", "c", "d"], "oldest first; what is no traffic takes nobody's place"
    assert history.newest(world.shop, "demo", 2, version="1")["inference_id"].to_list() == ["b", "c"]
    assert history.newest(world.shop, "demo", 9, since=T0 + DAY)["inference_id"].to_list() == ["d"]
    nothing = history.newest(world.shop, "demo", 9, since=T0 + 2 * DAY)
    assert nothing.is_empty() and "inference_id" in nothing.columns


def captured_world(world: Watched, ids: list[str]) -> None:
    world.capture(ids, T0)
    world.label(dict.fromkeys(ids, 3.0))


def taught(world: Watched, source: pl.DataFrame, **data: Any) -> tuple[pl.DataFrame, int, list[str]]:
    words = settings()
    words["data"] = {**words["data"], **data}
    table, added, left_out = history.extend(world.shop, Config.model_validate(words), of(source), None, T0 + DAY, world.home.path / "spool")
    return table.frame(), added, left_out


def test_a_row_with_a_foreign_id_is_left_out_and_told_of(world: Watched) -> None:
    captured_world(world, ["7", "8", "web-1", "web-2"])
    table, added, left_out = taught(world, pl.DataFrame({"id": [1, 7], "x": [0.5, 0.5], "y": [1.0, 1.0]}), id_col="id")
    assert added == 2 and sorted(table["id"]) == [1, 7, 8]
    assert table.schema == {"id": pl.Int64, "x": pl.Float64, "y": pl.Float64}
    assert left_out == ["2 captured rows left out: `id` is no Int64 there, such as 'web-1'"]


def test_a_feature_of_another_type_is_left_out_and_told_of(world: Watched) -> None:
    captured_world(world, ["7"])
    source = pl.DataFrame({"id": ["1"], "x": [5], "y": [1.0]}, schema_overrides={"x": pl.Int8})
    world.capture(["9"], T0, [1000.0])
    world.label({"9": 1.0})
    table, added, left_out = taught(world, source, id_col="id")
    assert added == 1 and sorted(table["id"]) == ["1", "7"]
    assert left_out == ["1 captured row left out: `x` is no Int8 there, such as 1000.0"]


def test_what_is_text_may_be_a_truth(world: Watched) -> None:
    cast = pl.DataFrame({"b": ["true", "0", "maybe"]}).select(history._cast("b", pl.String(), pl.Boolean()))
    assert cast["b"].to_list() == [True, False, None]


def test_what_is_left_out_is_in_the_steps_summary(world: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dataclasses import asdict

    from modelyard.flows import steps
    from modelyard.flows.site import Order, Site

    captured_world(world, ["7", "web-1"])
    (tmp_path / "data.csv").write_text("id,x,y\n1,0.5,1.0\n2,0.75,2.5\n")
    words = settings()
    words["data"] = {**words["data"], "id_col": "id"}
    words = Config.model_validate(words).model_dump(mode="json", by_alias=True)
    order = Order({"production": words}, "d", str(tmp_path), "ada", [], learn_until=datetime(2026, 3, 2, tzinfo=UTC).isoformat())
    done = steps.data(Site(world.shop, world.run("retrain", asdict(order)), order, order.config))
    assert "1 captured row left out: `id`" in done.summary and "1 of them captured" in done.summary
    assert done.value["rows"] == 3 and json.dumps(done.value["dropped"]).count("left out") == 1
