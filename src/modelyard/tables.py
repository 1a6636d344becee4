"""The predictions table, the one thing that crosses from a model's world into ours.

A Polars frame (Parquet on disk), a row a prediction. Metrics, drift, performance and retraining are functions of such tables,
whatever the language or framework of the model.

| column | dtype | meaning |
|---|---|---|
| inference_id | str | unique a row: the caller's, else ours; a body of many rows under one id gets `<id>-<row>` |
| event_time | datetime[us, UTC] | when it happened, by the caller or the data; else received_at |
| received_at | datetime[us, UTC] | when the front took it |
| version | str | the version that answered |
| latency_ms | float | request latency, shared by the rows of one body |
| f.NAME | as signed | a feature |
| x.NAME | any | a column that came along and is no feature (entity columns, sensitive columns) |
| y.NAME | as signed | an output: y.prediction, y.probability_CLASS |
| label | as the target | the ground truth; null until known, or absent |
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

INFERENCE_ID = "inference_id"
EVENT_TIME = "event_time"
RECEIVED_AT = "received_at"
VERSION = "version"
LATENCY_MS = "latency_ms"
LABEL = "label"
PREDICTION = "y.prediction"
FEATURE, EXTRA, OUTPUT = "f.", "x.", "y."


def nameless(columns: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with columns of which one has no name, so that nobody could send it, and what to do; None where each has one."""
    if "" not in columns:
        return None
    said = f"column {columns.index('') + 1} of {len(columns)} has no name"
    return said, "give it one; pandas writes a table's index so, unless it is told `index=False`"


_INDEX = re.compile(r"__index_level_\d+__")


def is_index(column: str) -> bool:
    """Whether a column of Parquet or Arrow is what pandas writes for an index without a name: row numbers, and no data."""
    return _INDEX.fullmatch(column) is not None


def feature(name: str) -> str:
    return FEATURE + name


def extra(name: str) -> str:
    return EXTRA + name


def output(name: str) -> str:
    return OUTPUT + name


def place(columns: Collection[str], name: str) -> str | None:
    """The column that a table of these columns has `name` in, as a feature or beside them; None where it has it in neither."""
    return next((column for column in (feature(name), extra(name)) if column in columns), None)
