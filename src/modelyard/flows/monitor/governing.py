"""Governing: what the monitors said, the labels that came and what was done before, put to the governor."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from modelyard.config.spec import Config
from modelyard.events import RetrainDecided
from modelyard.flows import history
from modelyard.flows.monitor.monitors import standing
from modelyard.monitor.ticks import last_tick
from modelyard.registry.state import ModelState
from modelyard.retrain import governor
from modelyard.workshop import Workshop

CHANGES = ("up", "build", "retrain", "deploy", "rollback")
"""Flows that may bring a new version, or another one into production: a retraining waits for their end."""


def govern(shop: Workshop, model: str) -> governor.Decision:
    """Ask the governor, with what is known now. News go to the journal."""
    state, config = shop.model(model), shop.config(model)
    if not config.retrain.on:
        return governor.Decision(False, "No retraining: `retrain.on` is empty.")
    facts = _facts(shop, state, config)
    decision = governor.decide(config.retrain, facts)
    if decision.retrain:  # only now does it matter how many labels there are
        facts = replace(facts, new_labels=history.labelled_since(shop, model, facts.last_retrain))
        decision = governor.decide(config.retrain, facts)
    fact = RetrainDecided(model, decision.retrain, decision.reason, decision.because or "", decision.brake)
    if _is_news(fact, state.last_decision):
        shop.record([fact])
    return decision


def _facts(shop: Workshop, state: ModelState, config: Config) -> governor.Facts:
    """What is known now but for the labels, which take some counting."""
    now, retrains = shop.clock.now(), [datetime.fromisoformat(at) for at in state.retrains]
    return governor.Facts(
        now=now,
        verdicts=_verdicts(shop, state, config),
        last_retrain=retrains[-1] if retrains else None,
        retrains_this_month=governor.retrains_in_month(retrains, now, config.timezone),
        new_labels=None,
        building=any(r.status == "running" and r.flow in CHANGES for r in state.runs.values()),
        waiting=next((w.version for w in state.awaiting.values()), None),
        fruitless=state.fruitless,
        tick=scheduled(config, _since(state, retrains), now),
        frozen=frozen(config, now),
    )


def _verdicts(shop: Workshop, state: ModelState, config: Config) -> tuple[tuple[str, str, datetime], ...]:
    """The newest known words on windows that the champion answered: those on a version that it replaced do not condemn it, nor those of
    before a monitor was off."""
    kinds = [kind for kind in config.retrain.on if kind not in governor.BY_THEMSELVES]
    words = [word for kind in kinds for word in shop.book.newest(state.model, kind, config.retrain.after.num_windows, known=True)]
    words = standing(state, words)
    return tuple((w.monitor, w.status, datetime.fromisoformat(w.end)) for w in words if w.version == (state.champion or w.version))


def _since(state: ModelState, retrains: list[datetime]) -> datetime | None:
    """From when on the schedule's instants count: the last retraining, or the first version in production."""
    first = [datetime.fromisoformat(at) for at, _ in state.stage("production").history[:1]]
    return max([*retrains[-1:], *first], default=None)


def scheduled(config: Config, since: datetime | None, now: datetime) -> datetime | None:
    """The newest instant of the retraining's schedule after `since`: of several that were missed, one."""
    cron = config.retrain.schedule_expression
    return None if cron is None or since is None else last_tick(cron, config.timezone, since, now)


def frozen(config: Config, now: datetime) -> governor.Frozen | None:
    """The freeze that `now` lies in: of several, the one that lasts longest. Naive instants are the config's timezone's."""
    zone, found = ZoneInfo(config.timezone), []
    for freeze in config.retrain.freeze:
        if freeze.start is not None and freeze.end is not None:
            start, end = ((at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC) for at in (freeze.start, freeze.end))
        elif freeze.schedule_expression is not None and freeze.length is not None:
            begun = last_tick(freeze.schedule_expression, config.timezone, now - freeze.length, now)
            if begun is None:
                continue
            start, end = begun, begun + freeze.length
        else:
            continue  # the config's own rule forbids it
        if start <= now < end:
            found.append(governor.Frozen(end, freeze.reason))
    return max(found, key=lambda freeze: freeze.until, default=None)


def _is_news(fact: RetrainDecided, last: RetrainDecided | None) -> bool:
    """A yes, or a no for another reason than the last one: the monitors look often, and a brake may hold for weeks."""
    if fact.retrain or not fact.because:
        return fact.retrain
    return last is None or (last.retrain, last.because, last.brake) != (False, fact.because, fact.brake)
