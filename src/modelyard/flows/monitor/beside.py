"""What a window's drift is held against beside the training data: the same time of earlier periods, and its segments the hold-out's."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from modelyard import tables
from modelyard.flows import history
from modelyard.flows.monitor import profiling
from modelyard.flows.monitor.window import Window
from modelyard.monitor import profile
from modelyard.monitor.drift import Seasonal, Segment
from modelyard.monitor.drift import season as seasons
from modelyard.monitor.windows import Span


def seasonal(window: Window) -> Seasonal | None:
    """None where the config asks for no season."""
    asked, config = window.config.monitor.drift.season, window.config
    if asked is None:
        return None
    spans = seasons.earlier(window.span, asked, config.monitor.window, config.timezone)
    found = [then for span in spans if (then := _then(window, span)) is not None]
    return Seasonal(len(found), profile.merge(found) if found else None)


def _then(window: Window, span: Span) -> dict[str, Any] | None:
    """An earlier window in this version's bins, None without rows: as it was judged, if by this version; else of all captured rows,
    whoever answered them, but for the scores, which are this version's."""
    import polars as pl

    if (kept := profiling.kept(window, span)) is not None:
        return kept
    rows = history.answers(window.shop, window.model, span.start, span.end, settled=window.settled)
    if rows.is_empty():
        return None
    counted = profile.profile(rows, window.baseline)
    mine = rows.filter(pl.col(tables.VERSION) == window.version)
    return counted if mine.height == rows.height else {**counted, "score": profile.profile(mine, window.baseline)["score"]}


def segments(window: Window) -> tuple[list[Segment], list[str]]:
    """The segments that have enough rows, in the window and in the hold-out, and the configured columns that cannot be told by: those
    that the hold-out lacks, or that the capture does not keep."""
    least = window.config.monitor.drift.min_rows
    redacted = window.config.deploy.capture.redacted
    found: list[Segment] = []
    lacking: list[str] = []
    for column in window.config.monitor.segments:
        usual = _of_holdout(window.bundle.path, column, least) if column not in redacted else None
        parts = {name: now for name, now in window.segments.items() if name.startswith(f"{column}=")}
        if usual is None or not parts:
            lacking.append(column)
            continue
        for name, now in parts.items():
            before = usual.get(name.removeprefix(f"{column}="))
            if before is not None and now["rows"] >= least:
                found.append(Segment(name, now, before))
    return found, lacking


@lru_cache(maxsize=16)
def _of_holdout(bundle: Path, column: str, least: int) -> dict[str, dict[str, Any]] | None:
    """The profiles of the hold-out's segments of `least` rows in its version's bins, by value; a bundle never changes. None without the
    column."""
    import polars as pl

    path = bundle / "holdout.parquet"
    rows = pl.read_parquet(path, glob=False) if path.exists() else pl.DataFrame()
    words, often = profiling.values(rows, column)
    if words.is_empty():
        return None
    baseline: dict[str, Any] = json.loads((bundle / "baseline.json").read_text(encoding="utf-8"))
    return {value: profile.profile(rows.filter(words == value), baseline) for value, n in often.items() if n >= least}
