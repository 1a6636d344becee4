"""The runner in environments of their own: ONNX Runtime's bundled iris model, and pandas with scikit-learn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import uv

from modelyard.serve.runner import predict
from modelyard.signature import Column, Signature
from tests.serve.world import World

pytestmark = pytest.mark.slow


def environment(folder: Path, *packages: str, version: str = "") -> Path:
    """The interpreter of a throwaway environment with `packages`; skips where that Python is not installed."""
    find = [uv.find_uv_bin(), "python", "find", "--no-python-downloads", version or ">=3.9"]
    base = subprocess.run(find, capture_output=True, text=True)
    if base.returncode:
        pytest.skip(f"Python {version} is not installed here")
    env = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    for arguments in (
        ["venv", "-q", "--python", base.stdout.strip(), str(folder)],
        ["pip", "install", "-q", "--python", str(folder / "bin" / "python"), *packages],
    ):
        subprocess.run([uv.find_uv_bin(), *arguments], check=True, env=env, capture_output=True)
    return folder / "bin" / "python"


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


def test_an_onnx_model_with_a_fixed_batch_dimension(world: World, tmp_path: Path) -> None:
    python = environment(tmp_path / "env", "onnxruntime", "numpy")
    (model,) = (tmp_path / "env").glob("lib/python*/site-packages/onnxruntime/datasets/logreg_iris.onnx")
    world.save("1", None)
    (world.home / "1" / "model" / "model.joblib").unlink()
    shutil.copy(model, world.home / "1" / "model" / "model.onnx")
    signed = Signature("multiclass_classification", tuple(Column(n, "float") for n in "abcd")[:2], classes=(0, 1, 2))
    world.runner("1", signed, "onnx", str(python))
    assert world.ready("1")["framework"] == "onnx"
    x = np.random.default_rng(0).uniform(2, 7, size=(10, 2))
    answer = predict(world.socket("1"), pl.DataFrame({"a": x[:, 0], "b": x[:, 1]}), signed)
    code = (
        "import sys, json, numpy as np, onnxruntime as o\n"
        "s = o.InferenceSession(sys.argv[1]); x = np.array(json.loads(sys.argv[2]), dtype=np.float32)\n"
        "maps = [m for i in range(0, 9, 3) for m in s.run(None, {s.get_inputs()[0].name: x[i:i+3]})[1]]\n"
        "print(json.dumps([[float(m[k]) for k in (0, 1, 2)] for m in maps]))"
    )
    oracle = subprocess.run([str(python), "-c", code, str(model), str(x.tolist())], check=True, capture_output=True, text=True).stdout
    truth = np.array(json.loads(oracle))
    found = answer.select("y.probability_0", "y.probability_1", "y.probability_2").to_numpy()
    np.testing.assert_array_equal(found[:9], truth)
    assert answer["y.prediction"].to_list() == found.argmax(axis=1).tolist()
    assert found.shape == (10, 3)


@pytest.mark.parametrize("version", ["", "3.9"])
def test_the_input_is_a_frame_with_the_signatures_dtypes_where_pandas_is(world: World, tmp_path: Path, version: str) -> None:
    python = environment(tmp_path / "env", "pandas", "numpy", version=version)
    script = (
        "def model_fn(folder):\n    return None\n"
        "def predict_fn(x, model):\n"
        "    print('DTYPES', type(x).__name__, {c: str(t) for c, t in x.dtypes.items()}, x.isna().to_numpy().tolist())\n"
        "    return x['n'].fillna(0).to_numpy() + x['f'].fillna(0).to_numpy()\n"
    )
    world.save("1", None, script)
    kinds = {"i": "int", "n": "int", "f": "float", "s": "str", "b": "bool", "t": "datetime"}
    signed = Signature("regression", tuple(Column(n, k, nullable=True) for n, k in kinds.items()))  # type: ignore[arg-type]
    world.runner("1", signed, python=str(python))
    assert world.ready("1")["python"].startswith(version)
    table = pl.DataFrame(
        {"i": [1, 2], "n": [3, None], "f": [0.5, None], "s": ["x", None], "b": [True, False], "t": ["2026-01-01T00:00:00", None]}
    )
    assert predict(world.socket("1"), table, signed)["y.prediction"].to_list() == [3.5, 0.0]
    (line,) = [line for line in world.runners["1"].tail() if line.startswith("DTYPES")]
    assert line.startswith("DTYPES DataFrame {'i': 'int64', 'n': 'float64', 'f': 'float64', 's': ")
    assert "'b': 'bool', 't': 'datetime64[" in line and "UTC]'}" in line
    assert line.endswith("[[False, False, False, False, False, False], [False, True, True, True, False, True]]")
