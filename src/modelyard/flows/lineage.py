"""Lineage: who answered, with what, on whose word. Answered from the journal and the capture alone."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from modelyard import tables
from modelyard.config.spec import STAGES
from modelyard.errors import BadInput, NotFound
from modelyard.flows import capturing
from modelyard.registry.state import ModelState
from modelyard.serve import captured
from modelyard.workshop import Workshop


def of_version(model: ModelState, version: str) -> dict[str, Any]:
    """A version's whole story: what it was made of, what its gates said, who let it in."""
    found = model.versions[version]
    approvals = [{"kind": type(a).__name__, "sentence": str(a), **asdict(a)} for a in found.approvals]
    return {**asdict(found), "model": model.model, "approvals": approvals}


def of_prediction(shop: Workshop, inference_id: str, model: str | None = None) -> dict[str, Any]:
    """The captured prediction and the version that gave it; production's answer before staging's.

    Ids are the callers' own. Raises BadInput where several models have it and none is named, NotFound.
    """
    found: dict[str, dict[str, Any]] = {}
    for state in [shop.model(model)] if model else shop.state.values():
        for stage in STAGES:
            row = captured.find(capturing.folder(shop, state.model, stage), inference_id)
            if row is not None:
                prediction = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}
                found[state.model] = {"prediction": prediction, "stage": stage, "version": of_version(state, str(row[tables.VERSION]))}
    if len(found) > 1:
        hint = f"modelyard who-served {next(iter(found))} --prediction {inference_id}"
        raise BadInput(f"several models have a prediction `{inference_id}`: {', '.join(found)}", next=f"name one: {hint}")
    if not found:
        hint = "ids are in every answer; is `deploy.capture` on for this model?"
        raise NotFound(f"there is no captured prediction `{inference_id}`", next=hint)
    return next(iter(found.values()))


def at(shop: Workshop, model: str, when: str) -> dict[str, Any]:
    """The versions that production served with at an instant. Raises BadInput for what is no time, NotFound before the first deployment."""
    try:
        instant = datetime.fromisoformat(when)
    except ValueError as exc:
        raise BadInput(f"'{when}' is not a time", next="write it as 2026-11-24T12:00:00+00:00") from exc
    instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    state = shop.model(model)
    weights = state.serving("production", instant.isoformat())
    if not weights:
        raise NotFound(f"nothing of `{model}` was in production at {instant.isoformat()}")
    return {"at": instant.isoformat(), "weights": weights, "versions": [of_version(state, v) for v in weights]}
