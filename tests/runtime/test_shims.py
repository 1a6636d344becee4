"""Scripts that import SageMaker's own packages, with nothing installed; and a real package goes first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.build.contract import StepJob, train
from modelyard.build.stage import shims
from modelyard.errors import StepFailed
from modelyard.runners import running
from tests.build import oracles
from tests.targets.scripts import ANSWERS, scripted

HYPERPARAMETERS = {"n-estimators": 10, "flag": True, "sagemaker_own": 1, "nested": {"a": [1]}, "sagemaker_program": "train.py"}
TELLS = """
import json, os
{imports}
told = {{name: env[name] for name in env}}
told["args"], told["vars"] = env.to_cmd_args(), env.to_env_vars()
told["attribute"] = env.hyperparameters["n-estimators"], env.channel_input_dirs["train"]
json.dump(told, open(env.model_dir + "/told.json", "w"))
"""
WAYS = {
    "training": "from sagemaker_training import environment\nenv = environment.Environment()",
    "containers": "import sagemaker_containers\nenv = sagemaker_containers.training_env()",
    "beta": "from sagemaker_containers.beta.framework import content_types, encoders, env as e, modules, worker\nenv = e.TrainingEnv()",
    "framework": "import sagemaker_containers.beta.framework as framework\nenv = framework.training_env()",
}


def run(home: Path, script: str, **parts: Any) -> Path:
    (home / "code").mkdir(exist_ok=True)
    (home / "code" / "train.py").write_text(script)
    (home / "rows").mkdir(exist_ok=True)
    made: dict[str, Any] = {"channels": {"train": home / "rows"}, "hyperparameters": HYPERPARAMETERS, "timeout": 60.0, **parts}
    return train(StepJob("run-1", "train", Path(sys.executable), "train.py", home / "code", home / "ml", **made), print).model_dir


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("contract", ["classic", "v3"])
def test_a_script_asks_for_its_environment(home: Path, way: str, contract: str) -> None:
    for within in ("auto", "plain"):
        told = json.loads((run(home, TELLS.format(imports=WAYS[way]), contract=contract, within=within) / "told.json").read_text())
        assert told["hyperparameters"] == {"n-estimators": 10, "flag": True, "nested": {"a": [1]}}
        assert told["additional_framework_parameters"] == {"sagemaker_own": 1}
        assert told["attribute"][1].endswith("/input/data/train")
        assert (told["hosts"], told["is_master"], told["user_entry_point"], told["job_name"]) == (["algo-1"], True, "train.py", "run-1")


@pytest.mark.slow
def test_the_environment_is_that_of_the_real_package(home: Path) -> None:
    model = run(home, TELLS.format(imports=WAYS["training"]), within="plain")
    mine = json.loads((model / "told.json").read_text())
    real = oracles.install("sagemaker-training==5.1.4")
    script = TELLS.format(imports=WAYS["training"])
    env = {"SAGEMAKER_BASE_DIR": str(home / "ml"), "TRAINING_JOB_NAME": "run-1", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(shims())}
    subprocess.run(
        [str(real), "-c", f"import sagemaker_training\nassert 'site-packages' in sagemaker_training.__file__\n{script}"],
        env=env,
        check=True,
    )
    theirs = json.loads((model / "told.json").read_text())
    # by the job's own variables we know: what the package is told by its launcher here
    for told in (mine, theirs):
        told["vars"] = {name: value for name, value in told["vars"].items() if name != "SM_TRAINING_ENV"}
    assert mine == theirs


def test_an_inference_script_finds_them_too(home: Path) -> None:
    script = "from sagemaker_containers.beta.framework import worker\nfrom sagemaker_inference import encoder\n" + ANSWERS.format(
        number=1.0
    )
    with running(scripted(home, "1", script), home / "runner.log"):
        pass
    with pytest.raises(StepFailed), running(scripted(home, "2", "import sagemaker_nothing\n" + script), home / "runner.log"):
        pass


def answer(code: str, *path: str) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": ":".join([str(shims()), *path]), "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_a_real_package_goes_first_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("sagemaker_training", "sagemaker_containers", "sagemaker_inference", "sagemaker_xgboost_container"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("real = 1\n")
        (tmp_path / name / "environment.py").write_text("from . import real\n")
        done = answer(f"import {name}.environment as e, {name}; print(e.real, {name}.real)", str(tmp_path))
        assert done.stdout == "1 1\n", done.stderr


def test_what_is_missing_says_what_to_do() -> None:
    for code in (
        "from sagemaker_containers.beta.framework import modules; modules.import_module",
        "from sagemaker_training import environment; environment.no_such",
    ):
        done = answer(code)
        assert "add the package to the requirements" in done.stderr, done.stderr


def test_the_answer_of_an_output_fn_and_encoders() -> None:
    code = """
from sagemaker_containers.beta.framework import content_types, encoders, worker
from sagemaker_inference import decoder, encoder
answer = worker.Response(encoders.encode([[1, 2.5], ["a,b", None]], content_types.CSV), mimetype=content_types.CSV)
print(answer.mimetype, answer.get_data(as_text=True), encoders.encode([1, 2], content_types.JSON))
npy = "application/x-npy"
print(decoder.decode(b"1,2\\n3,4", "text/csv").tolist(), encoders.decode(encoder.encode([[1]], npy), npy).tolist())
try:
    encoders.decode("", "text/html")
except Exception as exc:
    print(type(exc).__name__)
"""
    done = answer(code)
    assert done.stdout == 'text/csv 1,2.5\n"a,b",\n [1, 2]\n[[1.0, 2.0], [3.0, 4.0]] [[1]]\nUnsupportedFormatError\n', done.stderr


MATRICES = """
import sys, types
class DMatrix:
    def __init__(self, data, label=None, weight=None):
        self.data, self.label, self.weight = data, label, weight
sys.modules["xgboost"] = types.SimpleNamespace(DMatrix=DMatrix)
from sagemaker_containers import entry_point
from sagemaker_xgboost_container import distributed
from sagemaker_xgboost_container.data_utils import get_dmatrix
place = sys.argv[1]
sys.modules["pandas"] = None
for folder, kind, parts in (("csv", "text/csv;label_size=1", {}), ("csv", "csv", {"csv_weights": 1}), ("parquet", "parquet", {})):
    if kind == "parquet":
        sys.modules["pandas"] = __import__("polars")  # whose read_parquet is enough like that of pandas
    made = get_dmatrix(f"{place}/{folder}", kind, **parts)
    print(made.data.tolist(), made.label.tolist(), made.weight if made.weight is None else made.weight.tolist())
print(open(get_dmatrix(f"{place}/one", "libsvm").data.partition("?")[0]).read().split())
print(get_dmatrix(f"{place}/nothing", "libsvm"))
distributed.rabit_run(lambda **args: print(args), {"a": 1}, True, ["algo-1"], "algo-1", update_rabit_args=True)
for wrong in (get_dmatrix, distributed.rabit_run):
    try:
        wrong(place, "application/x-recordio-protobuf") if wrong is get_dmatrix else wrong(print, {}, True, ["a", "b"], "a")
    except Exception as exc:
        print(type(exc).__name__)
"""


def test_channels_as_matrices(tmp_path: Path) -> None:
    for name, text in (("csv/b.csv", "4,5,6"), ("csv/a.csv", "1,2,3\n7,,9\n"), ("one/a.libsvm", "1 1:2\n"), ("csv/.hidden", "x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "parquet").mkdir()
    pl.DataFrame({"y": [1], "x": [2.5]}).write_parquet(tmp_path / "parquet" / "p.parquet")
    done = subprocess.run([sys.executable, "-c", MATRICES, str(tmp_path)], env={"PYTHONPATH": str(shims())}, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "[[2.0, 3.0], [nan, 9.0], [5.0, 6.0]] [1.0, 7.0, 4.0] None",
        "[[3.0], [9.0], [6.0]] [1.0, 7.0, 4.0] [2.0, nan, 5.0]",
        "[[2.5]] [1.0] None",
        "['1', '1:2']",
        "None",
        "{'a': 1, 'is_master': True}",
        "UnsupportedFormatError",
        "RuntimeError",
    ], done.stderr


ENCODES = """
import json, sys
from {package} import encoders
for line in sys.stdin:
    told = []
    for name, value, *more in json.loads(line):
        try:
            made = getattr(encoders, name)(value, *more)
            told.append(made.tolist() if hasattr(made, "tolist") else made)
        except Exception as exc:
            told.append(type(exc).__name__)
    print(json.dumps(told), flush=True)
"""
CELLS = st.one_of(st.integers(-99, 99).map(str), st.floats(-9, 9).map(repr), st.text("ab \"',;", max_size=4))
TABLES = st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=3))


@pytest.mark.slow
def test_encoders_do_as_the_real_ones() -> None:
    python = oracles.install("sagemaker-training==5.1.4")
    real = oracles.Oracle(python, ENCODES.format(package="sagemaker_training"), {})
    ours = oracles.Oracle(python, ENCODES.format(package="modelyard_sagemaker"), {"PYTHONPATH": str(shims())})

    @settings(max_examples=100)
    @given(TABLES, st.sampled_from([None, "float32"]))
    def compare(table: list[list[str]], dtype: str | None) -> None:
        body = "\n".join(",".join(row) for row in table)
        asked = [["csv_to_numpy", body, dtype], ["array_to_csv", table], ["array_to_json", table], ["json_to_numpy", json.dumps(table)]]
        asked += [["decode", body, "text/csv"], ["decode", body, "text/html"]]
        # theirs forgets its own error where rows are of several lengths
        assert ours.ask(asked) == ["ClientError" if told == "UnboundLocalError" else told for told in real.ask(asked)]

    compare()
    real.close()
    ours.close()
