"""What is watched in production, who is told, and when a challenger is built."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from modelyard.config.spec.types import Channel, ColumnName, Cron, Duration, MetricName, Part, Secret, Share, Window


class Drift(Part):
    """Data and prediction drift of a window against the training baseline."""

    enabled: bool = True
    columns: tuple[ColumnName, ...] | None = Field(None, description="Features to watch; by default all.")
    psi: float = Field(0.2, gt=0, description="Population stability index from which a column has drifted.")
    share: Share = Field(0.3, description="Share of drifted features from which the window is violated.")
    prediction_psi: float = Field(0.2, gt=0, description="PSI of the model's score from which the window is violated.")
    min_rows: int = Field(200, ge=1, description="Windows with fewer rows are `unknown`.")


class PerformanceCriterion(Part):
    metric: MetricName
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
    min_labels: int = Field(100, ge=1, description="Windows with fewer labels are `unknown`.")
    criteria: tuple[PerformanceCriterion, ...] = ()


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
    drift: Drift = Drift()
    performance: Performance = Performance()
    alert_after: AlertAfter = AlertAfter()


AlertKind = Literal["gate_failed", "pipeline_failed", "rollback", "drift", "performance", "capture"]


class Alerts(Part):
    to: tuple[Channel | Secret, ...] = Field((), description="Apprise URLs, or secrets that hold them. The log always gets every alert.")
    on: tuple[AlertKind, ...] = ("gate_failed", "pipeline_failed", "rollback", "drift", "performance", "capture")


class Budget(Part):
    per_month: int = Field(20, ge=1)


class TrainingWindow(Part):
    """Which rows a retrained version learns from: the source's, and captured rows whose labels came."""

    type: Literal["expanding", "sliding"] = "expanding"
    length: Duration | None = Field(None, description="Span of a sliding window, back from now.")

    @model_validator(mode="after")
    def _sliding_needs_length(self) -> TrainingWindow:
        if (self.type == "sliding") != (self.length is not None):
            raise ValueError("`length` is needed with `type: sliding`, and only there")
        return self


class Retrain(Part):
    """When the governor builds a challenger."""

    on: tuple[Literal["drift", "performance"], ...] = ()
    cooldown: Duration = timedelta(hours=24)
    min_new_labels: int = Field(500, ge=1)
    budget: Budget = Budget()
    window: TrainingWindow = TrainingWindow()
    challenge_champion: bool = Field(
        True, description="Promote only a challenger that beats the champion on the same recent labelled rows."
    )
