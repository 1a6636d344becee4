"""Build: config -> lock -> data -> train -> hold-out -> gates -> bundle -> registered version."""

from __future__ import annotations

import functools
from typing import Any

from modelyard.durable import Outcome, Run
from modelyard.errors import GateRefused
from modelyard.events import ConfigAccepted, VersionRegistered
from modelyard.flows import (
    evaluation,
    explanation,
    fairness,
    findings,
    gauging,
    leaks,
    processing,
    reporting,
    session,
    steps,
    tuning,
    warmth,
    weighing,
)
from modelyard.flows.site import Order, Site
from modelyard.registry.state import Version
from modelyard.workshop import Workshop


def build(shop: Workshop, run: Run) -> str:
    """Build a version and register it; returns its number. Raises GateRefused when a blocking gate says no, StepFailed, BadInput."""
    order = Order(**run.args)
    site = Site(shop, run, order, order.config)
    run.tell("config", ConfigAccepted(run.model, run.id, order.digest, order.configs, order.folder, order.loosened))

    code = run.step("package", steps.package, site)
    lock = run.step("lock", steps.lock, site)
    with warmth.kept(site):
        warmth.begin(site, code)
        data = run.step("data", steps.data, site)
        if (same := run.step("compare with what is there", _unchanged, site, code, data, lock)) is not None:
            gauging.of_version(site, str(same))
            return str(same)
        return _new(site, code, data, lock)


def _new(site: Site, code: dict[str, Any], data: dict[str, Any], lock: dict[str, Any]) -> str:
    """A version that there has not been: made, judged, sealed, registered."""
    run = site.run
    known = {"code": code, "data": data, "environment": lock["digest"]}
    _stop_for_the_data(site, run.step("expectations", steps.expectations, site, data), known)
    rows = run.step("split", steps.split, site, data)
    _stop_for_the_data(site, run.step("leakage", leaks.look, site), {**known, "rows": rows})
    if site.config.bias is not None:
        run.step("facets", fairness.verify, site)
    if site.config.explain is not None and site.config.explain.class_ is not None:
        run.step("class", explanation.verify, site)
    if findings.named_parts(site.config.evaluate):
        run.step("parts", findings.verify, site)
    if gauging.asked(site.config):
        run.step("measures of drift", gauging.verify, site)
    run.step("environment", steps.environment, site, lock["own"])
    warmth.ready(site, code)
    # not before: from here on this process waits for others
    warmth.import_ahead(site, functools.partial(reporting.profiled, site, data["digest"]))
    make(site, code, data).after()
    warmth.over(site)
    judged = run.step("evaluate", evaluation.evaluate, site)
    if site.config.explain is not None:
        run.step("explain", steps.explain, site, lock["text"], code)
    if site.config.bias is not None:
        run.step("bias", fairness.bias, site, explanation.by_label(site))
    facts = {**known, "rows": rows, **made(site)}
    passed = run.step("gates", evaluation.judge, site, judged, facts)
    _stop_if_refused(passed["refused"])
    digest = run.step("bundle", evaluation.seal, site, judged, facts)
    version = run.step("register", _register, site, digest, facts, {**judged, **passed})
    run.step("mlflow", _mirror, site, version)
    return str(version)


def make(site: Site, code: dict[str, Any], data: dict[str, Any]) -> processing.Line:
    """From the splits to the hold-out's answers and the row plan: every step that makes the version what it is, of a build and of a
    reproduction.

    `code` and `data` are the receipts of those steps. Returns the line of processing steps, whose last ones are still to come.
    """
    run, line = site.run, processing.Line(site, code, data)
    line.before()
    evaluation.verify(site)
    trained = tuning.train(site, site.lock(), code, data) if site.config.train is not None else {}
    line.between(trained)
    with session.kept():
        run.step("predict", steps.predict, site, site.lock(), code)
        run.step("compile", steps.compile, site, site.lock(), code)
    return line


def made(site: Site) -> dict[str, Any]:
    """What a version's manifest says of how it was made.

    `outputs`: pairs of each job's name and the digest of the files that it left, in the order of their end; `hyperparameters`: those
    that it was trained with, which tuning may have found.
    """
    done = site.shop.runs.receipts(site.run.id)
    until = list(done).index("predict") if "predict" in done else len(done)  # steps after it make nothing of the version
    jobs = [name for name in list(done)[:until] if name in ("preprocess", "train", "postprocess") or name.startswith("steps.")]
    settled = dict(site.config.train.hyperparameters) if site.config.train else {}
    return {
        "outputs": [[name, done[name]["output"]] for name in jobs if "output" in done[name]],
        "hyperparameters": done.get("train", {}).get("hyperparameters", settled),
    }


def _stop_for_the_data(site: Site, refusals: list[str], known: dict[str, Any]) -> None:
    if refusals:
        reporting.write(site, known, reporting.refusals(refusals))
    _stop_if_refused(refusals)


def _stop_if_refused(refusals: list[str]) -> None:
    if refusals:
        raise GateRefused("; ".join(refusals), next="see the report, then change the model, the data or the gate")


def _unchanged(site: Site, code: dict[str, Any], data: dict[str, Any], lock: dict[str, Any]) -> Outcome[str | None]:
    """The version that was made of this very recipe, code, rows and environment: building it again would be a waste.

    The champion before any other; a retrained one is of its source's rows too, though it has learned from captured ones besides. A
    retraining is something new only if its rows are.
    """
    if not site.order.cache:
        return Outcome(None, summary="not compared: everything is to be done again")
    model = site.shop.model(site.run.model)
    retraining = site.order.learn_until is not None
    rows = data["digest"] if retraining else data["source"]
    made = (site.order.recipe, code["digest"], lock["digest"], rows)
    same = [v for v in model.versions.values() if made == _made_of(v, retraining)]
    if retraining:  # the same rows that count otherwise teach something else
        same = [v for v in same if weighing.of_version(site.shop, v, site.run.model) == weighing.half_life(site)]
    for version in [*(v for v in same if v.version == model.champion), *reversed(same)]:
        return Outcome(version.version, summary=f"nothing has changed since {site.run.model}:{version.version}")
    return Outcome(None, summary="something has changed")


def _made_of(version: Version, retraining: bool) -> tuple[str, str, str, str]:
    rows = version.data_digest if retraining else version.source_digest
    return version.recipe_digest, version.code_digest, version.lock_digest, rows


def _register(site: Site, digest: str, facts: dict[str, Any], judged: dict[str, Any]) -> Outcome[str]:
    """Give the bundle the model's next number, together with all its lineage."""
    version, code, data = site.number, facts["code"], facts["data"]
    fact = VersionRegistered(
        model=site.run.model,
        run=site.run.id,
        version=version,
        digest=digest,
        data_digest=data["digest"],
        code_digest=code["digest"],
        lock_digest=facts["environment"],
        config_digest=site.order.digest,
        commit=code["commit"],
        dirty=code["dirty"],
        metrics=judged["metrics"],
        gates=judged["gates"],
        because=site.order.because,
        recipe_digest=site.order.recipe,
        source_digest=data["source"],
        hyperparameters=facts["hyperparameters"],
    )
    return Outcome(version, [fact], f"{site.run.model}:{version}")


def _mirror(site: Site, version: str) -> Outcome[str]:
    """Keep MLflow in step."""
    shop, found = site.shop, site.shop.version(site.run.model, version)
    run_id = shop.store.record(site.run.model, found, shop.bundle(found), found.hyperparameters, site.config.model.tags)
    shop.store.trials(run_id, tuning.told(site))
    shop.store.alias(site.run.model, "challenger", found)
    return Outcome(run_id, summary=f"MLflow run {run_id[:12]}")
