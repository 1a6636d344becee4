"""How a version enters production: the shift of traffic, its alarms, the endpoint, what is captured."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from modelyard.config.spec.types import ColumnName, Cron, Duration, MetricName, Part, Share, Size


class Strategy(Part):
    """How production traffic moves to a new version. A first version goes all at once."""

    type: Literal["all_at_once", "canary", "linear", "shadow", "ab"] = Field(
        "canary",
        description="all_at_once is blue/green: both versions stand, all traffic switches, and back at an alarm; it alone promotes without "
        "requests enough, after one quiet bake time. canary and linear go by steps. shadow asks the new version too and never returns its "
        "answers, then goes on by steps. ab splits traffic by session until labels or a person decide.",
    )
    steps: tuple[Annotated[int, Field(gt=0, lt=100)], ...] = Field(
        (10, 50),
        description="Percent of traffic before 100 (canary, linear, shadow; of linear [25, 50, 75] by default), or the new version's share "
        "(ab: one number, [50] by default).",
    )
    bake: Duration = Field(timedelta(minutes=5), description="How long each step is watched.")
    share: Share = Field(1.0, description="shadow: share of requests that the new version is asked as well.")
    metric: MetricName | None = Field(
        None, description="ab: metric on late labels that decides at the end of the bake time; without it a person decides."
    )

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What may not be written is not dumped, so that a stored config can be read again."""
        values: dict[str, Any] = handler(self)
        gone = {key for key, types in STRATEGY_KEYS.items() if self.type not in types}
        return {k: v for k, v in values.items() if k not in gone}

    @model_validator(mode="after")
    def _consistent(self) -> Strategy:
        for key, types in STRATEGY_KEYS.items():
            if self.type not in types and key in self.model_fields_set:
                raise ValueError(f"`{key}` goes with {' or '.join(types)}")
        if self.type == "linear" and "steps" not in self.model_fields_set:
            object.__setattr__(self, "steps", (25, 50, 75))
        if self.type == "ab":
            if "steps" not in self.model_fields_set:
                object.__setattr__(self, "steps", (50,))
            if len(self.steps) != 1:
                raise ValueError("`ab` has one step: the new version's share, such as [50]")
        if list(self.steps) != sorted(set(self.steps)) or not self.steps:
            raise ValueError("`steps` must rise, such as [10, 50]")
        apart = [b - a for a, b in zip((0, *self.steps), (*self.steps, 100), strict=True)]
        if self.type == "linear" and max(apart) - min(apart) > 1:  # thirds are no whole percents
            raise ValueError("`linear` steps must be equal, such as [25, 50, 75]")
        return self


STRATEGY_KEYS = {"steps": ("canary", "linear", "shadow", "ab"), "share": ("shadow",), "metric": ("ab",)}
"""Keys that only some strategies have."""


class Rollback(Part):
    """Thresholds of the alarms that are always armed while traffic moves."""

    error_rate: Share = Field(0.01, description="Share of failed requests at which all traffic goes back.")
    latency_p99_ratio: float = Field(2.0, gt=1, description="p99 against the old version's at which all traffic goes back.")
    min_requests: int = Field(20, ge=1, description="Requests the new version must answer in a step; fewer never promotes.")
    disagreement: Share = Field(
        0.1,
        description="Share of rows answered otherwise than by the champion, beyond what the replay showed, at which traffic goes back.",
    )
    drift: Literal["violated", "warning"] = Field(
        "violated", description="Drift of the new version's inputs or predictions, against its own baseline, at which traffic goes back."
    )


class Replay(Part):
    """A gate before production: captured requests through the new version and the champion."""

    last: int = Field(10_000, ge=1, description="Captured production rows to replay, newest first.")
    min_rows: int = Field(100, ge=1, description="With fewer captured rows the gate says so and lets pass: there is nothing to compare.")
    max_disagreement: Share = Field(0.05, description="Share of rows that may be answered otherwise than by the champion.")
    max_error_rate: Share = Field(0.0, description="Share of rows that the new version may fail to answer where the champion answered.")
    min_metric_change: float | None = Field(
        None, description="Least change of the problem type's first metric, on the replayed rows whose labels are known."
    )
    on_fail: Literal["block", "warn"] = "block"


class Traces(Part):
    """OpenTelemetry traces of an endpoint's requests."""

    endpoint: str = Field(description="Address of an OTLP/HTTP collector, such as http://127.0.0.1:4318/v1/traces.")
    sample: Share = Field(0.01, description="Share of requests traced where the caller's traceparent does not say.")


class Asynchronous(Part):
    """Asynchronous invocations: callers name an input, and find the answer at an address."""

    inputs: tuple[str, ...] = Field(min_length=1, description="Addresses that inputs may lie under: a folder, or s3://bucket/prefix/.")
    output: str = Field(description="Where answers go: a folder, or s3://bucket/prefix/.")

    @model_validator(mode="after")
    def _whole(self) -> Asynchronous:
        for address in (*self.inputs, self.output):
            if "://" not in address and not address.startswith("/"):
                raise ValueError(f"`{address}` is no whole path: write it from / on, or as an address such as s3://bucket/in/")
        return self


class Realtime(Part):
    min_workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Runner processes a version; 0: none until the first request, which waits. A version with a row plan has none until "
        "somebody asks for explanations.",
    )
    max_workers: int | None = Field(None, ge=1, le=64, description="Up to how many, by how much waits; min_workers by default.")
    idle: Duration = Field(timedelta(minutes=5), description="How long a runner beyond min_workers has nothing to do before it ends.")
    fronts: int = Field(1, ge=1, le=32, description="Front processes that answer HTTP.")
    shared: bool = Field(False, description="Answer on one port together with the other endpoints that say so, in one front process.")
    timeout: Duration = Field(timedelta(seconds=5), description="Longest time an answer may take.")
    max_body: int = Field(6_291_456, ge=1, description="Largest request body in bytes (SageMaker's limit by default).")
    max_rows: int = Field(100_000, ge=1, description="Most rows of a request body.")
    max_batch: int = Field(
        1024, ge=1, description="Most rows gathered for one call of the model, fewer where rows are slow; 1: no gathering."
    )
    max_batch_wait_ms: float = Field(2.0, ge=0, le=1000, description="Longest that a request waits to be gathered with others.")
    max_waiting: int = Field(1024, ge=1, description="Requests that may wait for a runner; more are told to come again (429).")
    linger: Duration = Field(timedelta(seconds=2), description="How long a replaced version is kept before it ends.")
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol over gRPC, in production; 0 picks a free one, as staging does.",
    )
    asynchronous: Asynchronous | None = None
    access_log: bool = Field(False, description="Write a line a request to the endpoint's access.log.")
    traces: Traces | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Realtime:
        if self.max_workers is not None and self.max_workers < self.min_workers:
            raise ValueError("`max_workers` is below `min_workers`")
        if not timedelta(milliseconds=self.max_batch_wait_ms) < self.timeout:
            raise ValueError("`timeout` must be longer than `max_batch_wait_ms`: a request would time out while it waits for others")
        if self.shared and (self.fronts > 1 or self.grpc_port is not None or self.asynchronous is not None):
            raise ValueError("`shared` endpoints have one front in common: leave out `fronts`, `grpc_port` and `asynchronous`")
        return self


class Redact(Part):
    """A column that is not kept as it came."""

    column: ColumnName
    how: Literal["drop", "hash"] = Field("drop", description="Leave it out, or keep a keyed hash: the same for the same value.")


class Capture(Part):
    sample: Share = Field(1.0, description="Share of requests kept.")
    mode: Literal["buffered", "required", "off"] = Field(
        "buffered",
        description="buffered survives the death of the process; required answers once the row is on disk, and 503 where it cannot be.",
    )
    retain: Duration | None = Field(None, description="How long captured rows are kept; for ever by default.")
    max_size: Size | None = Field(None, description="Most bytes that captured rows take, such as 10GB; the oldest go first.")
    redact: tuple[Redact, ...] = Field((), description="Columns with personal data.")
    sagemaker: bool = Field(False, description="Also write SageMaker's data-capture files, below the endpoint's folder.")

    @property
    def redacted(self) -> frozenset[str]:
        """The columns whose values are not kept as they came."""
        return frozenset(rule.column for rule in self.redact)


class Batch(Part):
    """Predictions of whole files on a schedule, by the version in production."""

    schedule_expression: Cron = Field(description="When (five cron fields, in `timezone`).")
    input: str = Field(description="A folder of Parquet, CSV or JSON lines, from config.yaml's folder on.")
    output: str = Field(description="The folder of the answers, a file each, likewise.")

    @model_validator(mode="after")
    def _two_folders(self) -> Batch:
        for key, value in (("input", self.input), ("output", self.output)):
            if "://" in value or not value.strip():
                raise ValueError(f"`{key}` is a folder of this machine")
        if PurePosixPath(self.input) == PurePosixPath(self.output):
            raise ValueError("`input` and `output` are the same folder")
        return self


class Deploy(Part):
    strategy: Strategy = Strategy()
    rollback: Rollback = Rollback()
    replay: Replay | None = None
    realtime: Realtime = Realtime()
    capture: Capture = Capture()
    batch: Batch | None = None
