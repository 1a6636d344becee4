"""A script's inference functions: found without running it, imported when there are any, called as SageMaker's toolkits call them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FUNCTIONS = ("pre_model_fn", "model_fn", "model_warmup_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")
Functions = dict[str, Callable[..., Any]]


class CannotLoad(Exception):
    """The model cannot be loaded; the message says what to do."""


def defined(path: Path, wanted: tuple[str, ...] = FUNCTIONS) -> set[str]:
    """The functions of `wanted` that a script defines, read without running it: one without a main guard would train."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node in tree.body:
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return names & set(wanted)


def functions(folder: str, name: str, wanted: tuple[str, ...] = FUNCTIONS) -> Functions:
    """The functions of script `name` in `folder`; empty when it defines none (then it is not even imported). Raises CannotLoad."""
    if not name or not name.endswith(".py"):
        return {}
    path = Path(folder) / name
    if not path.is_file():
        raise CannotLoad(f"the entry point {name} is not in the code")
    try:
        names = defined(path, wanted)
    except (SyntaxError, ValueError) as exc:
        raise CannotLoad(f"{name} is not valid Python: {exc}") from exc
    if not names:
        return {}
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CannotLoad(f"{name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    if path.parent != Path(folder):  # its neighbours are importable, as they are where `python sub/script.py` runs it
        sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {key: getattr(module, key) for key in names if callable(getattr(module, key, None))}


def inference(model_dir: str, code_dir: str, entry_point: str) -> Functions:
    """The inference functions of a version: those of the script that SAGEMAKER_PROGRAM names, else the entry point's, which may lie in the
    folder `code` of the model (SageMaker's layout); where they have none, those of code/inference.py in the model.

    Raises CannotLoad, also for a transform_fn beside what it takes the place of.
    """
    named = os.environ.get("SAGEMAKER_PROGRAM", "")
    asked = f"{named.removesuffix('.py')}.py" if named else entry_point
    inside = Path(model_dir) / "code"
    comes_along = (inside / asked).is_file() and not (Path(code_dir) / asked).is_file()
    found = {} if comes_along else functions(code_dir, asked)
    program = asked if comes_along else "inference.py"
    if not found and (inside / program).is_file():
        sys.path.insert(0, str(inside))
        found = functions(str(inside), program)
    beside = sorted({"input_fn", "predict_fn", "output_fn"} & set(found))
    if "transform_fn" in found and beside:
        raise CannotLoad(f"the script defines transform_fn and {', '.join(beside)}: transform_fn takes the place of all three")
    return found


def call(function: Callable[..., Any], *arguments: Any, model_dir: str = "") -> Any:
    """Call a handler; one with a parameter more is given the context, as sagemaker-inference 1.10 does."""
    try:
        takes = len(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        takes = len(arguments)
    if takes == len(arguments) + 1:
        properties = {"model_dir": model_dir, "gpu_id": None}
        return function(*arguments, SimpleNamespace(system_properties=properties, request_processor=[]))
    return function(*arguments)
