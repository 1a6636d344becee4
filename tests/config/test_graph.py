from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config import graph
from modelyard.config.spec import Config

BASE: dict[str, Any] = {
    "version": 1,
    "model": {"name": "m", "problem_type": "regression", "owner": "a@example.com"},
    "data": {"source": {"using": "csv", "location": "d.csv"}, "target_col": "y"},
    "train": {
        "framework": "sklearn", "entry_point": "train.py", "hyperparameters": {"depth": 3},
        "metric_definitions": [{"name": "loss", "regex": "loss=([0-9.]+)"}],
    },
}  # fmt: skip
PART = {"entry_point": "p.py"}


def config(steps: dict[str, dict[str, Any]], **parts: Any) -> Config:
    listed = [{"name": name, "entry_point": f"{name}.py", "outputs": ["out"], **step} for name, step in steps.items()]
    train = {**BASE["train"], **parts.pop("train", {})}
    return Config.model_validate({**BASE, "train": train, **parts, "steps": listed})


def takes(*references: str) -> dict[str, Any]:
    return {"inputs": {f"i{n}": reference for n, reference in enumerate(references)}}


def test_steps_run_where_what_they_take_is_there() -> None:
    asked = config(
        {
            "report": takes("predict.holdout", "steps.split_names.out"),
            "join": takes("steps.left.out", "steps.right.out"),
            "left": takes("data.train"),
            "right": takes("preprocess.train"),
            "split_names": takes("./names.txt"),
            "calibration": takes("train.model", "steps.join.out"),
            "size": takes("train.output"),
        },
        preprocess={**PART, **takes("steps.split_names.out")},
        postprocess={**PART, **takes("steps.calibration.out")},
        train=takes("steps.join.out"),
    )
    assert graph.findings(asked) == []
    found = graph.order(asked)
    assert found.before == (("left", "split_names"), ("preprocess",), ("right",), ("join",))
    assert found.between == (("calibration",),)
    assert found.after == (("report", "size"),)


def test_a_condition_is_a_need_too() -> None:
    when = {"value": "steps.count.out/rows.json#/rows", "above": 10}
    asked = config({"train_more": {"when": when}, "count": {}, "after": {"when": {"value": "metrics.loss", "below": 1}}})
    assert graph.findings(asked) == []
    assert graph.order(asked).before == (("count",), ("train_more",))
    assert graph.order(asked).after == (("after",),)


@pytest.mark.parametrize(
    ("steps", "parts", "path", "said"),
    [
        ({"a": takes("steps.bb.out"), "bbb": {}}, {}, ("steps", 0, "inputs", "i0"), "there is no step `bb`; did you mean `bbb`?"),
        ({"a": takes("steps.b.outs"), "b": {}}, {}, ("steps", 0, "inputs", "i0"), "no output `outs`; did you mean `out`?"),
        ({"a": takes("preprocess.train")}, {}, ("steps", 0, "inputs", "i0"), "this config has no `preprocess`"),
        ({"a": takes("steps.a.out")}, {}, ("steps", 0, "inputs", "i0"), "a -> a"),
        ({"a": takes("steps.b.out"), "b": takes("steps.a.out")}, {}, ("steps", 0, "inputs", "i0"), "a -> b -> a"),
        ({"a": takes("train.model")}, {"train": takes("steps.a.out")}, ("train", "inputs", "i0"), "train -> a -> train"),
        ({}, {"train": takes("train.model")}, ("train", "inputs", "i0"), "train -> train"),
        ({}, {"train": takes("data.test")}, ("train", "inputs", "i0"), "data.test holds the hold-out"),
        ({"a": takes("data.test")}, {"train": takes("steps.a.out")}, ("steps", 0, "inputs", "i0"), "`train` takes what this step makes"),
        (
            {"a": takes("data.train", "data.snapshot"), "b": takes("steps.a.out")},
            {"postprocess": {**PART, **takes("steps.b.out")}},
            ("steps", 0, "inputs", "i1"),
            "data.snapshot holds the hold-out, which training may not see: `postprocess` takes what this step makes of it",
        ),
        ({}, {"train": takes("./d.csv")}, ("train", "inputs", "i0"), "./d.csv holds the hold-out"),
        ({}, {"train": takes("./.")}, ("train", "inputs", "i0"), "./. holds the hold-out"),
        ({"a": takes("./d.csv")}, {"train": takes("steps.a.out")}, ("steps", 0, "inputs", "i0"), "./d.csv holds the hold-out"),
        ({}, {"train": {"inputs": {"code": "data.train"}}}, ("train", "inputs", "code"), "cannot be named `code`"),
        ({}, {"postprocess": {**PART, "inputs": {"model": "./m"}}}, ("postprocess", "inputs", "model"), "cannot be named `model`"),
        ({"a": takes("preprocess.train"), "b": {}}, {"preprocess": {**PART, **takes("steps.a.out")}}, ("preprocess", "inputs", "i0"), "->"),
        ({"a": {"when": {"value": "metrics.los", "below": 1}}}, {}, ("steps", 0, "when", "value"), "did you mean `loss`?"),
        ({"a": {"when": {"value": "hyperparameters.dept", "below": 1}}}, {}, ("steps", 0, "when", "value"), "did you mean `depth`?"),
        ({"a": {"when": {"value": "steps.b.out/f.json#/k", "below": 1}}}, {}, ("steps", 0, "when", "value"), "there is no step `b`"),
        (
            {"a": {"when": {"value": "data.rows", "above": 1}}, "b": takes("steps.a.out")},
            {"train": takes("steps.b.out")},
            ("train", "inputs", "i0"),
            "`train` takes from a step that may be left out: `a` has a condition",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(steps: dict[str, Any], parts: dict[str, Any], path: graph.Path, said: str) -> None:
    found = graph.findings(config(steps, **parts))
    assert [f[0] for f in found] == [path]
    assert said in found[0][1]


@pytest.mark.parametrize(
    ("location", "path", "wrong"),
    [
        ("data/d.csv", "./data", True),
        ("data/d.csv", "./data/lookup.csv", False),
        ("data/d.csv", "./data2", False),
        ("data", "./data/part-1.csv", True),
        ("data/*.csv", "./data/part-1.csv", True),
        ("data/*.csv", "./data", True),
        ("data/*.csv", "./data/names.txt", False),
        ("*.csv", "./lookup/names.txt", False),
        ("s3://bucket/d.csv", "./d.csv", False),
    ],
)
def test_the_table_itself_is_not_shown_to_training(location: str, path: str, wrong: bool) -> None:
    data = {**BASE["data"], "source": {"using": "csv", "location": location}}
    found = graph.findings(config({}, train=takes(path), data=data))
    assert [f[0] for f in found] == ([("train", "inputs", "i0")] if wrong else [])
    assert graph.findings(config({"a": takes(path, "data.test")}, preprocess={**PART, **takes("steps.a.out")}, data=data)) == []


def test_a_brought_model_has_no_output_of_training() -> None:
    asked = Config.model_validate(
        {**BASE, "train": None, "bring": {"artifact": "m.onnx", "framework": "onnx"},
         "steps": [{"name": "a", "entry_point": "a.py", **takes("train.model", "train.output")}]}
    )  # fmt: skip
    assert [f[0][-1] for f in graph.findings(asked)] == ["i1"]
    assert graph.order(asked).after == (("a",),)


@given(st.lists(st.sets(st.integers(0, 11), max_size=4), min_size=12, max_size=12), st.sets(st.integers(0, 11)))
def test_whatever_is_wired_each_step_runs_once_and_after_what_it_takes_or_a_cycle_is_found(wires: list[set[int]], late: set[int]) -> None:
    asked = config(
        {
            f"s{i}": takes(*(f"steps.s{j}.out" for j in sorted(taken)), *(["train.model"] if i in late else []))
            for i, taken in enumerate(wires)
        }
    )
    found = graph.order(asked)
    waves = [*found.before, *found.between, ("train", "predict"), *found.after]
    placed = [name for wave in waves for name in wave]
    assert len(placed) == len(set(placed))
    at = {name: k for k, wave in enumerate(waves) for name in wave}
    for name in placed:
        if name in ("train", "predict"):
            continue
        assert all(at[n] < at[name] for n in graph.needs(asked)[name])
    cyclic = [f for f in graph.findings(asked) if "->" in f[1]]
    assert bool(cyclic) == (len(placed) < 14)


def test_paths_of_inputs_and_outputs_that_there_are() -> None:
    place = "/opt/ml/processing/x"
    step = {**takes("data.train"), "input_paths": {"i0": "/opt/ml/processing/input"}, "output_paths": {"out": place}}
    pre = {**PART, "input_paths": {"train": place}, "output_paths": {"test": place}}
    post = {**PART, "input_paths": {"model": place}, "output_paths": {"model": place}}
    assert graph.findings(config({"a": step}, preprocess=pre, postprocess=post)) == []

    step = {
        **takes("data.train"), "outputs": ["one", "two"],
        "input_paths": {"i00": place, "i0": "/opt/ml/processing/input/code/x"},
        "output_paths": {"ones": place, "one": "/opt/ml/processing/output/two"},
    }  # fmt: skip
    found = graph.findings(
        config(
            {"a": step, "b": {"input_paths": {"x": place}}},
            postprocess={**PART, "output_paths": {"train": place}, "input_paths": {"code": place}},
        )
    )
    assert [(path, what) for path, what, _ in found] == [
        (("postprocess", "input_paths", "code"), "there is no input `code` here; did you mean `model`?"),
        (("postprocess", "output_paths", "train"), "there is no output `train` here"),
        (("steps", 0, "input_paths", "i00"), "there is no input `i00` here; did you mean `i0`?"),
        (("steps", 0, "output_paths", "ones"), "there is no output `ones` here; did you mean `one`?"),
        (("steps", 0, "input_paths", "i0"), "the script itself lies at /opt/ml/processing/input/code"),
        (("steps", 0, "output_paths", "two"), "the outputs `one` and `two` are both at /opt/ml/processing/output/two"),
        (("steps", 1, "input_paths", "x"), "there is no input `x` here"),
    ]
    assert [hint for _, _, hint in found][1:4] == ["its outputs are model", "its inputs are i0", "its outputs are one, two"]
