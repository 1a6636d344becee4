"""The columns that a config names: whether the data has them. Only the header of a local file is read."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from modelyard import tables
from modelyard.config import files, words
from modelyard.config.load import Loaded
from modelyard.config.spec import Config, Slice

_MAX_HEADER = 1_000_000
_RENAME = "rename it, or leave it out by `data.schema.exclude`"


def findings(loaded: Loaded) -> Iterator[files.Finding]:
    yield from _left_out(loaded)
    yield from _not_beside(loaded.config)
    using, name = loaded.config.data.source.using, files.data_name(loaded.config)
    file = None if name is None or using == "script" else files.first_file(loaded.folder, name, using)
    if file is None:
        return
    try:
        known = header(file, using)
    except (OSError, ValueError, csv.Error) as exc:
        yield ("data", "source", "location"), f"{name} cannot be read as {using}: {str(exc)[:200]}", ""
        return
    if not known and using == "delta":
        return  # only a checkpoint tells its columns: the build reads it
    if not known:
        yield ("data", "source", "location"), f"{name} has no columns", ""
        return
    for path, column in _named_columns(loaded):
        if column not in known:
            near = words.nearest(column, known)
            hint = f"; did you mean `{near}`?" if near else ""
            yield path, f"{name} has no column `{column}`{hint}", "" if near else f"its columns: {', '.join(known[:30])}"
    yield from _as_answers(loaded.config, known)
    yield from _apart(loaded.config, known)


def _as_answers(config: Config, known: list[str]) -> Iterator[files.Finding]:
    """Columns that cannot stand beside a model's answers: what has no name, or an answer's. Those of classes only the build knows."""
    named = ("data", "source", "location")
    if (wrong := tables.nameless(known)) is not None:
        yield named, *wrong
    if config.preprocess is not None:  # which may call them otherwise
        return
    kind, positive = config.model.problem_type, config.data.positive_class
    answers = ["prediction", *(["score"] if kind == "anomaly_detection" else [])]
    if kind == "binary_classification" and type(positive) in (int, str):  # others the rows may write otherwise
        answers.append(f"probability_{positive}")
    for name in (tables.output(one) for one in answers):
        if name in known and name not in config.data.schema_.exclude:
            yield named, f"the column `{name}` is called as an answer of the model is", _RENAME


def _apart(config: Config, known: list[str]) -> Iterator[files.Finding]:
    """`multivariate`, where it is asked for, beside `columns` that leave features out: their relations are learned of all features."""
    drift, data = config.monitor.drift, config.data
    if "multivariate" not in drift.model_fields_set or not (drift.enabled and drift.multivariate.enabled and drift.columns):
        return
    schema = data.schema_
    others = {data.target_col, data.time_col, data.id_col, data.split.column, schema.group_col, schema.weight_col, *drift.columns}
    others |= {*schema.sensitive_not_served, *schema.exclude, *(name for name, kind in schema.types.items() if kind == "datetime")}
    left = [name for name in known if name not in others]
    if left and config.preprocess is None:
        names = ", ".join(f"`{name}`" for name in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        said = f"`multivariate` judges nothing: `monitor.drift.columns` leaves out {names}, and it is about all features together"
        yield ("monitor", "drift", "multivariate"), said, "watch them, or leave `columns` out, or remove this"


def header(path: Path, using: str) -> list[str]:
    """The column names of a local csv, parquet or JSON lines file, or of a Delta table's folder.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read as that.
    """
    if using == "parquet":
        import pyarrow.parquet

        return [str(n) for n in pyarrow.parquet.read_schema(path).names]
    if using == "delta":
        return _delta(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        if using == "jsonl":
            return _keys(file)
        first = file.readline(_MAX_HEADER)
    return next(csv.reader([first]), [])


def _keys(file: TextIO) -> list[str]:
    """The names in the first hundred objects: one alone need not have them all."""
    names: dict[str, None] = {}
    for line in itertools.islice(iter(lambda: file.readline(_MAX_HEADER), ""), 100):
        row = json.loads(line) if line.strip() else {}
        if not isinstance(row, dict):
            raise ValueError("a line is no object")
        names |= dict.fromkeys(map(str, row))
    return list(names)


def _delta(folder: Path) -> list[str]:
    """The columns by the newest metadata of a Delta table's log; none where a checkpoint alone tells."""
    logs = folder / "_delta_log"
    for log in sorted(logs.glob("*.json"), reverse=True):
        for line in log.read_text(encoding="utf-8").splitlines():
            if schema := json.loads(line).get("metaData", {}).get("schemaString"):
                return [str(field["name"]) for field in json.loads(schema)["fields"]]
    if not any(logs.glob("*.checkpoint*.parquet")):
        raise ValueError("there is no _delta_log that tells its columns")
    return []


def _named_columns(loaded: Loaded) -> Iterator[tuple[words.Path, str]]:
    data, config = loaded.config.data, loaded.config
    single = (("target_col", data.target_col), ("time_col", data.time_col), ("id_col", data.id_col))
    yield from ((("data", key), column) for key, column in single if column is not None)
    yield from ((("data", "entity_cols", i), c) for i, c in enumerate(data.entity_cols))
    yield from ((("data", "schema", "exclude", i), c) for i, c in enumerate(data.schema_.exclude))
    yield from ((("data", "schema", "types", c), c) for c in data.schema_.types)
    yield from ((("data", "schema", "sensitive_not_served", i), c) for i, c in enumerate(data.schema_.sensitive_not_served))
    yield from ((("data", "expect", "columns", c), c) for c in data.expect.columns)
    if data.split.column is not None:
        yield ("data", "split", "column"), data.split.column
    special = (("weight_col", data.schema_.weight_col), ("group_col", data.schema_.group_col))
    yield from ((("data", "schema", key), column) for key, column in special if column is not None)
    if data.source.incremental is not None:
        yield ("data", "source", "incremental"), data.source.incremental
    yield from _facets(config)  # looked up in the source's rows, whatever `preprocess` makes of them
    if config.preprocess is None:  # which may make columns that the source does not have
        yield from _reported(config)
        yield from _sliced(config)
        yield from ((("monitor", "drift", "columns", i), c) for i, c in enumerate(config.monitor.drift.columns or ()))
        yield from ((("monitor", "drift", "overrides", c), c) for c in config.monitor.drift.overrides)
        yield from ((("monitor", "segments", i), c) for i, c in enumerate(config.monitor.segments))
        yield from ((("monitor", "data_quality", "columns", c), c) for c in config.monitor.data_quality.columns)
        yield from ((("deploy", "capture", "redact", i, "column"), rule.column) for i, rule in enumerate(config.deploy.capture.redact))


def _not_beside(config: Config) -> Iterator[files.Finding]:
    """Columns to slice by that do not come along with an answer: those that say what a row is, and not what is in it."""
    data = config.data
    roles = [(data.target_col, "the target"), (data.time_col, "the time"), (data.id_col, "the id"), (data.split.column, "the split")]
    apart = {name: role for name, role in roles[: 4 if config.preprocess is None else 3] if name is not None}
    kept = {*data.schema_.sensitive_not_served, *data.entity_cols, data.schema_.group_col, data.schema_.weight_col}
    for path, column in (*_reported(config), *_sliced(config)):
        if column in apart and column not in kept:
            yield path, f"`{column}` is {apart[column]}, by which nothing is sliced", "slice by a feature, or by a copy of the column"


def _reported(config: Config) -> Iterator[tuple[words.Path, str]]:
    yield from ((("evaluate", "slices", i), c) for i, c in enumerate(config.evaluate.slices))


def _sliced(config: Config) -> Iterator[tuple[words.Path, str]]:
    for i, criterion in enumerate(config.evaluate.validation_criteria):
        path = ("evaluate", "validation_criteria", i, "slice")
        if isinstance(criterion.slice, Slice):
            yield (*path, "column"), criterion.slice.column
        elif criterion.slice not in (None, "worst"):
            yield path, criterion.slice


def _facets(config: Config) -> Iterator[tuple[words.Path, str]]:
    if config.bias is None:
        return
    yield from ((("bias", "facets", i, "column"), facet.column) for i, facet in enumerate(config.bias.facets))
    yield from ((("bias", "intersections", i, j), c) for i, crossed in enumerate(config.bias.intersections) for j, c in enumerate(crossed))
    if config.bias.group_col is not None:
        yield ("bias", "group_col"), config.bias.group_col


def _left_out(loaded: Loaded) -> Iterator[files.Finding]:
    """Columns that are needed and yet excluded."""
    excluded = set(loaded.config.data.schema_.exclude)
    for path, column in _named_columns(loaded):
        if column in excluded and path[:3] != ("data", "schema", "exclude") and path != ("data", "source", "incremental"):
            yield path, f"`{column}` is needed here and dropped by `data.schema.exclude`", "take it out of one of the two"
