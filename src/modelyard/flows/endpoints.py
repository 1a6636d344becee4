"""Endpoints as the state says they should be: from weights to what a target is asked to apply, and back from its counters."""

from __future__ import annotations

from datetime import UTC, datetime

from modelyard.build import bundle
from modelyard.config.spec import STAGES, Config, Stage
from modelyard.deploy.rollout import Seen
from modelyard.events import Deployed
from modelyard.flows.scoring import bundled
from modelyard.serve import stats
from modelyard.targets.base import EndpointSpec, EndpointState, Variant, VariantState
from modelyard.workshop import Workshop

AGE_DAYS = 3653
"""Oldest event time that an endpoint takes, by the clock; a replay's clock stands in the past."""


def name(model: str, stage: str) -> str:
    return f"{model}-{stage}"


def serve(shop: Workshop, model: str, stage: Stage, weights: dict[str, int], config: Config | None = None) -> EndpointState:
    """Have the stage's endpoint serve these weights (version -> percent), by `config` or else the one in force.

    Every bundle's digest is checked first.
    """
    config, now = config or shop.stage_config(model, stage), shop.model(model).stage(stage)
    deploy, known, champion = config.deploy, now.address, now.champion
    variants = []
    for version, weight in sorted(weights.items(), key=lambda item: item[0] == champion):  # the champion comes last
        loadable = bundled(shop, bundle.open(shop.version(model, version).digest, shop.home.path))
        variants.append(Variant(version, weight, loadable, deploy.realtime.min_workers, config.data.schema_.sensitive_not_served))
    return shop.target.apply(
        EndpointSpec(
            model=model,
            stage=stage,
            port=getattr(config.environments, stage).port,
            preferred_port=int(known.rpartition(":")[2]) if known else 0,
            variants=tuple(variants),
            timeout=deploy.realtime.timeout.total_seconds(),
            max_body=deploy.realtime.max_body,
            linger=deploy.realtime.linger.total_seconds(),
            sample=deploy.capture.sample if deploy.capture.mode == "buffered" else 0.0,
            max_event_age_days=AGE_DAYS + max(0, (datetime.now(UTC) - shop.clock.now()).days),
        )
    )


def live(shop: Workshop) -> list[tuple[str, Stage]]:
    """Endpoints that the state says should be up."""
    return [(model.model, stage) for model in shop.state.values() for stage in STAGES if model.stage(stage).weights]


def restore(shop: Workshop, model: str, stage: Stage) -> None:
    """Bring an endpoint up as the state says; after a restart nobody has to deploy again. A roll-out under way goes on by its run."""
    with shop.busy(f"{model}-{stage}"):
        before = shop.model(model).stage(stage)
        state = serve(shop, model, stage, before.weights)
        if state.address != before.address:
            shop.record([Deployed(model, stage, state.address, before.weights, "restored")])


def counters(shop: Workshop, model: str, stage: str) -> dict[str, VariantState]:
    state = shop.target.endpoint(name(model, stage))
    return dict(state.variants) if state else {}


def since(before: VariantState | None, now: VariantState | None) -> Seen:
    """What a variant did between two looks; all that it ever did where there is no `before`.

    One slow answer alone never makes p99: of fewer than a hundred answers it is the second slowest.
    """
    if now is None:
        return Seen()
    before = before or VariantState(0, False)
    latency = [a - b for a, b in zip(now.latency, before.latency or (0,) * len(now.latency), strict=True)]
    answers = sum(latency)
    return Seen(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        p99_ms=stats.quantile(latency, min(0.99, 1 - 1.5 / answers)) if answers else None,
        restarts=now.restarts - before.restarts,
        refused=now.refused - before.refused,
        in_flight=now.in_flight,
    )
