"""Features: which columns of a table a model learns from, and the signature that follows from the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelyard.config.spec import Data
from modelyard.data import prepare
from modelyard.data.columns import types_of
from modelyard.errors import BadInput
from modelyard.signature import Column, ProblemType, Scalar, Signature, answer_of
from modelyard.zones import DEFAULT

if TYPE_CHECKING:
    import polars as pl

MOST_CLASSES = 1000
TWO_CLASSES = ("binary_classification", "anomaly_detection")


def features(columns: Iterable[str], data: Data) -> list[str]:
    """The columns, in order, but the target, time, id, sensitive, group, weight and split columns."""
    schema = data.schema_
    reserved = {data.target_col, data.time_col, data.id_col, data.split.column, schema.group_col, schema.weight_col}
    reserved |= set(schema.sensitive_not_served)
    return [name for name in columns if name not in reserved]


def signature(
    frame: pl.DataFrame | pl.LazyFrame, data: Data, problem_type: ProblemType, decision_threshold: float | None, timezone: str
) -> Signature:
    """What a model trained on the rows of `frame` takes and gives. Nothing but the target's different values is held.

    Features are all columns, in order, but the target, time, id, sensitive, group, weight and split columns; entity columns are
    features unless `schema.exclude` names them. A feature is nullable when the snapshot has it missing somewhere. Classes are
    sorted (of a multilabel target: the labels that occur); the positive class is the value as it stands in the data (`true` for a
    config that says 1). `decision_threshold` None stands for 0.5 where probabilities are given, else for the model's own answer.
    `timezone` is that in which the build read naive times. Where a step wrote naive ones, a model learned from what the clock shows, and
    is given that: they count as UTC.

    Raises BadInput when no feature is left, or when the target does not fit the problem type.
    """
    query = frame.lazy()
    schema = query.collect_schema()
    kinds, instants = types_of(schema), {name for name, dtype in schema.items() if getattr(dtype, "time_zone", None) is not None}
    names = features(kinds, data)
    columns = tuple(Column(name, kinds[name], gaps > 0, timezone if name in instants else DEFAULT) for name, gaps in _gaps(query, names))
    if not columns:
        said = "no feature is left: every column is the target, an id, a time, sensitive or excluded"
        raise BadInput(said, where="data.schema")
    separator = (data.label_separator or "|") if problem_type == "multilabel_classification" else None
    classes = () if answer_of(problem_type) == "number" else _classes(_target(query, data.target_col), problem_type, separator)
    if answer_of(problem_type) == "number" and kinds[data.target_col] not in ("int", "float"):
        said = f"{problem_type.replace('_', ' ')} needs numbers, and `{data.target_col}` is {kinds[data.target_col]}"
        raise BadInput(said, where="data.target_col")
    positive = prepare.positive(data.positive_class, classes) if problem_type in TWO_CLASSES else None
    if decision_threshold is None and problem_type in ("binary_classification", "multilabel_classification"):
        decision_threshold = 0.5
    return Signature(
        problem_type=problem_type,
        columns=columns,
        classes=classes,
        positive_class=positive,
        decision_threshold=None if positive is None and separator is None else decision_threshold,
        target_col=data.target_col,
        id_col=data.id_col,
        time_col=data.time_col,
        entity_cols=data.entity_cols,
        group_col=data.schema_.group_col,
        weight_col=data.schema_.weight_col,
        label_separator=separator,
        timezone=timezone,
    )


def _gaps(query: pl.LazyFrame, names: list[str]) -> Iterator[tuple[str, int]]:
    """How many values each column lacks; few are read at a time, since Polars reads ahead."""
    import polars as pl

    for start in range(0, len(names), 4):
        some = query.select(pl.col(names[start : start + 4]).null_count()).collect(engine="streaming")
        yield from zip(some.columns, some.row(0), strict=True)


def _target(query: pl.LazyFrame, name: str) -> pl.Series:
    return query.select(name).unique().collect(engine="streaming")[name]


def _classes(target: pl.Series, problem_type: ProblemType, separator: str | None) -> tuple[Scalar, ...]:
    import polars as pl

    where = "data.target_col"
    if separator is not None:
        labels = target.cast(pl.String).str.split(separator).explode().str.strip_chars()
        target = labels.filter(labels != "")
    classes = tuple(target.unique().sort().to_list())
    if problem_type in TWO_CLASSES and len(classes) != 2:
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        said = f"{problem_type.replace('_', ' ')} needs two classes, and `{target.name}` has {len(classes)}: {shown}"
        raise BadInput(said, where=where, next="say multiclass_classification or regression, or make two classes of it")
    if len(classes) > MOST_CLASSES or target.dtype.is_temporal():
        hint = "is `problem_type: regression` meant?"
        raise BadInput(f"`{target.name}` has {len(classes)} classes; {MOST_CLASSES} are the most", where=where, next=hint)
    return classes
