"""What is kept of an explanation: importance overall, a sample for pictures, and how exact it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.quality.explain.game import Floats

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 500


@dataclass(frozen=True)
class Explanation:
    """Attributions of rows, and how they were come by.

    attributions: (rows, features); with `base` those of a row sum to its output, but for `error` at most. output: the unit they are in
    (probability, log-odds, margin, prediction, log-prediction, score); of: the output that is explained, by its name in the signature.
    """

    features: tuple[str, ...]
    attributions: Floats
    base: float
    output: str
    of: str
    method: str
    why: str
    background: int
    error: float


def summary(found: Explanation, rows: pl.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """The explanation as JSON values: all but the attributions of each row, of which a sample of at most 500 is drawn.

    rows: the explained rows' features. Importance is the mean of the absolute attributions; features fall by it.
    """
    strength, mean = np.abs(found.attributions).mean(axis=0), found.attributions.mean(axis=0)
    order = np.argsort(-strength, kind="stable")
    kept = np.sort(np.random.default_rng(seed).permutation(rows.height)[:SAMPLE])
    return {
        "method": found.method,
        "why": found.why,
        "output": found.output,
        "of": found.of,
        "rows": rows.height,
        "background_rows": found.background,
        "base_value": found.base,
        "global": [{"feature": found.features[j], "mean_abs": float(strength[j]), "mean": float(mean[j])} for j in order],
        "sample": {
            "features": list(found.features),
            "values": [[_json(value) for value in row] for row in rows.select(found.features)[kept].iter_rows()],
            "attributions": found.attributions[kept].tolist(),
        },
        "additivity_error": found.error,
    }


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
