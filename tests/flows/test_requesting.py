from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.flows import history, labelling, requesting
from modelyard.serve import captured
from tests.flows.releases import World
from tests.flows.watched import DAY, T0, Watched, settings

IDS = [f"r{i:03}" for i in range(100)]


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    found = Watched(home, monkeypatch)
    found.capture(IDS, T0, [i / 10 for i in range(99)] + [50.0])
    found.time.advance_to(T0 + DAY)
    yield found
    found.shop.close()


def ids(file: Path) -> list[str]:
    return [task["data"]["inference_id"] for task in json.loads(file.read_text())]


def test_tasks_for_label_studio_and_its_interface(world: Watched, tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    answer = requesting.request(world.shop, "demo", file, count=10)
    assert (answer["asked"], answer["unlabelled"], answer["asked_before"]) == (10, 100, 0)
    assert answer["chosen"] == {"wanted": 9, "by chance": 1} and answer["interface"] == str(tmp_path / "tasks.xml")
    assert "<Number" in (tmp_path / "tasks.xml").read_text() and len(ids(file)) == 10
    assert ids(file)[0] == "r099" and [row["inference_id"] for row in answer["first"]] == ids(file)[:5]  # unlike all that training saw


def test_the_same_is_not_asked_twice(world: Watched, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{i}.json" for i in range(3))
    requesting.request(world.shop, "demo", first, count=60)
    answer = requesting.request(world.shop, "demo", second, count=60)
    assert (answer["asked"], answer["asked_before"]) == (40, 60) and sorted(ids(first) + ids(second)) == IDS
    with pytest.raises(NotFound, match="all 100 unlabelled predictions were asked about"):
        requesting.request(world.shop, "demo", third)
    assert requesting.request(world.shop, "demo", third, again=True, count=60)["asked_before"] == 0
    world.open()  # after a restart, too
    assert requesting.asked(world.shop, "demo") == set(IDS)


def test_what_has_a_label_is_not_asked_about(world: Watched, tmp_path: Path) -> None:
    world.label(dict.fromkeys(IDS[:90], 1.0))
    requesting.request(world.shop, "demo", tmp_path / "t.json")
    assert sorted(ids(tmp_path / "t.json")) == IDS[90:]
    world.label(dict.fromkeys(IDS, 1.0))
    with pytest.raises(NotFound, match="no prediction lacks a label"):
        requesting.request(world.shop, "demo", tmp_path / "u.json", again=True)


def test_only_since_a_time_or_about_a_window(world: Watched, tmp_path: Path) -> None:
    world.capture(["late"], T0 + DAY)
    world.time.advance_to(T0 + DAY + timedelta(hours=1))
    for words in ({"since": "2h"}, {"since": "2026-03-02"}, {"window": "2026-03-02T12:00"}):
        requesting.request(world.shop, "demo", tmp_path / "t.json", again=True, **words)  # type: ignore[arg-type]
        assert ids(tmp_path / "t.json") == ["late"]
    for bad in ({"since": "soon"}, {"window": "then"}, {"since": "1d", "window": "2026-03-02"}):
        with pytest.raises(BadInput):
            requesting.request(world.shop, "demo", tmp_path / "t.json", **bad)  # type: ignore[arg-type]


def test_a_csv_that_comes_back_as_labels(world: Watched, tmp_path: Path) -> None:
    file = tmp_path / "ask.csv"
    answer = requesting.request(world.shop, "demo", file, count=10, format="csv")
    asked = pl.read_csv(file)
    assert asked.columns == ["inference_id", "x", "y.prediction", "asked_because", "y"] and answer["interface"] is None
    assert asked["y"].null_count() == 10
    asked.with_columns(pl.when(pl.int_range(pl.len()) < 7).then(pl.lit(3.5)).alias("y")).write_csv(file)
    said = labelling.of_file(world.shop, "demo", file)
    assert (said["new"], said["blank"], said["matched"]) == (7, 3, 7)
    requesting.request(world.shop, "demo", file, count=10, format="csv", blind=True)
    assert pl.read_csv(file).columns == ["inference_id", "x", "y"], "why a row was chosen tells the answer"


def test_an_export_comes_back_as_labels(world: Watched, tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    requesting.request(world.shop, "demo", file, count=10)
    tasks = json.loads(file.read_text())
    for task in tasks[:8]:
        result = [{"from_name": "label", "to_name": "inference_id", "type": "number", "value": {"number": 4}}]
        task["annotations"] = [{"result": result, "was_cancelled": False, "created_at": "2026-03-02T10:00:00Z"}]
    for task in tasks[8:]:
        task["annotations"] = []
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    said = labelling.of_file(world.shop, "demo", tmp_path / "export.json")
    assert (said["new"], said["blank"], said["matched"]) == (8, 2, 8)
    known = history.predictions(world.shop, "demo").drop_nulls("label")
    assert sorted(known["inference_id"]) == sorted(ids(file)[:8]) and set(known["label"]) == {4.0}


def test_redacted_columns_are_not_shown(world: Watched, tmp_path: Path) -> None:
    words = settings()
    words["deploy"]["capture"] = {"redact": [{"column": "x", "how": "hash"}]}
    world.enforce(words, "config-2")
    requesting.request(world.shop, "demo", tmp_path / "t.json", count=3)
    assert all(task["data"]["row"] == {} for task in json.loads((tmp_path / "t.json").read_text()))


def test_sensitive_columns_are_not_shown(world: Watched, tmp_path: Path) -> None:
    words = settings()
    words["data"]["schema"] = {"sensitive_not_served": ["age"]}
    world.enforce(words, "config-2")
    at = pl.Series([T0], dtype=pl.Datetime("us", "UTC"))
    row = {
        "inference_id": ["s"],
        "event_time": at,
        "received_at": at,
        "version": "1",
        "latency_ms": 1.0,
        "f.x": 1.0,
        "x.age": 40,
        "x.shop": "a",
    }
    captured.add(history.folder(world.shop, "demo"), pl.DataFrame(row).with_columns(pl.lit(2.0).alias("y.prediction")))
    requesting.request(world.shop, "demo", tmp_path / "t.json")
    assert {key for task in json.loads((tmp_path / "t.json").read_text()) for key in task["data"]["row"]} == {"x", "shop"}
    requesting.request(world.shop, "demo", tmp_path / "t.csv", format="csv", again=True)
    assert "age" not in (tmp_path / "t.csv").read_text().splitlines()[0]


def test_without_a_baseline_it_says_what_to_do(world: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "_staging", World._staging)  # as a version is registered that nothing was profiled of
    world.register("2")
    world.release("2", ("production",))
    with pytest.raises(NotFound, match="registered without a baseline") as caught:
        requesting.request(world.shop, "demo", tmp_path / "t.json")
    assert caught.value.where == "demo:2" and "build it again" in caught.value.next and not (tmp_path / "t.json").exists()


def test_nothing_is_remembered_where_nothing_was_written(world: Watched, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        requesting.request(world.shop, "demo", tmp_path / "none" / "t.json")
    assert requesting.asked(world.shop, "demo") == set()


def test_what_was_asked_is_forgotten_with_its_rows(world: Watched, tmp_path: Path) -> None:
    words = settings()
    words["deploy"]["capture"] = {"retain": "30d"}
    world.enforce(words, "config-2")
    requesting.request(world.shop, "demo", tmp_path / "t.json", count=3)
    world.time.advance_to(T0 + 60 * DAY)
    world.capture(["new"], T0 + 60 * DAY)
    requesting.request(world.shop, "demo", tmp_path / "t.json", since="1d")
    assert requesting.asked(world.shop, "demo") == {"new"}
