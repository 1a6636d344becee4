"""What is asked of a version before anybody sees it: metrics, slices, bias, explanations, and the gates on all of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.json_schema import SkipJsonSchema

from modelyard.config.spec.types import NOTED, ColumnName, MetricName, OnFail, Part, RelativePath
from modelyard.signature import Scalar

PreTraining = Literal["CI", "DPL", "KL", "JS", "LP", "TVD", "KS", "CDDL"]
PostTraining = Literal["DPPL", "DI", "DCA", "DCR", "SD", "RD", "DAR", "DRR", "AD", "TE", "CDDPL", "FT", "GE"]


class Slice(Part):
    """One value of a column."""

    column: ColumnName
    value: Scalar = None


class Criterion(Part):
    """One gate on a number of the build: a bound, or a comparison with the champion or with the baseline that learned nothing."""

    metric: MetricName = Field(description="A metric of the problem type, a custom one, latency_p50_ms, latency_p99_ms or model_size_mb.")
    threshold: float | None = Field(None, description="Bound: least value where greater is better, else greatest.")
    versus: Literal["champion", "baseline"] | None = None
    min_absolute_change: float | None = Field(None, description="Least improvement over it; negative allows a loss.")
    min_relative_change: float | None = Field(None, description="Likewise as a share of its value: -0.01 allows a loss of one percent.")
    slice: Slice | ColumnName | None = Field(
        None, description="Judge a slice: {column: , value: }, a column's every value, or `worst`, the weakest one that the build finds."
    )
    bound: Literal["value", "lower", "upper"] = Field("value", description="Judge the value, or an end of its confidence interval.")
    on_fail: OnFail = "block"

    @model_validator(mode="after")
    def _one_kind(self) -> Criterion:
        changes = [c for c in (self.min_absolute_change, self.min_relative_change) if c is not None]
        if (self.threshold is None) == (self.versus is None):
            raise ValueError("write either `threshold`, or `versus` with `min_absolute_change` or `min_relative_change`")
        if (self.versus is None) != (len(changes) == 0):
            raise ValueError("`versus` and `min_absolute_change` (or `min_relative_change`) go together")
        if len(changes) > 1:
            raise ValueError("write `min_absolute_change` or `min_relative_change`, not both: two gates do it")
        if self.versus is not None and (self.slice is not None or self.bound != "value"):
            raise ValueError("`slice` and `bound` go with `threshold`")
        return self


class CustomMetric(Part):
    """A metric of one's own: a function of the scored hold-out, run in the model's environment."""

    name: MetricName
    entry_point: RelativePath = Field(description="A .py file.")
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] = Field(
        description="Takes the hold-out as a pandas DataFrame (a mapping of lists where the environment has no pandas), gives a number."
    )
    greater_is_better: bool


class Confidence(Part):
    level: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(200, ge=0, le=10_000, description="Bootstrap resamples of the hold-out; 0 leaves intervals out.")
    seed: int = 42


class WorstSlice(Part):
    """The weakest part of the hold-out, looked for over values of single columns and of pairs."""

    enabled: bool = True
    min_rows: int = Field(50, ge=10, description="Smaller parts are not looked at.")
    depth: Literal[1, 2] = Field(1, description="Columns that may be crossed.")


class Baseline(Part):
    """A model that learned nothing: always the most frequent class or the mean (forecasting: the last value a season ago)."""

    on_fail: Literal["block", "warn", "off"] = Field("warn", description="What happens to a version that is no better.")
    metric: MetricName | None = Field(None, description="By which metric; by default the problem type's first.")


class Evaluate(Part):
    decision_threshold: float | None = Field(
        None,
        description="Score from which a positive class, a label, an anomaly is predicted: 0.5, or (anomalies) as the model says.",
    )
    slices: tuple[ColumnName, ...] = Field((), description="Columns by whose values the metrics are reported too.")
    at: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (5, 10), min_length=1, max_length=5, description="Places of a ranking that count (ranking, anomalies)."
    )
    season: int = Field(1, ge=1, description="Rows of a season in a series (forecasting).")
    confidence: Confidence = Confidence()
    worst_slice: WorstSlice = WorstSlice()
    baseline: Baseline = Baseline()
    custom_metrics: tuple[CustomMetric, ...] = Field((), max_length=40)
    validation_criteria: tuple[Criterion, ...] = ()


class Facet(Part):
    """A column whose groups are compared. Without a group named, each value is compared with all others."""

    column: ColumnName
    privileged: tuple[Scalar, ...] | None = Field(None, description="Values of the group that may be favoured (Clarify's facet a).")
    disadvantaged: tuple[Scalar, ...] | None = Field(None, description="Values of the group that may be wronged (Clarify's facet d).")
    above: float | None = Field(
        None, description="For numbers: rows above are the group that may be wronged, as Clarify's threshold has it."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Facet:
        if sum(v is not None for v in (self.privileged, self.disadvantaged, self.above)) > 1:
            raise ValueError("write one of `privileged`, `disadvantaged` or `above`")
        return self


class BiasCriterion(Part):
    """A gate on a bias metric: how far from neutral (0, or 1 for DI) it may lie."""

    metric: PreTraining | PostTraining
    within: float = Field(ge=0)
    facet: ColumnName | None = Field(None, description="By default every facet.")
    on_fail: OnFail = "block"


class Bias(Part):
    """Clarify's bias metrics, on the training data and on the hold-out's predictions."""

    facets: tuple[Facet, ...] = Field((), max_length=20)
    intersections: tuple[tuple[ColumnName, ...], ...] = Field((), max_length=20, description="Columns whose crossed values are facets too.")
    group_col: ColumnName | None = Field(None, description="Column to condition on (CDDL, CDDPL).")
    label_values: tuple[Scalar, ...] | None = Field(
        None, min_length=1, description="Classes that count as the good outcome; by default the positive class (several classes need it)."
    )
    label_above: float | None = Field(None, description="Labels above count as the good outcome (regression, forecasting).")
    pre_training: tuple[PreTraining, ...] | None = Field(None, description="By default all.")
    post_training: tuple[PostTraining, ...] | None = Field(None, description="By default all.")
    analysis_config: RelativePath | None = Field(
        None, description="An existing analysis_config.json of SageMaker Clarify, in place of the above."
    )
    asks: SkipJsonSchema[Annotated[dict[str, Any] | None, NOTED]] = Field(None, description="What that file said when it was accepted.")
    criteria: tuple[BiasCriterion, ...] = ()

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Configs without a file are as they were before it was noted."""
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key != "asks" or value is not None}

    @model_validator(mode="after")
    def _one_source(self) -> Bias:
        own = self.facets or self.intersections
        if bool(own) == (self.analysis_config is not None):
            raise ValueError("write either `facets` (or `intersections`), or `analysis_config`")
        beside = ("group_col", "label_values", "label_above", "pre_training", "post_training")
        if self.analysis_config is not None and (written := [key for key in beside if getattr(self, key) is not None]):
            raise ValueError(f"`{written[0]}` stands in the file that `analysis_config` names")
        return self


class Explain(Part):
    """SHAP attributions of the hold-out."""

    method: Literal["auto", "tree", "linear", "kernel", "permutation"] = Field(
        "auto", description="auto takes the exact method of trees or linear models where the model is one, else asks the model itself."
    )
    background: int = Field(100, ge=1, le=10_000, description="Rows of the training split that stand for what is usual.")
    rows: int = Field(500, ge=1, le=100_000, description="Rows of the hold-out that are explained.")
    top: int = Field(10, ge=1, le=100, description="Features that are plotted.")
    partial_dependence: bool = True
    class_: Scalar = Field(None, alias="class", description="The class explained; by default the positive one, else the most frequent.")
    seed: int = 42
