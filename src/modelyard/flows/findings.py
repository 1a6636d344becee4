"""The chapters of evaluation.json, and the flat list of measures that the gates read from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelyard.build import gates
from modelyard.build.gates import WORST, GateResult, Measure
from modelyard.config.spec import Evaluate, Slice
from modelyard.durable import Outcome
from modelyard.errors import BadInput
from modelyard.quality import metrics as measures
from modelyard.quality import resample, slices
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from modelyard.flows.site import Site

NONE_WEAKER = "none is weaker than the whole"


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what is undefined is null."""
    return {name: value if not isinstance(value, float) or math.isfinite(value) else None for name, value in values.items()}


def main_metric(asked: Evaluate, signed: Signature) -> str:
    """The metric that matters most: the first gate's, of those that a hold-out has, else the problem type's headline."""
    known = measures.names_of(signed)
    return next((c.metric for c in asked.validation_criteria if c.metric in known), known[0])


def named_parts(asked: Evaluate) -> dict[int, Slice]:
    """The parts that gates name by a value, by the gate's place."""
    return {i: c.slice for i, c in enumerate(asked.validation_criteria) if isinstance(c.slice, Slice)}


def verify(site: Site) -> Outcome[int]:
    """See that the hold-out has the parts that gates name, before minutes are spent on training. Returns how many there are.

    Raises BadInput. What preparing steps make of the rows is not known yet, and is left to the gates.
    """
    import polars as pl

    config = site.config
    named = named_parts(config.evaluate)
    if config.preprocess is not None or config.steps:
        return Outcome(0, summary="not known before the preparing steps")
    rows = pl.scan_parquet(site.raw("test"))
    present = set(rows.collect_schema())
    for place, part in named.items():
        if part.column not in present:
            continue  # `slices` tells
        known = slices.parts(rows.select(part.column).collect()[part.column])[0]
        if (value := gates.written(part.value)) not in known:
            raise BadInput(
                f"the hold-out has no part {part.column} = {value}",
                where=f"evaluate.validation_criteria[{place}].slice",
                next=f"its parts: {', '.join(known[:20])}",
            )
    return Outcome(len(named), summary=f"{len(named)} named by gates")


def intervals(holdout: pl.DataFrame, signed: Signature, asked: Evaluate) -> dict[str, Any]:
    """{"intervals": {metric: [low, high]}, "level": float}"""
    wanted = asked.confidence
    found = resample.intervals(holdout, signed, level=wanted.level, resamples=wanted.resamples, seed=wanted.seed)
    return {"intervals": {name: list(pair) for name, pair in found.items()}, "level": wanted.level}


def slices_of(holdout: pl.DataFrame, signed: Signature, asked: Evaluate) -> list[dict[str, Any]]:
    """The metrics of every value of the columns that are asked for, and of those that a gate names."""
    gated = [c.slice if isinstance(c.slice, str) else c.slice.column for c in asked.validation_criteria if c.slice is not None]
    columns = [c for c in dict.fromkeys((*asked.slices, *gated)) if c != WORST]
    return [finite(row) for column in columns for row in slices.by_slice(holdout, signed, column)]


def slices_and_worst(holdout: pl.DataFrame, signed: Signature, asked: Evaluate) -> dict[str, Any]:
    """{"slices": a row a value of a column, "worst": of the main metric, "worst_by": the weakest part by each metric that a gate asks
    it of}. A part is null where none is weaker than the whole beyond chance; `worst_by` says how many were `looked_at`, and has the
    `intervals` of a part where a gate judges them."""
    main = main_metric(asked, signed)
    wanted = dict.fromkeys([main, *(c.metric for c in asked.validation_criteria if c.slice == WORST)])
    found: dict[str, Any] = {}
    for metric in wanted if asked.worst_slice.enabled else ():
        if metric in measures.names_of(signed):
            found[metric] = _worst(holdout, signed, asked, metric)
    rows = slices_of(holdout, signed, asked)
    for criterion in asked.validation_criteria:
        if criterion.bound != "value" and criterion.slice is not None and criterion.slice != WORST:
            _add_intervals(rows, holdout, signed, asked, criterion.metric)
    return {"slices": rows, "worst": found[main]["part"] if found else None, "worst_by": found}


def _worst(holdout: pl.DataFrame, signed: Signature, asked: Evaluate, metric: str) -> dict[str, Any]:
    from modelyard.quality.encode import usable

    wanted, confidence = asked.worst_slice, asked.confidence
    part, looked_at = slices.worst(
        holdout, signed, metric, min_rows=wanted.min_rows, depth=wanted.depth, seed=confidence.seed, level=confidence.level
    )
    if part is None:
        return {"part": None, "looked_at": looked_at}
    members = holdout.filter(usable(holdout, signed))[part.members]
    return {"part": {**part.to_dict(), **_interval(members, signed, asked, metric)}, "looked_at": looked_at}


def _interval(rows: pl.DataFrame, signed: Signature, asked: Evaluate, metric: str) -> dict[str, Any]:
    wanted = asked.confidence
    found = resample.intervals(rows, signed, level=wanted.level, resamples=wanted.resamples, seed=wanted.seed, names=(metric,))
    low, high = found.get(metric, (None, None))
    return {"low": low, "high": high}


def _add_intervals(rows: list[dict[str, Any]], holdout: pl.DataFrame, signed: Signature, asked: Evaluate, metric: str) -> None:
    """Put {"intervals": {metric: [low, high]}} into each row of the slices."""
    for column in dict.fromkeys(row["column"] for row in rows):
        for value, part in slices.tables_of(holdout, signed, column).items():
            row = next(r for r in rows if (r["column"], r["value"]) == (column, value))
            found = _interval(part, signed, asked, metric)
            if found["low"] is not None:
                row.setdefault("intervals", {})[metric] = [found["low"], found["high"]]


def operational(document: dict[str, Any]) -> dict[str, float]:
    """Latency and size, as gates name them."""
    latency = document["latency"]
    return {
        "latency_p50_ms": latency["p50_ms"],
        "latency_p99_ms": latency["p99_ms"],
        "model_size_mb": document["size"]["bytes"] / 1e6,
    }


def gateable(document: dict[str, Any]) -> list[Measure]:
    """Every number of evaluation.json that a gate may name."""
    rows = int(document["metrics"]["rows"])

    def measure(name: str, value: float | None, known: Mapping[str, Any], **more: Any) -> Measure:
        low, high = known.get(name, (None, None))
        return Measure(name, value, measures.GREATER_IS_BETTER.get(name), low, high, **more)

    found = [measure(name, value, document["intervals"], rows=rows) for name, value in document["metrics"].items()]
    found += [Measure(name, c["value"], c["greater_is_better"], rows=rows) for name, c in document["custom"].items()]
    found += [Measure(name, value, False) for name, value in operational(document).items()]
    for row in document["slices"]:
        part, names = (row["column"], row["value"]), [n for n in document["metrics"] if n in measures.METRICS]
        found += [measure(n, row[n], row.get("intervals", {}), slice=part, rows=int(row["rows"])) for n in names]
    return found + _weakest(document, {m.metric: m for m in found if m.slice is None})


def _weakest(document: dict[str, Any], whole: dict[str, Measure]) -> list[Measure]:
    """Of a metric of which no part is weaker than the whole, the whole stands for the weakest part."""
    found = []
    for metric, by in document["worst_by"].items():
        part = by["part"]
        if part is not None:
            place = (WORST, part["description"])
            numbers = {"value": part["value"], "low": part["low"], "high": part["high"], "rows": part["rows"]}
            found.append(replace(whole[metric], slice=place, **numbers))
        elif by["looked_at"]:
            found.append(replace(whole[metric], slice=(WORST, NONE_WEAKER)))
    return found


def of_bias(document: dict[str, Any]) -> list[Measure]:
    """The measures of bias.json."""
    from modelyard.quality.bias import analysis

    return [
        Measure(m["metric"], m["value"], None, m["low"], m["high"], facet=m["facet"], column=m["column"])
        for m in analysis.measures(document)
    ]


def baseline_gate(document: dict[str, Any], asked: Evaluate, signed: Signature) -> GateResult | None:
    """Whether the version is better than what learned nothing; None where that is not asked."""
    if asked.baseline.on_fail == "off":
        return None
    naive, metric = document["baseline"], asked.baseline.metric or measures.names_of(signed)[0]
    ours, theirs, greater = document["metrics"].get(metric), naive["metrics"].get(metric), measures.GREATER_IS_BETTER.get(metric)
    return gates.judge_baseline(metric, ours, theirs, greater, asked.baseline.on_fail, naive["kind"])


def verdict(document: dict[str, Any], asked: Evaluate, signed: Signature) -> dict[str, Any]:
    """The baseline's gate as evaluation.json has it."""
    result = baseline_gate(document, asked, signed)
    if result is None:
        return {"metric": None, "ok": None, "on_fail": "off", "sentence": ""}
    return {"metric": result.metric, "ok": result.ok, "on_fail": result.on_fail, "sentence": result.sentence}
