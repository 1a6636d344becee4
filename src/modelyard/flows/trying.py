"""Trying an endpoint out: the fields that a model takes, an example in them, and one row asked of the endpoint that is up."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import Any

from modelyard.build import bundle
from modelyard.config.spec import Stage
from modelyard.errors import Unavailable, YardError
from modelyard.flows import endpoints, holdout
from modelyard.targets.base import EndpointState
from modelyard.workshop import Workshop


def form(shop: Workshop, model: str, stage: Stage) -> dict[str, Any]:
    """What the stage's endpoint takes: `address`, `version` (the one with most of the traffic), and `fields`: of each column its name,
    type, whether it may be missing, an example as text, and what training saw of it: its `words`, where they are few, and
    the least and greatest number as `between`. Raises NotFound, Unavailable where nothing is deployed."""
    state, weights = _up(shop, model, stage), shop.model(model).stage(stage).weights
    version = max(weights, key=lambda v: weights[v])
    opened = bundle.open(shop.version(model, version).digest, shop.home.path)
    records, _ = holdout.sample(opened.path, opened.signature, 1)
    example = records[0] if records else {}
    usual = opened.path / "baseline.json"
    seen: dict[str, Any] = json.loads(usual.read_text(encoding="utf-8"))["columns"] if usual.exists() else {}
    fields = [
        {"name": c.name, "type": c.type, "nullable": c.nullable, "value": as_text(example.get(c.name)), **_seen(seen.get(c.name), c.type)}
        for c in opened.signature.columns
    ]
    return {"address": state.address, "version": version, "fields": fields}


def _seen(column: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """What a baseline says of the values of a column."""
    if column is None:
        return {}
    if kind == "str" and column["kind"] == "categorical" and not column["other"]:
        return {"words": sorted(column["counts"])}
    if kind in ("int", "float") and column["kind"] == "numeric" and column["min"] is not None:
        return {"between": [column["min"], column["max"]]}
    return {}


def _up(shop: Workshop, model: str, stage: Stage) -> EndpointState:
    state = shop.target.endpoint(endpoints.name(model, stage))
    if not shop.model(model).stage(stage).weights or state is None:
        raise Unavailable(f"`{model}` has no {stage} endpoint that is up", next="bring it up with `modelyard up --detach`")
    return state


def as_text(value: Any) -> str:
    """A value as CSV has it; a missing one is empty."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def ask(shop: Workshop, model: str, stage: Stage, values: dict[str, str], *, explain: bool) -> dict[str, Any]:
    """One row, its values as text by column, asked of the stage's endpoint; no monitor counts it.

    Returns `ms`, and either `answer` (the row's, with `version`, and `explanation` where one was asked for) or `error`, the endpoint's.
    Raises Unavailable.
    """
    state = _up(shop, model, stage)
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([list(values), list(values.values())])
    headers = {"Accept": "application/json", "X-Amzn-SageMaker-Inference-Id": holdout.SMOKE}
    headers |= {"X-Amzn-SageMaker-Enable-Explanations": "true"} if explain else {}
    began = time.perf_counter()
    try:
        said = json.loads(holdout.post(state.address, text.getvalue().encode(), content_type="text/csv", headers=headers, own=state.own))
    except Unavailable:
        raise
    except YardError as exc:
        return {"ms": _ms(began), "error": exc.to_dict()["error"]}
    answer = {**said["predictions"][0], "version": said["version"]}
    if "explanations" in said:
        found = said["explanations"]
        weights = sorted(found["attributions"][0].items(), key=lambda item: -abs(item[1]))
        answer["explanation"] = {**{k: found[k] for k in ("output", "unit", "base", "why")}, "attributions": weights}
    return {"ms": _ms(began), "answer": answer}


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000
