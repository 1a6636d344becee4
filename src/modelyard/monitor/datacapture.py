"""SageMaker's data-capture files as a predictions table, and its ground-truth files as labels.

Capture files lie under `ENDPOINT/VARIANT/yyyy/mm/dd/hh/`, an event (a request) a line. An event's id is its inferenceId, else its eventId;
of an event of several rows each is called `ID-ROW`, as everywhere here. Ground truth names the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.errors import BadInput, NotFound
from modelyard.monitor import records
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl


OLDEST, AHEAD = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=1)
"""The times of events that are taken in, and how far they may be ahead of now, as an endpoint's may. Archives are older than what an
endpoint takes."""
_TYPES = {"int": "Int64", "float": "Float64", "str": "String", "bool": "Boolean"}


def read(folder: Path, signature: Signature, now: datetime | None = None) -> pl.DataFrame:
    """All that was captured below `folder` (or in one file), in the order of its time; `version` is the variant's name ("" if unknown).
    now: by which an event is told to be ahead, by default the clock's.

    Features come by name (JSON objects), or in the signature's order (CSV, lists); a feature that an event does not name is null.

    Raises:
        NotFound: there is no capture file. BadInput: a line is no capture event, or does not fit the signature; it names the line.
    """
    import polars as pl

    rows: list[dict[str, Any]] = []
    newest = (now or datetime.now(UTC)) + AHEAD
    for path in _files(folder):
        variant = _variant(path)
        for place, line in _lines(path):
            rows += _rows(line, place, variant, signature, newest)
    if not rows:
        raise NotFound("there is no captured event", where=str(folder), next="name the folder that SageMaker's data capture wrote")
    columns = [_column(name, [row.get(name) for row in rows], signature) for name in dict.fromkeys(k for row in rows for k in row)]
    return pl.DataFrame(columns).sort(tables.EVENT_TIME, maintain_order=True)


def is_ground_truth(path: Path) -> bool:
    """Whether the path is a folder, or a file whose first line is one of SageMaker's ground truth."""
    if path.is_dir():
        return True
    if path.suffix.lower() not in (".jsonl", ".json"):
        return False
    with path.open("rb") as file:
        return b'"groundTruthData"' in file.readline(1_000_000)


def ground_truth(folder: Path) -> pl.DataFrame:
    """inference_id and label of all ground truth below `folder` (or in one file). Raises NotFound, BadInput."""
    import polars as pl

    ids, labels = list[str](), list[Any]()
    for path in _files(folder):
        for place, line in _lines(path):
            try:
                data, id = line["groundTruthData"], line["eventMetadata"]["eventId"]
                values = [_only(record) for record in records.records(data["data"], data["encoding"])]
            except (KeyError, TypeError, ValueError) as exc:
                raise BadInput(f"this is no ground truth of SageMaker's: {exc}", where=place) from exc
            ids += [str(id)] if len(values) == 1 else [f"{id}-{row}" for row in range(len(values))]
            labels += values
    if not ids:
        raise NotFound("there is no ground truth", where=str(folder), next="name the folder of ground-truth files")
    numbers = [_number(label) for label in labels]
    label = pl.Series(tables.LABEL, numbers if None not in numbers else [str(value) for value in labels])
    return pl.DataFrame([pl.Series(tables.INFERENCE_ID, ids), label])


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}")
    return sorted(path for path in folder.rglob("*.jsonl") if path.is_file())


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                line = json.loads(text)
            except ValueError as exc:
                raise BadInput(f"not JSON: {exc}", where=place) from exc
            if not isinstance(line, dict):
                raise BadInput("this is no event", where=place)
            yield place, line


def _variant(path: Path) -> str:
    """VARIANT of VARIANT/yyyy/mm/dd/hh/file."""
    parents = list(path.absolute().parents)
    is_hour = len(parents) > 4 and all(p.name.isdigit() for p in parents[:4])
    return parents[4].name if is_hour else ""


def _rows(line: dict[str, Any], place: str, variant: str, signature: Signature, newest: datetime) -> list[dict[str, Any]]:
    try:
        captured, about = line["captureData"], line["eventMetadata"]
        given, answered = captured["endpointInput"], captured["endpointOutput"]
        at = datetime.fromisoformat(about["inferenceTime"]).astimezone(UTC)
        pairs = records.matched(records.side(given), records.side(answered))
        _in_time(at, "inferenceTime", newest)
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise BadInput(f"this is no event of SageMaker's data capture: {exc}", where=place) from exc
    id = about.get("inferenceId") or about["eventId"]
    rows = []
    for number, (one, other) in enumerate(pairs):
        try:
            row = {**records.features(one, signature), **records.answers(other, signature)}
            _in_time(row.get(tables.EVENT_TIME, at), str(signature.time_col), newest)
        except ValueError as exc:
            raise BadInput(str(exc), where=place) from exc
        except (KeyError, TypeError, AttributeError, OverflowError) as exc:  # of an answer, which may be any JSON
            raise BadInput(f"an answer that is none of the model's: {json.dumps(other)[:100]}", where=place) from exc
        when = row.pop(tables.EVENT_TIME, None) or at
        name = str(id) if len(pairs) == 1 else f"{id}-{number}"
        fixed = {tables.INFERENCE_ID: name, tables.EVENT_TIME: when, tables.RECEIVED_AT: at, tables.VERSION: variant}
        rows.append({**fixed, tables.LATENCY_MS: None, **row})
    return rows


def _in_time(at: datetime, name: str, newest: datetime) -> None:
    """Raises ValueError for a time that no event can have: it would be the first, or the last, of all that was captured."""
    if not OLDEST <= at <= newest:
        raise ValueError(f"`{name}` lies {'before 1970' if at < OLDEST else 'more than a day ahead'} ({at.isoformat()})")


def _column(name: str, values: list[Any], signature: Signature) -> pl.Series:
    import polars as pl

    types = {tables.feature(c.name): str(c.type) for c in signature.columns}
    types |= {tables.EVENT_TIME: "datetime", tables.RECEIVED_AT: "datetime", tables.LATENCY_MS: "float"}
    kind = types.get(name) or ("float" if name.startswith(tables.OUTPUT) and name != tables.PREDICTION else "")
    if kind == "datetime":
        return pl.Series(name, values, pl.Datetime("us", "UTC"))
    if kind:
        return pl.Series(name, values, getattr(pl, _TYPES[kind]))
    return pl.Series(name, values, strict=False)


def _only(record: Any) -> Any:
    values = list(record.values()) if isinstance(record, dict) else record
    if len(values) != 1:
        raise ValueError(f"a label is one value, not {len(values)}")
    return values[0]


def _number(label: Any) -> Any:
    """A label as a number where it is one; None where it is none."""
    if isinstance(label, bool | int | float):
        return label
    try:
        return int(label)
    except (TypeError, ValueError):
        try:
            return float(label)
        except (TypeError, ValueError):
            return None
