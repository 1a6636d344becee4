from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from modelyard.config.load import loads
from modelyard.config.schema import json_schema
from modelyard.config.spec import STAGES
from modelyard.config.words import BY_STAGE, known_keys
from modelyard.errors import BadConfig
from tests.config.test_load_properties import SCALARS, TREE, get, paths, put
from tests.config.texts import FULL, SMALL

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/config.yaml"))


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def loaded(tree: Any) -> bool:
    try:
        loads(json.dumps(tree), Path("config.yaml"), environ={})
    except BadConfig:
        return False
    return True


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert {n for n in SCHEMA["$defs"] if n.endswith("_by_stage")} == {
        f"{part}_by_stage" for part in ("Realtime", "Asynchronous", "Traces", "Capture", "Redact")
    }
    assert all(known_keys(tuple(part.split("."))) for part in BY_STAGE)


@pytest.mark.parametrize("text", [SMALL, FULL, *(p.read_text() for p in EXAMPLES)])
def test_configs_that_hold_are_accepted(text: str) -> None:
    assert [e.message for e in VALIDATOR.iter_errors(parsed(text))] == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


NUMBER = "deploy:\n  rollback:\n    min_requests: ${N}\nvariables: {N: '5'}"
WINDOW = 'monitor: {window: "${W}"}\nvariables: {W: 1d}'
STAGED = """\
deploy: {realtime: {timeout: {staging: 1s}}}
deploy: {realtime: {staging: {min_workers: 2, linger: 1s}}, capture: {mode: buffered}}
deploy: {realtime: {staging: {min_workers: 2}, production: {max_body: 5}}}
deploy: {capture: {sample: {staging: 1, production: 0.5}, mode: {production: 'off'}}}
"""


@pytest.mark.parametrize("extra", [*STAGED.splitlines(), WINDOW, NUMBER])
def test_stages_and_variables_are_accepted(extra: str) -> None:
    text = SMALL + extra + "\n"
    loads(text, Path("config.yaml"), environ={})
    assert [e.message for e in VALIDATOR.iter_errors(parsed(text))] == []


REFUSED = """\
deploy: {realtime: {timeout: {staging: {production: 1s}}}}
deploy: {realtime: {timeout: {stagin: 1s}}}
deploy: {realtime: {timeout: {}}}
deploy: {realtime: {min_workers: 2, staging: {linger: 1s}}}
deploy: {staging: {realtime: {timeout: 1s}}}
deploy: {strategy: {bake: {staging: 1s}}}
deploy: {strategy: {staging: {type: linear, steps: [50]}}}
deploy: {rollback: {error_rate: {production: 0.5}}}
monitor: {window: {staging: 1d}}
monitor: {performance: {criteria: [{metric: r2, threshold: {staging: 1, production: 2}}]}}
alerts: {to: [{staging: {secret: a}}, {secret: b}]}
retrain: {on: {production: [drift]}}
retrain: {window: {type: sliding, length: 3d}}
deploy: {replay: {last: 0}}
evaluate: {slices: {staging: [a]}}
evaluate: {validation_criteria: [{metric: r2}]}
evaluate: {validation_criteria: [{metric: r2, versus: champion}]}
evaluate: {validation_criteria: [{metric: r2, versus: champion, threshold: 1, min_absolute_change: 1}]}
evaluate: {decision_threshold: 0.4}
evaluate: {at: [5]}
evaluate: {validation_criteria: [{metric: r2, versus: champion, min_absolute_change: 1, min_relative_change: 1}]}
evaluate: {validation_criteria: [{metric: r2, versus: baseline, min_relative_change: 1, slice: worst}]}
steps: [{name: x, entry_point: x.py, inputs: {a: nowhere}}]
steps: [{name: train, entry_point: x.py}]
bring: {artifact: a, framework: onnx}
monitor: {performance: {criteria: [{metric: r2}]}}
monitor: {window: 5x}
retrain: {cooldown: 5}
retrain: {window: {type: sliding}}
preprocess: {entry_point: ../x.py}
preprocess: {entry_point: -x}
preprocess: {entry_point: a/..}
timezone: 5
variables: {lower: x}
variables: {A: 5}
unknown: 1
"""


def test_a_sliding_window_with_a_time_column_is_accepted() -> None:
    text = SMALL.replace("target_col: y", "target_col: y\n  time_col: t") + "retrain: {window: {type: sliding, length: 3d}}\n"
    loads(text, Path("config.yaml"), environ={})
    assert [e.message for e in VALIDATOR.iter_errors(parsed(text))] == []
    assert not VALIDATOR.is_valid(parsed(text.replace(", length: 3d", "")))
    assert not VALIDATOR.is_valid(parsed(text.replace("time_col: t", "time_col: null")))


@pytest.mark.parametrize("extra", REFUSED.splitlines())
def test_what_load_refuses_and_a_schema_can_see_is_refused(extra: str) -> None:
    text = f"{SMALL}{extra}\n"
    with pytest.raises(BadConfig):
        loads(text, Path("config.yaml"), environ={})
    assert not VALIDATOR.is_valid(parsed(text))


ANYTHING = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from([*STAGES, "x"]), SCALARS, max_size=2)


@given(st.sampled_from(paths(TREE)), ANYTHING)
def test_whatever_load_accepts_the_schema_accepts(path: tuple[str | int, ...], value: Any) -> None:
    tree = put(TREE, path, value)
    if loaded(tree):
        assert [e.message for e in VALIDATOR.iter_errors(tree)] == []


@given(st.sampled_from(paths(TREE)))
def test_a_value_of_the_wrong_kind_is_refused_by_both(path: tuple[str | int, ...]) -> None:
    value = get(TREE, path)
    free = {"hyperparameters", "categories", "positive_class", "tags"} & set(path)
    wrong: Any = [[]] if not isinstance(value, list) else {"nope": 1}
    tree = put(copy.deepcopy(TREE), path, wrong)
    if not free:
        assert not loaded(tree)
        assert not VALIDATOR.is_valid(tree)
