"""What a build measures beside the catalogue's metrics: functions of the user's own, the runner's latency, the model's size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import envs, source
from modelyard.errors import BadInput, StepFailed
from modelyard.flows import jobs
from modelyard.quality.metrics import METRICS
from modelyard.targets.base import Job

if TYPE_CHECKING:
    import polars as pl

    from modelyard.flows.site import Site

CODE = "metrics-code"
"""Folder of the run with the code of custom metrics, a folder each place that it comes from."""
MAIN = "modelyard_measure.py"
TIMEOUT = 900.0


def packaged(site: Site, into: Path, exclude: Iterable[Path]) -> list[str]:
    """Copy the files of the custom metrics, with what lies beside them; a digest a folder. Raises BadInput for a name that is taken."""
    asked = site.config.evaluate.custom_metrics
    for metric in asked:
        if metric.name in METRICS:
            raise BadInput(f"there is a metric {metric.name} already", where="evaluate.custom_metrics", next="give yours another name")
    if not asked:
        return []
    site.fresh(into).mkdir()
    firsts = {folder: next(m for m in asked if Path(m.entry_point).parent == folder) for folder in _folders(site)}
    left_out = list(exclude)
    return [
        source.package(site.repository, metric.entry_point, None, into / str(number), exclude=left_out)
        for number, metric in enumerate(firsts.values())
    ]


def _folders(site: Site) -> list[Path]:
    return list(dict.fromkeys(Path(m.entry_point).parent for m in site.config.evaluate.custom_metrics))


def custom(site: Site, given: dict[str, pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """The custom metrics of each given table: {metric: {table's name: number or None, "greater_is_better": bool}}.

    given: predictions tables with `label`; `holdout` is asked of every metric, others only of those that a gate compares.
    Raises StepFailed, with the last lines, where a function raises, gives no number, or runs too long.
    """
    asked = site.config.evaluate.custom_metrics
    if not asked:
        return {}
    compared = {c.metric for c in site.config.evaluate.validation_criteria if c.versus is not None}
    inputs = site.fresh(site.folder / "metrics-input")
    inputs.mkdir()
    for name, table in given.items():
        (inputs / f"{name}.json").write_text(json.dumps(as_columns(table)), encoding="utf-8")
    folders = _folders(site)
    ask = [
        {
            "name": m.name,
            "file": f"{folders.index(Path(m.entry_point).parent)}/{Path(m.entry_point).name}",
            "function": m.function,
            "tables": [name for name in given if name == "holdout" or m.name in compared],
        }
        for m in asked
    ]
    (inputs / "ask.json").write_text(json.dumps(ask), encoding="utf-8")
    found = _run(site, inputs)
    for metric in asked:
        values = found[metric.name]
        if "error" in values:
            where = f"evaluate.custom_metrics.{metric.name}"
            said = f"{metric.function} of {metric.entry_point} failed: {values['error']}"
            raise StepFailed(said, where=where, log_tail=tuple(values["trace"]))
        values["greater_is_better"] = metric.greater_is_better
    return found


def _run(site: Site, inputs: Path) -> dict[str, dict[str, Any]]:
    code, made = site.fresh(site.folder / "metrics-job"), site.folder / "metrics-output"
    shutil.copytree(site.folder / CODE, code)
    shutil.copyfile(Path(__file__).resolve().parent.parent / "runtime" / "measure.py", code / MAIN)
    job = Job(
        run=site.run.id,
        name="custom-metrics",
        kind="process",
        python=envs.ensure(site.lock(), site.shop.home.path).python,
        entry_point=MAIN,
        code=code,
        base=site.folder / "custom-metrics",
        inputs={"tables": inputs},
        outputs=("metrics",),
        timeout=TIMEOUT,
        network=False,
    )
    jobs.run(site, job, made)
    answer: dict[str, dict[str, Any]] = json.loads((made / "metrics" / "metrics.json").read_text(encoding="utf-8"))
    return answer


def as_columns(table: pl.DataFrame) -> dict[str, Any]:
    """A predictions table as JSON for a custom metric: {"columns": {name: list}, "times": names of columns that hold times}.

    Features and what came along stand under their own names, outputs without `y.`; of two alike the output keeps the name.
    """
    short = [c for c in table.columns if not c.startswith((tables.FEATURE, tables.EXTRA))]
    taken = {c.removeprefix(tables.OUTPUT) for c in short}
    names = {c: c.removeprefix(tables.OUTPUT) for c in short}
    for prefix in (tables.FEATURE, tables.EXTRA):
        for column in (c for c in table.columns if c.startswith(prefix)):
            name = column.removeprefix(prefix)
            names[column] = column if name in taken else name
            taken.add(name)
    times = [names[c] for c, dtype in table.schema.items() if dtype.is_temporal()]
    return {"columns": {names[c]: [_plain(v) for v in table[c].to_list()] for c in table.columns}, "times": times}


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return None if isinstance(value, float) and value != value else value


def size(folder: Path) -> int:
    """Bytes of a model's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
