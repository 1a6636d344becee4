"""Evaluation: the hold-out through the runner, its metrics, the gates, the report; then everything sealed into a bundle."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle, envs, gates
from modelyard.data import snapshots
from modelyard.durable import Outcome
from modelyard.errors import BadInput, StepFailed
from modelyard.events import Event, GateJudged
from modelyard.flows import findings, gauging, inference, leaks, measuring, plans, reporting, warmth
from modelyard.flows.scoring import as_predictions, bundled, score, score_and_time
from modelyard.flows.site import SPLITS, Site
from modelyard.monitor import profile
from modelyard.quality import baseline
from modelyard.quality import metrics as measures
from modelyard.quality.alike import measured_alike
from modelyard.runners import Loadable
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

MADE = ("signature.json", "holdout.parquet", "baseline.json", plans.LATENCY)
"""What `predict` leaves in the run's folder."""
DOCUMENT = "evaluation.json"
BUNDLED = (
    DOCUMENT,
    *plans.MADE,
    "bias.json",
    "analysis.json",
    "explanations.json",
    "attributions.parquet",
    "background.parquet",
    "profile.json",
    "tuning.json",
    "metrics.json",  # read off the training log
)
"""Chapters that a bundle takes along where they were written."""


def predict(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Score the hold-out, settle the signature, time single rows, and keep the baseline that monitors will compare with."""
    import polars as pl

    test = pl.read_parquet(site.part("test"))
    extras, signed = site.config.data.schema_.sensitive_not_served, sign(site)
    (site.folder / "signature.json").write_text(json.dumps(signed.to_dict(), indent=1), encoding="utf-8")
    seen = pl.scan_parquet(site.part("train")).select(pl.col(name).alias(tables.feature(name)) for name in signed.names)
    with ThreadPoolExecutor(1, "baseline") as aside:  # while the runner starts and answers
        features = aside.submit(profile.of_features, seen, signed)
        what, log, warm = loadable(site, lock, code), site.folder / "runner.log", warmth.of(site)
        scored, latency = score_and_time(what, test, signed, log, warm, quiet=features.result)
    note = latency.pop("note", "")
    (site.folder / plans.LATENCY).write_text(json.dumps({**latency, "by": "runner"}), encoding="utf-8")
    holdout = as_predictions(scored, signed, "candidate", extras)
    holdout.write_parquet(site.folder / "holdout.parquet")
    usual = profile.with_scores(features.result(), holdout, signed)
    (site.folder / "baseline.json").write_text(json.dumps(usual), encoding="utf-8")
    said = f"{holdout.height:,} rows of the hold-out by the runner that will serve{inference.certain(holdout, signed)}"
    return Outcome({"rows": holdout.height}, summary=f"{said}; {note}" if note else said)


def verify(site: Site) -> None:
    """Before a model is trained: that its answers will stand beside these columns. Raises BadInput, as `sign` does."""
    import polars as pl

    if any(name.startswith(tables.OUTPUT) for name in pl.scan_parquet(site.part("train")).collect_schema()):
        sign(site)


def sign(site: Site) -> Signature:
    """The signature of what these splits teach. Raises BadInput for a group or weight column that a step lost, and for one that is called
    as an answer of the model will be."""
    import polars as pl

    config = site.config
    rows = pl.concat([pl.scan_parquet(site.part(name)) for name in SPLITS])
    signed = snapshots.signature(rows, config.data, config.model.problem_type, config.evaluate.decision_threshold, config.timezone)
    for name, where in ((signed.group_col, "group_col"), (signed.weight_col, "weight_col")):
        if name is not None and name not in rows.collect_schema():
            raise BadInput(f"the rows lost `{name}` on the way to the model", where=f"data.schema.{where}", next="keep it in every step")
    if (taken := next((name for name in map(tables.output, signed.outputs) if name in rows.collect_schema()), None)) is not None:
        said, hint = f"the column `{taken}` is called as an answer of the model is", "rename it, or leave it out by `data.schema.exclude`"
        raise BadInput(said, where="data.schema", next=hint)
    signed = replace(signed, at=config.evaluate.at, season=config.evaluate.season)
    if signed.problem_type == "forecasting":
        signed = replace(signed, naive_error=baseline.naive_error(_history(site, signed, ("train",)), signed))
    return signed


def _history(site: Site, signed: Signature, splits: tuple[str, ...]) -> pl.DataFrame:
    """Of the rows that a model learned from, what a model that learned nothing looks at: labels, weights, times, series."""
    import polars as pl

    rows = pl.concat([pl.scan_parquet(site.part(name)) for name in splits])
    wanted = {signed.target_col, signed.weight_col, signed.time_col, *signed.entity_cols}
    return rows.select(name for name in rows.collect_schema() if name in wanted).collect(engine="streaming")


def loadable(site: Site, lock: str, code: dict[str, Any]) -> Loadable:
    """What a runner needs to hold the model that training left in the run's folder."""
    return Loadable(
        model=site.model,
        code=inference.code_of(site.folder),
        entry_point=code["inference"],
        signature=site.folder / "signature.json",
        framework=site.framework,
        python=envs.ensure(lock, site.shop.home.path).python,
        home=site.shop.home.path,
        **inference.facts(site.config, code),
    )


def signature(site: Site) -> Signature:
    return Signature.from_dict(json.loads((site.folder / "signature.json").read_text(encoding="utf-8")))


def evaluate(site: Site) -> Outcome[dict[str, Any]]:
    """Everything that is measured of the hold-out, into evaluation.json; the champion's metrics on the same rows, where there is one."""
    import polars as pl

    config, signed, holdout = site.config, signature(site), pl.read_parquet(site.folder / "holdout.parquet")
    gauging.of_baseline(config, json.loads((site.folder / gauging.BASELINE).read_text(encoding="utf-8")))
    own = measures.compute(holdout, signed)
    champion, naive = _champion(site), baseline.measure(holdout, signed, _history(site, signed, ("train", "validation")))
    others = {"champion": pl.read_parquet(site.folder / "champion.parquet")} if champion and champion["metrics"] else {}
    custom = measuring.custom(site, {"holdout": holdout, **others})
    if champion is not None:
        champion["metrics"] |= {name: values["champion"] for name, values in custom.items() if "champion" in values}
    document = {
        "metrics": finite(own),
        **findings.intervals(holdout, signed, config.evaluate),
        **findings.slices_and_worst(holdout, signed, config.evaluate),
        "baseline": {**naive, "metrics": finite(naive["metrics"])},
        "champion": champion,
        "custom": {name: {"value": v["holdout"], "greater_is_better": v["greater_is_better"]} for name, v in custom.items()},
        "latency": plans.latency(site.folder),
        "size": {"bytes": measuring.size(site.model)},
        "leakage": leaks.findings(site),
    }
    document["baseline"] |= findings.verdict(document, config.evaluate, signed)
    (site.folder / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
    head = measures.names_of(signed)[0]
    beside = f", champion {champion['metrics'][head]:.4g}" if champion and champion["metrics"].get(head) is not None else ""
    metrics = {**finite(own), **{name: v["holdout"] for name, v in custom.items()}}
    return Outcome({"metrics": metrics, "champion": champion}, summary=f"{head} {own[head]:.4g}{beside}")


def document(site: Site) -> dict[str, Any]:
    """What `evaluate` measured."""
    found: dict[str, Any] = json.loads((site.folder / DOCUMENT).read_text(encoding="utf-8"))
    return found


def _champion(site: Site) -> dict[str, Any] | None:
    """The champion's answers to this build's hold-out: rows that neither model was trained on, where time splits them. Where it has none
    (these rows are of another type, their labels are none of its classes), the reason, and no metrics: what is new may still be built."""
    import polars as pl

    number = site.shop.model(site.run.model).champion
    if number is None:
        return None
    opened = bundle.open(site.shop.version(site.run.model, number).digest, site.shop.home.path)
    test = pl.read_parquet(site.part("test"))
    lacking = [name for name in opened.signature.names if name not in test.columns]
    if lacking:
        return {"version": number, "metrics": {}, "reason": f"the new data lacks {', '.join(lacking)}"}
    ours = signature(site)
    if opened.signature.problem_type != ours.problem_type:
        return {"version": number, "metrics": {}, "reason": f"it is a model of {opened.signature.problem_type.replace('_', ' ')}"}
    signed = measured_alike(opened.signature, ours)
    try:
        scored = score(bundled(site.shop, opened), test, opened.signature, site.folder / "champion.log")
        table = as_predictions(scored, signed, number, site.config.data.schema_.sensitive_not_served)
        metrics = finite(measures.compute(table, signed))
    except (BadInput, StepFailed) as exc:
        return {"version": number, "metrics": {}, "reason": exc.what}
    table.write_parquet(site.folder / "champion.parquet")
    return {"version": number, "metrics": {**metrics, **_operational(opened.path)}}


def _operational(sealed: Path) -> dict[str, float]:
    """A sealed version's latency and size, as its own build measured them."""
    path = sealed / DOCUMENT
    return findings.operational(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def judge(site: Site, judged: dict[str, Any], facts: dict[str, Any]) -> Outcome[dict[str, list[str]]]:
    """The gates, each with its evidence. Returns every gate's sentence, and those of the ones that block."""
    found, champion, config = document(site), judged["champion"], site.config
    criteria, asked = config.evaluate.validation_criteria, config.evaluate
    results = gates.judge(
        criteria,
        findings.gateable(found),
        champion["metrics"] if champion else None,
        found["baseline"]["metrics"],
        min_rows=asked.worst_slice.min_rows,
    )
    if config.bias is not None:
        results += gates.judge_bias(config.bias.criteria, findings.of_bias(json.loads((site.folder / "bias.json").read_text("utf-8"))))
    naive = findings.baseline_gate(found, asked, signature(site))
    results += [naive] if naive is not None else []
    rows = judged["metrics"]["rows"]
    events: list[Event] = [
        GateJudged(site.run.model, site.run.id, r.metric, r.ok, r.on_fail, r.sentence, {**asdict(r), "hold-out rows": rows})
        for r in results
    ]
    sentences = {"gates": [r.sentence for r in results], "refused": [r.sentence for r in gates.blocking(results)]}
    reporting.write(site, facts, [asdict(r) for r in results])
    return Outcome(sentences, events, f"{sum(r.ok for r in results)} of {len(results)} passed" if results else "none asked for")


def seal(site: Site, judged: dict[str, Any], facts: dict[str, Any]) -> Outcome[str]:
    """Everything that makes the version, immutable and named by its content."""
    data, work = facts["data"], site.folder / "bundle"
    shutil.rmtree(work, ignore_errors=True)
    (work / "env").mkdir(parents=True)
    shutil.copytree(site.model, work / "model", symlinks=True)
    shutil.copytree(site.code, work / "code")
    if (own := site.folder / inference.FOLDER).exists():
        shutil.copytree(own, work / inference.FOLDER)
    if (site.folder / measuring.CODE).exists():
        shutil.copytree(site.folder / measuring.CODE, work / measuring.CODE)
    if site.preprocess_code.exists():
        shutil.copytree(site.preprocess_code, work / "preprocess-code")
    for name in ("step-code", "files"):  # of further steps: flows/processing.py
        if (site.folder / name).exists():
            shutil.copytree(site.folder / name, work / name)
    shutil.copyfile(site.folder / "requirements.lock", work / "env" / "requirements.lock")
    if (locks := site.folder / "locks").exists():
        shutil.copytree(locks, work / "env" / "locks")
    for name in ("signature.json", "baseline.json", "holdout.parquet", *reporting.MADE):
        shutil.copyfile(site.folder / name, work / name)
    for name in BUNDLED:
        if (site.folder / name).exists():
            shutil.copyfile(site.folder / name, work / name)
    (work / "config.json").write_text(json.dumps(site.order.configs, sort_keys=True, indent=1), encoding="utf-8")
    manifest = {
        "model": site.run.model,
        "framework": site.framework,
        "entry_point": facts["code"]["inference"],
        "inference": inference.facts(site.config, facts["code"]),
        "code": facts["code"],
        "outputs": facts.get("outputs", []),
        "hyperparameters": facts.get("hyperparameters", {}),
        "data": {"digest": data["digest"], "rows": data["rows"]},
        "config": site.order.digest,
        "metrics": judged["metrics"],
    }
    sealed = bundle.seal(work, manifest, site.shop.home.path)
    shutil.rmtree(work, ignore_errors=True)
    return Outcome(sealed.digest, summary=sealed.digest[:12])


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: what is undefined is null."""
    return findings.finite(values)
