"""Approval: a person's word that lets a version into a stage. Bound to the bundle and the config, and void when either changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from modelyard.config.spec import Approval, Config, Stage
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput, GateRefused, NotAllowed, NotFound
from modelyard.events import ApprovalGiven, ApprovalRequested, ApprovalWaived
from modelyard.flows.site import Order
from modelyard.workshop import Workshop


def admit(shop: Workshop, run: Run, version: str, stage: Stage, order: Order, *, by: str, retrained: bool) -> None:
    """Return once the version may enter the stage. Raises GateRefused on a no, NotAllowed when nobody answers or the word is void."""
    rule = Approval.model_validate(run.step(f"{stage}: rule", _rule, shop, run, version, stage, order))
    if not rule.required:
        return
    if retrained and rule.retrained == "not_required":
        run.tell(f"{stage}: approval", ApprovalWaived(run.model, version, stage, "retrained, and approval.retrained is not_required"))
        return
    asked = run.step(f"{stage}: ask for approval", _ask, shop, run, version, stage, by, rule, order)
    word = run.wait(topic(stage), datetime.fromisoformat(asked["expires_at"]))
    again = f"ask again with `modelyard deploy {run.model}:{version}`"
    if word is None:
        raise NotAllowed(f"nobody approved {run.model}:{version} for {stage} before {asked['expires_at']}", next=again)
    if word.get("superseded"):
        raise NotAllowed(f"{run.model}:{version} was put aside for {stage}: {word['comment']}")
    if not word["approved"]:
        said = f": {word['comment']}" if word["comment"] else ""
        raise GateRefused(f"{word['by']} rejected {run.model}:{version} for {stage}{said}")
    # a step: once the version is in, its own config is in force, and a run that a crash cut short there must not judge anew
    if not run.step(f"{stage}: see that the word holds", lambda: bool(asked["in_force"] == _in_force(shop, run.model))):
        raise NotAllowed(f"the config changed since {run.model}:{version} was put forward for {stage}: the approval is void", next=again)


def topic(stage: str) -> str:
    """Where a run listens for the word on a stage."""
    return f"approval:{stage}"


def _rule(shop: Workshop, run: Run, version: str, stage: Stage, order: Order) -> dict[str, Any]:
    """The stricter of the config in force and the run's own: a config cannot let itself in by asking for less.

    A loosened gate needs a word at production in any case; where none is needed otherwise, whoever asked may give it.
    """
    wanted = _of_stage(order.of_stage(stage), stage)
    if shop.model(run.model).in_force:
        now = _of_stage(shop.stage_config(run.model, stage), stage)
        wanted = wanted.model_copy(
            update={
                "required": wanted.required or now.required,
                "allow_self": wanted.allow_self and now.allow_self,
                "retrained": wanted.retrained if wanted.retrained == now.retrained else "required",
            }
        )
    if not wanted.required and _loosened(shop, run, version, stage, order):
        wanted = wanted.model_copy(update={"required": True, "allow_self": True, "retrained": "required"})
    return wanted.model_dump(mode="json")


def _loosened(shop: Workshop, run: Run, version: str, stage: Stage, order: Order) -> list[str]:
    """The gates that ask for less than those in force: of the run's own config, or of the one that the version was judged by."""
    state, found = shop.model(run.model), shop.version(run.model, version)
    if stage != "production" or not state.in_force:
        return []
    built = shop.runs.get(found.run) if found.config_digest != state.config_digest else None
    return list(dict.fromkeys([*order.loosened, *(built.args.get("loosened", ()) if built else ())]))


def _of_stage(config: Config, stage: Stage) -> Approval:
    rule: Approval = getattr(config.environments, stage).approval
    return rule


def _in_force(shop: Workshop, model: str) -> str:
    state = shop.model(model)
    return state.config_digest if state.in_force else ""


def _ask(shop: Workshop, run: Run, version: str, stage: Stage, by: str, rule: Approval, order: Order) -> Outcome[dict[str, Any]]:
    request = ApprovalRequested(
        model=run.model,
        run=run.id,
        version=version,
        stage=stage,
        digest=shop.version(run.model, version).digest,
        config_digest=order.digest,
        asked_by=by,
        expires_at=(shop.clock.now() + rule.expires).isoformat(),
        allow_self=rule.allow_self,
        loosened=_loosened(shop, run, version, stage, order),
        replay=_replay(shop, run, version, stage),
    )
    return Outcome({"in_force": _in_force(shop, run.model), "expires_at": request.expires_at}, [request])


def _replay(shop: Workshop, run: Run, version: str, stage: Stage) -> str:
    """What this run's replay of captured requests showed."""
    judged = shop.version(run.model, version).replay
    return judged.sentence if stage == "production" and judged is not None and judged.run == run.id else ""


def put_aside(shop: Workshop, model: str, reason: str) -> None:
    """Void what waits for a word: something newer takes its place."""
    for request in list(shop.model(model).awaiting.values()):
        shop.runs.send(request.run, topic(request.stage), {"superseded": True, "comment": reason})


def decide(shop: Workshop, model: str, version: str | None, *, approved: bool, by: str, comment: str = "") -> ApprovalGiven:
    """Give a waiting version its word. Raises NotFound when none waits, NotAllowed when `by` may not give it."""
    waiting = [w for w in shop.model(model).awaiting.values() if version in (None, w.version)]
    if not waiting:
        named = f"{model}:{version}" if version else f"`{model}`"
        raise NotFound(f"no version of {named} waits for approval", next="`modelyard status` shows what waits")
    if len(waiting) > 1:
        names = ", ".join(f"{w.model}:{w.version}" for w in waiting)
        raise BadInput(f"several versions wait: {names}", next=f"name one, such as `modelyard approve {model}:{waiting[0].version}`")
    request = waiting[0]
    if shop.clock.now() >= datetime.fromisoformat(request.expires_at):
        raise NotAllowed(
            f"the time to approve {model}:{request.version} for {request.stage} was over at {request.expires_at}",
            next=f"ask again with `modelyard deploy {model}:{request.version}`",
        )
    own = by == request.asked_by
    if approved and own and not request.allow_self:
        raise NotAllowed(
            f"{by} asked for {model}:{request.version} and cannot also approve it",
            next="let somebody else approve it, or write `allow_self: true` under the stage's approval in config.yaml",
        )
    word = ApprovalGiven(model, request.run, request.version, request.stage, approved, by, own and approved, comment)
    body = {"approved": approved, "by": by, "comment": comment}
    if not shop.runs.send(request.run, topic(request.stage), body, word):
        raise BadInput(f"{model}:{request.version} has its word already")
    return word
