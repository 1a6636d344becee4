"""Which code predicts: training's own, a folder of its own, or none; and where its scripts lie in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from modelyard.config.load import loads
from modelyard.config.spec import Config
from modelyard.errors import BadInput, NotFound
from modelyard.flows import inference
from modelyard.signature import Signature
from tests import environments
from tests.conftest import ROOT

SAYS = (
    "version: 1\nmodel: {name: m, problem_type: regression, owner: a@b.c}\ndata: {source: {using: csv, location: d.csv}, target_col: y}\n"
)


def config(folder: Path, *lines: str) -> Config:
    return loads(SAYS + "\n".join(lines), folder / "config.yaml").config


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("train.py", "pre.py", "src/train.py", "src/pre.py", "serving/predict.py", "serving/post.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("train", "said", "found"),
    [
        ("entry_point: train.py", "{}", ("train.py", "", "")),
        ("entry_point: train.py", "{entry_point: serving/predict.py, pre: pre.py}", ("serving/predict.py", "pre.py", "")),
        ("entry_point: train.py, source_dir: src", "{pre: pre.py}", ("train.py", "pre.py", "")),
        ("entry_point: src/train.py", "{pre: src/pre.py}", ("train.py", "pre.py", "")),
        ("entry_point: train.py", "{source_dir: serving, entry_point: predict.py, post: post.py}", ("predict.py", "", "post.py")),
        ("entry_point: train.py", "{source_dir: serving, post: serving/post.py}", ("", "", "post.py")),
    ],
)
def test_scripts_are_found_in_the_code_that_predicts(repository: Path, train: str, said: str, found: tuple[str, str, str]) -> None:
    made = config(repository, f"train: {{framework: sklearn, {train}}}", f"inference: {said}")
    entry = Path(train.partition(",")[0].removeprefix("entry_point: ")).name
    assert tuple(inference.names(made, repository, entry).values()) == found


def test_a_script_outside_that_code_is_refused_and_a_missing_one_named(repository: Path) -> None:
    made = config(repository, "train: {framework: sklearn, entry_point: train.py, source_dir: src}", "inference: {post: serving/post.py}")
    with pytest.raises(BadInput, match=r"serving/post\.py is not in the folder of the code that predicts, src"):
        inference.names(made, repository, "train.py")
    made = config(repository, "bring: {framework: onnx, artifact: m.onnx}", "inference: {pre: nothing.py}")
    with pytest.raises(NotFound, match=r"no nothing\.py"):
        inference.names(made, repository, "")


def test_a_script_may_come_with_the_archive_that_is_brought(repository: Path) -> None:
    archive, said = "bring: {framework: sklearn, artifact: model.tar.gz}", "inference: {entry_point: own.py, post: serving/post.py}"
    made = config(repository, archive, said)
    assert inference.travels(made, repository)
    assert inference.brought(made, repository) == ("serving/post.py", None)
    assert inference.names(made, repository, "") == {"inference": "own.py", "pre": "", "post": "post.py"}
    (repository / "own.py").write_text("")
    assert inference.brought(made, repository) == ("own.py", None)
    folder = config(repository, "bring: {framework: sklearn, artifact: model}", "inference: {entry_point: other.py}")
    with pytest.raises(NotFound, match=r"no other\.py"):
        inference.names(folder, repository, "")


def test_what_the_runner_is_told(repository: Path) -> None:
    said = "inference: {pre: pre.py, accept: text/csv, environment: {THRESHOLD: '3'}}"
    made = config(repository, "bring: {framework: onnx, artifact: m.onnx}", said)
    assert inference.names(made, repository, "") == {"inference": "", "pre": "pre.py", "post": ""}
    assert inference.facts(made, {"pre": "pre.py", "post": ""}) == {
        "options": {"content-type": "text/csv", "accept": "text/csv", "pre": "pre.py"},
        "environment": {"THRESHOLD": "3"},
    }


def test_a_model_that_gives_labels_only_is_said_to() -> None:
    signed = Signature("binary_classification", (), classes=(0, 1), positive_class=1)
    sure = pl.DataFrame({"y.probability_0": [0.0, 1.0], "y.probability_1": [1.0, 0.0]})
    assert "gives labels" in inference.certain(sure, signed)
    assert inference.certain(sure.with_columns(pl.lit(0.5).alias("y.probability_1")), signed) == ""
    assert inference.certain(pl.DataFrame({"y.prediction": [1.0]}), Signature("regression", ())) == ""


TRAIN = """
import os, sys, joblib, pandas as pd
from sklearn.linear_model import LogisticRegression
rows = pd.read_csv(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "train.csv"))
x = rows[["mean_radius", "mean_texture"]].to_numpy() - 10.0
joblib.dump(LogisticRegression().fit(x, rows["diagnosis"]), os.path.join(os.environ["SM_MODEL_DIR"], "model.joblib"))
"""
SERVE = """
import io, json, os, joblib, numpy as np
def model_fn(model_dir):
    assert model_dir == "/opt/ml/model" or not os.environ.get("MODELYARD_SANDBOXED")
    return joblib.load(os.path.join(model_dir, "model.joblib"))
def input_fn(body, content_type):
    assert content_type == "application/x-npy"
    return np.load(io.BytesIO(body))
def output_fn(prediction, accept):
    assert accept == "text/csv"
    return "\\n".join(prediction) + "\\n", accept
"""
PRE = "def preprocess(inputs):\n    return inputs[['mean_radius', 'mean_texture']] - SHIFT\n"
POST = """
import pandas as pd
def postprocess(outputs, inputs):
    assert list(inputs.columns)[:2] == ["mean_radius", "mean_texture"]
    return pd.DataFrame({"prediction": [str(v) for v in outputs]})
"""


def modelyard(folder: Path, home: Path, *arguments: str, code: int = 0) -> str:
    command = [str(Path(sys.executable).with_name("modelyard")), *arguments]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "MODELYARD_HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_inference_folder_with_all_its_parts_is_built_and_reproduced(tmp_path: Path) -> None:
    """A script of SageMaker's kind, hooks around it, a variable: and the build says that it gives labels only."""
    folder, home = tmp_path / "model", environments.home()
    shutil.copytree(ROOT / "examples" / "breast-cancer", folder)
    (folder / "serving").mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "serving" / "inference.py").write_text(SERVE)
    (folder / "serving" / "before.py").write_text("import os\nSHIFT = float(os.environ['SHIFT'])\n" + PRE)
    (folder / "serving" / "after.py").write_text(POST)
    (folder / "requirements.txt").write_text(environments.requirements())
    text = (folder / "config.yaml").read_text()
    before, _, after = text.partition("evaluate:")
    said = "inference: {source_dir: serving, entry_point: inference.py, pre: before.py, post: serving/after.py,"
    said += " content_type: application/x-npy,"
    said += " accept: text/csv, environment: {SHIFT: '10'}}\n\nevaluate:\n  validation_criteria: [{metric: accuracy, threshold: 0.85}]\n\n"
    text = (
        before.replace("  hyperparameters: {C: 0.5}\n", "").replace("breast-cancer", "tumours")
        + said
        + "environments:"
        + after.partition("environments:")[2]
    )
    (folder / "config.yaml").write_text(text)
    assert "the model gives labels" in modelyard(folder, home, "build")
    assert "is reproduced" in modelyard(folder, home, "reproduce", "tumours:1")
    (folder / "train.py").write_text("import no_such_module\n")
    refused = modelyard(folder, home, "build", code=2)
    assert "train.py, line 1, imports `no_such_module`, which the environment does not have" in refused
    assert "add `no_such_module` to the requirements" in refused
    (folder / "train.py").write_text("def main():\n    import no_such_module\n\nmain()\n")  # seen by running it alone
    refused = modelyard(folder, home, "build", code=1)
    assert "no module `no_such_module` in the model's environment: add no_such_module to the requirements" in refused
