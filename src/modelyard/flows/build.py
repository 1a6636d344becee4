"""Build: config -> data -> environment -> train -> hold-out -> gates -> bundle -> registered version."""

from __future__ import annotations

import hashlib
from typing import Any

from modelyard.durable import Outcome, Run
from modelyard.errors import GateRefused
from modelyard.events import ConfigAccepted, VersionRegistered
from modelyard.flows import evaluation, steps
from modelyard.flows.site import Order, Site
from modelyard.registry.state import Version
from modelyard.workshop import Workshop


def build(shop: Workshop, run: Run) -> str:
    """Build a version and register it; returns its number. Raises GateRefused when a blocking gate says no, StepFailed, BadInput."""
    order = Order(**run.args)
    site = Site(shop, run, order, order.config)
    run.tell("config", ConfigAccepted(run.model, run.id, order.digest, order.configs, order.folder, order.loosened))

    code = run.step("package", steps.package, site)
    data = run.step("data", steps.data, site)
    _stop_if_refused(run.step("expectations", steps.expectations, site, data))
    rows = run.step("split", steps.split, site, data)
    lock = run.step("environment", steps.environment, site)
    if (same := run.step("compare with what is there", _unchanged, site, code, data, lock)) is not None:
        return str(same)
    if site.config.preprocess is not None:
        run.step("preprocess", steps.preprocess, site, lock, code)
    if site.config.train is not None:
        run.step("train", steps.train, site, lock, code)
    run.step("predict", evaluation.predict, site, lock, code)
    judged = run.step("evaluate", evaluation.evaluate, site)
    facts = {"code": code, "data": data, "rows": rows, "environment": lock_digest(lock)}
    passed = run.step("gates", evaluation.judge, site, judged, facts)
    _stop_if_refused(passed["refused"])
    digest = run.step("bundle", evaluation.seal, site, judged, facts)
    version = run.step("register", _register, site, digest, facts, lock, {**judged, **passed})
    run.step("mlflow", _mirror, site, version)
    return str(version)


def _stop_if_refused(refusals: list[str]) -> None:
    if refusals:
        raise GateRefused("; ".join(refusals), next="see the report, then change the model, the data or the gate")


def lock_digest(lock: str) -> str:
    return hashlib.sha256(lock.encode()).hexdigest()


def _unchanged(site: Site, code: dict[str, Any], data: dict[str, Any], lock: str) -> Outcome[str | None]:
    """The version that was made of this very recipe, code, rows and environment: building it again would be a waste.

    The champion before any other; a retrained one is of its source's rows too, though it has learned from captured ones besides. A
    retraining is something new only if its rows are.
    """
    model = site.shop.model(site.run.model)
    retraining = site.order.learn_until is not None
    rows = data["digest"] if retraining else data["source"]
    made = (site.order.recipe, code["digest"], lock_digest(lock), rows)
    same = [v for v in model.versions.values() if made == _made_of(v, retraining)]
    for version in [*(v for v in same if v.version == model.champion), *reversed(same)]:
        return Outcome(version.version, summary=f"nothing has changed since {site.run.model}:{version.version}")
    return Outcome(None, summary="something has changed")


def _made_of(version: Version, retraining: bool) -> tuple[str, str, str, str]:
    rows = version.data_digest if retraining else version.source_digest
    return version.recipe_digest, version.code_digest, version.lock_digest, rows


def _register(site: Site, digest: str, facts: dict[str, Any], lock: str, judged: dict[str, Any]) -> Outcome[str]:
    """Give the bundle the model's next number, together with all its lineage."""
    version, code, data = site.number, facts["code"], facts["data"]
    fact = VersionRegistered(
        model=site.run.model,
        run=site.run.id,
        version=version,
        digest=digest,
        data_digest=data["digest"],
        code_digest=code["digest"],
        lock_digest=lock_digest(lock),
        config_digest=site.order.digest,
        commit=code["commit"],
        dirty=code["dirty"],
        metrics=judged["metrics"],
        gates=judged["gates"],
        because=site.order.because,
        recipe_digest=site.order.recipe,
        source_digest=data["source"],
    )
    return Outcome(version, [fact], f"{site.run.model}:{version}")


def _mirror(site: Site, version: str) -> Outcome[str]:
    """Keep MLflow in step."""
    shop, train = site.shop, site.config.train
    found = shop.version(site.run.model, version)
    run_id = shop.store.record(
        site.run.model, found, shop.bundle(found), dict(train.hyperparameters) if train else {}, site.config.model.tags
    )
    shop.store.alias(site.run.model, "challenger", found)
    return Outcome(run_id, summary=f"MLflow run {run_id[:12]}")
