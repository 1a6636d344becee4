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
from modelyard.config.words import BY_STAGE
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
    assert set(BY_STAGE) <= set(SCHEMA["properties"])


@pytest.mark.parametrize("text", [SMALL, FULL, *(p.read_text() for p in EXAMPLES)])
def test_configs_that_hold_are_accepted(text: str) -> None:
    assert [e.message for e in VALIDATOR.iter_errors(parsed(text))] == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


NUMBER = "deploy:\n  rollback:\n    min_requests: ${N}\nvariables: {N: '5'}"
WINDOW = 'monitor: {window: "${W}"}\nvariables: {W: 1d}'
STAGED = """\
deploy: {strategy: {bake: {staging: 1s}}}
deploy: {staging: {strategy: {type: linear, steps: [50]}}}
retrain: {on: {production: [drift]}}
alerts: {to: [{staging: {secret: a}}, {secret: b}]}
monitor: {performance: {criteria: [{metric: r2, threshold: {staging: 1, production: 2}}]}}
retrain: {window: {type: {production: sliding}, length: {production: 3d}}}
"""


@pytest.mark.parametrize("extra", [*STAGED.splitlines(), WINDOW, NUMBER])
def test_stages_and_variables_are_accepted(extra: str) -> None:
    text = SMALL + extra + "\n"
    loads(text, Path("config.yaml"), environ={})
    assert [e.message for e in VALIDATOR.iter_errors(parsed(text))] == []


REFUSED = """\
deploy: {strategy: {bake: {staging: {production: 1s}}}}
deploy: {strategy: {bake: {stagin: 1s}}}
deploy: {strategy: {bake: {}}}
deploy: {replay: {last: 5}}
evaluate: {slices: {staging: [a]}}
evaluate: {validation_criteria: [{metric: r2}]}
evaluate: {validation_criteria: [{metric: r2, versus: champion}]}
evaluate: {validation_criteria: [{metric: r2, versus: champion, threshold: 1, min_absolute_change: 1}]}
evaluate: {decision_threshold: 0.4}
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
