"""Which file is the model: by name, ending, first bytes, and at last the only one; never a guess between two."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelyard.runtime import features
from modelyard.runtime.frameworks import _LIGHTGBM, _XGBOOST, mlflow_home
from modelyard.runtime.modelfiles import Format, find, unpickled
from modelyard.runtime.script import CannotLoad

PICKLE, PLAIN = pickle.dumps({"a": 1}), Format()
BOOSTER = b'{"learner":{"attributes":{}}}'


@pytest.mark.parametrize(
    ("own", "files", "chosen"),
    [
        (PLAIN, {"model.sav": PICKLE, "metrics.json": b"{}", "features.txt": b"a,b"}, "model.sav"),
        (PLAIN, {"model.joblib": PICKLE, "scaler.joblib": PICKLE}, "model.joblib"),
        (PLAIN, {"tree": PICKLE, "notes.md": b"# x"}, "tree"),
        (PLAIN, {"packed.bin": gzip.compress(PICKLE)}, "packed.bin"),
        (PLAIN, {"model/model.pkl": PICKLE, "code/helper.pkl": PICKLE, "plot.png": b"\x89PNG"}, "model/model.pkl"),
        (_XGBOOST, {"metrics.json": b'{"rmse": 1}', "booster.json": BOOSTER}, "booster.json"),
        (_XGBOOST, {"metrics.json": b"{}", "model.pkl": PICKLE}, "model.pkl"),
        (_XGBOOST, {"model.bst": BOOSTER, "scaler.pkl": PICKLE}, "model.bst"),
        (_LIGHTGBM, {"lightgbm-regression-model.txt": b"tree\nversion=v4\n", "features.txt": b"a"}, "lightgbm-regression-model.txt"),
        (_LIGHTGBM, {"whatever": b"?"}, "whatever"),
    ],
)
def test_the_file_that_fits(tmp_path: Path, own: Format, files: dict[str, bytes], chosen: str) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert find(tmp_path, own, "x") == tmp_path / chosen
    if own == PLAIN:
        assert unpickled(find(tmp_path, own, "x")) == {"a": 1}


@pytest.mark.parametrize(
    ("own", "files", "said"),
    [
        (PLAIN, {"a.sav": PICKLE, "b.pkl": PICKLE}, r"2 files that may be the model \(a\.sav, b\.pkl\); leave one"),
        (PLAIN, {"a": PICKLE, "b": PICKLE, "c": b"x"}, r"2 files that may be the model \(a, b\)"),
        (PLAIN, {"model.txt": b"tree"}, r"holds no x \(it holds model\.txt\)"),
        (_XGBOOST, {"a.json": BOOSTER, "b.json": BOOSTER}, r"2 files .* \(a\.json, b\.json\)"),
        (_XGBOOST, {"a": b"?", "b": b"?"}, r"holds no x \(it holds a, b\)"),
    ],
)
def test_no_guess_between_two(tmp_path: Path, own: Format, files: dict[str, bytes], said: str) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CannotLoad, match=said):
        find(tmp_path, own, "x")


def test_mlflows_model_at_any_depth(tmp_path: Path) -> None:
    made: dict[str, SimpleNamespace] = {}

    def save(place: str, run: str, created: str) -> Path:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "MLmodel").write_text("")
        made[str(tmp_path / place)] = SimpleNamespace(run_id=run, utc_time_created=created)
        return tmp_path / place

    with pytest.raises(CannotLoad, match="no MLmodel at any depth"):
        mlflow_home(tmp_path, made.__getitem__)
    first = save("mlruns/0/models/m-1/artifacts", "r", "2026-01-02 00:00:00")
    save("mlruns/0/models/m-1/artifacts/part", "r", "2026-01-09 00:00:00")
    assert mlflow_home(tmp_path, made.__getitem__) == first, "what lies inside a model is a part of it"
    save("mlruns/0/models/m-2/artifacts", "r", "2026-01-01 00:00:00")
    assert mlflow_home(tmp_path, made.__getitem__) == first
    save("mlruns/0/models/m-3/artifacts", "another", "2026-01-03 00:00:00")
    with pytest.raises(CannotLoad, match=r"holds 3 models of MLflow .*m-1/artifacts, .*m-2/artifacts, .*m-3/artifacts.*leave one"):
        mlflow_home(tmp_path, made.__getitem__)


def test_what_a_model_knows_of_its_columns() -> None:
    assert features.known(SimpleNamespace(feature_name=lambda: ["a_b", "c"])) == ["a_b", "c"]  # a LightGBM booster
    assert features.known(SimpleNamespace(feature_names=None)) is None and features.known(None) is None
    assert features.known(SimpleNamespace(feature_names_in_=[0, 1])) is None
    model = SimpleNamespace(feature_names_in_=["b", "a"])
    wrapper = type("Wrapper", (), {"__module__": "mlflow.sklearn", "sklearn_model": model})()
    for inside in (model, wrapper):  # MLflow 2.9 has no get_raw_model
        assert features.known(type("PyFuncModel", (), {"_model_impl": inside})()) == ["b", "a"]
    assert features.ordered(["c", "a_b"], ["a b", "c"], fewer=False) == ["c", "a b"]
    for unlike in (["c"], ["c", "d"], ["c", "c"], None):
        assert features.ordered(unlike, ["a b", "c"], fewer=False) == ["a b", "c"]
    assert features.ordered(["c"], ["a b", "c"], fewer=True) == ["c"]
