"""Attributions of a window: a sample of its rows explained as the hold-out was, and the features' weights held against the build's.

The model is asked by its own runner, in its own environment (`flows.explanation`), which takes seconds to minutes a window. Hence a window
of its own, a day where the config does not say otherwise: the monitors' window may be minutes long, and a few hundred rows of a day say
more about it than those of its last quarter of an hour. The answer stands in the book; nothing is explained twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build.bundle import Bundle
from modelyard.config.spec import Config
from modelyard.config.spec.quality import Explain
from modelyard.errors import YardError, no_room
from modelyard.flows import drawing, explanation
from modelyard.flows.monitor.window import Window
from modelyard.monitor import attribution, windows
from modelyard.monitor.verdicts import Verdict
from modelyard.monitor.words import listing

if TYPE_CHECKING:
    import polars as pl

MOST = 3.4e38
"""The greatest number of 32 bits, which many models reckon in."""
SOME = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Kept:
    """What the build left of its explanation: the document, the hold-out's attributions, the background."""

    document: dict[str, Any]
    attributions: pl.DataFrame
    background: pl.DataFrame


def enabled(config: Config) -> bool:
    return config.explain is not None and config.monitor.attribution.enabled


def span(config: Config) -> str:
    """The window that is explained: the longer one of the monitors' and the monitor's own."""

    def length(window: str) -> Any:
        one = windows.window_at(window, "UTC", SOME)
        return one.end - one.start

    return max(config.monitor.window, config.monitor.attribution.window, key=length)


def judge(window: Window) -> Verdict:
    """The verdict on a sample of the window's rows, drawn as they are read: a day may have many more than can be held."""
    asked, count, drawn = window.config.monitor.attribution, window.height, None
    facts = {"rows": count}
    if count < asked.min_rows:
        return _unknown(f"{count:,} rows in the window, {asked.min_rows:,} are needed", facts)
    try:
        opened = window.bundle
        kept = _kept(opened)
        if kept is None:
            return _unknown("the version was built without `explain`: it has nothing to be compared with until it is built again", facts)
        drawn = drawing.sample(window.pieces(), asked.rows, (window.config.explain or Explain()).seed)
        if lacking := [name for name in opened.signature.names if _redacted(window, drawn, name)]:
            return _unknown(f"the capture does not keep {listing(lacking)}: rows cannot be explained without", facts)
        found = _explained(window, drawn, opened, kept)
    except (YardError, OSError, ValueError) as exc:  # a bundle that is gone, a runner that does not come up, rows that do not fit
        if no_room(exc, window.shop.home.path) is not None:
            raise
        return _unknown(f"rows could not be explained: {exc.what if isinstance(exc, YardError) else exc}{_huge(drawn)}", facts)
    if found.output != kept.document["output"]:
        return _unknown(f"rows are explained in {found.output}, the hold-out was in {kept.document['output']}", facts)
    names = opened.signature.names
    before = kept.attributions.select(tables.feature(name) for name in names).to_numpy()
    return attribution.judge(names, before, found.attributions, asked, {**facts, "method": found.method, "of": found.of})


def _huge(rows: pl.DataFrame | None) -> str:
    """Which features have numbers that models reckon with badly, as the end of a sentence: what may be why."""
    import polars as pl
    import polars.selectors as cs

    features = () if rows is None else rows.select(cs.numeric() & cs.starts_with(tables.FEATURE))
    greatest = {column.name.removeprefix(tables.FEATURE): column.cast(pl.Float64).abs().max() for column in features}
    said = [f"`{name}` has numbers of up to {most:.4g}" for name, most in greatest.items() if isinstance(most, float) and most > MOST]
    return f"; {listing(said, 3)}" if said else ""


def _unknown(why: str, facts: dict[str, Any]) -> Verdict:
    return Verdict("attribution", "unknown", f"attribution: {why}", facts)


def _kept(opened: Bundle) -> Kept | None:
    """None where the build explained nothing."""
    import polars as pl

    paths = [opened.path / name for name in explanation.MADE]
    if not all(path.exists() for path in paths):
        return None
    document, rows, background = paths
    return Kept(json.loads(document.read_text(encoding="utf-8")), pl.read_parquet(rows), pl.read_parquet(background))


def _redacted(window: Window, rows: pl.DataFrame, name: str) -> bool:
    return tables.feature(name) not in rows.columns or name in window.config.deploy.capture.redacted


def _explained(window: Window, drawn: pl.DataFrame, opened: Bundle, kept: Kept) -> Any:
    """The explanation of rows drawn from the window, by the method that explained the hold-out. Raises YardError."""
    import polars as pl

    before, asked = kept.document["method"], window.config.explain or Explain()
    method = "auto" if before in ("tree", "linear") else before
    rows = drawn.select(pl.col(tables.feature(name)).alias(name) for name in opened.signature.names)
    rows = explanation.typed(rows, kept.background, opened.signature)
    log: Path = window.shop.home.runs / "explain" / f"{window.model}-{window.version}-monitor.log"
    how = asked.model_copy(update={"method": method})
    return explanation.by_runner(window.shop, opened, rows, kept.background, kept.document["of"], how, log)[0]
