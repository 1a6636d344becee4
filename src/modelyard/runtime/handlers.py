"""SageMaker's inference functions: input_fn, predict_fn, output_fn or transform_fn, with the toolkits' own pieces where a script has none.

Facts are those of sagemaker-inference 1.10 and of the scikit-learn, XGBoost and PyTorch containers.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

from modelyard.runtime import codecs
from modelyard.runtime.frameworks import fitting, kind
from modelyard.runtime.rows import Rows
from modelyard.runtime.script import Functions, call

HANDLERS = {"input_fn", "output_fn", "transform_fn"}
"""A script with one of these wants bodies, as a container gives them."""


def chain(functions: Functions, model: Any, *, framework: str, model_dir: str, content_type: str, accept: str) -> Callable[[Rows], Any]:
    """From rows to raw results by the script's functions, of which at least one of `HANDLERS` is there."""

    def run(name: str, *arguments: Any) -> Any:
        return call(functions[name], *arguments, model_dir=model_dir)

    def answer(rows: Rows) -> Any:
        body = codecs.encode(rows.texted(), rows.count, content_type)
        if "transform_fn" in functions:
            return codecs.decode_answer(run("transform_fn", model, body, content_type, accept), accept, rows.count)
        data = run("input_fn", body, content_type) if "input_fn" in functions else default_input(framework, body, content_type)
        if "predict_fn" in functions:
            result = run("predict_fn", data, model)
        else:
            result = default_predict(model, data, labels="output_fn" in functions)
        if "output_fn" not in functions:
            return result
        return codecs.decode_answer(run("output_fn", result, accept), accept, rows.count)

    return answer


def default_input(framework: str, body: Any, content_type: str) -> Any:
    """What the framework's container makes of a body: a DMatrix (xgboost), a float32 tensor (pytorch), else a float32 array."""
    array = codecs.decode_array(body, content_type)
    if framework == "xgboost":
        return importlib.import_module("xgboost").DMatrix(array)
    if framework == "pytorch":
        return importlib.import_module("torch").from_numpy(array)
    return array


def default_predict(model: Any, data: Any, *, labels: bool) -> Any:
    """What the container does with the data: `labels` asks for `predict`, which an output_fn was written for; else probabilities
    where the model has them."""
    what = kind(model)
    if what == "torch":
        torch: Any = importlib.import_module("torch")
        with contextlib.suppress(NotImplementedError):  # an exported program has no modes
            model.eval()
        with torch.no_grad():
            return model(data)
    if what == "xgboost":
        return model.predict(fitting(model, data), validate_features=False)
    return model.predict_proba(data) if not labels and hasattr(model, "predict_proba") else model.predict(data)
