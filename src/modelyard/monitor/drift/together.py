"""The columns together: whether rows fit the relations between the baseline's columns as well as its hold-out did (see `joint`)."""

from __future__ import annotations

from typing import Any

from modelyard.config.spec import Drift
from modelyard.monitor import joint


def together(now: dict[str, Any] | None, before: dict[str, Any] | None, drift: Drift) -> dict[str, Any] | None:
    """`{mean, mean_before, value, threshold, p, moved}` of the rows' errors; None where nobody asks, or either side has too few.

    `value` is the relative change of the mean error, and `p` of Welch's test that the means are equal, both sides being samples.
    """
    asked = drift.multivariate
    if not asked.enabled or now is None or before is None or min(now["rows"], before["rows"]) < joint.LEAST_ROWS:
        return None
    from scipy.special import erfc

    mean, noise = _mean(now)
    mean_before, noise_before = _mean(before)
    spread = (noise + noise_before) ** 0.5
    if not mean_before or not spread:
        return None
    value, p = mean / mean_before - 1, float(erfc(abs(mean - mean_before) / spread / 2**0.5))
    threshold = asked.threshold or joint.THRESHOLD
    moved = abs(value) >= threshold and p <= drift.significance
    return {"mean": mean, "mean_before": mean_before, "value": value, "threshold": threshold, "p": p, "moved": moved}


def _mean(errors: dict[str, Any]) -> tuple[float, float]:
    """Mean of the errors, and its variance."""
    rows = errors["rows"]
    mean = errors["sum"] / rows
    return mean, max(0.0, errors["squares"] / rows - mean * mean) / (rows - 1)
