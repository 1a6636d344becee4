"""Frameworks: how each loads what training left behind, and how a loaded model predicts, told by what it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.runtime import deep, features, onnx
from modelyard.runtime.modelfiles import Format, find, head, held, is_pickle, unpickled
from modelyard.runtime.outputs import ANOMALY, BINARY, BadOutput, class_order, gives_numbers, gives_probabilities, numbers_classes
from modelyard.runtime.rows import Rows
from modelyard.runtime.script import CannotLoad

Predict = Callable[[Rows], Any]


def load(framework: str, model_dir: str, signature: dict[str, Any]) -> Any:
    """What the framework's usual file holds. Raises CannotLoad when it is not there, or is there twice."""
    return _LOADERS[framework](Path(model_dir), signature)


def _sklearn(folder: Path, signature: dict[str, Any]) -> Any:
    return unpickled(find(folder, Format(), "model.joblib or model.pkl"))


def _onnx(folder: Path, signature: dict[str, Any]) -> Any:
    return onnx.open_session(str(find(folder, Format(endings=(".onnx",)), "file .onnx")))


# SageMaker's built-in algorithm calls its booster `xgboost-model`, and used to pickle it
_XGBOOST = Format(
    ("xgboost-model", "model.ubj", "model.json"),
    (".ubj", ".xgb", ".bst", ".model"),
    lambda start: start.startswith((b"binf", b"bs64")) or (start[:1] == b"{" and b"learner" in start),
)
_LIGHTGBM = Format(("model.txt",), (".lgb",), lambda start: start.startswith(b"tree"))
_CATBOOST = Format(("model.cbm",), (".cbm",), lambda start: start.startswith(b"CBM1"))


def _xgboost(folder: Path, signature: dict[str, Any]) -> Any:
    path = find(folder, _XGBOOST, "model.json, model.ubj, xgboost-model, model.joblib or model.pkl")
    if is_pickle(path):
        return unpickled(path)
    booster: Any = importlib.import_module("xgboost").Booster()
    booster.load_model(str(path))
    return booster


def _lightgbm(folder: Path, signature: dict[str, Any]) -> Any:
    path = find(folder, _LIGHTGBM, "model.txt, model.joblib or model.pkl")
    return unpickled(path) if is_pickle(path) else importlib.import_module("lightgbm").Booster(model_file=str(path))


def _catboost(folder: Path, signature: dict[str, Any]) -> Any:
    path = find(folder, _CATBOOST, "model.cbm, model.joblib or model.pkl")
    if is_pickle(path):
        return unpickled(path)
    catboost: Any = importlib.import_module("catboost")
    model = catboost.CatBoost() if gives_numbers(signature) else catboost.CatBoostClassifier()
    return model.load_model(str(path), format="json" if head(path)[:1] == b"{" else "cbm")


def _mlflow(folder: Path, signature: dict[str, Any]) -> Any:
    home = mlflow_home(folder, importlib.import_module("mlflow.models").Model.load)
    return importlib.import_module("mlflow.pyfunc").load_model(str(home))


def mlflow_home(folder: Path, read: Callable[[str], Any]) -> Path:
    """The folder of the model's MLmodel file, at any depth: a script that only logs leaves it deep in a tracking store. Of several of one
    run, the newest. Raises CannotLoad where there is none, or several of several runs. `read` is MLflow's own `Model.load`."""
    homes = sorted((p.parent for p in folder.rglob("MLmodel") if p.is_file()), key=lambda p: len(p.parts))
    homes = [p for i, p in enumerate(homes) if not any(other in p.parents for other in homes[:i])]  # else part of another model
    if not homes:
        raise CannotLoad(f"the model folder holds no MLmodel at any depth (it holds {held(folder)}); save the model so, or define model_fn")
    if len(homes) == 1:
        return homes[0]
    facts = [read(str(p)) for p in homes]
    if len({str(f.run_id) for f in facts}) > 1 or facts[0].run_id is None:
        names = ", ".join(sorted(p.relative_to(folder).as_posix() for p in homes))
        raise CannotLoad(f"the model folder holds {len(homes)} models of MLflow ({names}); leave one, or define model_fn")
    return max(zip((str(f.utc_time_created) for f in facts), homes))[1]


_LOADERS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "sklearn": _sklearn,
    "onnx": _onnx,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "mlflow": _mlflow,
    "pytorch": lambda folder, signature: deep.load_torch(folder),
    "tensorflow": lambda folder, signature: deep.load_keras(folder),
}
NAMES = (*_LOADERS, "r", "custom")


_KINDS = {
    ("torch", "Module"), ("keras", "Model"), ("onnxruntime", "InferenceSession"), ("xgboost", "Booster"), ("lightgbm", "Booster"),
    ("mlflow", "PyFuncModel"),
}  # fmt: skip


def kind(model: Any) -> str:
    """What a model is, whatever the config calls it: torch, keras, onnxruntime, xgboost or lightgbm (a bare booster), mlflow; else sklearn,
    which stands for all that has `predict` and `predict_proba` as scikit-learn's have."""
    for base in type(model).__mro__:
        root, name = base.__module__.split(".")[0], base.__name__
        if (root, name) in _KINDS:
            return root
        if root == "tensorflow":
            return "keras"
    return "sklearn"


def predictor(model: Any, signature: dict[str, Any]) -> tuple[Predict, list[int] | None]:
    """The model's own way to predict, and the order of its classes. Raises CannotLoad where it has none."""
    what = kind(model)
    if what == "onnxruntime":
        wrapped = onnx.OnnxModel(model, signature)
        return (lambda rows: wrapped.predict(rows.columns, rows.count)), None
    if what == "torch":
        return (lambda rows: deep.torch_predict(model, rows, signature)), None
    if what == "keras":
        return (lambda rows: deep.keras_predict(model, rows, signature)), None
    if what == "xgboost":
        return (lambda rows: model.predict(fitting(model, _matrix(rows.frame)), validate_features=False)), None
    if what == "lightgbm":
        return (lambda rows: model.predict(_categories(rows.frame))), None
    if what == "mlflow":
        return _pyfunc(model, signature)
    method, order = _method(model, signature), order_of(model, signature)
    if type(model).__module__.split(".")[0] == "lightgbm":
        return (lambda rows: method(_categories(rows.frame))), order
    return (lambda rows: method(rows.frame)), order


def order_of(model: Any, signature: dict[str, Any]) -> list[int] | None:
    """Where the model's `classes_` put the signature's classes (-1: the model of several classes never saw it); None where it has none.

    Raises CannotLoad where they differ otherwise.
    """
    known = getattr(model, "classes_", None)
    if known is None or not gives_probabilities(signature):
        return None
    classes = list(signature["classes"])
    if signature["problem_type"] == "multilabel_classification":
        try:
            return class_order(known, classes)
        except (BadOutput, TypeError, ValueError):
            return None  # numbers of columns, or a list a label: the order of the labels is the training table's
    if numbers_classes(known, classes):
        if signature["problem_type"] == BINARY and signature["positive_class"] == classes[0]:
            raise CannotLoad(
                f"the model's classes are 0 and 1, and `{classes[0]}` may be 0 (the first in sorted order) or 1 (the positive class): "
                "train on the labels as they are"
            )
        return list(range(len(classes)))
    try:
        return class_order(known, classes, fewer=signature["problem_type"] != BINARY)
    except BadOutput as exc:
        raise CannotLoad(str(exc)) from exc


def numbered(model: Any, signature: dict[str, Any]) -> str:
    """What to say of a model that knows the classes by numbers only, where the signature's are texts; empty for any other.

    Such are models with `classes_` 0 to k-1, and of more than two classes bare boosters and networks, which have no other.
    """
    classes = list(signature.get("classes") or [])
    known = getattr(model, "classes_", None)
    if not classes or signature["problem_type"] not in (BINARY, "multiclass_classification"):
        return ""
    if known is None:
        inside = features.raw(model) if kind(model) == "mlflow" else model
        if getattr(inside, "classes_", None) is not None:
            return numbered(inside, signature)
        bare = kind(inside) in ("xgboost", "lightgbm", "torch", "keras") and len(classes) > 2
        if not bare or not all(isinstance(c, str) for c in classes):
            return ""
    elif not numbers_classes(known, classes):
        return ""
    return f"the model numbers its classes; taken in sorted order (0 is {classes[0]}, {len(classes) - 1} is {classes[-1]})"


def _method(model: Any, signature: dict[str, Any]) -> Callable[[Any], Any]:
    if signature["problem_type"] == ANOMALY:
        return _anomalies(model)
    classifier = gives_probabilities(signature)
    name = "predict_proba" if classifier else "predict"
    if not hasattr(model, name):
        raise CannotLoad(
            f"{type(model).__name__} has no {name}: {'probabilities are' if classifier else 'a prediction is'} needed; "
            "choose a model that has it, or define predict_fn(input, model) that returns them"
        )
    method: Callable[[Any], Any] = getattr(model, name)
    return method


def _anomalies(model: Any) -> Callable[[Any], Any]:
    """Scores that rise with strangeness, and the model's own verdict: scikit-learn's detectors score the other way, PyOD's this one."""
    if hasattr(model, "decision_scores_"):
        return lambda x: {"score": model.decision_function(x), "prediction": [-1 if v else 1 for v in model.predict(x)]}
    name = next((n for n in ("score_samples", "decision_function") if hasattr(model, n)), None)
    if name is None:
        raise CannotLoad(
            f"{type(model).__name__} has neither score_samples nor decision_function: define predict_fn(input, model) that "
            "returns scores, greater for stranger rows"
        )
    score = getattr(model, name)
    if not hasattr(model, "predict"):
        return lambda x: {"score": -score(x)}
    return lambda x: {"score": -score(x), "prediction": model.predict(x)}


def fitting(model: Any, matrix: Any) -> Any:
    """`matrix`, if it has as many columns as the booster was trained on: given others, XGBoost answers nonsense without a word."""
    known, given = model.num_features(), matrix.num_col()
    if known != given:
        raise ValueError(f"the model was trained on {known} features and is given {given}: leave out or add columns by `data.schema`")
    return matrix


def _matrix(frame: Any) -> Any:
    return importlib.import_module("xgboost").DMatrix(frame)


def _categories(frame: Any) -> Any:
    """Text as categories, which LightGBM maps by the values it was trained with."""
    if not hasattr(frame, "dtypes"):
        return frame
    texts = [name for name in frame.columns if str(frame[name].dtype) in ("object", "str", "string")]
    return frame.astype(dict.fromkeys(texts, "category")) if texts else frame


def _pyfunc(model: Any, signature: dict[str, Any]) -> tuple[Predict, list[int] | None]:
    """A pyfunc answers labels for a classifier of scikit-learn's kind: then the model inside it is asked for probabilities."""
    inner = features.raw(model)
    if inner is not None and gives_probabilities(signature) and hasattr(inner, "predict_proba"):
        return (lambda rows: inner.predict_proba(rows.frame)), order_of(inner, signature)
    return (lambda rows: model.predict(rows.frame)), None
