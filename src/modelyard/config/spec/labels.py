"""Labels: how the truth finds its prediction, and where it is fetched from."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from modelyard.config.spec.data import Source
from modelyard.config.spec.types import Cron, Duration, Part

HOURLY = "0 * * * *"


class Labels(Part):
    """Where ground truth comes from beside the API and the command line, and how it is joined."""

    join: Literal["inference_id", "entity"] = Field(
        "inference_id", description="By the prediction's id, or by `data.entity_cols` and the time of the event."
    )
    tolerance: Duration = Field(timedelta(0), description="With `join: entity`: how far apart the two times may be.")
    source: Source | None = Field(None, description="A file or SQL table that is read for labels on the schedule.")
    schedule_expression: Cron = Field(HOURLY, description="When `source` is read (five cron fields, in `timezone`).")

    @model_validator(mode="after")
    def _fits(self) -> Labels:
        if self.join == "inference_id" and self.tolerance:
            raise ValueError("`tolerance` goes with `join: entity`: an id needs none")
        if self.source is None and self.schedule_expression != HOURLY:
            raise ValueError("`schedule_expression` goes with `source`: without one nothing is read")
        if self.source is not None and self.source.using == "script":
            raise ValueError("`labels.source` is a file or a table: a script runs in a build, and labels come between builds")
        return self
