"""When a challenger is built, on which rows, and what holds it back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field, model_validator

from modelyard.config.spec.monitor import AlertAfter
from modelyard.config.spec.types import Cron, Duration, Part

Cause = Literal["drift", "performance", "bias", "attribution", "schedule", "new_data"]


class Budget(Part):
    per_month: int = Field(20, ge=1, description="Retrainings in a calendar month of `timezone`, a person's included.")


class Freeze(Part):
    """A span in which nothing is retrained: either from an instant to another, or so long from each tick of a schedule on.

    What asks for a retraining meanwhile acts when the span ends, unless it has healed by then.
    """

    start: datetime | None = Field(None, description="The first instant; without an offset, in `timezone`.")
    end: datetime | None = Field(None, description="The first instant after it.")
    schedule_expression: Cron | None = Field(None, description="When it begins, again and again (five cron fields, in `timezone`).")
    length: Duration | None = Field(None, gt=timedelta(0))
    reason: str = Field("", max_length=200, description="Told wherever the freeze holds a retraining back.")

    @model_validator(mode="after")
    def _one_kind(self) -> Freeze:
        once, again = (self.start, self.end), (self.schedule_expression, self.length)
        if (None in once) == (None in again) or any(once) == any(again):
            raise ValueError("write either `start` and `end`, or `schedule_expression` and `length`")
        if self.start is not None and self.end is not None:
            if (self.start.tzinfo is None) != (self.end.tzinfo is None):
                raise ValueError("write `start` and `end` both with an offset, or both without one")
            if self.start >= self.end:
                raise ValueError("`end` lies after `start`")
        return self


class TrainingWindow(Part):
    """Which rows a retrained version learns from: the source's, and captured rows whose labels came."""

    type: Literal["expanding", "sliding", "weighted"] = "expanding"
    length: Duration | None = Field(None, description="Span of a sliding window, back from now.")
    half_life: Duration | None = Field(
        None,
        gt=timedelta(0),
        description="Age at which a row of a weighted window weighs half, in `data.schema.weight_col` of the training split alone.",
    )

    @model_validator(mode="after")
    def _whole(self) -> TrainingWindow:
        if (self.type == "sliding") != (self.length is not None):
            raise ValueError("`length` is needed with `type: sliding`, and only there")
        if (self.type == "weighted") != (self.half_life is not None):
            raise ValueError("`half_life` is needed with `type: weighted`, and only there")
        return self


class Persistence(AlertAfter):
    """A monitor asks for a retraining when `num_violation_windows` of its last `num_windows` known ones are violated.

    Counted of windows that ended since the last retraining, and that the champion answered.
    """


class Retrain(Part):
    """When the governor builds a challenger."""

    on: tuple[Cause, ...] = Field((), description="What asks for a retraining; empty: only a person.")
    after: Persistence = Persistence()
    schedule_expression: Cron | None = Field(None, description="When `on` names schedule (five cron fields, in `timezone`).")
    new_data: int | None = Field(None, ge=1, description="When `on` names new_data: so many new labels ask by themselves.")
    cooldown: Duration = Field(
        timedelta(hours=24),
        description="Least time between two retrainings; doubled, up to 30d, for each in a row after which the champion was the same.",
    )
    min_new_labels: int = Field(500, ge=1, description="Labels since the last retraining, but where the schedule asks.")
    budget: Budget = Budget()
    freeze: tuple[Freeze, ...] = Field((), max_length=50, description="Spans in which nothing is retrained but on a person's word.")
    window: TrainingWindow = TrainingWindow()
    challenge_champion: bool = Field(
        True,
        description="Promote only a challenger that beats the champion on the same recent labelled rows, in 80% of resamples too.",
    )

    @model_validator(mode="after")
    def _named(self) -> Retrain:
        if ("schedule" in self.on) != (self.schedule_expression is not None):
            raise ValueError("`schedule_expression` is needed with `on: [schedule]`, and only there")
        if ("new_data" in self.on) != (self.new_data is not None):
            raise ValueError("`new_data` (a number of labels) is needed with `on: [new_data]`, and only there")
        return self
