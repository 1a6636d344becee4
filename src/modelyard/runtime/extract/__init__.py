"""From a loaded model to its row plan: what the fitted model does to one row, written out as data.

The plan is a plain dict of the shape of `modelyard.serve.plan.schema`. What cannot be written out exactly is declined with the reason, and
never approximated.
"""

from __future__ import annotations

import traceback
from typing import Any

from modelyard.runtime import features, frameworks
from modelyard.runtime.extract.builder import LARGEST, WHOLE, Builder, Cannot, Fact, Table
from modelyard.runtime.extract.registry import METHODS, TRANSFORMS
from modelyard.runtime.outputs import ANOMALY, BINARY, MULTILABEL, gives_numbers

__all__ = ["MOST_NODES", "Cannot", "extract", "written"]

MOST_NODES = 1_000_000
"""About 60 MB of JSON."""


def written(message: dict[str, Any], served: Any, names: list[str]) -> dict[str, Any]:
    """The body of the reply to an `extract` message: `plan` or `declined`."""
    try:
        return {"plan": extract(served, served.signature)}
    except Cannot as exc:
        return {"declined": str(exc)}
    except Exception as exc:
        traceback.print_exc()
        first = (str(exc).strip().splitlines() or [""])[0][:200]
        return {"declined": f"the model's structure cannot be read ({type(exc).__name__}: {first})"}


def extract(served: Any, signature: dict[str, Any]) -> dict[str, Any]:
    """The row plan of a loaded model. Raises Cannot, with a sentence for people."""
    model = _model(served, signature)
    inputs = served.inputs
    builder = Builder(signature, _facts(inputs, signature), TRANSFORMS, METHODS)
    table = _table(builder, inputs, signature, model)
    answers, decided = _answers(builder, model, table, signature)
    nodes = sum(len(step["feature"]) for step in builder.steps if step["do"] == "trees")
    if nodes > MOST_NODES:
        raise Cannot(f"its trees have {nodes:,} nodes, and a row plan at most {MOST_NODES:,}")
    plan: dict[str, Any] = {
        "format": 1,
        "inputs": [{"name": c["name"], "type": c["type"], "nullable": bool(c.get("nullable", False))} for c in signature["columns"]],
        "steps": builder.steps,
        "answers": answers,
        "source": _source(model),
    }
    if decided is not None:
        plan["decided"] = decided
    if builder.tolerance is not None:
        plan.update(scores_tolerance=builder.tolerance, reason=builder.reason)
    return plan


def _model(served: Any, signature: dict[str, Any]) -> Any:
    """The object that predicts. Raises Cannot where code of the user's takes part, or another process."""
    if served.code:
        what = served.code[0]
        raise Cannot(f"{what} runs code of the user's" if what.startswith("inference.") else f"the script has its own {what}")
    if served.model is None:
        raise Cannot("another process holds the model")
    if frameworks.kind(served.model) != "mlflow":
        return served.model
    inside = features.raw(served.model)
    if inside is None or gives_numbers(signature) or not hasattr(inside, "predict_proba"):
        raise Cannot("MLflow checks a table against its own schema before the model sees it")
    return inside


def _facts(inputs: Any, signature: dict[str, Any]) -> list[Fact]:
    """What is known of the signature's columns. None is ever infinite: the wire has no infinity."""
    kinds = dict(inputs.columns)
    array = inputs.pandas is None and "str" in kinds.values()  # one array of objects
    facts = []
    for column in signature["columns"]:
        kind, nullable = str(column["type"]), bool(column.get("nullable", False))
        boxed = array or (kind == "str" and inputs.pandas is not None) or (kind == "bool" and nullable and inputs.pandas is not None)
        none = array or (boxed and not (kind == "str" and inputs.text == "str"))
        facts.append(Fact(_KINDS.get(kind, kind), _LIMITS.get(kind, LARGEST), True, none, boxed))
    return facts


_KINDS = {"int": "number", "float": "number", "str": "text"}
_LIMITS = {"int": WHOLE, "bool": 1.0}


def _table(builder: Builder, inputs: Any, signature: dict[str, Any], model: Any) -> Table:
    """What the runner gives the model. Raises Cannot where scikit-learn would refuse its columns."""
    places = {str(c["name"]): i for i, c in enumerate(signature["columns"])}
    slots = [places[name] for name in inputs.names]
    if inputs.pandas is None:
        return Table(slots, object=any(builder.facts[s].kind == "text" for s in slots))
    table = Table(slots, names=list(inputs.names), frame=True)
    for name in getattr(model, "feature_names_in_", ()):
        table.place(str(name))
    return table


def _answers(builder: Builder, model: Any, table: Table, signature: dict[str, Any]) -> tuple[list[int], int | None]:
    """The slots of the scores, in the signature's order, and that of a detector's verdict."""
    kind = signature["problem_type"]
    if gives_numbers(signature):
        return _one(builder.method(model, "predict", table), model), None
    if kind == ANOMALY:
        (score,) = _one(builder.method(model, "score_samples", table), model)
        (decided,) = _one(builder.method(model, "predict_label", table), model)
        return [builder.arithmetic(score, ("mul", -1.0))], decided
    order = frameworks.order_of(model, signature)
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    scores = builder.method(model, "predict_labels" if kind == MULTILABEL else method, table)
    if len(scores) == 1 and kind == BINARY:
        pair = builder.link("complement", scores)
        return pair if signature["positive_class"] == signature["classes"][1] else pair[::-1], None
    if len(scores) != len(signature["classes"]):
        raise Cannot(f"{type(model).__name__} gives {len(scores)} scores for {len(signature['classes'])} classes")
    return (scores if order is None else [scores[i] for i in order]), None


def _one(slots: list[int], model: Any) -> list[int]:
    if len(slots) != 1:
        raise Cannot(f"{type(model).__name__} gives {len(slots)} numbers a row")
    return slots


def _source(model: Any) -> str:
    """What the plan was made from, for people."""
    steps = [step for _, step in getattr(model, "steps", ()) if not isinstance(step, str)]
    name = type(model).__name__
    return f"{name}({', '.join(_source(step) for step in steps)})" if steps else name
