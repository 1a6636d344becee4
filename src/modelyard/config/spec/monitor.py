"""What is watched in production, and who is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from modelyard.config.spec.drift import Drift
from modelyard.config.spec.types import (
    Channel,
    ColumnName,
    Cron,
    Duration,
    MetricName,
    Part,
    RelativePath,
    Secret,
    Share,
    Window,
    parse_duration,
)


class ColumnConstraint(Part):
    """What a column must hold in production. What is written here replaces what the training data suggests."""

    type: Literal["int", "float", "str", "bool", "any"] | None = None
    completeness: Share | None = Field(None, description="Least share of rows with a value.")
    min: float | None = None
    max: float | None = None
    non_negative: bool | None = None
    categories: tuple[str | int | float | bool, ...] | None = None
    type_match: Share | None = Field(None, description="Least share of values of the type; by default all but `tolerance`.")
    range_match: Share | None = Field(None, description="Least share of values from `min` to `max`; by default all but `tolerance`.")
    domain_match: Share | None = Field(None, description="Least share of values among `categories`; by default all but `tolerance`.")
    distance: Share | None = Field(None, description="Greatest L-infinity distance from the training data's distribution.")

    @model_validator(mode="after")
    def _ordered(self) -> ColumnConstraint:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min` is greater than `max`")
        return self

    def over(self, before: ColumnConstraint) -> ColumnConstraint:
        """What `before` said with each word of this one in the place of its own; what contradicts these words goes."""
        said, own = before.model_dump(), self.model_dump(exclude_none=True)
        if self.type in ("str", "bool", "any") and before.type not in (None, self.type):
            said |= {"min": None, "max": None, "non_negative": None}
        if self.min is not None and said["max"] is not None and self.min > said["max"]:
            said["max"] = None
        if self.max is not None and said["min"] is not None and self.max < said["min"]:
            said["min"] = None
        return ColumnConstraint.model_validate({**said, **own})


class DataQuality(Part):
    """Constraints that captured rows are held against: those of the training data, unless the config says otherwise."""

    enabled: bool = True
    suggest: bool = Field(True, description="Take constraints from the training data; off, only those written here hold.")
    constraints: RelativePath | None = Field(
        None, description="A constraints.json as SageMaker Model Monitor writes it; `columns` has the last word over it."
    )
    columns: dict[ColumnName, ColumnConstraint] = Field(default_factory=dict)
    tolerance: Share = Field(0.01, description="Share of rows that may break a column's range, domain or type.")
    extra_columns: Literal["ignore", "warn", "violate"] = "warn"
    min_rows: int = Field(50, ge=1, description="Windows with fewer rows are `unknown`.")

    def ranged(self) -> list[tuple[str, str]]:
        """The columns with a range of their own, and by which of its words; none where nothing is held."""
        columns = self.columns.items() if self.enabled else ()
        return [(name, key) for name, one in columns for key in ("min", "max") if getattr(one, key) is not None]


class PerformanceCriterion(Part):
    metric: MetricName = Field(description="A metric of the problem type, or one of `evaluate.custom_metrics`.")
    threshold: float | None = Field(None, description="Bound: least value where greater is better, else greatest.")
    max_drop: float | None = Field(None, gt=0, description="Largest loss against the version's own hold-out.")

    @model_validator(mode="after")
    def _one_kind(self) -> PerformanceCriterion:
        if (self.threshold is None) == (self.max_drop is None):
            raise ValueError("write either `threshold` or `max_drop`")
        return self


class Performance(Part):
    enabled: bool = True
    label_delay: Duration = Field(timedelta(hours=24), description="How long after a window labels are waited for.")
    min_labels: int = Field(100, ge=1, description="Windows with fewer labels are `unknown`; so are estimates of fewer rows.")
    criteria: tuple[PerformanceCriterion, ...] = ()
    estimate: bool = Field(True, description="Say what performance is likely to be before labels come (CBPE, DLE).")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.99, description="Of the intervals: only what is surely bad is violated.")


BiasMetric = Literal["DPPL", "DI", "CDDPL", "DCA", "DCR", "SD", "RD", "DAR", "DRR", "AD", "TE", "GE"]
"""Clarify's post-training metrics, but for the flip test."""


class BiasDrift(Part):
    """Post-training bias metrics by window, for the facets of `bias`; those that need labels once `performance.label_delay` has passed."""

    enabled: bool = True
    metrics: tuple[BiasMetric, ...] | None = Field(None, description="Clarify's names; by default all but the flip test (FT).")
    tolerance: float = Field(0.0, ge=0, description="How much farther from 0 than in the hold-out a value may lie.")
    min_rows: int = Field(200, ge=1, description="Windows with fewer rows, or labels where a metric needs them, are `unknown`.")


class AttributionDrift(Part):
    """Whether the features weigh in the order they did in the hold-out: nDCG of the importances, for configs with `explain`."""

    enabled: bool = True
    window: Window = Field("1d", description="Span of which rows are explained, which takes time; `monitor.window` where that is longer.")
    min_ndcg: Annotated[float, Field(gt=0, le=1, description="Least nDCG; a window that chance alone may have moved is not violated.")] = (
        0.9
    )
    rows: int = Field(200, ge=20, le=10_000, description="Rows of a window that are explained, drawn by chance.")
    min_rows: int = Field(200, ge=1, description="Windows with fewer rows are `unknown`.")


class AlertAfter(Part):
    """SageMaker's datapoints-to-alarm: alert when `num_violation_windows` of the last `num_windows` are violated."""

    num_windows: int = Field(1, ge=1)
    num_violation_windows: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> AlertAfter:
        if self.num_violation_windows > self.num_windows:
            raise ValueError("`num_violation_windows` cannot exceed `num_windows`")
        return self


class Monitor(Part):
    schedule_expression: Cron = Field("*/15 * * * *", description="When the monitors look (five cron fields, in `timezone`).")
    window: Window = Field("15m", description="Span of one window: 15m, 1h, 1d, 1w, 1mo; aligned in `timezone`.")
    segments: tuple[ColumnName, ...] = Field((), max_length=5, description="Columns by whose values drift and performance are also judged.")
    data_quality: DataQuality = DataQuality()
    drift: Drift = Drift()
    performance: Performance = Performance()
    bias: BiasDrift = BiasDrift()
    attribution: AttributionDrift = AttributionDrift()
    alert_after: AlertAfter = AlertAfter()

    @model_validator(mode="after")
    def _season_fits(self) -> Monitor:
        season, days = self.drift.season, {"mo": 28, "w": 7, "d": 1}
        number, unit = self.window.rstrip("smhdwo"), self.window.lstrip("0123456789")
        length = timedelta(days=int(number) * days[unit]) if unit in days else parse_duration(self.window)
        if season is not None and season.period < length:
            raise ValueError("`drift.season.period` cannot be shorter than `window`: a window would be held against itself")
        return self


AlertKind = Literal[
    "gate_failed", "pipeline_failed", "rollback", "data_quality", "drift", "performance", "estimate", "bias", "attribution", "capture"
]


class Alerts(Part):
    to: tuple[Channel | Secret, ...] = Field((), description="Apprise URLs, or secrets that hold them. The log always gets every alert.")
    on: tuple[AlertKind, ...] = get_args(AlertKind)
    runbook: Annotated[str, Field(max_length=500, pattern=r"^https?://\S+$")] | None = Field(
        None, description="What to do when an alert comes: an address that each alert names."
    )
