"""What the page shows on which a person tries an endpoint: the form, and the endpoint's answer to it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from modelyard.config.spec import Stage
from modelyard.errors import BadInput
from modelyard.yard import Yard

WIDEST = 2000
"""Fields that a form may have."""
LONGEST = 1_000_000
"""Bytes that a filled-in form may have."""
_HINTS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "datetime": "time, such as 2026-01-31T12:00:00Z",
}
MOST = 20
"""Attributions that are shown."""


def page(yard: Yard, model: str, stage: Stage) -> dict[str, Any]:
    """The form, filled in with an example. Raises NotFound, Unavailable."""
    return _page(model, stage, yard.trial(model, stage), None, explain=False)


def asked(yard: Yard, model: str, stage: Stage, body: bytes) -> dict[str, Any]:
    """The form as it was sent, and what the endpoint answers. Raises NotFound, Unavailable; BadInput for what is no such form."""
    form = yard.trial(model, stage)
    sent = _sent(body)
    for i, field in enumerate(form["fields"]):
        field["value"] = sent.get(f"c{i}", field["value"])
    values = {field["name"]: field["value"] for field in form["fields"]}
    explain = sent.get("explain") == "on"
    return _page(model, stage, form, yard.tried(model, stage, values, explain=explain), explain=explain)


def _sent(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=WIDEST))
    except ValueError:
        raise BadInput("the form cannot be read") from None


def _page(model: str, stage: Stage, form: dict[str, Any], said: dict[str, Any] | None, *, explain: bool) -> dict[str, Any]:
    fields = [
        {
            "id": f"c{i}",
            "name": field["name"],
            "value": field["value"],
            "hint": _hint(field),
            "choices": _choices(field),
            "words": field.get("words", []),
        }
        for i, field in enumerate(form["fields"])
    ]
    answer = _answer(said["answer"]) if said is not None and "answer" in said else None
    return {
        "title": f"Try {model}",
        "model": model,
        "stage": stage,
        "address": form["address"],
        "version": form["version"],
        "fields": fields,
        "explain": explain,
        "answer": answer,
        "error": said.get("error") if said is not None else None,
        "ms": f"{said['ms']:.1f}" if said is not None else "",
    }


def _hint(field: dict[str, Any]) -> str:
    low, high = field.get("between", (None, None))
    seen = f", {low:.6g} to {high:.6g} in training" if low is not None else ""
    return _HINTS[field["type"]] + seen + (", may be empty" if field["nullable"] else "")


def _choices(field: dict[str, Any]) -> list[str]:
    if field["type"] != "bool":
        return []
    return ["true", "false", ""] if field["nullable"] else ["true", "false"]


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    scores = answer.get("probabilities") or ({"score": answer["score"]} if "score" in answer else {})
    shown = {
        "prediction": answer["prediction"],
        "version": answer["version"],
        "scores": [{"name": name, "value": f"{value:.4f}", "width": _width(value, 1.0)} for name, value in scores.items()],
        "explanation": None,
    }
    if (found := answer.get("explanation")) is not None:
        weights = found["attributions"]
        most = max((abs(value) for _, value in weights), default=0.0) or 1.0
        rows = [
            {"name": name, "value": f"{value:+.4g}", "width": _width(abs(value), most), "up": value >= 0} for name, value in weights[:MOST]
        ]
        shown["explanation"] = {
            "rows": rows,
            "left_out": len(weights) - len(rows),
            "base": f"{found['base']:.4g}",
            "total": f"{found['base'] + sum(value for _, value in weights):.4g}",
            "output": found["output"].replace("_", " ", 1),
            "unit": found["unit"],
            "why": found["why"],
        }
    return shown


def _width(value: float, most: float) -> int:
    """Percent of a bar."""
    return round(100 * max(0.0, min(1.0, value / most)))
