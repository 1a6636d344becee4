"""How a version enters production: the shift of traffic, its alarms, the endpoint, what is captured."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from modelyard.config.spec.types import Duration, Part, Share


class Strategy(Part):
    """How production traffic moves to a new version. A first version goes all at once."""

    type: Literal["all_at_once", "canary", "linear"] = Field(
        "canary", description="canary and linear never promote without requests enough; all_at_once does, after one quiet bake time."
    )
    steps: tuple[Annotated[int, Field(gt=0, lt=100)], ...] = Field((10, 50), description="Percent of traffic before 100 (canary, linear).")
    bake: Duration = Field(timedelta(minutes=5), description="How long each step is watched.")

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What may not be written is not dumped, so that a stored config can be read again."""
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if k != "steps" or self.type != "all_at_once"}

    @model_validator(mode="after")
    def _steps_rise(self) -> Strategy:
        if self.type == "all_at_once" and "steps" in self.model_fields_set:
            raise ValueError("`steps` goes with canary or linear")
        if list(self.steps) != sorted(set(self.steps)) or not self.steps:
            raise ValueError("`steps` must rise, such as [10, 50]")
        if self.type == "linear" and len({b - a for a, b in zip((0, *self.steps), (*self.steps, 100), strict=True)}) != 1:
            raise ValueError("`linear` steps must be equal, such as [25, 50, 75]")
        return self


class Rollback(Part):
    """Thresholds of the alarms that are always armed while traffic moves."""

    error_rate: Share = Field(0.01, description="Share of failed requests at which all traffic goes back.")
    latency_p99_ratio: float = Field(2.0, gt=1, description="p99 against the old version's at which all traffic goes back.")
    min_requests: int = Field(20, ge=1, description="Requests the new version must answer in a step; fewer never promotes.")


class Realtime(Part):
    min_workers: int = Field(1, ge=1, le=64, description="Runner processes a version.")
    timeout: Duration = Field(timedelta(seconds=5), description="Longest time an answer may take.")
    max_body: int = Field(6_291_456, ge=1, description="Largest request body in bytes (SageMaker's limit by default).")
    linger: Duration = Field(timedelta(seconds=2), description="How long a replaced version is kept before it ends.")


class Capture(Part):
    sample: Share = Field(1.0, description="Share of requests kept.")
    mode: Literal["buffered", "off"] = "buffered"


class Deploy(Part):
    strategy: Strategy = Strategy()
    rollback: Rollback = Rollback()
    realtime: Realtime = Realtime()
    capture: Capture = Capture()
