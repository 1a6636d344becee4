"""Drift: by which measure a column of a window is held against the baseline, and from which effect on it has moved."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from modelyard.config.spec.types import ColumnName, Duration, Part, Share

NumericMeasure = Literal["psi", "ks", "jensen_shannon", "hellinger", "wasserstein"]
CategoricalMeasure = Literal["psi", "jensen_shannon", "hellinger", "l_infinity", "cramers_v"]
Measure = Literal[NumericMeasure, CategoricalMeasure]
FITTING: dict[str, tuple[Measure, ...]] = {
    "numeric": ("psi", "ks", "jensen_shannon", "hellinger", "wasserstein", "l_infinity"),
    "categorical": ("psi", "jensen_shannon", "hellinger", "l_infinity", "cramers_v"),
}
"""The measures of each kind of column."""
KINDS: dict[str, Literal["numeric", "categorical"]] = {
    "int": "numeric",
    "float": "numeric",
    "datetime": "numeric",
    "str": "categorical",
    "bool": "categorical",
}
"""The kind of each type that a column may have."""


def unfit(measure: Measure, kind: str) -> str:
    """What is wrong with a measure of a kind of column, as a sentence; empty where it fits."""
    return "" if measure in FITTING[kind] else f"'{measure}' does not measure {'numbers' if kind == 'numeric' else 'categories'}"


_THRESHOLD = "Effect from which a column has moved; by default the measure's usual one (docs/reference/drift.md)."


class NumericDrift(Part):
    measure: NumericMeasure = "psi"
    threshold: float | None = Field(None, gt=0, description=_THRESHOLD)


class CategoricalDrift(Part):
    measure: CategoricalMeasure = "psi"
    threshold: float | None = Field(None, gt=0, description=_THRESHOLD)


class ColumnDrift(Part):
    """One column, the prediction among them: a measure that fits its kind."""

    measure: Measure = "psi"
    threshold: float | None = Field(None, gt=0, description=_THRESHOLD)


class Multivariate(Part):
    """Columns that moved together, which no column shows alone: the reconstruction error of the baseline's principal components."""

    enabled: bool = True
    threshold: float | None = Field(
        None, gt=0, description="Relative change of the mean error from which the columns have moved together; by default 0.1."
    )


class Season(Part):
    """A baseline of the same span one or more periods ago, such as this hour of the last four weeks, beside the training data's."""

    period: Duration = Field(timedelta(days=7), description="How far back the same span lies.")
    count: int = Field(4, ge=1, le=60, description="How many periods back are looked at together.")


class Drift(Part):
    """Data and prediction drift of a window against the training baseline and, if asked for, the same time of earlier weeks."""

    enabled: bool = True
    columns: tuple[ColumnName, ...] | None = Field(None, description="Features to watch; by default all but times, which only ever rise.")
    numeric: NumericDrift = NumericDrift()
    categorical: CategoricalDrift = CategoricalDrift()
    prediction: ColumnDrift = Field(ColumnDrift(), description="The model's score: it alone violates a window.")
    overrides: dict[ColumnName, ColumnDrift] = Field(default_factory=dict, description="Columns judged otherwise than their kind.")
    significance: float = Field(
        0.001, gt=0, le=0.1, description="Chance that a window in which nothing moved has a column that counts as moved."
    )
    correction: Literal["holm", "benjamini_hochberg", "none"] = Field("holm", description="For judging many columns at once.")
    share: Share = Field(0.3, description="Share of drifted features from which the window is violated.")
    min_rows: int = Field(200, ge=1, description="Windows with fewer rows are `unknown`.")
    season: Season | None = Field(
        None, description="Hold windows against the same time of earlier periods too: only what is unlike both moved."
    )
    multivariate: Multivariate = Multivariate()
