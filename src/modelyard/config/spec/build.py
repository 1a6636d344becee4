"""The steps of a build: processing, training, tuning, a model brought from elsewhere, and how a version predicts."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from modelyard.config.spec.types import Duration, Hyperparameters, Location, Part, RelativePath, shown
from modelyard.signature import Scalar

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_REFERENCE = re.compile(
    r"data\.(train|validation|test|snapshot)"
    r"|preprocess\.(train|validation|test)"
    rf"|steps\.{_NAME}\.{_NAME}"
    r"|train\.(model|output)"
    r"|predict\.holdout"
)
_POINTER = re.compile(rf"steps\.{_NAME}\.{_NAME}/[A-Za-z0-9_][A-Za-z0-9_./-]{{0,200}}#(/[^/#\x00-\x1f]{{1,200}})+")
_FACT = re.compile(r"(metrics|hyperparameters)\.[^\x00-\x1f]{1,200}|data\.rows")


def _reference(value: str) -> str:
    """What a step takes: a split, another step's output, what training left, the scored hold-out, or a path of the repository."""
    if not _REFERENCE.fullmatch(value) and not re.fullmatch(r"\./(?!/)(?!.*\.\.)[^\\\x00-\x1f\x7f]+", value):
        raise ValueError(
            f"{shown(value)} names no input; write data.train, data.validation, data.test, data.snapshot, preprocess.train, "
            "steps.NAME.OUTPUT, train.model, train.output, predict.holdout, or a path of the repository that begins with ./"
        )
    return value


def _condition_value(value: str) -> str:
    if not _POINTER.fullmatch(value) and not _FACT.fullmatch(value):
        raise ValueError(
            f"{shown(value)} names no value; write steps.NAME.OUTPUT/FILE.json#/KEY, metrics.NAME (of `train.metric_definitions`), "
            "hyperparameters.NAME or data.rows"
        )
    return value


def _variables(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if name.startswith(("SM_", "MODELYARD_", "LD_")) or name in ("PATH", "HOME", "PYTHONPATH"):
            raise ValueError(f"the variable `{name}` is set by the platform")
        if "\x00" in value or len(value) > 1024:
            raise ValueError(f"the variable `{name}` is longer than 1,024 characters, or holds NUL")
    return values


def _regex(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as exc:
        raise ValueError(f"{shown(value)} is no regular expression: {exc}") from exc
    if groups != 1:
        raise ValueError(f"{shown(value)} must have one group, the number")
    return value


def _place(value: str) -> str:
    if not re.fullmatch(r"/opt/ml/processing(/[A-Za-z0-9_][A-Za-z0-9_.-]*){1,8}", value):
        raise ValueError(f"{shown(value)} is no folder below /opt/ml/processing")
    return value


Place = Annotated[
    str,
    AfterValidator(_place),
    Field(examples=["/opt/ml/processing/train"], json_schema_extra={"pattern": r"^/opt/ml/processing(/[A-Za-z0-9_][A-Za-z0-9_.-]*){1,8}$"}),
]
Reference = Annotated[
    str,
    AfterValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": rf"^({_REFERENCE.pattern}|\./.+)$"}),
    Field(examples=["data.train", "steps.features.out", "train.model"]),
]
StepName = Annotated[str, Field(pattern=rf"^{_NAME}$")]
Arguments = Annotated[tuple[Annotated[str, Field(max_length=256)], ...], Field(max_length=100)]
Variables = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$")], str], Field(max_length=100), AfterValidator(_variables)
]
RESERVED = ("preprocess", "train", "postprocess", "tune", "predict", "evaluate")
"""Names of the build's own steps, which no other step may bear."""
Framework = Literal["sklearn", "xgboost", "lightgbm", "catboost", "pytorch", "tensorflow", "onnx", "mlflow", "r", "custom"]


class Instances(Part):
    """What a step may use. `count` over 1 starts the script once a host (algo-1, algo-2, ...), as SageMaker does."""

    count: int = Field(1, ge=1, le=16, description="Hosts that training runs on; on the local target, processes of this machine.")
    cpus: int = Field(0, ge=0, le=1024, description="Threads a step is told to use; 0 means all.")
    max_runtime: Duration = timedelta(hours=1)


class Condition(Part):
    """Whether a step runs: a value, and one comparison that must hold (SageMaker's ConditionStep and JsonGet)."""

    value: Annotated[str, AfterValidator(_condition_value)] = Field(
        description="steps.NAME.OUTPUT/FILE.json#/KEY, metrics.NAME, hyperparameters.NAME or data.rows."
    )
    equals: Scalar = None
    not_equals: Scalar = None
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    one_of: tuple[Scalar, ...] | None = None
    otherwise: Literal["skip", "fail"] = Field("skip", description="skip leaves out the step and all that needs it; fail ends the build.")

    @model_validator(mode="after")
    def _one_comparison(self) -> Condition:
        said = [k for k in ("equals", "not_equals", "above", "at_least", "below", "at_most", "one_of") if getattr(self, k) is not None]
        if len(said) != 1:
            raise ValueError("write one comparison: equals, not_equals, above, at_least, below, at_most or one_of")
        return self


class Processing(Part):
    """What every processing step has: a script under SageMaker's processing contract."""

    entry_point: RelativePath = Field(description="A .py, .sh or .R script, or an executable.")
    source_dir: RelativePath | None = Field(None, description="Folder copied as the code; by default the entry point's own.")
    requirements: RelativePath | None = Field(
        None, description="The step's own requirements; by default it runs in the model's environment."
    )
    input_paths: dict[StepName, Place] = Field(
        default_factory=dict, max_length=10, description="Where an input lies, if not at /opt/ml/processing/input/NAME."
    )
    output_paths: dict[StepName, Place] = Field(
        default_factory=dict, max_length=10, description="Where an output is written, if not at /opt/ml/processing/output/NAME."
    )
    environment: Variables = Field(default_factory=dict, description="Environment variables of the step; no place for secrets.")
    network_isolation: bool = Field(False, description="Run the step without a network (SageMaker's EnableNetworkIsolation).")
    arguments: Arguments = ()
    cpus: int = Field(0, ge=0, le=1024, description="Threads the step is told to use; 0 means all.")
    max_runtime: Duration = timedelta(hours=1)


class Preprocess(Processing):
    """A processing step before training: reads /opt/ml/processing/input/<split>/<split>.parquet and writes the same under
    /opt/ml/processing/output, for train, validation and test. A caller of the endpoint then sends the columns that it writes."""

    inputs: dict[StepName, Reference] = Field(default_factory=dict, max_length=7, description="Further inputs beside the three splits.")


class Postprocess(Processing):
    """A processing step between training and evaluation: reads /opt/ml/processing/input/model and /opt/ml/processing/input/<split> (train
    and validation; the hold-out stays unseen). What it writes to /opt/ml/processing/output/model becomes the model; nothing written
    leaves it as it is."""

    inputs: dict[StepName, Reference] = Field(default_factory=dict, max_length=6, description="Further inputs beside these.")


class Step(Processing):
    """A further processing step. It runs once what it takes is there, beside others that wait for nothing of it."""

    name: StepName
    inputs: dict[StepName, Reference] = Field(default_factory=dict, max_length=10, description="Name to where it comes from.")
    outputs: tuple[StepName, ...] = Field((), max_length=10, description="Folders below /opt/ml/processing/output that others may take.")
    when: Condition | None = None

    @model_validator(mode="after")
    def _own_names(self) -> Step:
        if self.name in RESERVED:
            raise ValueError(f"a step cannot be named `{self.name}`: the build has one of that name")
        return self


class MetricDefinition(Part):
    """A number read off the training log, as SageMaker has it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:./ -]{1,255}$")]
    regex: Annotated[str, Field(max_length=500), AfterValidator(_regex)] = Field(description="With one group, the number.")


class Range(Part):
    """The values that a hyperparameter may take in tuning."""

    int_: tuple[int, int] | None = Field(None, alias="int", description="Least and greatest.")
    float_: tuple[float, float] | None = Field(None, alias="float", description="Least and greatest.")
    choice: tuple[Scalar, ...] | None = None
    log: bool = Field(False, description="Draw evenly over orders of magnitude (int, float).")

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        bounds = self.int_ or self.float_
        if sum(v is not None for v in (self.int_, self.float_, self.choice)) != 1:
            raise ValueError("write one of `int: [least, greatest]`, `float: [least, greatest]` or `choice: [...]`")
        if bounds is not None and bounds[0] >= bounds[1]:
            raise ValueError(f"the range [{bounds[0]:g}, {bounds[1]:g}] must rise")
        if self.log and (bounds is None or bounds[0] <= 0):
            raise ValueError("`log` goes with `int` or `float` above 0")
        if self.choice is not None and len(self.choice) < 2:
            raise ValueError("`choice` needs at least two values")
        if self.choice is not None and len({(type(value), value) for value in self.choice}) < len(self.choice):
            raise ValueError("`choice` names a value twice")
        return self


class Objective(Part):
    metric: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:./ -]{1,255}$")] = Field(
        description="A name of `train.metric_definitions`, or a metric of the problem type, which is then computed on the validation split."
    )
    direction: Literal["maximize", "minimize"] | None = Field(
        None, description="Needed with a name of `metric_definitions`; a metric of the problem type knows its own."
    )


class Tune(Part):
    """Hyperparameters searched by Optuna; the best trial's model becomes the version."""

    trials: int = Field(20, ge=1, le=10_000)
    parallel: int = Field(1, ge=1, le=64, description="Trials that run at a time.")
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["none", "median", "hyperband"] = Field(
        "none", description="Stops trials early by what they report; needs a metric that is streamed."
    )
    seed: int = 42
    timeout: Duration | None = Field(None, description="No trial starts after so long.")
    objective: Objective
    space: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}$")], Range] = Field(min_length=1, max_length=100)


class Train(Part):
    """A training script under the SageMaker script contract."""

    framework: Framework = Field(description="How the runner loads what training left behind, where no model_fn does.")
    entry_point: RelativePath = Field(
        description="A .py or .sh script, a package's module, an .R script, or an executable such as `train`."
    )
    source_dir: RelativePath | None = Field(None, description="Folder copied as the code; by default the entry point's own.")
    contract: Literal["classic", "v3"] = Field(
        "classic", description="SageMaker's dialect: sagemaker-training's, or that of SDK v3's ModelTrainer."
    )
    requirements: RelativePath | None = Field(
        None, description="requirements.txt or pyproject.toml of the model; locked by uv and bundled."
    )
    python: Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$")] | None = Field(
        None,
        description="Python of the model's environment, such as 3.11, among those that this machine has; by default the platform's own.",
    )
    arguments: Arguments = Field(
        (),
        description="Words before the hyperparameters. An executable or .R script is given no others: write `train` if it asks for it.",
    )
    hyperparameters: Hyperparameters = Field(default_factory=dict)
    inputs: dict[StepName, Reference] = Field(
        default_factory=dict,
        max_length=17,
        description="Channels beside train and validation, or in their place where one is of that name or takes a split.",
    )
    environment: Variables = Field(default_factory=dict, description="Environment variables of training; no place for secrets.")
    metric_definitions: tuple[MetricDefinition, ...] = Field((), max_length=40)
    model_path: RelativePath | None = Field(
        None, description="Where the script leaves the model, below its working directory, if not in /opt/ml/model (Azure ML: outputs)."
    )
    retries: int = Field(0, ge=0, le=10, description="Times that a failed training is begun again; /opt/ml/checkpoints is kept.")
    instances: Instances = Instances()
    network_isolation: bool = Field(False, description="Run the step without a network (SageMaker's EnableNetworkIsolation).")
    tune: Tune | None = None


class Bring(Part):
    """A model that somebody else trained: a file, a folder or a model.tar.gz, evaluated and gated like any other."""

    artifact: Location = Field(description="Path relative to config.yaml, or an fsspec URL.")
    framework: Framework
    requirements: RelativePath | None = None
    python: Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$")] | None = None


ContentType = Literal["application/json", "application/jsonlines", "text/csv", "application/x-npy"]


class Tolerance(Part):
    """How far a row plan's answers may lie from the model's own. Labels must be equal."""

    scores: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Largest difference of a score, absolute or relative; by default 1e-9, and 1e-6 for XGBoost, which sums in float32.",
    )


class Inference(Part):
    """How a version predicts."""

    compile: Literal["auto", "off", "required"] = Field(
        "auto",
        description="Whether the endpoint answers by a row plan, proven equal to the model at build time, where the model can be written "
        "out as one (auto); required fails the build where it cannot.",
    )
    tolerance: Tolerance = Tolerance()

    entry_point: RelativePath | None = Field(
        None,
        description="Script with model_fn, input_fn, predict_fn, output_fn, transform_fn, or a `serve` executable; by default training's.",
    )
    source_dir: RelativePath | None = Field(
        None, description="Folder copied as its code; by default training's, else the entry point's own."
    )
    content_type: ContentType = Field(
        "text/csv",
        description="What input_fn, transform_fn or a server is given: csv without a header, a JSON array of rows, JSON lines, or NPY.",
    )
    accept: ContentType = Field("application/json", description="What output_fn, transform_fn or a server is asked to answer.")
    batch_strategy: Literal["multi_record", "single_record"] = Field(
        "multi_record",
        description="single_record gives the script one row at a time, for one that answers no more (SageMaker's BatchStrategy).",
    )
    pre: RelativePath | None = Field(
        None, description="Script with preprocess(inputs): the columns as the model wants them, run before it."
    )
    post: RelativePath | None = Field(
        None, description="Script with postprocess(outputs, inputs): the answer made of the model's, run after it."
    )
    environment: Variables = Field(default_factory=dict, description="Environment variables of the runner; no place for secrets.")
