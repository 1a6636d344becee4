"""The strict model of config.yaml: what may be written, in which words, with which defaults.

Every key here is honoured by the `local` target. What DESIGN names and this release does not honour yet is listed in `PLANNED`,
so that such a key is refused by name rather than taken for a typing error. Nothing is accepted and then ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from modelyard.config.spec.build import (
    RESERVED,
    Bring,
    Condition,
    ContentType,
    Framework,
    Inference,
    Instances,
    MetricDefinition,
    Objective,
    Postprocess,
    Preprocess,
    Processing,
    Range,
    Step,
    Tolerance,
    Train,
    Tune,
)
from modelyard.config.spec.data import ColumnExpectation, Data, DataSchema, Expect, Leakage, Sample, Source, Split
from modelyard.config.spec.deploy import (
    Asynchronous,
    Batch,
    Capture,
    Deploy,
    Realtime,
    Redact,
    Replay,
    Rollback,
    Strategy,
    Traces,
)
from modelyard.config.spec.drift import (
    FITTING,
    KINDS,
    CategoricalDrift,
    CategoricalMeasure,
    ColumnDrift,
    Drift,
    Measure,
    Multivariate,
    NumericDrift,
    NumericMeasure,
    Season,
    unfit,
)
from modelyard.config.spec.labels import Labels
from modelyard.config.spec.monitor import (
    AlertAfter,
    AlertKind,
    Alerts,
    AttributionDrift,
    BiasDrift,
    ColumnConstraint,
    DataQuality,
    Monitor,
    Performance,
    PerformanceCriterion,
)
from modelyard.config.spec.quality import (
    Baseline,
    Bias,
    BiasCriterion,
    Confidence,
    Criterion,
    CustomMetric,
    Evaluate,
    Explain,
    Facet,
    PostTraining,
    PreTraining,
    Slice,
    WorstSlice,
)
from modelyard.config.spec.retrain import Budget, Cause, Freeze, Persistence, Retrain, TrainingWindow
from modelyard.config.spec.stages import Approval, Environments, Model, Production, Staging, Tls
from modelyard.config.spec.types import (
    DATABASES,
    NOTED,
    STAGES,
    WRITTEN,
    Channel,
    ColumnName,
    Cron,
    Duration,
    Location,
    MetricName,
    One,
    OnFail,
    Part,
    RelativePath,
    Secret,
    Share,
    Slug,
    Stage,
    Window,
    format_duration,
    parse_duration,
    timezone_name,
)
from modelyard.signature import ProblemType

__all__ = [
    "DATABASES",
    "FITTING",
    "GOES_WITH",
    "KINDS",
    "NOTED",
    "OPERATIONAL",
    "PLANNED",
    "RESERVED",
    "STAGES",
    "WRITTEN",
    "AlertAfter",
    "AlertKind",
    "Alerts",
    "Approval",
    "Asynchronous",
    "AttributionDrift",
    "Baseline",
    "Batch",
    "Bias",
    "BiasCriterion",
    "BiasDrift",
    "Bring",
    "Budget",
    "Capture",
    "CategoricalDrift",
    "CategoricalMeasure",
    "Cause",
    "Channel",
    "ColumnConstraint",
    "ColumnDrift",
    "ColumnExpectation",
    "ColumnName",
    "Condition",
    "Confidence",
    "Config",
    "ContentType",
    "Criterion",
    "Cron",
    "CustomMetric",
    "Data",
    "DataQuality",
    "DataSchema",
    "Deploy",
    "Drift",
    "Duration",
    "Environments",
    "Evaluate",
    "Expect",
    "Explain",
    "Facet",
    "Framework",
    "Freeze",
    "Inference",
    "Instances",
    "Labels",
    "Leakage",
    "Location",
    "Measure",
    "MetricDefinition",
    "MetricName",
    "Model",
    "Monitor",
    "Multivariate",
    "NumericDrift",
    "NumericMeasure",
    "Objective",
    "OnFail",
    "One",
    "Part",
    "Performance",
    "PerformanceCriterion",
    "Persistence",
    "PostTraining",
    "Postprocess",
    "PreTraining",
    "Preprocess",
    "ProblemType",
    "Processing",
    "Production",
    "Range",
    "Realtime",
    "Redact",
    "RelativePath",
    "Replay",
    "Retrain",
    "Rollback",
    "Sample",
    "Season",
    "Secret",
    "Share",
    "Slice",
    "Slug",
    "Source",
    "Split",
    "Stage",
    "Staging",
    "Step",
    "Strategy",
    "Tls",
    "Tolerance",
    "Traces",
    "Train",
    "TrainingWindow",
    "Tune",
    "Window",
    "WorstSlice",
    "format_duration",
    "parse_duration",
    "timezone_name",
    "unfit",
]


class Config(Part):
    """One model, from data to a live endpoint that renews itself."""

    version: One
    model: Model
    variables: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str | None] = Field(
        default_factory=dict,
        description="Environment variables that ${NAME} may name in this file, with defaults; null means it must be set.",
    )
    timezone: Annotated[str, AfterValidator(timezone_name)] = Field(
        "UTC", description="Of times without an offset, in the data, requests and labels, and of schedules."
    )
    environments: Environments = Environments()
    data: Data
    preprocess: Preprocess | None = None
    steps: tuple[Step, ...] = Field((), max_length=50, description="Further processing steps, in any order.")
    train: Train | None = None
    bring: Bring | None = None
    postprocess: Postprocess | None = None
    evaluate: Evaluate = Evaluate()
    bias: Bias | None = None
    explain: Explain | None = None
    inference: Inference = Inference()
    deploy: Deploy = Deploy()
    monitor: Monitor = Monitor()
    alerts: Alerts = Alerts()
    labels: Labels = Labels()
    retrain: Retrain = Retrain()

    @property
    def rows(self) -> Data:
        """`data`, with the separator of labels where a row has several: by it whoever reads rows knows that it may have none, too."""
        several = self.model.problem_type == "multilabel_classification" and self.data.label_separator is None
        return self.data.model_copy(update={"label_separator": "|"}) if several else self.data

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for key, kinds in GOES_WITH.items():
            if self.model.problem_type not in kinds:  # what may not be written is not dumped, so that a stored config can be read again
                values["evaluate"].pop(key, None)
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if (self.train is None) == (self.bring is None):
            raise ValueError("write either `train` (a script to run) or `bring` (a model already trained)")
        if self.bring is not None and (self.retrain.on or self.preprocess):
            raise ValueError("`bring` has no training to prepare or repeat: leave out `preprocess` and `retrain.on`")
        self._steps_fit()
        if self.retrain.window.type == "sliding" and self.data.time_col is None:
            raise ValueError("`retrain.window: {type: sliding}` needs `data.time_col`")
        if self.retrain.window.type == "weighted" and (self.data.time_col is None or self.data.schema_.weight_col is None):
            raise ValueError("`retrain.window: {type: weighted}` needs `data.time_col` and `data.schema.weight_col`")
        if self.labels.join == "entity" and not (self.data.entity_cols and self.data.time_col):
            raise ValueError("`labels: {join: entity}` needs `data.entity_cols` and `data.time_col`")
        hidden = self.deploy.capture.redacted.intersection(self.data.entity_cols)
        if self.labels.join == "entity" and hidden:
            raise ValueError(f"`labels: {{join: entity}}` needs `{min(hidden)}` as it came: leave it out of `deploy.capture.redact`")
        if self.preprocess is not None and self.retrain.on:
            raise ValueError("`retrain.on` learns from captured rows, which have the columns after `preprocess`: leave one out")
        listen = self.environments
        if listen.staging.port == listen.production.port != 0 and not self.deploy.realtime.shared:
            raise ValueError("`environments.staging.port` and `environments.production.port` are the same; each endpoint needs its own")
        self._fits_the_problem()
        return self

    def _fits_the_problem(self) -> None:
        kind = self.model.problem_type
        with_classes = kind in ("binary_classification", "anomaly_detection")
        if with_classes and self.data.positive_class is None:
            raise ValueError(f"{_spoken(kind)} needs `data.positive_class`" + ("" if kind[0] == "b" else ": the label of an anomaly"))
        if not with_classes and self.data.positive_class is not None:
            raise ValueError(f"`data.positive_class` goes with binary classification and anomaly detection, not {kind}")
        for key, kinds in GOES_WITH.items():
            if kind not in kinds and key in self.evaluate.model_fields_set:
                raise ValueError(f"`evaluate.{key}` goes with {' and '.join(map(_spoken, kinds))}, not {kind}")
        cut = self.evaluate.decision_threshold
        if kind != "anomaly_detection" and cut is not None and not 0 < cut < 1:
            raise ValueError("`evaluate.decision_threshold` must be above 0 and below 1")
        if kind == "ranking" and self.data.schema_.group_col is None:
            raise ValueError("ranking needs `data.schema.group_col`: the query that rows belong to")
        if kind == "forecasting" and self.data.split.by != "time":
            raise ValueError("forecasting needs `data.split: {by: time}`: the future is what it is judged on")
        if kind != "multilabel_classification" and self.data.label_separator is not None:
            raise ValueError(f"`data.label_separator` goes with multilabel classification, not {kind}")
        self._gates_fit()

    def _gates_fit(self) -> None:
        """A gate on what the build would not measure."""
        evaluate = self.evaluate
        own = {metric.name for metric in evaluate.custom_metrics}
        for criterion in evaluate.validation_criteria:
            name, of_rows = criterion.metric, criterion.slice is not None or criterion.bound != "value"
            if of_rows and (name in own or name in OPERATIONAL):
                raise ValueError(f"`slice` and `bound` go with the metrics of the problem type, and {name} is none: leave them out")
            if criterion.bound != "value" and evaluate.confidence.resamples == 0:
                raise ValueError(f"a gate on the {criterion.bound} bound needs `evaluate.confidence.resamples` above 0")
            if criterion.versus == "baseline" and (name in own or name in OPERATIONAL):
                raise ValueError(f"{name} is not measured of the baseline: write a `threshold`, or compare it with the champion")

    def _steps_fit(self) -> None:
        names = [step.name for step in self.steps]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"two steps are named `{doubled.pop()}`")
        if self.train is None and self.postprocess is not None:
            raise ValueError("`postprocess` follows training: `bring` has none")


def _spoken(kind: str) -> str:
    return kind.replace("_", " ")


OPERATIONAL = ("latency_p50_ms", "latency_p99_ms", "model_size_mb")
"""Numbers of every version, whatever its problem; less is better."""
GOES_WITH: dict[str, tuple[ProblemType, ...]] = {
    "decision_threshold": ("binary_classification", "multilabel_classification", "anomaly_detection"),
    "at": ("ranking", "anomaly_detection"),
    "season": ("forecasting",),
}
"""Keys of `evaluate` that only some problem types have."""


PLANNED: dict[str, str] = {
    "repository": "watching a Git repository",
    "environments.staging.approval.roles": "roles",
    "environments.production.approval.roles": "roles",
    "environments.staging.address": "targets other than local",
    "environments.production.address": "targets other than local",
    "data.targets": "several targets",
    "train.instances.gpus": "accelerators",
    "bring.signature": "a signature written by hand",
}
"""Keys of the design that this release refuses by name, and what each stands for."""
