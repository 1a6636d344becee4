"""Evaluation: the hold-out through the runner, its metrics, the gates, the report; then everything sealed into a bundle."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelyard.build import bundle, envs, gates
from modelyard.data import snapshots
from modelyard.durable import Outcome
from modelyard.events import Event, GateJudged
from modelyard.flows.scoring import as_predictions, bundled, score
from modelyard.monitor import profile
from modelyard.quality import metrics as measures
from modelyard.runners import Loadable
from modelyard.signature import Signature

if TYPE_CHECKING:
    from modelyard.flows.site import Site


def predict(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Score the hold-out, settle the signature, and keep the baseline that monitors will compare with."""
    import polars as pl

    parts = {name: pl.read_parquet(site.part(name)) for name in ("train", "validation", "test")}
    config, extras = site.config, site.config.data.schema_.sensitive_not_served
    signed = snapshots.signature(
        pl.concat(list(parts.values())), config.data, config.model.problem_type, config.evaluate.decision_threshold
    )
    (site.folder / "signature.json").write_text(json.dumps(signed.to_dict(), indent=1), encoding="utf-8")
    scored = score(_loadable(site, lock, code), parts["test"], signed, site.folder / "runner.log")
    holdout = as_predictions(scored, signed, "candidate", extras)
    holdout.write_parquet(site.folder / "holdout.parquet")
    seen = parts["train"].rename({name: f"f.{name}" for name in signed.names})
    baseline = profile.baseline(seen, signed, holdout)
    (site.folder / "baseline.json").write_text(json.dumps(baseline), encoding="utf-8")
    return Outcome({"rows": holdout.height}, summary=f"{holdout.height:,} rows of the hold-out by the runner that will serve")


def _loadable(site: Site, lock: str, code: dict[str, Any]) -> Loadable:
    return Loadable(
        model=site.model,
        code=site.code,
        entry_point=code["inference"],
        signature=site.folder / "signature.json",
        framework=site.framework,
        python=envs.ensure(lock, site.shop.home.path).python,
        home=site.shop.home.path,
    )


def _signature(site: Site) -> Signature:
    return Signature.from_dict(json.loads((site.folder / "signature.json").read_text(encoding="utf-8")))


def evaluate(site: Site) -> Outcome[dict[str, Any]]:
    """Metrics of the hold-out, overall and by slice; the champion's on the same rows, where there is one."""
    import polars as pl

    signed, holdout = _signature(site), pl.read_parquet(site.folder / "holdout.parquet")
    own = measures.compute(holdout, signed)
    slices = [row for column in site.config.evaluate.slices for row in measures.by_slice(holdout, signed, column)]
    champion = _champion(site)
    value = {"metrics": finite(own), "champion": champion, "slices": [{k: _json(v) for k, v in row.items()} for row in slices]}
    head = measures.names_for(signed.problem_type)[0]
    beside = f", champion {champion['metrics'][head]:.4g}" if champion and champion["metrics"].get(head) is not None else ""
    return Outcome(value, summary=f"{head} {own[head]:.4g}{beside}")


def _champion(site: Site) -> dict[str, Any] | None:
    """The champion's answers to this build's hold-out: rows that neither model was trained on, where time splits them."""
    import polars as pl

    number = site.shop.model(site.run.model).champion
    if number is None:
        return None
    opened = bundle.open(site.shop.version(site.run.model, number).digest, site.shop.home.path)
    test = pl.read_parquet(site.part("test"))
    lacking = [name for name in opened.signature.names if name not in test.columns]
    if lacking:
        return {"version": number, "metrics": {}, "reason": f"the new data lacks {', '.join(lacking)}"}
    scored = score(bundled(site.shop, opened), test, opened.signature, site.folder / "champion.log")
    table = as_predictions(scored, opened.signature, number, site.config.data.schema_.sensitive_not_served)
    table.write_parquet(site.folder / "champion.parquet")
    return {"version": number, "metrics": finite(measures.compute(table, opened.signature))}


def judge(site: Site, judged: dict[str, Any], facts: dict[str, Any]) -> Outcome[dict[str, list[str]]]:
    """The gates, each with its evidence. Returns every gate's sentence, and those of the ones that block."""
    champion = judged["champion"]["metrics"] if judged["champion"] else None
    results = gates.judge(site.config.evaluate.validation_criteria, judged["metrics"], champion, measures.GREATER_IS_BETTER)
    events: list[Event] = [
        GateJudged(
            site.run.model,
            site.run.id,
            r.metric,
            r.ok,
            r.on_fail,
            r.sentence,
            {**asdict(r), "hold-out rows": judged["metrics"]["rows"]},
        )
        for r in results
    ]
    sentences = {"gates": [r.sentence for r in results], "refused": [r.sentence for r in gates.blocking(results)]}
    _write_report(site, judged, [asdict(r) for r in results], facts)
    return Outcome(sentences, events, f"{sum(r.ok for r in results)} of {len(results)} passed" if results else "none asked for")


def _write_report(site: Site, judged: dict[str, Any], gate_rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """The HTML report; written before the gates can refuse, so that a refused build has one too."""
    import polars as pl

    from modelyard.quality.report import report

    config, code, data = site.config, facts["code"], facts["data"]
    page = report(
        title=f"{config.model.name}:{site.number}",
        facts={
            "model": config.model.name,
            "version": site.number,
            "problem_type": config.model.problem_type,
            "owner": config.model.owner,
            "created": site.shop.clock.now().isoformat(timespec="seconds"),
            "data_digest": data["digest"],
            "commit": code["commit"],
            "dirty": code["dirty"],
            "rows": {**facts["rows"], **({"captured": data["captured"]} if data["captured"] else {})},
            "dropped": data["dropped"],
        },
        signature=_signature(site),
        holdout=pl.read_parquet(site.folder / "holdout.parquet"),
        metrics={k: math.nan if v is None else v for k, v in judged["metrics"].items()},
        slices=judged["slices"],
        gates=gate_rows,
        lineage={
            "run": site.run.id,
            "config": site.order.digest,
            "code": code["digest"],
            "data": data["digest"],
            "environment": facts["environment"],
        },
        champion=judged["champion"],
    )
    (site.folder / "report.html").write_text(page, encoding="utf-8")


def seal(site: Site, judged: dict[str, Any], facts: dict[str, Any]) -> Outcome[str]:
    """Everything that makes the version, immutable and named by its content."""
    data, work = facts["data"], site.folder / "bundle"
    shutil.rmtree(work, ignore_errors=True)
    (work / "env").mkdir(parents=True)
    shutil.copytree(site.model, work / "model", symlinks=True)
    shutil.copytree(site.code, work / "code")
    if site.preprocess_code.exists():
        shutil.copytree(site.preprocess_code, work / "preprocess-code")
    shutil.copyfile(site.folder / "requirements.lock", work / "env" / "requirements.lock")
    for name in ("signature.json", "baseline.json", "holdout.parquet", "report.html"):
        shutil.copyfile(site.folder / name, work / name)
    (work / "config.json").write_text(json.dumps(site.order.configs, sort_keys=True, indent=1), encoding="utf-8")
    manifest = {
        "model": site.run.model,
        "framework": site.framework,
        "entry_point": facts["code"]["inference"],
        "code": facts["code"],
        "data": {"digest": data["digest"], "rows": data["rows"]},
        "config": site.order.digest,
        "metrics": judged["metrics"],
    }
    sealed = bundle.seal(work, manifest, site.shop.home.path)
    shutil.rmtree(work, ignore_errors=True)
    return Outcome(sealed.digest, summary=sealed.digest[:12])


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: what is undefined is null."""
    return {name: _json(value) for name, value in values.items()}
