"""A signature, its rows and its answers, for tests of the capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.serve.capture import Writer
from modelyard.serve.rows import Rows
from modelyard.serve.stats import CaptureStats
from modelyard.signature import Column, Signature

SIGNED = Signature(
    "binary_classification",
    (Column("a", "int", nullable=True), Column("t", "datetime", nullable=True), Column("s", "str")),
    classes=("n", "y"),
    positive_class="y",
)
NOW = 1_790_000_000_000_000
"""2026-09-21, in microseconds."""


def rows(ids: list[str], *, at: int = NOW, extras: dict[str, list[Any]] | None = None, times: list[int] | None = None) -> Rows:
    n = len(ids)
    return Rows({"a": [None, *range(1, n)], "t": [NOW] * n, "s": ["x\n"] * n}, n, ids, at, times, extras or {})


def outputs(n: int) -> dict[str, list[Any]]:
    return {"prediction": ["y"] * n, "probability_n": [0.25] * n, "probability_y": [0.75] * n}


def writer(folder: Path, **more: Any) -> Writer:
    return Writer(folder, stats=CaptureStats(), **more)


def put(w: Writer, ids: list[str], version: str = "1", **more: Any) -> Any:
    """A request of these rows; one of one row goes by the lane where nothing comes along with it."""
    if len(ids) == 1 and not more.keys() - {"at"}:
        return w.lane(version, SIGNED).row(more.get("at", NOW), 1.5, ids[0], (None, NOW, "x\n"), ("y", 0.25, 0.75))
    return w.write(version, SIGNED, rows(ids, **more), outputs(len(ids)), 1.5)


def exact(stats: CaptureStats) -> bool:
    return stats.captured + stats.dropped + stats.failed == stats.eligible
