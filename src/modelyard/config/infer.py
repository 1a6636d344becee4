"""What a data file and a script say by themselves: target, problem type, times, ids, hyperparameters."""

from __future__ import annotations

import ast
import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import csvs
from modelyard.config.words import nearest
from modelyard.errors import BadInput
from modelyard.signature import ProblemType, Scalar

if TYPE_CHECKING:
    import polars as pl

_FORMATS = {".csv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
SAMPLE_ROWS = 100_000
_TARGETS = ("target", "label", "y", "class", "outcome")
_POSITIVE = ("1", "1.0", "true", "yes", "y", "t", "positive", "pos")
_MOST_CLASSES = 50
_MOST_WHOLE_CLASSES = 20


@dataclass(frozen=True)
class Facts:
    """What a table says of the config.

    `exclude` are columns that nothing can be learned from as they are: further times, lists and objects, and columns without a value.
    `commonest` is the share of the most frequent class (0 for numbers): a model below it has learned nothing.
    """

    using: str
    target: str
    problem_type: ProblemType
    positive_class: Scalar
    time_col: str | None
    id_col: str | None
    exclude: tuple[str, ...]
    rows: int
    commonest: float


def facts(data: Path, *, target: str | None, problem_type: str | None) -> Facts:
    """Facts of a csv, parquet or JSON lines file, from its first 100,000 rows. Raises BadInput where they do not make a problem."""
    using = _FORMATS.get(data.suffix.lower(), "parquet")
    frame = _read(data, using)
    if frame.is_empty():
        raise BadInput("the file has no rows", where=str(data))
    column = _target(frame, target, data)
    known = frame[column].drop_nulls()
    kind = _problem(known, problem_type)
    times = [n for n, t in frame.schema.items() if t.is_temporal() and n != column]
    empty = [n for n in frame.columns if frame[n].null_count() == frame.height]
    nested = [n for n, t in frame.schema.items() if t.is_nested()]
    counts = known.alias("value").value_counts(sort=True) if not is_number(kind) else None
    if kind == "forecasting" and all(frame[n].null_count() for n in times):
        raise BadInput("forecasting needs a column of times, in every row", where=str(data))
    return Facts(
        using=using,
        target=column,
        problem_type=kind,
        positive_class=_positive(known) if kind in ("binary_classification", "anomaly_detection") else None,
        time_col=next((n for n in times if not frame[n].null_count()), None),
        id_col=_id(frame, column),
        exclude=tuple(n for n in frame.columns if n in empty or n in nested or n in [t for t in times if t not in empty][1:]),
        rows=frame.height,
        commonest=float(counts["count"][0]) / len(known) if counts is not None else 0.0,
    )


def _read(data: Path, using: str) -> pl.DataFrame:
    import polars as pl

    try:
        if using == "csv":
            return csvs.frame(data, n_rows=SAMPLE_ROWS, try_parse_dates=True, infer_schema_length=None, null_values=list(csvs.MISSING))
        if using == "jsonl":
            return _dated(pl.scan_ndjson(data, infer_schema_length=None).head(SAMPLE_ROWS).collect())
        return pl.read_parquet(data, n_rows=SAMPLE_ROWS)
    except (pl.exceptions.PolarsError, OSError, ValueError) as exc:
        raise BadInput(f"the file cannot be read as {using}: {str(exc).splitlines()[0][:200]}", where=str(data)) from exc


def _dated(frame: pl.DataFrame) -> pl.DataFrame:
    """ISO dates and times, which JSON has as text, as times."""
    import polars as pl

    for name in [n for n, t in frame.schema.items() if t == pl.String and frame[n].null_count() < frame.height]:
        for read in (pl.col(name).str.to_date("%F"), pl.col(name).str.to_datetime(time_zone="UTC")):
            with contextlib.suppress(pl.exceptions.PolarsError):
                frame = frame.with_columns(read)
                break
    return frame


def is_number(problem_type: str) -> bool:
    """Whether the target is a number to be met, and no class."""
    return problem_type in ("regression", "forecasting")


def _target(frame: pl.DataFrame, target: str | None, data: Path) -> str:
    if target is None:
        return next((n for n in frame.columns if n.lower() in _TARGETS), frame.columns[-1])
    if target not in frame.columns:
        near = nearest(target, frame.columns)
        hint = f"did you mean `{near}`?" if near else f"its columns: {', '.join(frame.columns[:30])}"
        raise BadInput(f"there is no column `{target}`", where=str(data), next=hint)
    return target


def _problem(known: pl.Series, wanted: str | None) -> ProblemType:
    where, count = f"column {known.name}", known.n_unique()
    if count < 2:
        raise BadInput("the target has one value; there is nothing to learn", where=where, next="name another with --target")
    kind: ProblemType
    if count == 2:
        kind = "binary_classification"
    elif known.dtype.is_numeric():
        kind = "multiclass_classification" if known.dtype.is_integer() and count <= _MOST_WHOLE_CLASSES else "regression"
    elif not known.dtype.is_temporal() and (count <= _MOST_CLASSES or wanted == "multilabel_classification"):
        kind = "multiclass_classification"
    else:
        said = "holds times" if known.dtype.is_temporal() else f"is text of {count} values, too many for classes"
        raise BadInput(f"the target {said}", where=where, next="name another with --target")
    if wanted in ("binary_classification", "anomaly_detection") and count != 2:
        raise BadInput(f"{wanted.replace('_', ' ')} needs two classes; the target has {count}", where=where)
    if wanted is not None and is_number(wanted) and not known.dtype.is_numeric():
        raise BadInput(f"{wanted} needs a target of numbers", where=where)
    if wanted == "multiclass_classification" and (known.dtype.is_float() or count > 1000):
        raise BadInput(f"the target is no set of classes: {count} values of type {known.dtype}", where=where)
    return wanted or kind  # type: ignore[return-value]  # judged by the config that comes of it


def _positive(known: pl.Series) -> Scalar:
    """The class that reads like a yes; else the rarer one."""
    counts = known.alias("value").value_counts(sort=True)
    classes = counts["value"].to_list()
    chosen = next((c for c in classes if str(c).lower() in _POSITIVE), classes[-1])
    return int(chosen) if isinstance(chosen, float) and chosen.is_integer() else chosen


def _id(frame: pl.DataFrame, target: str) -> str | None:
    for name, dtype in frame.schema.items():
        named = name != target and re.fullmatch(r"(?i:(.*[_-])?(id|uuid|guid))|.*[a-z]Id", name)
        if named and not dtype.is_float() and not frame[name].null_count() and frame[name].n_unique() == frame.height:
            return name
    return None


def hyperparameters(script: Path) -> dict[str, Any]:
    """The options that a script gives to argparse with plain defaults, SageMaker's own folders left out."""
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError) as exc:
        raise BadInput(f"the script is no Python: {exc}", where=str(script)) from exc
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"):
            continue
        words = {k.arg: k.value for k in node.keywords}
        names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        default = words.get("default")
        if not names or "action" in words or "nargs" in words or not isinstance(default, ast.Constant):
            continue
        name = max(names, key=len)
        if re.fullmatch(r"--?[A-Za-z0-9_][A-Za-z0-9_.-]*", name) and isinstance(default.value, int | float | str):
            found[name.lstrip("-")] = default.value
    return found


def reads_csv(script: Path) -> bool:
    """Whether the script looks for csv in its channels, and not for parquet."""
    text = script.read_text(encoding="utf-8")
    return "read_csv" in text and "read_parquet" not in text
