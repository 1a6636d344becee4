"""API keys of a stage's endpoint: made, listed and taken back by a person, in force at once."""

from __future__ import annotations

from typing import Any

from modelyard.config.spec import Stage
from modelyard.errors import BadInput
from modelyard.events import KeyCreated, KeyRevoked
from modelyard.serve.keys import Keys
from modelyard.serve.routes import Access
from modelyard.workshop import Workshop


def of(shop: Workshop, model: str, stage: str) -> Keys:
    return Keys(shop.home.endpoints / f"{model}-{stage}")


def access(shop: Workshop, model: str, stage: str) -> Access:
    """Whom an endpoint lets in that asks for keys."""
    return Access(of(shop, model, stage).hashes())


def create(shop: Workshop, model: str, stage: Stage, name: str, by: str) -> dict[str, Any]:
    """A new key, shown this once. Raises NotFound, BadInput."""
    _asks(shop, model, stage)
    key = of(shop, model, stage).create(name, by, shop.clock.now())
    _in_force(shop, model, stage)
    shop.record([KeyCreated(model, stage, name, by)])
    return {"model": model, "stage": stage, "name": name, "key": key}


def revoke(shop: Workshop, model: str, stage: Stage, name: str, by: str) -> dict[str, Any]:
    """Let a key in no more. Raises NotFound."""
    shop.model(model)
    of(shop, model, stage).revoke(name)
    _in_force(shop, model, stage)
    shop.record([KeyRevoked(model, stage, name, by)])
    return {"model": model, "stage": stage, "name": name}


def listed(shop: Workshop, model: str, stage: Stage) -> list[dict[str, Any]]:
    """Who has a key: name, by whom it was made, when. Raises NotFound."""
    shop.model(model)
    return [{"name": one.name, "by": one.by, "created_at": one.created_at} for one in of(shop, model, stage).all()]


def _wanted(shop: Workshop, model: str, stage: Stage) -> bool:
    return bool(getattr(shop.stage_config(model, stage).environments, stage).keys)


def _asks(shop: Workshop, model: str, stage: Stage) -> None:
    if not _wanted(shop, model, stage):
        hint = f"set `environments.{stage}.keys: true` in its config, and run `modelyard up`"
        raise BadInput(f"the {stage} endpoint of {model} lets everybody in", next=hint)


def _in_force(shop: Workshop, model: str, stage: Stage) -> None:
    """Tell the endpoint, if it is up and asks for keys."""
    if shop.model(model).stage(stage).weights and _wanted(shop, model, stage):
        shop.target.let_in(f"{model}-{stage}", access(shop, model, stage))
