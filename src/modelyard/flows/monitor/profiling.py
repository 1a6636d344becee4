"""The profiles of a window and of its segments: from the model's store where they are kept, else counted and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard import tables
from modelyard.monitor.profile import Profiles, profile, profile_batches
from modelyard.monitor.words import written

if TYPE_CHECKING:
    import polars as pl

    from modelyard.flows.monitor.window import Window
    from modelyard.monitor.windows import Span

MOST_SEGMENTS = 50
"""Values of a column that are profiled, the most frequent ones of the window."""
T = TypeVar("T")
log = logging.getLogger(__name__)


def whole(window: Window) -> dict[str, Any]:
    """The window in the bins of its version's baseline. A kept one counts as long as no row came since."""
    kept = _tried(window, lambda store: store.get(window.version, window.span))
    if kept is not None and kept["rows"] == window.height:
        return kept
    counted = profile(window.rows, window.baseline) if window.share == 1 else profile_batches(window.pieces(), window.baseline)
    _keep(window, {"": counted})
    return counted


def kept(window: Window, span: Span) -> dict[str, Any] | None:
    """Another window of the same version as it was last judged; None where it was not."""
    return _tried(window, lambda store: store.get(window.version, span))


def segments(window: Window) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Profiles by "COLUMN=VALUE" for the columns of `monitor.segments` that the window has, features or not, and of the columns with
    more values than `MOST_SEGMENTS` how many more."""
    columns = window.config.monitor.segments
    kept = (_tried(window, lambda store: store.of_window(window.version, window.span)) if columns else None) or {}
    found: dict[str, dict[str, Any]] = {}
    counted: dict[str, dict[str, Any]] = {}
    left_out: dict[str, int] = {}
    for column in columns:
        words, often = values(window.rows, column)
        if len(often) > MOST_SEGMENTS:
            left_out[column] = len(often) - MOST_SEGMENTS
        for value, rows in list(often.items())[:MOST_SEGMENTS]:
            name = f"{column}={value}"
            if name in kept and kept[name]["rows"] == rows:
                found[name] = kept[name]
            else:
                found[name] = counted[name] = profile(window.rows.filter(words == value), window.baseline)
    if counted:
        _keep(window, counted)
    return found, left_out


def values(rows: pl.DataFrame, column: str) -> tuple[pl.Series, dict[str, int]]:
    """A column, feature or not, as text, and how often its values come, most frequent first; none where the rows lack it."""
    import polars as pl

    name = tables.place(rows.columns, column)
    if name is None:
        return pl.Series(column, [], pl.String), {}
    words = written(rows[name]).alias("value")
    often = words.drop_nulls().value_counts(name="n").sort("n", "value", descending=[True, False])
    return words, dict(often.iter_rows())


def _keep(window: Window, counted: dict[str, dict[str, Any]]) -> None:
    """Of a window without rows there is nothing to keep."""
    if not window.rows.is_empty():
        _tried(window, lambda store: store.put_all(window.version, window.span, counted))


def _tried(window: Window, does: Callable[[Profiles], T]) -> T | None:
    """What is done with the model's store; where the disk fails, None: a profile can be counted again, so it is no reason not to judge."""
    try:
        return does(Profiles(window.shop.home.profiles(window.model)))
    except OSError as exc:
        log.warning("%s: the profiles of windows are not kept: %s", window.model, exc)
        return None
