"""The report of a build: one HTML page that says what the version is, whether it is good enough and where it is weak.

Self-contained: no script, no request, one file under 2 MB that can be mailed, printed or kept; light or dark as the reader
prefers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from modelyard.quality import page
from modelyard.quality.metrics import METRICS, REGRESSION
from modelyard.signature import Signature

if TYPE_CHECKING:
    import jinja2
    import polars as pl

NAMED = ("model", "version", "problem_type", "owner", "created", "data_digest", "commit", "dirty", "rows", "dropped")
"""Facts that have a place of their own in the report's head; any other is listed beside them under its own name."""


def report(
    *,
    title: str,
    facts: Mapping[str, Any],
    signature: Signature,
    holdout: pl.DataFrame,
    metrics: Mapping[str, float],
    slices: Sequence[Mapping[str, Any]],
    gates: Iterable[Mapping[str, Any]],
    lineage: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
) -> str:
    """The page as text, to be written as UTF-8. The same arguments give the same text.

    facts: see `NAMED`; `rows` is a number or a dict such as {"train": 700, "test": 150}, `dropped` a list of sentences. holdout:
    predictions table with `label`. metrics: `metrics.compute`'s values of it. slices: `metrics.by_slice`'s rows, of all columns
    together. gates: GateResults as dicts (`dataclasses.asdict`). lineage: names and values, nested as you like. champion:
    {"version": "3", "metrics": {...}}, its metrics on the same rows, or just the metrics; None where there is none.
    Raises BadInput when the hold-out lacks its label or prediction column.
    """
    from modelyard.quality.plots import plots

    gates, problem = page.gate_rows(gates), signature.problem_type
    rival: Mapping[str, Any] = champion or {}
    rival_metrics = rival.get("metrics", rival)
    main = page.headline(metrics, gates, problem)
    return _template().render(
        title=title,
        facts={name: facts.get(name) for name in NAMED},
        others=page.flat({k: v for k, v in facts.items() if k not in NAMED}),
        rows=page.flat(facts["rows"])
        if isinstance(facts.get("rows"), Mapping)
        else [("", page.number(facts.get("rows", metrics.get("rows"))))],
        dropped=[facts["dropped"]] if isinstance(facts.get("dropped"), str) else list(facts.get("dropped") or ()),
        signature=signature,
        problem=problem.replace("_", " "),
        verdict=_verdict(gates),
        gates=gates,
        tiles=_tiles(metrics, main, problem),
        metrics=page.metric_rows(metrics, rival_metrics, problem),
        metrics_rows=page.number(metrics.get("rows", len(holdout))),
        champion=champion is not None,
        champion_words=_champion_words(rival) if "metrics" in rival else "",
        plots=plots(holdout, signature),
        slices=page.slice_rows(slices, metrics, main, problem) if slices else None,
        main=METRICS[main],
        few=page.FEW_ROWS,
        profile=page.profile(holdout, signature),
        lineage=page.flat(lineage),
    )


def _champion_words(rival: Mapping[str, Any]) -> str:
    named = f"The champion, version {rival['version']}," if rival.get("version") is not None else "The champion"
    return f"{named} could not answer for them: {rival['reason']}." if rival.get("reason") else f"{named} answered for the same rows."


def _verdict(gates: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One word for the colour and one sentence for the reader."""
    states = [gate["state"] for gate in gates]
    failed, warned = states.count("failed"), states.count("warning")
    if not gates:
        return {"state": "none", "sentence": "No gate was set: nothing judged this version."}
    if failed:
        return {"state": "failed", "sentence": f"Refused: {failed} of {len(gates)} gates failed."}
    if warned:
        return {
            "state": "warning",
            "sentence": f"Good enough: {len(gates) - warned} of {len(gates)} gates passed, {warned} only warn{'s' if warned == 1 else ''}.",
        }
    return {"state": "passed", "sentence": f"Good enough: {'the gate' if len(gates) == 1 else f'all {len(gates)} gates'} passed."}


def _tiles(metrics: Mapping[str, float], main: str, problem: str) -> list[tuple[str, str]]:
    wanted = [main, *(("rmse", "mae", "r2") if problem == REGRESSION else ("roc_auc", "log_loss", "accuracy", "macro_f1", "f1"))]
    names = [name for name in dict.fromkeys(wanted) if name in metrics][:4]
    return [(METRICS[name].title, page.measure(metrics[name])) for name in names]


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    import jinja2

    source = resources.files("modelyard.quality").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return environment.from_string(source)


def _shown(value: Any) -> Any:
    """Markup of ours as it is; everything else as short clean text, which the template then escapes."""
    return value if hasattr(value, "__html__") else page.text(value)
