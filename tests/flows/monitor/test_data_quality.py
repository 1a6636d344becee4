from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.flows import constraining, monitor
from modelyard.monitor import windows
from modelyard.monitor.book import Word
from tests.flows.watched import DAY, T0, Watched, settings

IDS = [f"r{i}" for i in range(100)]
GOOD = [i / 10 for i in range(100)]


def asked(**quality: Any) -> dict[str, Any]:
    words = settings()
    return {**words, "monitor": {**words["monitor"], "data_quality": quality}}


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    found = Watched(home, monkeypatch)
    yield found
    found.shop.close()


def word(world: Watched, day: int = 0) -> Word:
    span = windows.window_at("1d", "UTC", T0 + day * DAY)
    (said,) = monitor.judge(world.shop, "demo", span, ["data_quality"])
    return said


def test_a_window_is_held_against_what_training_suggests(world: Watched) -> None:
    world.capture(IDS, T0, GOOD)
    world.capture([f"b{i}" for i in range(100)], T0 + DAY, [x + 50 for x in GOOD])
    world.capture(IDS[:20], T0 + 2 * DAY, GOOD[:20])
    assert (word(world).status, word(world).reason) == ("healthy", "data_quality: 1 column as expected")
    bad = word(world, 1)
    assert bad.status == "violated" and "x: 100% of the values are outside of 0..9.99 (seen: 50 to 59.9)" in bad.reason
    assert bad.evidence["violations"][0]["constraint_check_type"] == "baseline_drift_check"
    assert word(world, 2).status == "unknown" and word(world, 3).status == "unknown"


def test_the_config_says_otherwise(world: Watched) -> None:
    world.capture(IDS, T0, [x + 50 for x in GOOD])
    world.enforce(asked(columns={"x": {"max": 100}}), "config-2")
    assert word(world).status == "healthy"
    world.enforce(asked(suggest=False), "config-3")
    assert (word(world).status, word(world).reason) == ("unknown", "data_quality: no constraint could be checked")
    world.enforce(asked(columns={"gate": {"completeness": 1.0}, "y": {"max": 0}}), "config-4")  # y is the target: no request has it
    assert [v["feature_name"] for v in word(world).evidence["violations"]] == ["x", "gate"]


def test_a_redacted_column_is_named_and_not_judged(world: Watched) -> None:
    world.capture(IDS, T0, [x + 50 for x in GOOD])
    words = asked(columns={"x": {"completeness": 1.0}, "gate": {"type": "any"}}, extra_columns="ignore")
    words["deploy"]["capture"] = {"redact": [{"column": "x", "how": "drop"}]}
    world.enforce(words, "config-2")
    said = word(world)
    assert "not judged, since the capture does not keep it: x" in said.reason and said.evidence["redacted"] == ["x"]


def test_what_holds_for_a_version(world: Watched) -> None:
    world.enforce(asked(columns={"x": {"max": 100}}), "config-2")
    answer = constraining.of_version(world.shop, "demo")
    (x,) = answer["columns"]
    assert (x["name"], x["type"], x["min"], x["max"], x["written"]) == ("x", "float", 0.0, 100.0, ["max"])
    assert answer["constraints"]["features"][0]["num_constraints"] == {"is_non_negative": True}
    assert answer["statistics"]["dataset"] == {"item_count": 1000} and json.dumps(answer, allow_nan=False)
    with pytest.raises(NotFound):
        constraining.of_version(world.shop, "demo", "7")


def test_what_a_window_breaks(world: Watched) -> None:
    world.capture(IDS, T0, [x + 50 for x in GOOD])
    answer = constraining.of_window(world.shop, "demo", "2026-03-01T12:00")
    assert answer["window"] == ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"] and answer["rows"] == 100
    assert answer["verdict"]["status"] == "violated" and answer["statistics"]["dataset"] == {"item_count": 100}
    (line,) = answer["constraint_violations"]["violations"]
    assert (line["feature_name"], line["constraint_check_type"]) == ("x", "baseline_drift_check")
    with pytest.raises(NotFound, match="nobody asked"):
        constraining.of_window(world.shop, "demo", "2025-03-01")
    with pytest.raises(BadInput, match="is no time"):
        constraining.of_window(world.shop, "demo", "yesterday")


def test_what_a_statistics_file_breaks(world: Watched, tmp_path: Path) -> None:
    world.capture(IDS, T0, [x + 50 for x in GOOD])
    file = tmp_path / "statistics.json"
    statistics = constraining.of_window(world.shop, "demo", "2026-03-01")["statistics"]
    statistics["features"].append({"name": "gate", "inferred_type": "String"})
    file.write_text(json.dumps(statistics))
    answer = constraining.of_statistics(world.shop, "demo", file)
    assert [(v["feature_name"], v["constraint_check_type"]) for v in answer["violations"]] == [
        ("x", "baseline_drift_check"),
        ("gate", "extra_column_check"),
    ]
    file.write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        constraining.of_statistics(world.shop, "demo", file)
    with pytest.raises(NotFound):
        constraining.of_statistics(world.shop, "demo", tmp_path / "none.json")
