"""Where the rows come from, what they mean, how they are split, and what must hold of them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.config.spec.types import DATABASES, ColumnName, Location, OnFail, Part, RelativePath, Secret, Share
from modelyard.signature import ColumnType, Scalar


class Source(Part):
    """Where the rows come from."""

    using: Literal["csv", "parquet", "jsonl", "delta", "sql", "script"]
    location: Location | Secret = Field(
        description="Path relative to config.yaml, an fsspec URL (s3://, ...), a database URL (sqlite, duckdb, postgresql), or a script."
    )
    query: str | None = Field(None, description="The SELECT to run (sql only).")
    arguments: tuple[Annotated[str, Field(max_length=256)], ...] = Field((), max_length=100, description="Of the script (script only).")
    requirements: RelativePath | None = Field(
        None, description="The script's own requirements; by default it runs in the model's environment (script only)."
    )
    incremental: ColumnName | None = Field(
        None, description="A column that only grows, such as a time or a number: a build reads rows above the highest seen, and adds them."
    )

    @model_validator(mode="after")
    def _query_goes_with_sql(self) -> Source:
        if self.using != "script" and (self.arguments or self.requirements):
            raise ValueError("`arguments` and `requirements` go with `using: script`")
        if self.using == "script" and (not isinstance(self.location, str) or _scheme(self.location) or self.incremental):
            raise ValueError("`using: script` takes the script's path as `location`, and no `incremental`: it reads what it likes")
        if (self.using == "sql") != (self.query is not None):
            raise ValueError("`query` is needed with `using: sql`, and only there")
        database = isinstance(self.location, str) and re.match(r"[a-z]+(?=[+:])", self.location)
        known = database and database.group() in DATABASES and "://" in str(self.location)
        if isinstance(self.location, str) and (self.using == "sql") != bool(known):
            raise ValueError("`location` is a URL of sqlite, duckdb or postgresql with `using: sql`, and only there")
        return self


def _scheme(location: str) -> bool:
    return "://" in location


class Sample(Part):
    """A smaller table of a large source: so many rows, the same ones each time."""

    rows: int = Field(ge=100, description="Rows to keep; a smaller source is kept whole.")
    seed: int = 42


class DataSchema(Part):
    exclude: tuple[ColumnName, ...] = Field((), description="Columns dropped at once.")
    types: dict[ColumnName, ColumnType] = Field(default_factory=dict, description="Types that override the inferred ones.")
    sensitive_not_served: tuple[ColumnName, ...] = Field(
        (), description="Columns kept for slices and checks, never a feature and never asked of a caller."
    )

    weight_col: ColumnName | None = Field(None, description="Weight of a row in metrics; never a feature.")
    group_col: ColumnName | None = Field(
        None,
        description="Rows that belong together: a query's, a customer's; never a feature. `split: {by: group}` keeps them together.",
    )


class Split(Part):
    by: Literal["time", "random", "group", "provided"] = Field(
        "random", description="time: the last rows are the hold-out; group: whole groups of `schema.group_col`; provided: by `column`."
    )
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


class Leakage(Part):
    """What must not be known before its time. Each is looked for in every build: `block`, `warn`, or `off`."""

    target: Literal["block", "warn", "off"] = Field("warn", description="A feature that by itself tells the target.")
    duplicates: Literal["block", "warn", "off"] = Field("warn", description="Rows of the hold-out that training has seen too.")
    max_duplicates: Share = Field(0.01, description="Share of the hold-out that may be such rows.")
    time_order: Literal["block", "warn", "off"] = Field("warn", description="Rows of the training split later than the hold-out's first.")


class Data(Part):
    source: Source
    sample: Sample | None = None
    target_col: ColumnName
    positive_class: Scalar = Field(None, description="The class whose probability is scored (binary), or that marks an anomaly.")
    label_separator: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        None, description="Stands between the labels of a row's target, such as drama|war (multilabel classification); `|` by default."
    )
    time_col: ColumnName | None = Field(None, description="When the row happened; naive times are in `timezone`.")
    id_col: ColumnName | None = Field(None, description="Identifies a row; labels join by it.")
    entity_cols: tuple[ColumnName, ...] = ()
    schema_: DataSchema = Field(DataSchema(), alias="schema")
    split: Split = Split()
    expect: Expect = Expect()
    leakage: Leakage = Leakage()
    channel_format: Literal["parquet", "csv", "csv_no_header", "jsonl"] = Field(
        "parquet",
        description="Format in which training and steps find splits; csv_no_header puts the target first, as SageMaker's algorithms do.",
    )

    channel_target: Literal["first", "last"] = Field("first", description="Where csv_no_header puts the target.")

    @model_validator(mode="after")
    def _time_split_needs_time(self) -> Data:
        if self.split.by == "time" and self.time_col is None:
            raise ValueError("`split: {by: time}` needs `time_col`")
        if self.split.by == "group" and self.schema_.group_col is None:
            raise ValueError("`split: {by: group}` needs `schema.group_col`")
        if self.channel_target != "first" and self.channel_format != "csv_no_header":
            raise ValueError("`channel_target` goes with `channel_format: csv_no_header`: other formats name their columns")
        if self.sample is not None and self.source.incremental is not None:
            raise ValueError("`sample` and `source.incremental` do not go together: new rows are added to what was read before")
        return self
