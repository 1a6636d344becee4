"""Status: the state as a person wants to see it; the same for CLI, API and console."""

from __future__ import annotations

from typing import Any

from modelyard.config.spec import STAGES
from modelyard.flows import endpoints, plans, rollouts
from modelyard.flows.monitor import MONITORS
from modelyard.registry.state import ModelState
from modelyard.workshop import Workshop

LAST = 5


def overview(shop: Workshop) -> list[dict[str, Any]]:
    """Every model in brief, by name."""
    return [of_model(shop, shop.state[name]) for name in sorted(shop.state)]


def of_model(shop: Workshop, model: ModelState) -> dict[str, Any]:
    """One model: its stages, newest versions and runs, traffic that moves, what waits for a word, and what its monitors said last."""
    return {
        "model": model.model,
        "problem_type": model.config["production"]["model"]["problem_type"] if model.config else None,
        "owner": model.config["production"]["model"]["owner"] if model.config else None,
        "champion": model.champion,
        "stages": {stage: _stage(shop, model, stage) for stage in STAGES},
        "versions": [
            {
                "version": v.version,
                "registered_at": v.registered_at,
                "digest": v.digest,
                "commit": v.commit,
                "data": v.data_digest,
                "metrics": v.metrics,
                "hyperparameters": v.hyperparameters,
                "because": v.because,
                "gates": list(v.gates),
                "approvals": [str(a) for a in v.approvals],
                "replay": {"sentence": str(v.replay), "ok": v.replay.ok, "on_fail": v.replay.on_fail} if v.replay else None,
                "answers": plans.answers(shop.bundle(v)),
                "report": str(shop.bundle(v) / "report.html"),
            }
            for v in list(model.versions.values())[::-1]
        ],
        "rollout": rollouts.of_model(shop, model.model),
        "awaiting": [{**w.to_dict(), "sentence": str(w)} for w in model.awaiting.values()],
        "monitors": {kind: _verdict(shop, model.model, kind) for kind in MONITORS},
        "last_decision": str(model.last_decision) if model.last_decision else None,
        "alerts": model.alerts,
        "runs": [
            {"run": r.run, "flow": r.flow, "status": r.status, "by": r.by, "started_at": r.started_at, "reason": r.reason}
            for r in list(model.runs.values())[: -LAST - 1 : -1]
        ],
    }


def _stage(shop: Workshop, model: ModelState, stage: str) -> dict[str, Any]:
    state = model.stage(stage)
    live = shop.target.endpoint(endpoints.name(model.model, stage))
    return {"address": state.address, "weights": state.weights, "champion": state.champion, "live": bool(live and live.ready)}


def _verdict(shop: Workshop, model: str, kind: str) -> dict[str, Any] | None:
    found = shop.book.latest(model, kind)
    if found is None:
        return None
    return {"status": found.status, "reason": found.reason, "start": found.start, "end": found.end, "version": found.version}
