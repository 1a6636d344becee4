"""Endpoints as the state says they should be: from weights to what a target is asked to apply, and back from its counters."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.build import bundle
from modelyard.build.bundle import Bundle
from modelyard.config.spec import STAGES, Config, Realtime, Stage, Tls
from modelyard.deploy.rollout import Rollout
from modelyard.errors import StepFailed
from modelyard.events import Deployed
from modelyard.flows import capturing, explanation, holdout, keys, plans
from modelyard.flows.scoring import bundled
from modelyard.serve import routes
from modelyard.targets.base import EndpointSpec, EndpointState, Variant, VariantState
from modelyard.workshop import Workshop

AGE_DAYS = 3653
"""Oldest event time that an endpoint takes, by the clock; a replay's clock stands in the past."""
MIRRORED = 10.0
"""Percent of all traffic that the champion is asked in comparison, at most: less than what the new version takes off it."""


def name(model: str, stage: str) -> str:
    return f"{model}-{stage}"


def serve(
    shop: Workshop,
    model: str,
    stage: Stage,
    weights: dict[str, int],
    config: Config | None = None,
    rollout: Rollout | None = None,
    *,
    folder: str | None = None,
) -> EndpointState:
    """Have the stage's endpoint serve these weights (version -> percent), by `config` (in `folder`) or else the one in force.

    While traffic moves, `rollout` says who is mirrored to whom. Every bundle's digest is checked first.
    """
    config, now = config or shop.stage_config(model, stage), shop.model(model).stage(stage)
    deploy, known, champion = config.deploy, now.address, now.champion
    opened = {version: bundle.open(shop.version(model, version).digest, shop.home.path) for version in weights}
    variants = []
    for version, weight in sorted(weights.items(), key=lambda item: item[0] == champion):  # the champion comes last
        shadow = rollout is not None and rollout.shadowed and version == rollout.version
        variants.append(_variant(shop, opened[version], version, weight, config, shadow))
    listens, realtime = getattr(config.environments, stage), deploy.realtime
    return shop.target.apply(
        EndpointSpec(
            model=model,
            stage=stage,
            host=listens.host,
            port=listens.port,
            names=listens.names,
            tls=_tls(folder or shop.model(model).folder, listens.tls),
            access=keys.access(shop, model, stage) if listens.keys else routes.Access(),
            fronts=realtime.fronts,
            access_log=realtime.access_log,
            traces=None if realtime.traces is None else routes.Traces(realtime.traces.endpoint, realtime.traces.sample),
            preferred_port=urlsplit(known).port or 0,
            variants=tuple(variants),
            grpc_port=_grpc_port(realtime, stage),
            shared=realtime.shared,
            asynchronous=_asynchronous(realtime),
            linger=realtime.linger.total_seconds(),
            limits=_limits(shop, realtime),
            capture=capturing.asked(shop, deploy.capture),
            mirrors=_mirrors(opened, rollout, deploy.strategy.share),
            sticky=rollout is not None and rollout.kind == "ab" and rollout.status == "moving",
        )
    )


def _tls(folder: str, tls: Tls | None) -> tuple[Path, Path] | None:
    """The files of the certificate and its key; names are relative to the config's folder."""
    return None if tls is None else (Path(folder) / tls.certificate, Path(folder) / tls.key)


def _variant(shop: Workshop, opened: Bundle, version: str, weight: int, config: Config, shadow: bool) -> Variant:
    """A version by its bundle. Where its row plan answers, no runner need stand: one is started for what a plan cannot do."""
    realtime, plan = config.deploy.realtime, plans.plan_of(opened.path)
    records, _ = holdout.sample(opened.path, opened.signature, 1)
    background, explained = explanation.online(opened)
    return Variant(
        version,
        weight,
        bundled(shop, opened),
        workers=0 if plan else realtime.min_workers,
        max_workers=realtime.max_workers,
        idle=realtime.idle.total_seconds(),
        extras=config.data.schema_.sensitive_not_served,
        plan=plan,
        shadow=shadow,
        example=records[0] if records else None,
        background=background,
        explained=explained,
    )


def _mirrors(opened: dict[str, Bundle], rollout: Rollout | None, share: float) -> tuple[routes.Mirror, ...]:
    """Whose requests are asked of the other version too: a shadow is asked the champion's, and the champion some of the new version's."""
    if rollout is None or rollout.status != "moving":
        return ()
    champion = opened[rollout.champion]
    scale = holdout.spread(champion.path, champion.signature)
    of, to = (rollout.champion, rollout.version) if rollout.shadowed else (rollout.version, rollout.champion)
    return (routes.Mirror(of, to, rollout.version, share if rollout.shadowed else min(1.0, MIRRORED / rollout.percent), scale),)


def _grpc_port(realtime: Realtime, stage: Stage) -> int | None:
    """The port that the config names is production's: of two on one port, each would answer the other's callers. Staging takes any."""
    return 0 if realtime.grpc_port and stage != "production" else realtime.grpc_port


def _asynchronous(realtime: Realtime) -> routes.Async | None:
    asked = realtime.asynchronous
    return None if asked is None else routes.Async(asked.inputs, asked.output, queue="")  # the queue's folder is the target's own affair


def _limits(shop: Workshop, realtime: Realtime) -> routes.Limits:
    return routes.Limits(
        timeout_s=realtime.timeout.total_seconds(),
        max_body=realtime.max_body,
        max_rows=realtime.max_rows,
        max_event_age_days=AGE_DAYS + max(0, (datetime.now(UTC) - shop.clock.now()).days),
        max_batch=realtime.max_batch,
        max_batch_wait_s=realtime.max_batch_wait_ms / 1000,
        max_waiting=realtime.max_waiting,
    )


def live(shop: Workshop) -> list[tuple[str, Stage]]:
    """Endpoints that the state says should be up."""
    return [(model.model, stage) for model in shop.state.values() for stage in STAGES if model.stage(stage).weights]


def restore(shop: Workshop, model: str, stage: Stage, rollout: Rollout | None = None) -> None:
    """Bring an endpoint up as the state says; after a restart nobody has to deploy again. A roll-out under way goes on by its run, and
    until it does its step's mirrors and sessions stay as they were."""
    with shop.busy(f"{model}-{stage}"):
        before = shop.model(model).stage(stage)
        state = _in_step(shop, model, stage, before.weights, rollout) or serve(shop, model, stage, before.weights)
        if state.address != before.address:
            shop.record([Deployed(model, stage, state.address, before.weights, "restored")])


def _in_step(shop: Workshop, model: str, stage: Stage, weights: dict[str, int], rollout: Rollout | None) -> EndpointState | None:
    """Bring it up as the roll-out's step has it, where it has these weights; None where it does not, or a version that has none there
    cannot be loaded."""
    if rollout is None or {v: w for v, w in rollout.weights.items() if w} != weights:
        return None
    with contextlib.suppress(StepFailed):
        return serve(shop, model, stage, rollout.weights, rollout=rollout)
    return None


def counters(shop: Workshop, model: str, stage: str) -> dict[str, VariantState]:
    state = shop.target.endpoint(name(model, stage))
    return dict(state.variants) if state else {}
