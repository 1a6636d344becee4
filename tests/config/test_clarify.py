"""`bias.analysis_config`: what is edited in the file is a change of the config."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.config.check import check
from modelyard.config.load import Loaded, loads
from modelyard.config.plan import Change, plan, plan_stages
from modelyard.config.spec import Config
from modelyard.errors import BadConfig

TEXT = """\
version: 1
model: {name: demo, problem_type: binary_classification}
data:
  source: {using: csv, location: data.csv}
  target_col: y
  positive_class: 1
train: {framework: sklearn, entry_point: train.py}
bias:
  analysis_config: asked/clarify.json
  criteria: [{metric: DPPL, within: 0.2}]
"""
SAID: dict[str, Any] = {
    "dataset_type": "text/csv",
    "headers": ["x", "sex", "age", "y"],
    "label": "y",
    "label_values_or_threshold": [1],
    "facet": [{"name_or_index": "sex", "value_or_threshold": ["F"]}, {"name_or_index": 2, "value_or_threshold": 40}],
    "group_variable": "x",
    "methods": {"pre_training_bias": {"methods": "all"}, "post_training_bias": {"methods": ["DPPL", "DI"]}, "report": {"name": "r"}},
}


def repository(folder: Path, said: Any = SAID, text: str = TEXT) -> Loaded:
    (folder / "data.csv").write_text("x,sex,age,y\n1,F,40,1\n")
    (folder / "train.py").write_text("")
    (folder / "asked").mkdir(exist_ok=True)
    if said is not None:
        (folder / "asked" / "clarify.json").write_text(said if isinstance(said, str) else json.dumps(said))
    return loads(text, folder / "config.yaml")


def edited(folder: Path, **keys: Any) -> list[Change]:
    """What the plan says of the file with these keys otherwise; None leaves one out."""
    before = repository(folder)
    after = repository(folder, {key: value for key, value in {**SAID, **keys}.items() if value is not None})
    assert before.digest != after.digest
    return plan_stages(before.canonical(), after.canonical(), greater_is_better={})


def methods(**stages: Any) -> dict[str, Any]:
    return {**SAID["methods"], **{f"{stage}_bias": {"methods": names} for stage, names in stages.items()}}


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"facet": SAID["facet"][:1]}, "bias.facets[age]", "the group is no longer compared"),
        ({"facet": SAID["facet"][1]}, "bias.facets[sex]", "the group is no longer compared"),
        ({"methods": methods(post_training=["DI"])}, "bias.post_training", "a bias metric is no longer computed"),
        ({"methods": methods(pre_training=["CI"])}, "bias.pre_training", "a bias metric is no longer computed"),
        ({"methods": {"post_training_bias": SAID["methods"]["post_training_bias"]}}, "bias.pre_training", "no longer computed"),
        ({"group_variable": None}, "bias.group_col", "the groups are compared otherwise"),
        ({"label_values_or_threshold": [0]}, "bias.label_values", "the groups are compared otherwise"),
        ({"probability_threshold": 0.9}, "bias.analysis_config.probability_threshold", "the groups are compared otherwise"),
        ({"headers": ["age", "sex", "x", "y"]}, "bias.facets[age]", "the group is no longer compared"),
        (
            {"facet": [{"name_or_index": "sex", "value_or_threshold": ["M"]}, SAID["facet"][1]]},
            "bias.facets[sex].value_or_threshold",
            "other groups are compared",
        ),
    ],
)
def test_what_is_edited_in_the_file_is_seen_as_if_it_stood_in_the_config(
    tmp_path: Path, keys: dict[str, Any], path: str, said: str
) -> None:
    found = {change.path: change for change in edited(tmp_path, **keys)}
    assert found[path].loosens and found[path].effect == "build" and said in found[path].sentence


def test_what_asks_for_more_or_is_no_gate_loosens_nothing(tmp_path: Path) -> None:
    more = edited(tmp_path, facet=[*SAID["facet"], {"name_or_index": "x"}], methods=methods(post_training="all"))
    assert {change.path: change.loosens for change in more} == {"bias.facets[x]": False, "bias.post_training": False}
    (other,) = edited(tmp_path, dataset_type="application/x-parquet")
    assert (other.path, other.before, other.loosens) == ("bias.analysis_config.dataset_type", "text/csv", False)
    same = {**SAID, "facet": [{"name_or_index": 1, "value_or_threshold": "F"}, SAID["facet"][1]]}  # the same facets, written otherwise
    assert plan_stages(repository(tmp_path).canonical(), repository(tmp_path, same).canonical()) == []


def test_a_file_in_the_place_of_the_same_words_loosens_no_more_than_it_must(tmp_path: Path) -> None:
    own = "  facets: [{column: sex, disadvantaged: [F]}, {column: age, above: 40}]\n  label_values: [1]\n  group_col: x\n"
    before = repository(tmp_path, text=TEXT.replace("  analysis_config: asked/clarify.json\n", own)).canonical()
    fewer = {**SAID, "facet": SAID["facet"][:1], "methods": methods(post_training="all")}
    found = plan_stages(before, repository(tmp_path, fewer).canonical(), greater_is_better={})
    assert "bias.facets[age]" in [change.path for change in found if change.loosens]
    assert "bias.facets[sex]" not in [change.path for change in found]


def test_what_a_scale_counts_as_good_is_one_number(tmp_path: Path) -> None:
    text = TEXT.replace("binary_classification", "regression").replace("  positive_class: 1\n", "")
    before, after = (repository(tmp_path, {**SAID, "label_values_or_threshold": [bound]}, text).canonical() for bound in (5, 6))
    (change,) = plan_stages(before, after)
    assert (change.path, change.before, change.after, change.loosens) == ("bias.label_above", 5, 6, True)


@pytest.mark.parametrize("way", ["forth", "back"])
def test_a_config_that_was_accepted_without_what_its_file_said_demands_nothing(tmp_path: Path, way: str) -> None:
    now = repository(tmp_path).canonical()["production"]
    earlier = copy.deepcopy(now)
    del earlier["bias"]["asks"]
    assert plan(*((earlier, now) if way == "forth" else (now, earlier)), greater_is_better={}) == []
    assert Config.model_validate(earlier).bias is not None


def test_a_gate_that_goes_is_seen_also_where_the_file_of_before_is_not_known(tmp_path: Path) -> None:
    now = repository(tmp_path).canonical()["production"]
    earlier = copy.deepcopy(now)
    del earlier["bias"]["asks"]
    now["bias"]["criteria"] = []
    assert [(change.path, change.loosens) for change in plan(earlier, now)] == [
        ("bias.criteria[DPPL]", True),
        ("bias.criteria[DPPL].within", True),
        ("bias.criteria[DPPL].on_fail", False),
    ]


def test_what_was_accepted_stays_whole_without_the_file(tmp_path: Path) -> None:
    loaded = repository(tmp_path)
    (tmp_path / "asked" / "clarify.json").unlink()
    kept = Config.model_validate(json.loads(json.dumps(loaded.canonical()["production"]))).bias
    assert kept is not None and kept.asks == SAID
    assert "asks" not in Config.model_validate(repository(tmp_path, None).canonical()["production"]).model_dump()["bias"]


def test_nobody_writes_what_is_noted(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        repository(tmp_path, text=TEXT + "  asks: {}\n")
    (problem,) = caught.value.problems
    assert problem.message == "unknown key `bias.asks`" and "asks" not in problem.next


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("[1]", "asked/clarify.json holds no JSON object"),
        ('{"a": ', "asked/clarify.json, line 1: Expecting value"),
        ('{"a": NaN}', "asked/clarify.json cannot be read as JSON: Out of range float values"),
        ('{"a": 1e999}', "asked/clarify.json cannot be read as JSON: Out of range float values"),
        ('{"a": "\\ud800"}', "asked/clarify.json cannot be read as JSON: 'utf-8' codec"),
        ('{"a": %s}' % ("[" * 100_000), "asked/clarify.json cannot be read as JSON: maximum recursion depth"),
        ('{"a": "%s"}' % ("b" * 1_000_000), "asked/clarify.json is larger than 1,000,000 bytes"),
    ],
    ids=lambda said: said[:10],
)
def test_a_file_that_cannot_be_kept_is_told_at_its_key(tmp_path: Path, said: str, words: str) -> None:
    (problem,) = check(repository(tmp_path, said))
    assert problem.message.startswith(words) and (problem.line, problem.column) == (9, 20)


@pytest.mark.parametrize(
    "odd",
    [
        {"facet": 1},
        {"facet": [1, {}]},
        {"facet": {"name_or_index": ["a"]}},
        {"methods": []},
        {"methods": {"pre_training_bias": 1}},
        {"methods": {"pre_training_bias": {"methods": [{}]}}},
        {"headers": 1, "facet": {"name_or_index": 7}},
        {"label_values_or_threshold": {}},
        {"a.b": {"secret": "x"}},
    ],
    ids=str,
)
def test_whatever_stands_in_the_file_is_compared(tmp_path: Path, odd: dict[str, Any]) -> None:
    before, after = repository(tmp_path).canonical(), repository(tmp_path, odd).canonical()
    assert plan_stages(before, after) and plan_stages(after, before)
    assert plan_stages(after, after) == []
