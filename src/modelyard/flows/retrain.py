"""Retrain: a challenger on the rows whose labels came, against the champion on the newest of them, and into production if it wins."""

from __future__ import annotations

from typing import Any

from modelyard.config.spec import Config
from modelyard.durable import Outcome, Run
from modelyard.events import ChallengeJudged
from modelyard.flows.build import build
from modelyard.flows.release import release
from modelyard.flows.site import Order
from modelyard.quality import metrics as measures
from modelyard.quality.paired import bootstrap
from modelyard.retrain import governor
from modelyard.workshop import Workshop


def retrain(shop: Workshop, run: Run) -> str:
    """Returns a sentence that says what came of it. Raises GateRefused as build and release do."""
    version = build(shop, run)
    config = Order(**run.args).config
    champion = run.step("champion", lambda: shop.model(run.model).champion)
    if shop.version(run.model, version).run != run.id:
        return f"there is nothing new to learn from: {run.model}:{version} was made of these very rows"
    if champion is not None and config.retrain.challenge_champion:
        verdict = run.step("challenge", _challenge, shop, run, config, champion)
        if not verdict["promote"]:
            return f"{run.model}:{version} is kept as a challenger and not promoted. {verdict['reason']}"
    release(shop, run, version, by=run.args["by"], retrained=True, stages=("staging", "production"))
    return f"{run.model}:{version} is the champion now"


def main_metric(config: Config) -> str:
    """The metric that models are compared by: the first gate's, else the problem type's headline."""
    criteria = config.evaluate.validation_criteria
    return criteria[0].metric if criteria else measures.names_for(config.model.problem_type)[0]


def _challenge(shop: Workshop, run: Run, config: Config, champion: str) -> Outcome[dict[str, Any]]:
    """Both models on the challenger's hold-out: the newest labelled rows, which neither has learned from."""
    import polars as pl

    from modelyard.build import bundle

    folder, metric = shop.home.runs / run.id, main_metric(config)
    old = bundle.open(shop.version(run.model, champion).digest, shop.home.path).signature
    new = bundle.open(shop.version(run.model).digest, shop.home.path).signature
    trial = bootstrap(
        pl.read_parquet(folder / "champion.parquet"),
        pl.read_parquet(folder / "holdout.parquet"),
        old,
        metric,
        challenger_signature=new,
    )
    result = governor.challenge(
        trial.champion, trial.challenger, metric, measures.GREATER_IS_BETTER[metric], trial.rows, differences=trial.differences
    )
    evidence = {"metric": metric, "rows": trial.rows, "gain": result.gain, "lower": result.lower, "wins": result.wins}
    fact = ChallengeJudged(run.model, run.id, champion, result.promote, result.reason, evidence)
    return Outcome({"promote": result.promote, "reason": result.reason}, [fact], result.reason)
