"""Loading a model: by the script's own model_fn where it has one, else as the framework does it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.runtime import onnx
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.outputs import BadOutput, Outputs, class_order

HONOURED = ("model_fn", "predict_fn")
REFUSED = ("input_fn", "output_fn", "transform_fn")


class CannotLoad(Exception):
    """The model cannot be loaded; the message says what to do."""


class Served:
    """A loaded model: `predict(columns, rows)` gives the signature's outputs."""

    def __init__(self, raw: Callable[[dict[str, list[Any]], int], Any], outputs: Outputs, model_fn: str, predict_fn: str) -> None:
        self._raw, self._outputs = raw, outputs
        self.model_fn, self.predict_fn = model_fn, predict_fn

    def predict(self, columns: dict[str, list[Any]], rows: int) -> dict[str, list[Any]]:
        return self._outputs(self._raw(columns, rows), rows)


def defined(path: Path) -> set[str]:
    """The inference functions that a script defines, read without running it: a script without a main guard would train."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node in tree.body:
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return names & {*HONOURED, *REFUSED}


def script(code_dir: str, entry_point: str) -> dict[str, Callable[..., Any]]:
    """The inference functions of the entry point; empty when it has none (then it is not even imported). Raises CannotLoad."""
    if not entry_point or not entry_point.endswith(".py"):
        return {}
    path = Path(code_dir) / entry_point
    if not path.is_file():
        raise CannotLoad(f"the entry point {entry_point} is not in the code")
    try:
        names = defined(path)
    except (SyntaxError, ValueError) as exc:
        raise CannotLoad(f"{entry_point} is not valid Python: {exc}") from exc
    refused = sorted(names & set(REFUSED))
    if refused:
        raise CannotLoad(
            f"{entry_point} defines {', '.join(refused)}, which this release does not honour: "
            "define model_fn and predict_fn only, and let the endpoint read and write JSON and CSV"
        )
    if not names:
        return {}
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CannotLoad(f"{entry_point} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {name: getattr(module, name) for name in names if callable(getattr(module, name, None))}


def framework_model(framework: str, model_dir: str) -> Any:
    """What the framework's usual file holds. Raises CannotLoad when it is not there, or is there twice."""
    if framework == "onnx":
        files = sorted(Path(model_dir).glob("*.onnx"))
        if len(files) != 1:
            raise CannotLoad(f"the model folder holds {len(files)} .onnx files; leave exactly one, or define model_fn")
        return onnx.open_session(str(files[0]))
    for name in ("model.joblib", "model.pkl"):
        path = Path(model_dir) / name
        if path.is_file():
            return _joblib(path)
    found = ", ".join(sorted(p.name for p in Path(model_dir).iterdir())) or "nothing"
    raise CannotLoad(f"the model folder holds no model.joblib or model.pkl (it holds {found}); save the model so, or define model_fn")


def _joblib(path: Path) -> Any:
    try:
        return importlib.import_module("joblib").load(path)
    except AttributeError as exc:
        if "__main__" not in str(exc):
            raise
        raise CannotLoad(f"{exc}: a class that the script itself defines; move it to a module beside the script") from exc


def load(model_dir: str, code_dir: str, entry_point: str, signature: dict[str, Any], framework: str) -> Served:
    """Load the model and settle how it predicts. Raises CannotLoad, or whatever the user's code raises."""
    functions = script(code_dir, entry_point)
    own_loader = functions.get("model_fn")
    model = own_loader(model_dir) if own_loader else framework_model(framework, model_dir)
    try:
        raw, order = _how(model, functions.get("predict_fn"), signature)
    except BadOutput as exc:
        raise CannotLoad(str(exc)) from exc
    return Served(
        raw,
        Outputs(signature, order),
        "script" if own_loader else "framework",
        "script" if "predict_fn" in functions else "framework",
    )


def _how(
    model: Any, predict_fn: Callable[..., Any] | None, signature: dict[str, Any]
) -> tuple[Callable[[dict[str, list[Any]], int], Any], list[int] | None]:
    """The function from columns to raw results, and the model's class order."""
    classifier = signature["problem_type"] != "regression"
    is_session = type(model).__module__.startswith("onnxruntime")
    if is_session and predict_fn is None:
        wrapped = onnx.OnnxModel(model, signature)
        return wrapped.predict, None
    known = getattr(model, "classes_", None) if classifier else None
    order = None if known is None else class_order(known, list(signature["classes"]))
    inputs = Inputs(signature["columns"])
    if predict_fn is not None:
        return (lambda columns, rows: predict_fn(inputs(columns), model)), order
    method = "predict_proba" if classifier else "predict"
    if not hasattr(model, method):
        raise CannotLoad(
            f"{type(model).__name__} has no {method}: {'probabilities are' if classifier else 'a prediction is'} needed; "
            "choose a model that has it, or define predict_fn(input, model) that returns them"
        )
    return (lambda columns, rows: getattr(model, method)(inputs(columns))), order
