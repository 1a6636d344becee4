"""The roll-out of a model as a person wants to see it, and the word that a person may give it."""

from __future__ import annotations

from typing import Any

from modelyard.config.spec import Stage
from modelyard.deploy import alarms
from modelyard.deploy.rollout import Rollout
from modelyard.errors import BadInput
from modelyard.events import Promoted, RolledBack
from modelyard.flows.release import moving
from modelyard.flows.shifting import PROMOTE
from modelyard.flows.watching import KEPT, read
from modelyard.workshop import Workshop

Facts = dict[str, Any]


def of_model(shop: Workshop, model: str) -> Facts | None:
    """The roll-out under way, with its alarms; None where no traffic moves."""
    run, found = _under_way(shop, model)
    if found is None:
        return None
    keys = ("version", "champion", "kind", "step", "plan", "position", "weights", "elapsed", "bake", "metric", "predicted")
    return {"run": run, **{key: found[key] for key in keys}, "requests": found["new"]["requests"], "alarms": _alarms(found)}


def _under_way(shop: Workshop, model: str) -> tuple[str | None, Facts | None]:
    """The run that moves traffic, and the roll-out as it keeps it."""
    run = moving(shop, model)
    return run, None if run is None else read(shop.home.runs / run / KEPT)


def standing(shop: Workshop, model: str, stage: Stage) -> Rollout | None:
    """The step of the roll-out under way, as its run keeps it; None where no traffic moves."""
    _, found = _under_way(shop, model) if stage == "production" else (None, None)
    if found is None:
        return None
    plan, known = tuple(found["plan"]), {key: found[key] for key in ("version", "champion", "kind", "position", "predicted", "metric")}
    return Rollout(plan=plan, **known)


def status(shop: Workshop, model: str) -> Facts:
    """The roll-out under way, else how the last one ended."""
    ends = [entry.event for entry in shop.journal.entries(model) if isinstance(entry.event, Promoted | RolledBack)]
    ends = [event for event in ends if event.stage == "production"]
    return {"model": model, "rollout": of_model(shop, model), "last": str(ends[-1]) if ends else None}


def decide(shop: Workshop, model: str, word: str, *, by: str) -> Facts:
    """Give the roll-out under way a person's word, `abort` or `promote`. Raises BadInput where there is none, or it takes no such word."""
    found, back = of_model(shop, model), f"take it back: modelyard rollout {model} abort"
    if found is None:
        hint = "`modelyard status` shows what serves; `modelyard rollback` goes back a version"
        raise BadInput(f"no traffic of `{model}` moves", next=hint)
    named = f"{model}:{found['version']}"
    if word == PROMOTE and found["kind"] != "ab":
        raise BadInput(f"the roll-out of {named} goes by its steps, and nobody skips one", next=back)
    if word == PROMOTE and found["metric"] is not None:
        raise BadInput(f"labels decide the A/B test of {named}, by {found['metric']}", next=back)
    if not shop.runs.send(found["run"], word, {"by": by}):
        raise BadInput(f"the roll-out of {named} has this word already")
    return {"run": found["run"], "model": model, "version": found["version"], "word": word, "by": by}


def _alarms(found: Facts) -> list[Facts]:
    """Each alarm: what it looks at, what it sees, and from where on it rings."""
    new, old, bounds = found["new"], found["old"], found["thresholds"]
    usual = old if old["requests"] >= bounds["min_requests"] else found["usual"]
    share = f"{new['disagreed'] / new['compared']:.1%} of {new['compared']:,} rows" if new["compared"] else "no row compared yet"
    failed = f"{new['errors'] / new['requests']:.1%} of {new['requests']:,} requests" if new["requests"] else "no request yet"
    p99, yardstick = (_ms(alarms.from_dict(one).p99_ms) for one in (new, usual))
    replay = f"the {found['predicted']:.1%} of the replay and " if found["predicted"] else ""
    return [
        {"alarm": "errors", "seen": failed, "rings": f"over {bounds['error_rate']:.1%}"},
        {"alarm": "latency", "seen": f"p99 {p99}", "rings": f"over {bounds['latency_p99_ratio']:g} times the champion's, {yardstick}"},
        {"alarm": "crashes", "seen": f"{new['restarts']} deaths", "rings": "at one"},
        {"alarm": "refusals", "seen": f"{new['refused']:,} refused", "rings": "where the champion refuses fewer"},
        {"alarm": "disagreement", "seen": share, "rings": f"over {replay}{bounds['disagreement']:.1%}"},
        {"alarm": "drift", "seen": "judged as rows come", "rings": f"{bounds['drift']} for the new version alone"},
    ]


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"
