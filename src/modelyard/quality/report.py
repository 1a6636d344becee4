"""The report of a build, the model card: what a version is, whether it is good enough, whom it treats how, and where it is weak.

`document` gathers what the steps of a build found into one JSON document, `render` makes a page of it. The page is self-contained: no
script, no request, one file well under 2 MB that can be mailed, printed or kept; light or dark as the reader prefers. A chapter that
the document lacks is absent from the page.

The document, `modelyard.report/1` (JSON; numbers that are undefined are null, times are ISO 8601 in UTC, digests SHA-256 in hex):

    schema       "modelyard.report/1"
    model        {"name", "problem_type", "owner", "tags", "target", "classes", "positive_class", "decision_threshold", "features"}, and
                 what the config says of it besides
    version      "7"; run: the run's id; made_at; made_by: who asked for it; because: why, of a retraining
    verdict      {"state": passed | warning | failed | none, "sentence"}
    headline     {"metric", "value", "low", "high", "champion", "baseline", "bound"}: the metric that matters most; null without one
    gates        [{"metric", "ok", "value", "bound", "champion", "baseline", "on_fail", "sentence", "of", "low", "high", "rows"}]
    expectations ["sentence", ...] of the data, each ending in its verdict
    evaluation   what was measured of the hold-out, as evaluation.json has it: metrics, intervals, slices, worst, baseline, champion,
                 custom, latency, size, leakage
    curves       numbers of the pictures: see `curves.curves`
    compile      how the version answers, as compile.json has it; null where nothing says
    bias, explanations, profile, tuning    as the files of these names have them, less what is too much for a page
    data         {"digest", "source", "rows": {split: rows}, "captured", "dropped": [sentence]}
    lineage      {"commit", "dirty", "code", "environment", "config", "recipe", "framework", "entry_point", "hyperparameters",
                 "packages": ["name==1.0"], "steps": [{"step", "seconds", "summary", "kept"}]}
    today        null in a bundle, which is sealed before anybody could approve. As `modelyard report` answers: {"as_of", "bundle",
                 "serves": {stage: percent}, "champion", "waiting", "approvals": [...], "events": [...], "verdicts": [...], "set_aside"}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from modelyard.quality import page
from modelyard.quality.metrics import METRICS
from modelyard.signature import Signature

if TYPE_CHECKING:
    import jinja2

SCHEMA = "modelyard.report/1"
MAX_SLICES, MAX_COLUMNS, MAX_FEATURES, MAX_SAMPLE, MAX_TRIALS = 300, 200, 40, 200, 300
"""Kept of evaluation's slices, of the profile's columns, of the features and rows that were explained, of a search's trials."""
FEATURES = 10
"""Features that are drawn where nothing else is asked for."""
DATA = "data"
"""What a gate is called that refused the data, before there was a model."""
PROSE = ("intended_use", "limitations")


def document(
    *,
    about: Mapping[str, Any],
    signature: Signature | None,
    gates: Sequence[Mapping[str, Any]],
    lineage: Mapping[str, Any],
    data: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
    curves: Mapping[str, Any] | None = None,
    chapters: Mapping[str, Mapping[str, Any] | None] | None = None,
    expectations: Sequence[str] = (),
) -> dict[str, Any]:
    """The whole document; see the module for its shape. Two calls give the same.

    signature: None where a build was refused before there was a model. about: {"model": {...}, "version", "run", "made_at", "made_by",
    "because"}. chapters: `compile`, `bias`, `explanations`, `profile` and `tuning`,
    those that there are. gates: GateResults as dicts. What is more than a page can show is left out here, so that both are small.
    """
    given, found = dict(chapters or {}), dict(evaluation or {})
    whole = {
        "schema": SCHEMA,
        **{key: about.get(key) for key in ("version", "run", "made_at", "made_by", "because")},
        "model": {**about["model"], **(_of_signature(signature) if signature else {})},
        "verdict": verdict(gates, _warned(found, expectations)),
        "headline": _headline(found, gates, signature) if found and signature else None,
        "gates": [dict(gate) for gate in gates],
        "expectations": list(expectations),
        "evaluation": {**found, "slices": found["slices"][:MAX_SLICES]} if found else None,
        "curves": dict(curves or {}),
        "compile": given.get("compile"),
        "bias": given.get("bias"),
        "explanations": _fewer_explanations(given.get("explanations")),
        "profile": _fewer_columns(given.get("profile")),
        "tuning": _fewer_trials(given.get("tuning")),
        "data": dict(data),
        "lineage": dict(lineage),
        "today": None,
    }
    told: dict[str, Any] = plain(whole)
    told["model"] |= {key: _cut(text, page.MAX_PROSE) for key, text in about["model"].items() if key in PROSE and text}
    return told


def render(found: Mapping[str, Any]) -> str:
    """A document as a page, to be written as UTF-8. The same document gives the same text."""
    from modelyard.quality import card

    return template().render(card.view(found))


def verdict(gates: Sequence[Mapping[str, Any]], checks: int = 0) -> dict[str, str]:
    """One word for the colour and one sentence for the reader. checks: how many checks of the data only warn."""
    states = [page.state_of(gate) for gate in gates]
    failed, warned = states.count("failed"), states.count("warning")
    besides = f" {checks} check{'s' if checks > 1 else ''} of the data warn{'s' if checks == 1 else ''}." if checks else ""
    if not gates:
        return {"state": "warning" if checks else "none", "sentence": f"No gate was set: nothing judged this version.{besides}"}
    if failed:
        which = "the gate" if len(gates) == 1 else f"{failed} of {len(gates)} gates"
        early = all(gate["metric"] == DATA for gate in gates)
        said = "Refused for its data, before anything was trained." if early else f"Refused: {which} failed."
        return {"state": "failed", "sentence": said + besides}
    if warned:
        only = f"{len(gates) - warned} of {len(gates)} gates passed, {warned} only warn{'s' if warned == 1 else ''}"
        return {"state": "warning", "sentence": f"Good enough: {only}.{besides}"}
    whole = f"Good enough: {'the gate' if len(gates) == 1 else f'all {len(gates)} gates'} passed.{besides}"
    return {"state": "warning" if checks else "passed", "sentence": whole}


def _warned(found: Mapping[str, Any], expectations: Sequence[str]) -> int:
    """Checks of the data that were not passed, and let the build go on."""
    return sum(not check["ok"] for check in found.get("leakage") or []) + sum(said.startswith(page.WARNING) for said in expectations)


def _of_signature(signature: Signature) -> dict[str, Any]:
    return {
        "target": signature.target_col,
        "classes": list(signature.classes),
        "positive_class": signature.positive_class,
        "decision_threshold": signature.decision_threshold,
        "features": [{"name": c.name, "type": c.type, "nullable": c.nullable} for c in signature.columns],
    }


def _headline(found: Mapping[str, Any], gates: Sequence[Mapping[str, Any]], signature: Signature) -> dict[str, Any]:
    metrics = found["metrics"]
    name = page.headline(metrics, gates, signature.problem_type)
    low, high = found["intervals"].get(name, (None, None))
    champion, baseline = found.get("champion") or {}, found.get("baseline") or {}
    bound = next((g["bound"] for g in gates if g["metric"] == name and g.get("champion") is None and g.get("of") is None), None)
    return {
        "metric": name,
        "title": METRICS[name].title,
        "greater_is_better": METRICS[name].greater_is_better,
        "value": metrics.get(name),
        "low": low,
        "high": high,
        "champion": champion.get("metrics", {}).get(name),
        "baseline": baseline.get("metrics", {}).get(name),
        "bound": bound,
    }


def _fewer_explanations(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The strongest features, and some of the rows, evenly taken."""
    if found is None:
        return None
    top = min(found.get("top", FEATURES), MAX_FEATURES)
    names = [row["feature"] for row in found["global"][:top]]
    sample = found["sample"]
    at = [sample["features"].index(name) for name in names if name in sample["features"]]
    count = len(sample["values"])
    rows = sorted({round(i * (count - 1) / max(1, MAX_SAMPLE - 1)) for i in range(MAX_SAMPLE)}) if count > MAX_SAMPLE else range(count)
    kept = {key: [[sample[key][row][j] for j in at] for row in rows] for key in ("values", "attributions")}
    partial = [row for row in found.get("partial_dependence", []) if row["feature"] in names]
    return {**found, "top": top, "sample": {"features": [sample["features"][j] for j in at], **kept}, "partial_dependence": partial}


def _fewer_columns(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    columns = sorted(found["columns"], key=lambda c: c["name"] != found.get("target"))  # the target first
    return {**found, "columns": columns[:MAX_COLUMNS], "left_out": max(0, len(columns) - MAX_COLUMNS)}


def _fewer_trials(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The best trial, and the newest of the others."""
    if found is None:
        return None
    trials = found["trials"]
    kept = [t for t in trials[:-MAX_TRIALS] if t["number"] == found["best"]] + trials[-MAX_TRIALS:]
    return {**found, "trials": kept, "left_out": len(trials) - len(kept)}


def plain(value: Any) -> Any:
    """As JSON has it: no NaN, no over-long text."""
    if isinstance(value, Mapping):
        return {_cut(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str, most: int = page.MAX_TEXT) -> str:
    """Short enough for a page, and writable as UTF-8."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= most else whole[: most - 1] + "…"


@cache
def template(name: str = "report.html.j2") -> jinja2.Template:
    """A page, compiled once a process."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelyard.quality"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    """Markup of ours as it is; everything else as short clean text, which the template then escapes."""
    return value if hasattr(value, "__html__") else page.text(value)
