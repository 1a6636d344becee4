from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.config import constraints
from modelyard.config.check import check
from modelyard.config.load import Loaded, loads
from modelyard.config.plan import plan_stages
from modelyard.config.spec import ColumnConstraint, Config
from modelyard.errors import BadInput

TEXT = """\
version: 1
model: {name: demo, problem_type: regression}
data:
  source: {using: csv, location: data.csv}
  target_col: y
train: {framework: sklearn, entry_point: train.py}
monitor:
  data_quality:
    constraints: quality/constraints.json
    columns:
      x: {max: 9}
"""
SAID: dict[str, Any] = {
    "version": 0.0,
    "features": [
        {"name": "x", "inferred_type": "Fractional", "completeness": 0.5, "modelyard": {"min": 0, "max": 5}},
        {"name": "z", "inferred_type": "String", "string_constraints": {"domains": ["a"]}},
    ],
}


def repository(folder: Path, said: Any = SAID) -> Loaded:
    (folder / "data.csv").write_text("x,z,y\n1,a,2\n")
    (folder / "train.py").write_text("")
    (folder / "quality").mkdir(exist_ok=True)
    if said is not None:
        (folder / "quality" / "constraints.json").write_text(said if isinstance(said, str) else json.dumps(said))
    return loads(TEXT, folder / "config.yaml")


def test_the_file_is_read_where_the_config_is_and_the_config_has_the_last_word(tmp_path: Path) -> None:
    loaded = repository(tmp_path)
    columns = loaded.config.monitor.data_quality.columns
    assert (columns["x"].type, columns["x"].completeness, columns["x"].min, columns["x"].max) == ("float", 0.5, 0, 9)
    assert columns["z"].categories == ("a",) and loaded.staging == loaded.config
    assert check(loaded) == []
    (tmp_path / "quality" / "constraints.json").unlink()  # what was accepted stays whole without it
    assert Config.model_validate(loaded.canonical()["production"]).monitor.data_quality.columns == columns


def test_a_changed_file_is_a_changed_config(tmp_path: Path) -> None:
    before = repository(tmp_path)
    after = repository(tmp_path, json.loads(json.dumps(SAID).replace("0.5", "0.4")))
    assert before.digest != after.digest
    (change, *more) = plan_stages(before.canonical(), after.canonical(), greater_is_better={})
    assert "monitor.data_quality.columns" in change.path and "completeness" in change.path and not more


def test_what_is_wrong_with_the_file_is_told_at_its_key(tmp_path: Path) -> None:
    for said, words in (("{", "line 1 is no JSON"), ("[]", "no list `features`"), (None, "there is no file")):
        if said is None:
            (tmp_path / "quality" / "constraints.json").unlink()
        (problem,) = check(repository(tmp_path, said))
        assert words in problem.message and (problem.line, problem.column) == (9, 18)


@pytest.mark.parametrize(
    "odd",
    [
        {"string_constraints": {"domains": "abc"}},
        {"string_constraints": {"domains": {"a": 1}}},
        {"string_constraints": {"domains": [None]}},
        {"string_constraints": ["a"]},
        {"completeness": 1.5},
        {"completeness": "most"},
        {"inferred_type": ["String"]},
        {"inferred_type": "Text"},
        {"num_constraints": "yes"},
        {"monitoringConfigOverrides": [1]},
        {"monitoringConfigOverrides": {"datatype_check_threshold": -1}},
        {"modelyard": {"colour": "red"}},
    ],
    ids=str,
)
def test_an_odd_entry_is_told_of_with_its_feature(odd: dict[str, Any]) -> None:
    feature = {"name": "zip", "inferred_type": "String", **odd}
    with pytest.raises(BadInput, match="feature `zip`"):
        constraints.read({"features": [feature]})


def test_an_entry_that_says_nothing_holds_nothing() -> None:
    empty = {"name": "x", "inferred_type": "Unknown", "completeness": None, "string_constraints": {"domains": []}, "num_constraints": None}
    found = constraints.read({"features": [empty], "monitoring_config": None, "version": "later"})
    assert found == {"x": ColumnConstraint(type="any")}


def test_a_column_that_the_data_lacks(tmp_path: Path) -> None:
    (problem,) = check(repository(tmp_path, {"features": [{"name": "zz", "inferred_type": "String"}]}))
    assert "data.csv has no column `zz`; did you mean `z`?" in problem.message


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(SAID))
    repository(tmp_path / "model", None)
    (tmp_path / "model" / "quality" / "constraints.json").symlink_to(tmp_path / "secret.json")
    loaded = repository(tmp_path / "model", None)
    assert list(loaded.config.monitor.data_quality.columns) == ["x"]
    assert any("leads out" in problem.message for problem in check(loaded))


def test_what_the_config_contradicts_goes(tmp_path: Path) -> None:
    x = loads(TEXT.replace("max: 9", "min: 7"), repository(tmp_path).path).config.monitor.data_quality.columns["x"]
    assert (x.min, x.max, x.completeness) == (7, None, 0.5)
