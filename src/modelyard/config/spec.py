"""The strict model of config.yaml: what may be written, in which words, with which defaults.

Every key here is honoured by the `local` target. What DESIGN names and this release does not honour yet is listed in `PLANNED`,
so that such a key is refused by name rather than taken for a typing error. Nothing is accepted and then ignored.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from modelyard.signature import ColumnType, ProblemType, Scalar

Stage = Literal["staging", "production"]
STAGES: tuple[Stage, ...] = ("staging", "production")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")
_WINDOW = re.compile(r"[1-9][0-9]{0,3}(s|m|h|d|w|mo)")
_LONGEST = timedelta(days=36525)
_CRON_WORD = r"(?!\S*[0-9]{3})[0-9A-Za-z*,/#-]{1,100}"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://.+", re.DOTALL)
_BREAKS = re.compile(r"[\x00-\x1f\x7f]")
DATABASES = ("sqlite", "duckdb", "postgresql")


def _shown(value: Any) -> str:
    """A value as a message names it: short, and in quotes where it is text."""
    if isinstance(value, dict | list):
        return "this"
    text = str(value)
    text = text if len(text) <= 60 else text[:59] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def parse_duration(value: Any) -> timedelta:
    """`90s`, `15m`, `24h`, `7d`, `2w`, or several in a row (`1h30m`)."""
    if isinstance(value, timedelta):
        return value
    text = value if isinstance(value, str) else ""
    if len(text) > 100 or not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"{_shown(value)} is not a duration; write 90s, 15m, 24h, 7d, 2w or 1h30m")
    seconds = sum(int(n) * _UNITS[u] for n, u in _DURATION.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{_shown(value)} is longer than a hundred years")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """The shortest writing of a duration, e.g. `1d` for 24 hours."""
    seconds, parts = int(span.total_seconds()), []
    for unit in ("w", "d", "h", "m", "s"):
        count, seconds = divmod(seconds, _UNITS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def _window(value: str) -> str:
    if not _WINDOW.fullmatch(value):
        raise ValueError(f"{_shown(value)} is not a window; write 15m, 1h, 1d, 1w or 1mo")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(f"{_shown(value)} is not a time zone; write a name such as UTC or America/New_York") from exc
    return value


def _cron(value: str) -> str:
    from croniter import croniter

    # The fields are bounded before croniter sees them: it expands ranges as they are written.
    if not re.fullmatch(rf"{_CRON_WORD}(?: {_CRON_WORD}){{4}}", value) or not croniter.is_valid(value):
        raise ValueError(f"{_shown(value)} is not a schedule; write five cron fields, such as '*/15 * * * *' or '0 6 1 * *'")
    return value


def _relative(value: str) -> str:
    """A path that stays below config.yaml's folder and cannot be taken for an option."""
    leads_out = value.startswith(("/", "~", "-")) or ".." in value.split("/") or "\\" in value
    if leads_out or not value.strip() or _BREAKS.search(value):
        raise ValueError(f"{_shown(value)} must be a path inside the model's repository, relative to config.yaml")
    return value


def _location(value: str) -> str:
    """A path inside the repository, or a URL without a password."""
    if not _SCHEME.fullmatch(value):
        return _relative(value)
    try:
        password = urlsplit(value).password
    except ValueError:
        password = None
    if password is not None:
        raise ValueError("a password stands in this URL; write {secret: NAME}, and keep the whole URL in that secret")
    if _BREAKS.search(value):
        raise ValueError(f"{_shown(value)} is not a URL")
    return value


def _channel(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00-\x1f\x7f]+", value):
        raise ValueError("a channel is an Apprise URL, such as slack://..., or {secret: NAME}")
    return value


def _hyperparameters(values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if len(value if isinstance(value, str) else json.dumps(value)) > 2500:
            raise ValueError(f"the hyperparameter `{name}` is longer than 2500 characters")
    return values


def _no_bool(value: Any) -> Any:
    """True equals 1 in Python, and so would pass for the literal 1."""
    if isinstance(value, bool):
        raise ValueError(f"this must be 1, not {str(value).lower()}")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,9}(s|m|h|d|w))+$", "examples": ["15m", "24h", "7d"]}),
]
Window = Annotated[str, AfterValidator(_window), Field(examples=["15m", "1d", "1mo"])]
Cron = Annotated[str, AfterValidator(_cron), Field(examples=["*/15 * * * *"])]
RelativePath = Annotated[str, AfterValidator(_relative)]
Location = Annotated[str, AfterValidator(_location)]
Channel = Annotated[str, AfterValidator(_channel)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Hyperparameters = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}$")], Any],
    Field(max_length=100),  # SageMaker's limits
    AfterValidator(_hyperparameters),
]
One = Annotated[Literal[1], BeforeValidator(_no_bool)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
Share = Annotated[float, Field(ge=0, le=1)]
OnFail = Literal["block", "warn"]


class Part(BaseModel):
    """Base of every part of the config: frozen, strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), populate_by_name=True)


class Secret(Part):
    """A reference to a secret: read from MODELYARD_SECRET_<NAME> or <home>/secrets/<NAME> where it is used, never stored."""

    secret: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class Model(Part):
    name: Slug = Field(description="The model's name: lower-case letters, digits and dashes.")
    problem_type: ProblemType
    owner: str | None = Field(None, description="Whom to ask about this model.")
    tags: dict[str, str] = Field(default_factory=dict)


class Approval(Part):
    required: bool = Field(True, description="A person's word is needed before a version enters this stage.")
    allow_self: bool = Field(False, description="Whoever asked for a deployment may also approve it (local target only).")
    expires: Duration = timedelta(days=7)
    retrained: Literal["required", "not_required"] = Field("required", description="Whether a retrained version needs one too.")


class Staging(Part):
    """Where a version is tried before production."""

    target: Literal["local"] = "local"
    port: int = Field(0, ge=0, le=65535, description="Loopback port of the endpoint; 0 picks a free one and keeps it.")
    approval: Approval = Approval(required=False)


class Production(Staging):
    """Where a version answers for real."""

    approval: Approval = Approval()


class Environments(Part):
    """The stages a version passes, in order, and who lets it in."""

    staging: Staging = Staging()
    production: Production = Production()

    @model_validator(mode="after")
    def _own_ports(self) -> Environments:
        if self.staging.port == self.production.port != 0:
            raise ValueError("`staging.port` and `production.port` are the same; each endpoint needs its own")
        return self


class Source(Part):
    """Where the rows come from."""

    using: Literal["csv", "parquet", "sql"]
    location: Location | Secret = Field(
        description="Path relative to config.yaml, an fsspec URL, or a database URL (sqlite, duckdb, postgresql)."
    )
    query: str | None = Field(None, description="The SELECT to run (sql only).")

    @model_validator(mode="after")
    def _query_goes_with_sql(self) -> Source:
        if (self.using == "sql") != (self.query is not None):
            raise ValueError("`query` is needed with `using: sql`, and only there")
        database = isinstance(self.location, str) and re.match(r"[a-z]+(?=[+:])", self.location)
        known = database and database.group() in DATABASES and "://" in str(self.location)
        if isinstance(self.location, str) and (self.using == "sql") != bool(known):
            raise ValueError("`location` is a URL of sqlite, duckdb or postgresql with `using: sql`, and only there")
        return self


class DataSchema(Part):
    exclude: tuple[ColumnName, ...] = Field((), description="Columns dropped at once.")
    types: dict[ColumnName, ColumnType] = Field(default_factory=dict, description="Types that override the inferred ones.")
    sensitive_not_served: tuple[ColumnName, ...] = Field(
        (), description="Columns kept for slices and checks, never a feature and never asked of a caller."
    )


class Split(Part):
    by: Literal["time", "random", "provided"] = "random"
    ratios: tuple[Share, Share, Share] = Field((0.7, 0.15, 0.15), description="Shares of train, validation, test; they sum to 1.")
    seed: int = 42
    column: ColumnName | None = Field(None, description="Column that says train, validation or test (by: provided).")

    @model_validator(mode="after")
    def _consistent(self) -> Split:
        if abs(sum(self.ratios) - 1) > 1e-9:
            raise ValueError(f"`ratios` sum to {sum(self.ratios):g}, not 1")
        if self.ratios[2] <= 0:
            raise ValueError("the test share must be above 0: the gates are judged on it")
        if (self.by == "provided") != (self.column is not None):
            raise ValueError("`column` is needed with `by: provided`, and only there")
        return self


class ColumnExpectation(Part):
    """What must hold of one column."""

    completeness: Share | None = Field(None, description="Least share of rows that are not missing.")
    min: float | None = None
    max: float | None = None
    categories: tuple[Scalar, ...] | None = Field(None, description="The only values allowed.")
    unique: bool = False
    on_fail: OnFail = "block"


class Expect(Part):
    """The data-quality gate, judged on each snapshot."""

    min_rows: int | None = Field(None, ge=1)
    max_rows: int | None = Field(None, ge=1)
    columns: dict[ColumnName, ColumnExpectation] = Field(default_factory=dict)


class Data(Part):
    source: Source
    target_col: ColumnName
    positive_class: Scalar = Field(None, description="The class whose probability is scored (binary classification).")
    time_col: ColumnName | None = Field(None, description="When the row happened; naive times are in `timezone`.")
    id_col: ColumnName | None = Field(None, description="Identifies a row; labels join by it.")
    entity_cols: tuple[ColumnName, ...] = ()
    schema_: DataSchema = Field(DataSchema(), alias="schema")
    split: Split = Split()
    expect: Expect = Expect()
    channel_format: Literal["parquet", "csv"] = Field("parquet", description="Format of the channels a training script finds.")

    @model_validator(mode="after")
    def _time_split_needs_time(self) -> Data:
        if self.split.by == "time" and self.time_col is None:
            raise ValueError("`split: {by: time}` needs `time_col`")
        return self


class Instances(Part):
    """What a step may use."""

    count: One = 1
    cpus: int = Field(0, ge=0, le=1024, description="Threads a step is told to use; 0 means all.")
    max_runtime: Duration = timedelta(hours=1)


class Preprocess(Part):
    """A processing step before training: reads /opt/ml/processing/input/<split>/<split>.parquet and writes the same under
    /opt/ml/processing/output, for train, validation and test. A caller of the endpoint then sends the columns that it writes."""

    entry_point: RelativePath
    network_isolation: bool = Field(False, description="Run the step without a network (SageMaker's EnableNetworkIsolation).")
    arguments: tuple[Annotated[str, Field(max_length=256)], ...] = Field((), max_length=100)
    max_runtime: Duration = timedelta(hours=1)


Framework = Literal["sklearn", "onnx"]


class Train(Part):
    """A training script under the SageMaker script contract."""

    framework: Framework = Field(description="How the runner loads what training left behind, where no model_fn does.")
    entry_point: RelativePath
    source_dir: RelativePath | None = Field(None, description="Folder copied as the code; by default the entry point's own.")
    contract: Literal["classic"] = "classic"
    requirements: RelativePath | None = Field(None, description="requirements.txt of the model; locked by uv and bundled.")
    hyperparameters: Hyperparameters = Field(default_factory=dict)
    instances: Instances = Instances()
    network_isolation: bool = Field(False, description="Run the step without a network (SageMaker's EnableNetworkIsolation).")


class Bring(Part):
    """A model that somebody else trained: a file, evaluated and gated like any other."""

    artifact: Location = Field(description="Path relative to config.yaml, or an fsspec URL.")
    framework: Framework
    requirements: RelativePath | None = None


class Criterion(Part):
    """One gate on a metric of the hold-out: a bound, or a comparison with the champion."""

    metric: MetricName
    threshold: float | None = Field(None, description="Bound: least value where greater is better, else greatest.")
    versus: Literal["champion"] | None = None
    min_absolute_change: float | None = Field(None, description="Least improvement over the champion; negative allows a loss.")
    on_fail: OnFail = "block"

    @model_validator(mode="after")
    def _one_kind(self) -> Criterion:
        if (self.threshold is None) == (self.versus is None):
            raise ValueError("write either `threshold`, or `versus: champion` with `min_absolute_change`")
        if (self.versus is None) != (self.min_absolute_change is None):
            raise ValueError("`versus: champion` and `min_absolute_change` go together")
        return self


class Evaluate(Part):
    decision_threshold: float = Field(0.5, gt=0, lt=1, description="Score from which the positive class is predicted.")
    slices: tuple[ColumnName, ...] = Field((), description="Columns by whose values the metrics are reported too.")
    validation_criteria: tuple[Criterion, ...] = ()


class Inference(Part):
    entry_point: RelativePath | None = Field(None, description="Script with model_fn and predict_fn; by default training's.")


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


AlertKind = Literal["gate_failed", "pipeline_failed", "rollback", "drift", "performance"]


class Alerts(Part):
    to: tuple[Channel | Secret, ...] = Field((), description="Apprise URLs, or secrets that hold them. The log always gets every alert.")
    on: tuple[AlertKind, ...] = ("gate_failed", "pipeline_failed", "rollback", "drift", "performance")


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


class Config(Part):
    """One model, from data to a live endpoint that renews itself."""

    version: One
    model: Model
    variables: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str | None] = Field(
        default_factory=dict,
        description="Environment variables that ${NAME} may name in this file, with defaults; null means it must be set.",
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    environments: Environments = Environments()
    data: Data
    preprocess: Preprocess | None = None
    train: Train | None = None
    bring: Bring | None = None
    evaluate: Evaluate = Evaluate()
    inference: Inference = Inference()
    deploy: Deploy = Deploy()
    monitor: Monitor = Monitor()
    alerts: Alerts = Alerts()
    retrain: Retrain = Retrain()

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.model.problem_type != "binary_classification":
            values["evaluate"].pop("decision_threshold", None)
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if (self.train is None) == (self.bring is None):
            raise ValueError("write either `train` (a script to run) or `bring` (a model already trained)")
        if self.bring is not None and (self.retrain.on or self.preprocess):
            raise ValueError("`bring` has no training to prepare or repeat: leave out `preprocess` and `retrain.on`")
        if self.retrain.window.type == "sliding" and self.data.time_col is None:
            raise ValueError("`retrain.window: {type: sliding}` needs `data.time_col`")
        if self.preprocess is not None and self.retrain.on:
            raise ValueError("`retrain.on` learns from captured rows, which have the columns after `preprocess`: leave one out")
        binary = self.model.problem_type == "binary_classification"
        if binary and self.data.positive_class is None:
            raise ValueError("binary classification needs `data.positive_class`")
        if not binary and self.data.positive_class is not None:
            raise ValueError(f"`data.positive_class` goes with binary classification, not {self.model.problem_type}")
        if not binary and "decision_threshold" in self.evaluate.model_fields_set:
            raise ValueError(f"`evaluate.decision_threshold` goes with binary classification, not {self.model.problem_type}")
        return self


PLANNED: dict[str, str] = {
    "repository": "watching a Git repository",
    "steps": "further processing steps",
    "postprocess": "a processing step after training",
    "bias": "bias metrics",
    "explain": "explanations",
    "environments.staging.approval.roles": "roles",
    "environments.production.approval.roles": "roles",
    "environments.staging.address": "targets other than local",
    "environments.production.address": "targets other than local",
    "data.targets": "several targets",
    "data.schema.weight_col": "row weights",
    "data.schema.group_col": "grouped splits",
    "train.tune": "tuning",
    "train.instances.gpus": "accelerators",
    "bring.signature": "a signature written by hand",
    "inference.pre": "scripts before a prediction",
    "inference.post": "scripts after a prediction",
    "inference.compile": "compiled serving",
    "inference.tolerance": "compiled serving",
    "deploy.replay": "the replay gate",
    "deploy.rollback.disagreement": "disagreement alarms",
    "deploy.rollback.drift": "drift alarms during a roll-out",
    "deploy.realtime.max_workers": "autoscaling",
    "deploy.batch": "scheduled batch jobs",
    "deploy.capture.retain": "retention of captured rows",
    "deploy.capture.max_size": "a size limit for captured rows",
    "deploy.capture.redact": "redaction of captured columns",
    "monitor.data_quality": "data-quality monitors",
    "monitor.performance.estimate": "performance estimated before labels",
    "monitor.bias": "bias drift",
    "monitor.attribution": "attribution drift",
    "retrain.freeze": "freeze windows",
}
"""Keys of the design that this release refuses by name, and what each stands for."""
