"""Retrain: a challenger on the rows whose labels came, against the champion on the newest of them, and into production if it wins."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.config.spec import Config
from modelyard.data import snapshots
from modelyard.durable import Outcome, Run
from modelyard.errors import GateRefused
from modelyard.events import ChallengeJudged
from modelyard.flows import history
from modelyard.flows.build import build
from modelyard.flows.release import release
from modelyard.flows.site import Order
from modelyard.quality import metrics as measures
from modelyard.quality.paired import bootstrap
from modelyard.retrain import governor
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

MIN_UNSEEN = 200
"""Rows that the champion cannot have learned from, fewer than which judge no challenge where the split is not by time."""


def retrain(shop: Workshop, run: Run) -> str:
    """Returns a sentence that says what came of it. Raises GateRefused as build and release do: a challenger that any gate on its way
    keeps out is dropped, which the journal says with the gate's reason, and does not come up again by itself."""
    version = build(shop, run)
    config = Order(**run.args).config
    champion = run.step("champion", _champion, shop, run)
    if shop.version(run.model, version).run != run.id:
        return f"there is nothing new to learn from: {run.model}:{version} was made of these very rows"
    won = ""
    if champion is not None and config.retrain.challenge_champion:
        verdict = run.step("challenge", _challenge, shop, run, config, champion)
        if not verdict["promote"]:
            return f"{run.model}:{version} is kept as a challenger and not promoted. {verdict['reason']}"
        won = f". {verdict['reason']}"
    try:
        # `approval.retrained` is about what took a champion's place: a first version is let in as any other
        release(shop, run, version, by=run.args["by"], retrained=champion is not None, stages=("staging", "production"))
    except GateRefused as exc:
        if champion is not None and not shop.version(run.model, version).set_aside:  # a roll-back has said so already
            run.step("drop", _drop, shop, run, version, champion, exc.what)
        raise
    return f"{run.model}:{version} is the champion now{won}{_replayed(shop, run, version)}"


def _champion(shop: Workshop, run: Run) -> Outcome[str | None]:
    found = shop.model(run.model).champion
    return Outcome(found, summary=found or "none in production to beat: it needs the approval that any first version does")


def _drop(shop: Workshop, run: Run, version: str, champion: str, why: str) -> Outcome[None]:
    """It was better on the labelled rows, and a gate on its way into production said no."""
    reason = f"The champion stays: {why}."
    replay = shop.version(run.model, version).replay
    return Outcome(
        None, [ChallengeJudged(run.model, run.id, champion, False, reason, {"replay": replay.sentence if replay else None})], reason
    )


def _replayed(shop: Workshop, run: Run, version: str) -> str:
    """What the replay of captured requests showed, on its way in."""
    replay = shop.version(run.model, version).replay
    return f" The replay: {replay.sentence}." if replay is not None and replay.run == run.id else ""


def main_metric(config: Config) -> str:
    """The metric that models are compared by: the first gate's, of those that a hold-out has, else the problem type's headline."""
    known = measures.names_for(config.model.problem_type, at=config.evaluate.at)
    return next((c.metric for c in config.evaluate.validation_criteria if c.metric in known), known[0])


def _challenge(shop: Workshop, run: Run, config: Config, champion: str) -> Outcome[dict[str, Any]]:
    """Both models on the rows of the challenger's hold-out that neither can have learned from. What cannot be compared is not promoted."""
    lacking = _answers_lacking(shop, run, champion)
    rows = _unseen(shop, run, config, champion) if not lacking and config.data.split.by != "time" else None
    if rows is not None and rows.height < MIN_UNSEEN:
        lacking = (
            f"only {rows.height:,} rows of the hold-out are known to be newer than version {champion}, which was trained on most of the "
            f"others, and {MIN_UNSEEN:,} are needed (`data.split.by: time` holds the newest rows back; `data.id_col` tells rows apart)"
        )
    if lacking:
        reason = f"The champion stays: the two cannot be compared, since {lacking}."
        fact = ChallengeJudged(run.model, run.id, champion, False, reason)
        return Outcome({"promote": False, "reason": reason}, [fact], reason)
    return _compared(shop, run, config, champion, rows)


def _answers_lacking(shop: Workshop, run: Run, champion: str) -> str:
    """Why there are no answers of this champion to this build's hold-out; empty where there are."""
    judged = shop.runs.receipt(run.id, "evaluate")[1]["champion"]
    if judged is None or judged["version"] != champion:
        return f"version {champion} became the champion while the challenger was built"
    if not (shop.home.runs / run.id / "champion.parquet").exists():
        return str(judged.get("reason") or f"version {champion} did not answer")
    return ""


def _unseen(shop: Workshop, run: Run, config: Config, champion: str) -> pl.DataFrame:
    """Ids of the hold-out's rows that were captured after the champion had learned, and are none of those it had learned from.

    A split by time needs no such care: it holds the newest rows back by itself. Any other deals all rows out anew.
    """
    import polars as pl

    holdout = pl.read_parquet(shop.home.runs / run.id / "holdout.parquet", columns=[tables.INFERENCE_ID])
    if (id_col := config.data.id_col) is None:
        return holdout.clear()
    captured = history.answers(shop, run.model, _learned_until(shop, run.model, champion), only=(tables.INFERENCE_ID,)).unique()
    learned = snapshots.scan(snapshots.find(shop.version(run.model, champion).data_digest, shop.home.path))
    ids = learned.select(pl.col(id_col).cast(pl.String).alias(tables.INFERENCE_ID)).collect()
    return holdout.join(captured, on=tables.INFERENCE_ID, how="semi").join(ids, on=tables.INFERENCE_ID, how="anti")


def _learned_until(shop: Workshop, model: str, version: str) -> datetime:
    """The instant after which nothing that happened can be in what a version was trained on."""
    found = shop.version(model, version)
    record = shop.runs.get(found.run)
    return datetime.fromisoformat((record.args.get("learn_until") if record else None) or found.registered_at)


def _compared(shop: Workshop, run: Run, config: Config, champion: str, rows: pl.DataFrame | None) -> Outcome[dict[str, Any]]:
    """The verdict on the rows of the hold-out, or on those whose ids are in `rows`."""
    import polars as pl

    from modelyard.build import bundle

    folder, metric = shop.home.runs / run.id, main_metric(config)
    ours, theirs = (pl.read_parquet(folder / name) for name in ("holdout.parquet", "champion.parquet"))
    if rows is not None:
        ours, theirs = (table.join(rows, on=tables.INFERENCE_ID, how="semi") for table in (ours, theirs))
    old = bundle.open(shop.version(run.model, champion).digest, shop.home.path).signature
    new = bundle.open(shop.version(run.model).digest, shop.home.path).signature
    trial = bootstrap(theirs, ours, old, metric, challenger_signature=new)
    result = governor.challenge(
        trial.champion, trial.challenger, metric, measures.GREATER_IS_BETTER[metric], trial.rows, differences=trial.differences
    )
    evidence = {"metric": metric, "rows": trial.rows, "gain": result.gain, "lower": result.lower, "wins": result.wins}
    fact = ChallengeJudged(run.model, run.id, champion, result.promote, result.reason, evidence)
    return Outcome({"promote": result.promote, "reason": result.reason}, [fact], result.reason)
