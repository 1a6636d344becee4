"""Ours, as the platform does it: a profile of the window, and the words on drift and on data quality by the default settings."""

from __future__ import annotations

from typing import Any

import polars as pl

from modelyard.config.spec import DataQuality, Drift
from modelyard.monitor import drift, profile, quality
from modelyard.signature import Signature


def judged(rows: pl.DataFrame, baseline: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """`{status, quality, columns, score, joint}`, and of each column and of the score `[value / threshold, p]`, for asking what other
    settings would have said (`rates.violated`)."""
    counted = profile.profile(rows, baseline)
    found = drift.judge(counted, baseline, Drift(), signature)
    return {
        "status": found.verdict.status,
        "quality": _quality(rows, counted, baseline, signature),
        "columns": [_pair(c) for c in found.columns],
        "score": _pair(found.prediction),
        "joint": bool(found.joint and found.joint["moved"]),
    }


def _quality(rows: pl.DataFrame, counted: dict[str, Any], baseline: dict[str, Any], signature: Signature) -> str:
    settings = DataQuality()
    held = quality.held(baseline, signature, settings)
    broken = quality.check(quality.of_window(rows, counted, baseline, held), held, settings.tolerance)
    return quality.judge(broken, rows.height, settings, len(held)).status


def _pair(column: dict[str, Any]) -> list[float]:
    return [round(column["value"] / column["threshold"], 4), float(f"{column['p']:.3g}")]
