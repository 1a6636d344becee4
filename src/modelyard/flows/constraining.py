"""What a version's columns must hold, and what a window, or a statistics.json of one, breaks: as tables and as SageMaker's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from modelyard.build import bundle
from modelyard.clock import to_minute
from modelyard.errors import BadInput, NotFound
from modelyard.flows.monitor import data_quality
from modelyard.flows.monitor.window import Built, Window
from modelyard.flows.picturing import instant
from modelyard.monitor import quality, windows
from modelyard.monitor.quality import Violation, sagemaker
from modelyard.monitor.verdicts import Verdict
from modelyard.workshop import Workshop


def of_version(shop: Workshop, model: str, version: str | None = None) -> dict[str, Any]:
    """The constraints that hold for a version, the champion by default, with the statistics of what it was trained on.

    {"model", "version", "columns": [{"name", "written": the fields that the config says, ...of a ColumnConstraint}], "unjudged": [names],
    "constraints": a constraints.json, "statistics": a statistics.json}. Raises NotFound.
    """
    config, (chosen, opened, baseline) = shop.config(model), _registered(shop, model, version)
    held, unjudged = data_quality.holding(config, baseline, opened.signature)
    settings = config.monitor.data_quality
    written = {name: set(one.model_dump(exclude_none=True)) for name, one in settings.columns.items()}
    return {
        "model": model,
        "version": chosen,
        "columns": [{"name": n, "written": sorted(written.get(n, ())), **one.model_dump(exclude_none=True)} for n, one in held.items()],
        "unjudged": unjudged,
        "tolerance": settings.tolerance,
        "constraints": sagemaker.constraints(held, settings.tolerance),
        "statistics": sagemaker.statistics(baseline, opened.signature),
    }


def of_window(shop: Workshop, model: str, start: str) -> dict[str, Any]:
    """What the window that begins at (or holds) `start` breaks, by the constraints that hold now.

    {"model", "version", "window": [start, end], "rows", "verdict", "violations": [{...of a Violation}], "constraint_violations": a
    constraint_violations.json, "statistics": a statistics.json}. Raises NotFound for a window without rows, BadInput for no instant.
    """
    state, config = shop.model(model), shop.config(model)
    span = windows.window_at(config.monitor.window, config.timezone, instant(start, ZoneInfo(config.timezone)))
    window = Window(shop, model, config, state, span)
    named = f"{to_minute(span.start.isoformat())} .. {to_minute(span.end.isoformat())}"
    if window.rows.is_empty():
        raise NotFound(f"nobody asked `{model}` in the window {named}", next=f"modelyard monitor {model} lists its windows")
    held, redacted = data_quality.holding(config, window.baseline, window.signature)
    found = data_quality.violations(window, held)
    about = {"model": model, "version": window.version, "window": [span.start.isoformat(), span.end.isoformat()]}
    verdict = quality.judge(found, window.rows.height, config.monitor.data_quality, len(held), redacted)
    return {
        **about,
        "rows": window.rows.height,
        **_said(verdict, found),
        "statistics": sagemaker.statistics(window.profile, window.signature),
    }


def of_statistics(shop: Workshop, model: str, file: Path, version: str | None = None) -> dict[str, Any]:
    """What a statistics.json breaks of a version's constraints; as `of_window`, without a window. Raises NotFound, BadInput."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {file.name}", where=str(file)) from exc
    except (ValueError, RecursionError) as exc:
        raise BadInput(f"this is not JSON: {str(exc)[:200]}", where=file.name) from exc
    config, (chosen, opened, baseline) = shop.config(model), _registered(shop, model, version)
    held, _ = data_quality.holding(config, baseline, opened.signature)
    try:
        counts, others = sagemaker.of_statistics(document, held, baseline)
    except BadInput as exc:
        raise BadInput(exc.what, where=file.name) from exc
    settings = config.monitor.data_quality
    left = {config.data.target_col, config.data.id_col, config.data.time_col, *config.data.schema_.sensitive_not_served}
    rows = max((one.rows for one in counts.values()), default=0)
    extra = {name: rows for name in others if name not in {*left, *opened.signature.companions}}
    found = quality.check(counts, held, settings.tolerance, extra)
    verdict = quality.judge(found, rows, settings, len(held))
    about = {"model": model, "version": chosen, "statistics_file": file.name, "rows": rows}
    return {**about, **_said(verdict, found)}


def _said(verdict: Verdict, found: list[Violation]) -> dict[str, Any]:
    said = {"status": verdict.status, "reason": verdict.reason}
    return {"verdict": said, "violations": [vars(one) for one in found], "constraint_violations": sagemaker.violations(found)}


def _registered(shop: Workshop, model: str, version: str | None) -> tuple[str, bundle.Bundle, dict[str, Any]]:
    """A version, the champion by default, with its bundle and baseline. Raises NotFound."""
    chosen = shop.version(model, version or shop.model(model).champion)
    built = Built(bundle.open(chosen.digest, shop.home.path))
    if (baseline := built.document("baseline.json")) is None:
        raise NotFound(f"{model}:{chosen.version} was registered without a baseline: nothing suggests constraints")
    return chosen.version, built.bundle, baseline
