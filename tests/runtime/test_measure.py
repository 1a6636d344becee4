"""The script that runs metrics of one's own, as the job runs it: a file beside their code, with pandas or without."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.flows.measuring import as_columns
from modelyard.runtime import measure
from tests import environments

TABLE = pl.DataFrame(
    {
        "inference_id": ["a", "b"],
        "event_time": [datetime(2025, 1, 1, tzinfo=UTC), None],
        "f.x": [1.5, float("nan")],
        "f.prediction": ["a feature", "of that name"],
        "x.shop": ["s1", None],
        "y.prediction": [1, 0],
        "label": [1, 1],
    }
)
CODE = """
def kinds(table):
    return float(type(table).__name__ == "DataFrame")


def share(table):
    assert table["event_time"][0].year == 2025 and table["f.prediction"][0] == "a feature" and table["shop"][0] == "s1"
    return sum(a == b for a, b in zip(table["prediction"], table["label"])) / len(table["label"])


def infinite(table):
    return float("inf")


def words(table):
    return "0.5"


def leaves(table):
    raise SystemExit(3)
"""
PLAIN = "import runpy, sys; sys.modules['pandas'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"


def asked(folder: Path, *, pandas: bool, **more: Any) -> dict[str, Any]:
    """What the script writes of each function in `CODE`; `more` is asked of each."""
    inputs, output, code = folder / "input" / "tables", folder / "output" / "metrics", folder / "code"
    for made in (inputs, output, code / "0"):
        made.mkdir(parents=True)
    names = ["kinds", "share", "infinite", "words", "leaves", "absent"]
    ask = [{"name": n, "file": "0/mine.py", "function": n, "tables": ["holdout"], **more} for n in names]
    (inputs / "ask.json").write_text(json.dumps(ask))
    (inputs / "holdout.json").write_text(json.dumps(as_columns(TABLE)))
    (code / "0" / "mine.py").write_text(CODE)
    script = shutil.copy(measure.__file__, code / "measure.py")
    command = [str(environments.python()), script] if pandas else [sys.executable, "-c", PLAIN, script]
    subprocess.run(command, env={"MODELYARD_PROCESSING_DIR": str(folder)}, check=True, capture_output=True, timeout=120)
    found: dict[str, Any] = json.loads((output / "metrics.json").read_text())
    return found


@pytest.mark.parametrize("pandas", [True, False])
def test_functions_are_asked_and_their_failures_told(tmp_path: Path, pandas: bool) -> None:
    found = asked(tmp_path, pandas=pandas)
    assert found["kinds"] == {"holdout": float(pandas)} and found["share"] == {"holdout": 0.5}
    assert found["infinite"] == {"holdout": None}
    assert found["words"]["error"] == "TypeError: gave '0.5', not a number"
    assert found["leaves"]["error"] == "SystemExit: 3" and any("mine.py" in line for line in found["leaves"]["trace"])
    assert found["absent"]["error"].startswith("AttributeError")


@pytest.mark.parametrize("pandas", [True, False])
def test_parts_are_left_out_in_turn(tmp_path: Path, pandas: bool) -> None:
    found = asked(tmp_path, pandas=pandas, without=2)
    assert found["kinds"] == {"holdout": float(pandas), "without holdout": [float(pandas)] * 2}
    assert "error" in found["share"], "it looks at the first row, which one of the parts lacks"


def test_each_part_is_every_so_manieth_row() -> None:
    table = {"a": [0, 1, 2, 3, 4]}
    assert [measure.without(table, part, 2)["a"] for part in (0, 1)] == [[1, 3], [0, 2, 4]]


def test_a_table_is_plain_json_and_no_name_hides_another() -> None:
    said = as_columns(TABLE)
    assert said["times"] == ["event_time"] and said["columns"]["event_time"] == ["2025-01-01T00:00:00+00:00", None]
    assert list(said["columns"]) == ["inference_id", "event_time", "x", "f.prediction", "shop", "prediction", "label"]
    assert said["columns"]["x"] == [1.5, None]
