"""Exact explanations of models whose structure is known: tree ensembles and linear models, alone or at the end of a pipeline.

Whatever is found is held against what the runner answers for the same rows; where the two do not agree, or the structure is unknown,
the request is declined with the reason, and the platform asks the model itself, as for any other language.
"""

from __future__ import annotations

import importlib
import traceback
from typing import Any, NamedTuple

from modelyard.runtime import explain_native, explain_trees
from modelyard.runtime.explain_pipeline import Declined, Pipeline
from modelyard.runtime.inputs import check
from modelyard.runtime.wire import BadFrame

TOLERANCE = 1e-5
"""Greatest difference, relative to the largest value (at least 1); libraries that sum in float32 reach about 1e-6."""


class Found(NamedTuple):
    """values: (columns or players, rows); margins: (rows,), what values and base must sum to."""

    values: Any
    base: float
    margins: Any
    why: str


class Agreement(NamedTuple):
    """Output `column` of a model's raw outputs, times `sign`, through `link`, is what the runner answers."""

    column: int
    sign: float
    link: str


def explain(message: dict[str, Any], served: Any, names: list[str]) -> dict[str, Any]:
    """The body of the reply to an `explain` message: `explained` or `declined`. Raises BadFrame.

    message: `rows`, `columns` as for predict; `background` likewise an object of `rows` and `columns`; `output`, the name of the output
    to explain; `method`: auto, tree or linear. explained: `attributions` (a list of numbers a column of the signature), `base`, `output`
    (what they sum to: probability, prediction, log-odds, margin or log-prediction), `method`, `why`, `error` (greatest difference between
    sum and output).
    """
    columns, rows = check(message, names)
    background = message.get("background")
    if not isinstance(background, dict):
        raise BadFrame("`explain` needs `background`, with `rows` and `columns`")
    usual, more = check(background, names)
    joined = {name: [*columns[name], *usual[name]] for name in names}
    try:
        return {"explained": _explained(served, names, joined, rows, more, str(message.get("output")), str(message.get("method")))}
    except Declined as exc:
        return {"declined": str(exc)}
    except Exception as exc:
        traceback.print_exc()
        first = (str(exc).strip().splitlines() or [""])[0][:200]
        return {"declined": f"the model's structure cannot be read ({type(exc).__name__}: {first})"}


def _explained(served: Any, names: list[str], columns: dict[str, list[Any]], n: int, m: int, output: str, method: str) -> dict[str, Any]:
    np: Any = importlib.import_module("numpy")
    if served.model is None:
        raise Declined("another process holds the model")
    if served.inputs is None:
        raise Declined("`inference.pre` makes other columns before the model sees them")
    answers = np.asarray(served.predict(columns, n + m)[output], dtype=np.float64)
    pipeline = Pipeline(served, columns, names)
    kinds = {"tree": ("tree",), "linear": ("linear",)}.get(method, ("tree", "linear"))
    for kind in kinds:
        found = (_tree if kind == "tree" else _linear)(np, pipeline, answers, n)
        if found is not None:
            agreed, values = found
            return _checked(np, values, agreed, kind, output, len(names))
    wanted = " nor ".join({"tree": "a tree ensemble", "linear": "a linear model"}[k] for k in kinds)
    raise Declined(f"{type(pipeline.model).__name__} is not {wanted} whose structure is known here")


def _checked(np: Any, found: Found, agreed: Agreement, kind: str, output: str, players: int) -> dict[str, Any]:
    error = float(np.abs(found.values.sum(axis=0) + found.base - found.margins).max())
    if not error <= TOLERANCE * max(1.0, float(np.abs(found.margins).max())):
        raise Declined(f"its {kind} attributions do not sum to its output (they are {error:.2g} apart)")
    probability = output.startswith("probability_")
    plain = "probability" if probability else ("score" if output == "score" else "prediction")
    names = {"identity": plain, "sigmoid": "log-odds", "softmax": "margin", "exp": "log-prediction"}
    assert len(found.values) == players
    return {
        "attributions": found.values.tolist(),
        "base": float(found.base),
        "output": names[agreed.link],
        "method": kind,
        "why": found.why,
        "error": error,
    }


def agreement(np: Any, raw: Any, answers: Any, what: str) -> Agreement:
    """Which of a model's raw outputs the runner's answers are, and through which link. Raises Declined where none is."""
    with np.errstate(over="ignore"):
        lifted = np.exp(raw - raw.max(axis=1, keepdims=True))
        tried = [(Agreement(k, 1.0, "identity"), raw[:, k]) for k in range(raw.shape[1])]
        if raw.shape[1] == 1:
            tried += [(Agreement(0, sign, "sigmoid"), 1 / (1 + np.exp(-sign * raw[:, 0]))) for sign in (1.0, -1.0)]
            tried += [(Agreement(0, 1.0, "exp"), np.exp(raw[:, 0]))]
        else:
            shares = lifted / lifted.sum(axis=1, keepdims=True)
            tried += [(Agreement(k, 1.0, "softmax"), shares[:, k]) for k in range(raw.shape[1])]
        errors = [float(np.abs(values - answers).max()) for _, values in tried]
    best = min(range(len(tried)), key=lambda i: errors[i] if errors[i] == errors[i] else float("inf"))
    if not errors[best] <= TOLERANCE * max(1.0, float(np.abs(answers).max())):
        raise Declined(f"the endpoint does not answer what {what} gives: something comes after it")
    return tried[best][0]


def _tree(np: Any, pipeline: Pipeline, answers: Any, n: int) -> tuple[Agreement, Found] | None:
    model, name = pipeline.model, type(pipeline.model).__name__
    m = len(answers) - n
    natively = explain_native.native(model, pipeline.table)
    if natively is not None:
        values, margins = natively
        agreed = agreement(np, margins, answers, name)
        own = values[:n, agreed.column, :].T * agreed.sign
        summed = "" if pipeline.plain else "; those of encoded columns are summed to their source column"
        why = f"{name} has exact SHAP values of its own, by its trees' counts of training rows{summed}"
        return agreed, Found(pipeline.summed(own[:-1]), float(own[-1].mean()), agreed.sign * margins[:n, agreed.column], why)
    if name not in explain_trees.KNOWN:
        return None
    raw = np.asarray(getattr(model, explain_trees.KNOWN[name])(pipeline.table), dtype=np.float64).reshape(len(answers), -1)
    agreed = agreement(np, raw, answers, name)
    trees = explain_trees.sklearn_trees(model, agreed.column)
    table = pipeline.numbers
    if not name.startswith("Hist"):
        table = table.astype(np.float32).astype(np.float64)  # as these trees compare
    try:
        values, base = explain_trees.shap(trees, table[:n], table[n:], pipeline.owner)
    except explain_trees.TooLarge as exc:
        raise Declined(f"{name}: {exc}") from exc
    why = f"{name} is a sum of trees: exact SHAP values against {m} rows of the background (interventional TreeSHAP)"
    return agreed, Found(pipeline.padded(values) * agreed.sign, base * agreed.sign, agreed.sign * raw[:n, agreed.column], why)


def _linear(np: Any, pipeline: Pipeline, answers: Any, n: int) -> tuple[Agreement, Found] | None:
    model, name = pipeline.model, type(pipeline.model).__name__
    weights, start = getattr(model, "coef_", None), getattr(model, "intercept_", None)
    if weights is None or start is None:
        return None
    weights = np.atleast_2d(np.asarray(weights.toarray() if hasattr(weights, "toarray") else weights, dtype=np.float64))
    table = pipeline.numbers
    if weights.shape[1] != table.shape[1]:
        return None
    margins = table @ weights.T + np.ravel(start)
    agreed = agreement(np, margins, answers, name)
    own = weights[agreed.column] * agreed.sign
    values = (table[:n] - table[n:].mean(axis=0)).T * own[:, None]
    margins = agreed.sign * margins[:, agreed.column]
    why = f"{name} is linear: exact SHAP values from its coefficients, against the mean of {len(answers) - n} rows of the background"
    return agreed, Found(pipeline.summed(values), float(margins[n:].mean()), margins[:n], why)
