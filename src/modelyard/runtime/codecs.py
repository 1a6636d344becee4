"""Bodies of requests and answers, as SageMaker's containers have them: CSV without a header, JSON, JSON lines, NPY."""

from __future__ import annotations

import csv
import importlib
import io
import json
from typing import Any

from modelyard.runtime.outputs import SCORES, BadOutput

CSV, JSON, JSONLINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"
_LISTS = ("predictions", "instances", "outputs", "results")


def encode(columns: dict[str, list[Any]], rows: int, content_type: str) -> Any:
    """The body that holds the columns: str for the text types, bytes for NPY.

    CSV: no header, a missing value is empty. JSON: an array with an array a row. JSON lines: an object by column name a line. NPY:
    a (rows, columns) float64 array; raises BadOutput where a column is text.
    """
    if content_type == NPY:
        return _npy(columns)
    table = [list(row) for row in zip(*columns.values())]
    if content_type == JSON:
        return json.dumps(table)
    if content_type == JSONLINES:
        return "".join(json.dumps(dict(zip(columns, row))) + "\n" for row in table)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def _npy(columns: dict[str, list[Any]]) -> bytes:
    np: Any = importlib.import_module("numpy")
    for name, values in columns.items():
        if any(isinstance(v, str) for v in values):
            raise BadOutput(f"column `{name}` is text, which {NPY} cannot hold: choose another `inference.content_type`")
    out = io.BytesIO()
    np.save(out, np.column_stack([np.array(v, dtype=np.float64) for v in columns.values()]))
    return out.getvalue()


def decode_array(body: Any, content_type: str) -> Any:
    """What SageMaker's default input_fn makes of a body: an array, of float32 where the body is text. Raises ValueError."""
    np: Any = importlib.import_module("numpy")
    if content_type == NPY:
        return np.load(io.BytesIO(body), allow_pickle=False)
    if content_type == JSON:
        return np.array(json.loads(body), dtype=np.float32)
    if content_type == JSONLINES:
        return np.array([list(json.loads(line).values()) for line in body.splitlines()], dtype=np.float32)
    table = [[float(v) if v else float("nan") for v in row] for row in csv.reader(io.StringIO(body))]
    return np.array(table, dtype=np.float32)


def decode_answer(answer: Any, accept: str, rows: int) -> Any:
    """The values in what output_fn, transform_fn or a server answered: for `Outputs` to judge. Raises BadOutput.

    Taken are a str or bytes of one of the four types, a tuple (body, type), an object with `response` or `data` and a `mimetype` or
    `content_type` (sagemaker_containers' worker.Response), and any value that is no body at all, as it is.
    """
    said = False
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], str):
        answer, accept = answer
    elif not hasattr(answer, "dtype"):
        kind = getattr(answer, "mimetype", None) or getattr(answer, "content_type", None)
        for name in ("response", "data", "body"):
            if kind is not None and hasattr(answer, name):
                answer, accept, said = getattr(answer, name), kind, True
                break
    if (
        isinstance(answer, list)
        and len(answer) == 1
        and (isinstance(answer[0], bytes) or (isinstance(answer[0], str) and (rows > 1 or said)))
    ):
        answer = answer[0]  # a response's list of one body; a bare list of one text may be the label of one row
    if not isinstance(answer, (str, bytes, bytearray)):
        return answer
    try:
        return _decode(answer, accept.partition(";")[0].strip().lower(), rows)
    except (ValueError, EOFError, RecursionError, csv.Error) as exc:
        raise BadOutput(f"the answer is no {accept}: {exc}") from exc


def _decode(body: Any, kind: str, rows: int) -> Any:
    if not isinstance(body, str) and (kind == NPY or body.startswith(b"\x93NUMPY")):
        return importlib.import_module("numpy.lib.format").read_array(io.BytesIO(body), allow_pickle=False)
    text = body if isinstance(body, str) else bytes(body).decode("utf-8")
    if kind in (JSONLINES, "application/x-jsonlines", "application/jsonl"):
        return _records([json.loads(line) for line in text.splitlines() if line.strip()], rows)
    if kind.startswith("text/"):
        return _csv(text, rows)
    return _json(json.loads(text), rows)


def _json(value: Any, rows: int) -> Any:
    if isinstance(value, dict):
        for name in _LISTS:
            if isinstance(value.get(name), list):
                beside = next((n for n in SCORES if isinstance(value.get(n), list)), None)
                if beside is None or any(isinstance(item, dict) for item in value[name]):
                    return _json(value[name], rows)
                return {"prediction": value[name], beside: value[beside]}
        return {k: v if isinstance(v, list) else [v] for k, v in value.items()}
    if not isinstance(value, list):
        return [value]
    return _records(value, rows)


def _records(value: list[Any], rows: int) -> Any:
    """A list of objects as columns; any other list as it is."""
    if value and all(isinstance(item, dict) for item in value):
        if len(value) == 1 and rows > 1 and all(isinstance(v, list) for v in value[0].values()):
            return value[0]
        return {name: [item.get(name) for item in value] for name in value[0]}
    return value


def _csv(text: str, rows: int) -> Any:
    """Rows of a CSV answer: one value or one list a row; a header is taken where there is a line more, and then names the columns."""
    table = [[_value(v) for v in row] for row in csv.reader(io.StringIO(text)) if row]
    if len(table) == rows + 1 and all(isinstance(v, str) for v in table[0]):
        return {str(name): [row[i] for row in table[1:]] for i, name in enumerate(table[0])}
    if len(table) == 1 and rows > 1 and len(table[0]) == rows:
        table = [[v] for v in table[0]]  # all values in one line
    return [row[0] for row in table] if all(len(row) == 1 for row in table) else table


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
