"""Metrics of the user's own: functions over scored tables, run in the model's environment as a processing job. Standard library only.

Run as the script of a processing job with an input `tables` and an output `metrics`: tables/ask.json names the functions, and each
table is a JSON file with its columns. Writes metrics/metrics.json: {metric: {table: number or null, ...} or {"error", "trace"}}; where
ask.json wants `without` (a count), also {"without TABLE": numbers}: the metric of the table without each of so many parts of its rows,
which tells how far it moves by chance. It imports nothing of ours: it is copied beside the user's code.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import json
import math
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def table(path: Path) -> Any:
    """The table as a pandas DataFrame, or as {column: list} where there is no pandas; times are UTC."""
    said = json.loads(path.read_text(encoding="utf-8"))
    columns, times = said["columns"], said["times"]
    try:
        pd: Any = importlib.import_module("pandas")
    except ImportError:
        for name in times:
            columns[name] = [None if v is None else datetime.datetime.fromisoformat(v) for v in columns[name]]
        return columns
    frame = pd.DataFrame(columns)
    for name in times:
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame


def without(given: Any, part: int, parts: int) -> Any:
    """A table (see `table`) without every so-manieth row."""
    if isinstance(given, dict):
        return {name: [v for i, v in enumerate(values) if i % parts != part] for name, values in given.items()}
    return given.iloc[[i for i in range(len(given)) if i % parts != part]].reset_index(drop=True)


def function(path: Path, name: str) -> Any:
    """The function of a file; what lies beside the file can be imported by it."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("custom_metric_" + path.stem, str(path))
    if spec is None or spec.loader is None:
        raise ImportError(path.name + " is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def number(value: Any) -> Any:
    """A finite number, or None. Raises TypeError for what is no number."""
    if isinstance(value, (str, bytes)):
        raise TypeError("gave " + repr(value)[:60] + ", not a number")
    found = float(value)
    return found if math.isfinite(found) else None


def main(inputs: Path, output: Path) -> None:
    code = Path(__file__).resolve().parent
    found: dict[str, Any] = {}
    for metric in json.loads((inputs / "ask.json").read_text(encoding="utf-8")):
        found[metric["name"]] = values = {}
        try:
            measure = function(code / metric["file"], metric["function"])
            for name in metric["tables"]:  # each is read anew: a function may change what it is given
                path, parts = inputs / (name + ".json"), metric.get("without", 0)
                values[name] = number(measure(table(path)))
                if parts:
                    values["without " + name] = [number(measure(without(table(path), k, parts))) for k in range(parts)]
        except BaseException as exc:
            traceback.print_exc()
            found[metric["name"]] = {"error": type(exc).__name__ + ": " + str(exc), "trace": traceback.format_exc().splitlines()[-20:]}
    output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    processing = Path(os.environ["MODELYARD_PROCESSING_DIR"])
    main(processing / "input" / "tables", processing / "output" / "metrics" / "metrics.json")
