"""Loading a model, and settling how it predicts: by the script's own functions where it has them, else as its framework does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.runtime import features, frameworks, handlers
from modelyard.runtime.custom import Server
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.outputs import BadOutput, Outputs
from modelyard.runtime.rows import Rows
from modelyard.runtime.rscript import RModel
from modelyard.runtime.script import CannotLoad, Functions, call, functions, inference

__all__ = ["CannotLoad", "Served", "load"]

Raw = Callable[[Rows], Any]


class Served:
    """A loaded model: `predict(columns, rows)` gives the signature's outputs.

    `model` is the object that was loaded (None where another process, `process`, holds it), for whoever looks inside; `model_fn` and
    `predict_fn` say whether the script or the framework has them; `facts` go into the hello; `signature` is that of a `model`. A model that
    knows its features' names gets them in its own order; columns that it does not know are left out only where the script takes no part in
    predicting.
    """

    def __init__(self, raw: Raw, inputs: Inputs, outputs: Outputs, model: Any, found: set[str]) -> None:
        self._raw, self._inputs, self._outputs = raw, inputs, outputs
        self.model, self._found = model, found
        self.facts: dict[str, Any] = {}
        self.signature: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.model_fn = "script" if "model_fn" in found else "framework"
        self.predict_fn = "script" if {"predict_fn", "transform_fn"} & found else "framework"
        self._wanted, self._fewer = features.known(model), self.predict_fn == "framework" and "input_fn" not in found
        self._arranged = inputs.arranged(features.ordered(self._wanted, inputs.names, fewer=self._fewer))
        self._pre: Callable[..., Any] | None = None
        self._post: Callable[..., Any] | None = None
        self.single = False

    def hooks(self, code_dir: str, pre: str, post: str) -> None:
        """Take up `inference.pre` and `inference.post`. Raises CannotLoad."""
        self._pre, self._post = _hook(code_dir, pre, "preprocess"), _hook(code_dir, post, "postprocess")

    def _rows(self, taken: Callable[[Inputs], Rows]) -> Rows:
        if self._pre is None:
            return taken(self._arranged)
        rows = taken(self._inputs)
        return rows.after(self._pre(rows.frame)).arranged(self._wanted, fewer=self._fewer)

    @property
    def code(self) -> list[str]:
        """What of the user's own runs at every prediction: functions of the script, and hooks."""
        hooks = {"inference.pre": self._pre, "inference.post": self._post}
        own = sorted(self._found & {"input_fn", "predict_fn", "output_fn", "transform_fn"})
        return [*own, *(name for name, hook in hooks.items() if hook is not None)]

    @property
    def inputs(self) -> Inputs | None:
        """What makes the model's input of columns; None where `preprocess` makes other columns of them first."""
        return self._arranged if self._pre is None else None

    def predict(self, columns: dict[str, list[Any]], rows: int) -> dict[str, list[Any]]:
        """The signature's outputs, a list of `rows` values each. Raises BadOutput, or whatever the user's code raises."""
        if self.single and rows > 1:
            return self._one_by_one(columns, rows)
        return self._answered(lambda inputs: Rows(columns, rows, inputs), rows)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The signature's columns, and the type of each."""
        return self._inputs.columns

    @property
    def takes_frames(self) -> bool:
        """Whether `framed` answers as `predict` does: no body is made of the rows, and no other process has the model."""
        return not (self.single or self.process is not None or {"input_fn", "output_fn", "transform_fn"} & self._found)

    def framed(self, frame: Callable[[Inputs], Any], rows: int) -> dict[str, list[Any]]:
        """`predict` of what `frame` makes for some inputs: a DataFrame or array of their columns and dtypes."""
        return self._answered(lambda inputs: Rows(None, rows, inputs, frame(inputs)), rows)

    def _answered(self, taken: Callable[[Inputs], Rows], rows: int) -> dict[str, list[Any]]:
        result = self._raw(self._rows(taken))
        if self._post is not None:
            result = self._post(result, taken(self._inputs).frame)
        return self._outputs(result, rows)

    def _one_by_one(self, columns: dict[str, list[Any]], rows: int) -> dict[str, list[Any]]:
        answers: list[dict[str, list[Any]]] = []
        for row in range(rows):
            try:
                answers.append(self.predict({name: [values[row]] for name, values in columns.items()}, 1))
            except BadOutput as exc:
                raise BadOutput(str(exc), row) from exc
        return {name: [answer[name][0] for answer in answers] for name in answers[0]}


def _hook(code_dir: str, name: str, function: str) -> Callable[..., Any] | None:
    if not name:
        return None
    found = functions(code_dir, name, (function,))
    if function not in found:
        raise CannotLoad(f"{name} defines no {function}")
    return found[function]


def load(
    model_dir: str,
    code_dir: str,
    entry_point: str,
    signature: dict[str, Any],
    framework: str,
    *,
    content_type: str = "text/csv",
    accept: str = "application/json",
) -> Served:
    """Load the model. Raises CannotLoad, or whatever the user's code raises."""
    inputs = Inputs(signature["columns"])
    if framework == "r":
        return _in_r(model_dir, code_dir, entry_point, signature, inputs)
    if framework == "custom":
        server = Server(model_dir, code_dir, entry_point, content_type, accept)
        served = Served(server.predict, inputs, Outputs(signature), None, set())
        served.facts, served.process = {"port": server.port}, server.process
        return served
    found = inference(model_dir, code_dir, entry_point)
    model = _model(found, model_dir, framework, signature)
    try:
        raw, order = _how(found, model, signature, framework, (model_dir, content_type, accept))
    except BadOutput as exc:
        raise CannotLoad(str(exc)) from exc
    note = frameworks.numbered(model, signature)
    served = Served(raw, inputs, Outputs(signature, order, numbered=bool(note)), model, set(found))
    served.facts, served.signature = {"note": note} if note else {}, signature
    return served


def _model(found: Functions, model_dir: str, framework: str, signature: dict[str, Any]) -> Any:
    if "pre_model_fn" in found:
        call(found["pre_model_fn"], model_dir, model_dir=model_dir)
    if "model_fn" in found:
        model = call(found["model_fn"], model_dir, model_dir=model_dir)
    else:
        model = frameworks.load(framework, model_dir, signature)
    if "model_warmup_fn" in found:
        call(found["model_warmup_fn"], model_dir, model, model_dir=model_dir)
    return model


def _how(
    found: Functions, model: Any, signature: dict[str, Any], framework: str, bodies: tuple[str, str, str]
) -> tuple[Raw, list[int] | None]:
    """The function from rows to raw results, and the model's class order."""
    model_dir, content_type, accept = bodies
    if handlers.HANDLERS & set(found):
        chain = handlers.chain(found, model, framework=framework, model_dir=model_dir, content_type=content_type, accept=accept)
        return chain, frameworks.order_of(model, signature)
    if "predict_fn" in found:
        predict_fn = found["predict_fn"]
        return (lambda rows: call(predict_fn, rows.frame, model, model_dir=model_dir)), frameworks.order_of(model, signature)
    return frameworks.predictor(model, signature)


def _in_r(model_dir: str, code_dir: str, entry_point: str, signature: dict[str, Any], inputs: Inputs) -> Served:
    places = [Path(code_dir) / entry_point, Path(model_dir) / "code" / entry_point]  # the second comes with a model that was brought
    script = str(next((p for p in places if p.is_file()), places[0])) if entry_point.lower().endswith(".r") else ""
    model = RModel(model_dir, script, signature)
    found = {name for name, own in (("model_fn", model.own_loader), ("predict_fn", model.own_predictor)) if own}
    served = Served(model.predict, inputs, Outputs(signature), None, found)
    served.facts, served.process = {"r": model.version}, model.process
    return served
