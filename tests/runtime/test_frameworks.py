"""Every framework's own files through a real, sandboxed runner, held against what the framework itself answers."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.errors import StepFailed
from modelyard.runners import Loadable, running
from modelyard.serve.refusals import ModelFailed
from modelyard.serve.runner import predict
from modelyard.signature import Signature
from tests import environments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TREES = [
    "xgboost-ubj", "xgboost-json", "xgboost-softmax", "xgboost-pickled", "xgboost-wrapper", "lightgbm-text", "lightgbm-wrapper",
    "catboost-cbm", "mlflow-sklearn", "mlflow-regressor", "mlflow-python", "sklearn-anomalies", "sklearn-labels",
    "sklearn-columns", "xgboost-columns", "catboost-columns", "mlflow-logged",
]  # fmt: skip
NETWORKS = ["pytorch-script", "pytorch-export", "pytorch-state", "pytorch-bare", "pytorch-logits", "pytorch-whole"]


@pytest.fixture(scope="module")
def models() -> Iterator[Path]:
    """A folder with every model, made by its own framework."""
    with tempfile.TemporaryDirectory(prefix="yard-made-") as folder:
        made = [str(environments.python()), str(Path(__file__).with_name("made.py")), folder, *TREES, *NETWORKS]
        subprocess.run(made, check=True)
        yield Path(folder)


def loadable(folder: Path, name: str, python: Path | None = None, **options: str) -> tuple[Loadable, Signature, dict[str, Any]]:
    facts = json.loads((folder / name / "made.json").read_text())
    signed = Signature.from_dict(facts["signature"])
    (folder / name / "signature.json").write_text(json.dumps(signed.to_dict()))
    code = folder / name / "code"
    what = Loadable(
        model=folder / name / "model",
        code=code,
        entry_point="inference.py" if code.is_dir() else "",
        signature=folder / name / "signature.json",
        framework=facts["framework"],
        python=python or environments.python(),
        home=folder / "home",
        options=options,
    )
    return what, signed, facts


def agrees(folder: Path, name: str, python: Path | None = None, **options: str) -> None:
    what, signed, facts = loadable(folder, name, python, **options)
    with running(what, folder / name / "runner.log") as socket:
        answer = predict(socket, pl.DataFrame(facts["columns"]), signed)
    assert facts["truth"]
    for output, truth in facts["truth"].items():
        found = answer[f"y.{output}"].to_list()
        if isinstance(truth[0], str) or (signed.classes and output == "prediction"):
            assert found == truth
        else:
            np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", TREES)
def test_the_runner_answers_as_the_framework_does(models: Path, name: str) -> None:
    agrees(models, name)


@pytest.mark.parametrize("name", ["pytorch-script", "pytorch-export", "pytorch-state", "pytorch-whole"])
def test_networks(models: Path, name: str) -> None:
    agrees(models, name, **({"content-type": "application/x-npy"} if name == "pytorch-state" else {}))


@environments.needs_tensorflow
def test_tensorflow(tmp_path: Path) -> None:
    python, names = environments.python("wine-tensorflow"), ["tensorflow-keras", "tensorflow-h5", "tensorflow-saved"]
    subprocess.run([str(python), str(Path(__file__).with_name("made.py")), str(tmp_path), *names], check=True)
    for name in names:
        agrees(tmp_path, name, python)


def test_what_a_network_lacks_is_said(models: Path) -> None:
    what, signed, facts = loadable(models, "pytorch-logits")
    with running(what, models / "log") as socket, pytest.raises(ModelFailed, match="logits, not probabilities: end it in a softmax"):
        predict(socket, pl.DataFrame(facts["columns"]), signed)
    what, _, _ = loadable(models, "pytorch-bare")
    with (
        pytest.raises(StepFailed, match=r"model\.pth is no TorchScript module: where it is a state dict, define model_fn"),
        running(what, models / "log"),
    ):
        pass


def test_a_package_that_is_missing_is_named(models: Path) -> None:
    what, _, _ = loadable(models, "pytorch-state")
    (what.code / "inference.py").write_text("import cv2.data\ndef model_fn(folder): pass\n")
    said = "no module `cv2` in the model's environment: add opencv-python-headless to the requirements"
    with pytest.raises(StepFailed, match=said), running(what, models / "log"):
        pass
