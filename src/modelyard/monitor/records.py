"""What one side of a captured event says: records out of its data, and features and answers out of a record. Pure.

A record is an object (names and values) or a list (values in the signature's order). Everything here raises ValueError with a sentence.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from datetime import UTC, datetime
from typing import Any

from modelyard import tables, zones
from modelyard.signature import Column, Signature

Record = dict[str, Any] | list[Any]
_HOLDERS = ("instances", "inputs", "predictions", "dataframe_records", "data", "outputs")
"""Keys under which a body of JSON holds its records."""
_LEAST, _MOST = -(2**63), 2**63 - 1
"""The whole numbers that a table holds."""
_MISSING = ("", "nan", "NaN", "null", "None", "NA")


def side(half: dict[str, Any]) -> list[Record]:
    """The records of endpointInput or endpointOutput."""
    encoding, data = half["encoding"], half["data"]
    if encoding == "BASE64":
        kind = half.get("observedContentType", "")
        data = base64.b64decode(data, validate=True).decode("utf-8")
        encoding = "CSV" if "csv" in kind else "JSON"
    return records(data, encoding)


def records(data: str, encoding: str) -> list[Record]:
    """The records of data in CSV (without a header) or JSON: an object, a list, a holder of either, or JSON lines."""
    if encoding == "CSV":
        try:
            return [row for row in csv.reader(io.StringIO(data, newline="")) if row]
        except csv.Error as exc:
            raise ValueError(f"not CSV: {exc}") from exc
    if encoding != "JSON":
        raise ValueError(f"data in {encoding} is not read here")
    try:
        found = json.loads(data)
    except ValueError:
        return [_record(json.loads(line)) for line in data.split("\n") if line.strip()]
    return _unwrapped(found)


def matched(inputs: list[Record], outputs: list[Record]) -> list[tuple[Record, Record]]:
    """Each record with its answer. A flat list may be the answers of as many rows."""
    if len(outputs) == 1 < len(inputs) == len(outputs[0]) and isinstance(outputs[0], list):
        outputs = [[item] for item in outputs[0]]
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} rows were asked, and {len(outputs)} answered")
    return list(zip(inputs, outputs, strict=True))


def _unwrapped(found: Any) -> list[Record]:
    if isinstance(found, dict):
        for holder in _HOLDERS:
            if isinstance(held := found.get(holder), list):
                return [_record(item) for item in held]
        split = found.get("dataframe_split", found)
        if isinstance(split.get("columns"), list) and isinstance(split.get("data"), list):
            return [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
        return [_record(found)]
    if isinstance(found, list) and found and all(isinstance(item, dict | list) for item in found):
        return [_record(item) for item in found]
    return [_record(found)]


def _record(item: Any) -> Record:
    if isinstance(item, dict) and isinstance(item.get("features"), list):
        return list(item["features"])
    if isinstance(item, dict | list):
        return item
    return [item]


def features(record: Record, signature: Signature) -> dict[str, Any]:
    """The f.* and x.* of a record, of the signature's types; what is not there is left out."""
    if isinstance(record, list):
        if len(record) != len(signature.columns):
            raise ValueError(f"a row of {len(record)} values; the model takes {len(signature.columns)} columns")
        record = dict(zip(signature.names, record, strict=True))
    found = {tables.feature(c.name): value(c, record[c.name]) for c in signature.columns if c.name in record}
    found |= {tables.extra(name): _beside(record[name]) for name in signature.companions if name in record}
    if signature.time_col in record and (at := record[str(signature.time_col)]):
        found[tables.EVENT_TIME] = _instant(at, str(signature.time_col), signature.timezone)
    return found


def _beside(given: Any) -> Any:
    """What comes along with a row, whatever it is: as text where a column of a table cannot hold it."""
    if isinstance(given, dict | list):
        return json.dumps(given)
    return str(given) if isinstance(given, int) and not _LEAST <= given <= _MOST else given


def value(column: Column, given: Any) -> Any:
    """A value as the column's type has it; None where it is missing."""
    if given is None or (isinstance(given, str) and column.type != "str" and given.strip() in _MISSING):
        return None
    if column.type == "str":
        return given if isinstance(given, str) else json.dumps(given)
    try:
        if column.type == "datetime":
            return _instant(given, column.name, column.timezone)
        if column.type == "bool":
            return _TRUTHS[str(given).strip().lower()]
        number = float(given)
        if column.type == "float":
            return _finite(number)
        if number != int(number):
            raise ValueError
        whole = int(given) if isinstance(given, int | str) and str(given).lstrip("+-").isdigit() else int(number)
        if not _LEAST <= whole <= _MOST:
            raise ValueError
        return whole
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ValueError(f"{given!r} in `{column.name}` is no {column.type}") from None


def _finite(number: float) -> float | None:
    """As our own capture has it: a number that is not finite is a missing one."""
    return number if math.isfinite(number) else None


_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _instant(given: Any, name: str, timezone: str) -> datetime:
    try:
        if isinstance(given, int | float) and not isinstance(given, bool):
            return datetime.fromtimestamp(given, UTC)
        return zones.instant(datetime.fromisoformat(str(given)), timezone)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{given!r} in `{name}` is no time") from None


def answers(record: Record, signature: Signature) -> dict[str, Any]:
    """The y.* of a record: outputs by name, all of them in order, one score a class, or a single answer."""
    if isinstance(record, dict):
        return _named(record, signature)
    if len(record) == len(signature.outputs) > 1:
        return _given(dict(zip(signature.outputs, record, strict=True)), signature)
    if len(record) == len(signature.classes) > 1:
        return _by_scores([float(score) for score in record], signature)
    if len(record) != 1:
        raise ValueError(f"an answer of {len(record)} values; the model gives {', '.join(signature.outputs)}")
    return _single(record[0], signature)


def _named(record: dict[str, Any], signature: Signature) -> dict[str, Any]:
    flat = dict(record)
    for name, share in (record.get("probabilities") or {}).items():
        flat[f"probability_{name}"] = share
    if "prediction" not in flat and "predicted_label" in flat:  # SageMaker's own algorithms
        flat["prediction"] = flat["predicted_label"]
    if "prediction" in flat:
        return _given({name: flat[name] for name in signature.outputs if name in flat}, signature)
    if isinstance(flat.get("score"), int | float):
        return _single(flat["score"], signature)
    raise ValueError(f"an answer without `prediction`: {', '.join(map(str, list(record)[:10]))}")


def _given(values: dict[str, Any], signature: Signature) -> dict[str, Any]:
    scores = {tables.output(name): _finite(float(values[name])) for name in values if name != "prediction" and values[name] is not None}
    return {tables.PREDICTION: _prediction(values["prediction"], signature), **scores}


def _prediction(given: Any, signature: Signature) -> Any:
    if signature.answer == "number":
        return _finite(float(given))
    if signature.answer == "labels":
        return str(given)
    for known in signature.classes:
        if given == known or str(given) == str(known) or _same_number(given, known):
            return known
    raise ValueError(f"{given!r} is none of the model's classes")


def _same_number(given: Any, known: Any) -> bool:
    try:
        return not isinstance(known, str) and float(given) == float(known)
    except (TypeError, ValueError):
        return False


def _single(given: Any, signature: Signature) -> dict[str, Any]:
    """One value: the prediction, or of two classes the positive one's probability."""
    try:
        return {tables.PREDICTION: _prediction(given, signature)}
    except ValueError:
        if signature.problem_type != "binary_classification":
            raise
    share = float(given)
    if not 0 <= share <= 1:
        raise ValueError(f"{given!r} is neither a class nor a probability")
    positive = signature.positive_class
    return _by_scores([share if c == positive else 1 - share for c in signature.classes], signature)


def _by_scores(scores: list[float], signature: Signature) -> dict[str, Any]:
    outputs = {tables.output(f"probability_{c}"): score for c, score in zip(signature.classes, scores, strict=True)}
    best = signature.classes[max(range(len(scores)), key=scores.__getitem__)]
    if signature.positive_class is not None and signature.decision_threshold is not None:
        other = next(c for c in signature.classes if c != signature.positive_class)
        share = outputs[tables.output(signature.positive_output)]
        best = signature.positive_class if share >= signature.decision_threshold else other
    return {tables.PREDICTION: best, **outputs}
