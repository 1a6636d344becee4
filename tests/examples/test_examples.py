"""The examples: their configs hold, their data is what it is said to be, and each runs from its file to a version or a live endpoint."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from modelyard.config.check import check
from modelyard.config.load import load
from modelyard.quality.metrics import names_for
from tests import environments
from tests.conftest import ROOT
from tests.needs import needs_bwrap, needs_r

EXAMPLES = ROOT / "examples"
LIVE = ["breast-cancer", "iris-onnx", "tumours-r", "wine-server"]
"""Run to a live endpoint. flights: by `make demo`, which .ci/run runs to its end."""
REPLAYED = ["hotel-rates", "rodents"]
"""Run by tests/e2e/test_years.py, from their first version to the last row of their traffic."""
NAMES = [*LIVE, *REPLAYED, "flights", "wine-tensorflow", *environments.FRAMEWORKS]


def program(example: str, name: str) -> ModuleType:
    path = EXAMPLES / example / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{example}_{name}".replace("-", "_"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_config_holds_and_all_it_names_is_there(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("data"))
    if name == "flights":  # its data is fetched by the demo; a table of the same columns stands in
        (folder / "data").mkdir()
        columns = ["flight_id", "scheduled_at", *program("flights", "prepare").FEATURES, "late"]
        pl.DataFrame({column: [1] for column in columns}).write_parquet(folder / "data" / "flights.parquet")
    loaded = load(folder / "config.yaml")
    assert check(loaded, metrics=names_for(loaded.config.model.problem_type)) == []


def flight(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "year": 2013, "month": 3, "day": 9, "hour": 23, "minute": 30, "sched_dep_time": 2330, "sched_arr_time": 130, "dep_delay": 5,
        "arr_delay": 16, "carrier": "UA", "flight": 7, "origin": "EWR", "dest": "IAH", "air_time": 200, "distance": 1400,
        "time_hour": "2013-03-10T04:00:00Z",
    }  # fmt: skip
    return {**row, **changes}


def test_flights_are_put_in_utc_labelled_and_the_label_is_known_the_morning_after(monkeypatch: pytest.MonkeyPatch) -> None:
    module = program("flights", "prepare")
    rows = [
        flight(),  # lands after midnight, in the night in which the clocks go forward
        flight(flight=8, day=1, hour=6, minute=0, sched_dep_time=600, arr_delay=15, time_hour="2013-03-01T11:00:00Z"),
        flight(flight=9, arr_delay=None, dep_delay=None, air_time=None),
        flight(flight=137, day=1, hour=6, minute=0, sched_dep_time=600, time_hour="2013-03-01T11:00:00Z"),
    ]
    monkeypatch.setattr(module, "ROWS", len(rows))
    found = {row["flight_id"]: row for row in module.prepare(pl.DataFrame(rows)).to_dicts()}
    dst, on_time, cancelled, straggler = (
        found[k] for k in ("UA-7-EWR-20130309-2330", "UA-8-EWR-20130301-0600", "UA-9-EWR-20130309-2330", "UA-137-EWR-20130301-0600")
    )
    assert dst["scheduled_at"] == datetime(2013, 3, 10, 4, 30, tzinfo=UTC)
    assert dst["label_known_at"] == datetime(2013, 3, 11, 10, 0, tzinfo=UTC), "06:00 in New York, by then on daylight time"
    assert (dst["late"], on_time["late"], cancelled["late"]) == (1, 0, None), "more than 15 minutes"
    assert on_time["label_known_at"] == datetime(2013, 3, 2, 11, 0, tzinfo=UTC)
    assert cancelled["label_known_at"] is None
    assert straggler["label_known_at"] == datetime(2013, 3, 8, 11, 0, tzinfo=UTC), "a week late"
    assert "dep_delay" not in dst and "air_time" not in dst, "not known when the departure is planned"


def test_flights_refuse_a_wrong_time_zone_and_a_wrong_count(monkeypatch: pytest.MonkeyPatch) -> None:
    module = program("flights", "prepare")
    with pytest.raises(SystemExit, match="expected 336,776 flights, got 1"):
        module.prepare(pl.DataFrame([flight()]))
    monkeypatch.setattr(module, "ROWS", 1)
    with pytest.raises(SystemExit, match="does not agree with time_hour"):
        module.prepare(pl.DataFrame([flight(time_hour="2013-03-09T23:00:00Z")]))


def test_breast_cancer_rows_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    with (EXAMPLES / "breast-cancer" / "breast_cancer.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert [name.replace("_", " ") for name in header[1:-1]] == list(data.feature_names)
    assert [[float(v) for v in row[1:-1]] for row in rows] == data.data.tolist()
    assert [row[-1] for row in rows] == [data.target_names[t] for t in data.target]
    assert len({row[0] for row in rows}) == 569


def test_the_brought_model_is_the_published_one_but_for_one_byte() -> None:
    published = "8224784c98d73412d9fd99abcd57a38568bd590980d0fbe5916464531c52e8fc"  # onnxruntime/datasets/logreg_iris.onnx
    brought = (EXAMPLES / "iris-onnx" / "logreg_iris.onnx").read_bytes()
    four_columns = bytes([0x0A, 0x02, 0x08, 3, 0x0A, 0x02, 0x08, 4])
    assert brought.count(four_columns) == 1
    assert hashlib.sha256(brought.replace(four_columns, four_columns[:-1] + b"\x02")).hexdigest() == published


def modelyard(folder: Path, home: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("modelyard")), *arguments]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "MODELYARD_HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_by_some_test() -> None:
    assert sorted(NAMES) == sorted(p.name for p in EXAMPLES.iterdir() if (p / "config.yaml").exists())


NEEDS = {"tumours-r": needs_r, "wine-server": needs_bwrap}  # the server's port and paths are written into it


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS.get(name, ())) for name in LIVE])
def test_example_goes_from_its_file_to_a_live_endpoint(name: str, tmp_path: Path, home: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    try:
        modelyard(folder, home, "up", "--yes", "--detach")
        config = load(folder / "config.yaml").config
        table = pl.read_csv(folder / str(config.data.source.location))
        table.head(7).drop(config.data.target_col).write_csv(folder / "rows.csv")
        answers = json.loads(modelyard(folder, home, "predict", name, "rows.csv", "--json"))["predictions"]
        assert [a["inference_id"] for a in answers] == table[config.data.id_col or ""].head(7).to_list()
        assert [a["prediction"] for a in answers] == table[config.data.target_col].head(7).to_list(), "all seven are easy ones"
    finally:
        modelyard(folder, home, "down")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", environments.FRAMEWORKS)
def test_a_frameworks_example_is_built(name: str, tmp_path: Path) -> None:
    """In one environment for all of them, which costs less than five; that it is no other than theirs, environments.requirements says."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    (folder / "requirements.txt").write_text(environments.requirements())
    assert f"built {name}:1" in modelyard(folder, environments.home(), "build")


@environments.needs_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tensorflows_example_is_built(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "wine-tensorflow", tmp_path / "model")
    assert "built wine-tensorflow:1" in modelyard(tmp_path / "model", environments.home(), "build")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_and_an_archive_are_brought_as_what_they_were_built(tmp_path: Path) -> None:
    """MLflow's model folder as it is, and in SageMaker's layout with its own inference script."""
    home = environments.home()
    folder = tmp_path / "iris-mlflow"
    shutil.copytree(EXAMPLES / "iris-mlflow", folder)
    (folder / "requirements.txt").write_text(environments.requirements())
    modelyard(folder, home, "build")
    (bundle,) = {p.parent for p in (home / "bundles").glob("*/model/model/MLmodel")}
    text = (folder / "config.yaml").read_text().replace("name: iris-mlflow", "name: iris-brought")
    text = "".join(line for line in text.splitlines(keepends=True) if "channel_format" not in line)  # there is no training to read it
    before, _, after = text.partition("train:\n")
    for number, (artifact, framework) in enumerate([("brought", "mlflow"), ("model.tar.gz", "sklearn")]):
        if framework == "mlflow":
            shutil.copytree(bundle, folder / artifact)
        else:
            archive(folder / artifact, bundle)
        part = f"bring: {{artifact: {artifact}, framework: {framework}, requirements: requirements.txt}}\n\nevaluate:"
        (folder / "config.yaml").write_text(before + part + after.partition("evaluate:")[2])
        assert f"built iris-brought:{number + 1}" in modelyard(folder, home, "build")
    found = [
        pl.read_parquet(p).select("^f\\..*$", "^y\\..*$")
        for p in (home / "bundles").glob("*/holdout.parquet")
        if of(p) in ("iris-mlflow", "iris-brought")
    ]
    assert len(found) == 3 and all(table.equals(found[0]) for table in found)


def of(holdout: Path) -> str:
    """The model whose bundle a hold-out lies in."""
    return str(json.loads((holdout.parent / "manifest.json").read_text())["model"])


INFERENCE = """
import io, json, os, sys
import mlflow.sklearn, pandas as pd
def model_fn(model_dir):
    return mlflow.sklearn.load_model(os.path.join(model_dir, "inner"))
def input_fn(body, content_type):
    return pd.read_csv(io.StringIO(body), header=None)
def predict_fn(data, model):
    return model.predict_proba(data.set_axis(model.feature_names_in_, axis=1))
def output_fn(prediction, accept):
    return json.dumps({"predictions": prediction.tolist()}), accept
"""


def archive(path: Path, mlmodel: Path) -> None:
    with tarfile.open(path, "w:gz") as file:
        file.add(mlmodel, "inner")
        text = INFERENCE.encode()
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(text)
        file.addfile(member, io.BytesIO(text))
