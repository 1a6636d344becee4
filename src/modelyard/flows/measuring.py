"""What a build measures beside the catalogue's metrics: functions of the user's own, the runner's latency, the model's size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import envs, source
from modelyard.config.spec import CustomMetric
from modelyard.errors import BadInput, StepFailed
from modelyard.flows import jobs
from modelyard.quality.metrics import METRICS
from modelyard.targets.base import Job

if TYPE_CHECKING:
    import polars as pl

    from modelyard.flows.site import Site
    from modelyard.workshop import Workshop

CODE = "metrics-code"
"""Folder of the run with the code of custom metrics, a folder each place that it comes from."""
MAIN = "modelyard_measure.py"
TIMEOUT, WATCHED_TIMEOUT = 900.0, 300.0
"""Seconds that all functions may take in a build, and when a window is judged."""
PARTS = 10
"""Parts of a window's rows that are left out in turn, to tell how far a number moves by chance."""


def packaged(site: Site, into: Path, exclude: Iterable[Path]) -> list[str]:
    """Copy the files of the custom metrics, with what lies beside them; a digest a folder. Raises BadInput for a name that is taken."""
    asked = site.config.evaluate.custom_metrics
    for metric in asked:
        if metric.name in METRICS:
            raise BadInput(f"there is a metric {metric.name} already", where="evaluate.custom_metrics", next="give yours another name")
    if not asked:
        return []
    site.fresh(into).mkdir()
    firsts = {folder: next(m for m in asked if Path(m.entry_point).parent == folder) for folder in _folders(asked)}
    left_out = list(exclude)
    return [
        source.package(site.repository, metric.entry_point, None, into / str(number), exclude=left_out)
        for number, metric in enumerate(firsts.values())
    ]


def _folders(asked: Sequence[CustomMetric]) -> list[Path]:
    return list(dict.fromkeys(Path(m.entry_point).parent for m in asked))


def _asked(asked: Sequence[CustomMetric], names: Callable[[CustomMetric], list[str]]) -> list[dict[str, Any]]:
    """What runtime/measure.py is asked for; `names`: the tables that a metric is computed of."""
    folders = _folders(asked)
    files = [f"{folders.index(Path(m.entry_point).parent)}/{Path(m.entry_point).name}" for m in asked]
    return [{"name": m.name, "file": file, "function": m.function, "tables": names(m)} for m, file in zip(asked, files, strict=True)]


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
    ask = _asked(asked, lambda metric: [name for name in given if name == "holdout" or metric.name in compared])
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
    made = site.folder / "metrics-output"
    python = envs.ensure(site.lock(), site.shop.home.path).python
    code = _code(site.folder / CODE, site.fresh(site.folder / "metrics-job"))
    jobs.run(site, _job(site.run.id, python, code, site.folder / "custom-metrics", inputs), made)
    answer: dict[str, dict[str, Any]] = json.loads((made / "metrics" / "metrics.json").read_text(encoding="utf-8"))
    return answer


def _code(kept: Path, into: Path) -> Path:
    """The users' code with our script beside it, in the new folder `into`."""
    shutil.copytree(kept, into)
    for folder in (into, *(path for path in into.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # a bundle's are read-only
    shutil.copyfile(Path(__file__).resolve().parent.parent / "runtime" / "measure.py", into / MAIN)
    return into


def _job(run: str, python: Path, code: Path, base: Path, inputs: Path, timeout: float = TIMEOUT) -> Job:
    return Job(
        run=run,
        name="custom-metrics",
        kind="process",
        python=python,
        entry_point=MAIN,
        code=code,
        base=base,
        inputs={"tables": inputs},
        outputs=("metrics",),
        timeout=timeout,
        network=False,
    )


def again(shop: Workshop, model: str, sealed: Path, asked: Sequence[CustomMetric], rows: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The custom metrics that a version was built with, of other rows: {metric: {"rows": number or None, "without rows": as many numbers
    as `PARTS`, each without a part of the rows} or {"error", "trace"}}.

    sealed: the version's bundle, whose code and environment it is. rows: a predictions table with `label`.
    Raises what went wrong with the job: StepFailed, NotFound, BadInput.
    """
    name = f"measure-{model}"
    work = shop.home.path / "measuring" / model
    with shop.busy(name):
        shutil.rmtree(work, ignore_errors=True)
        (inputs := work / "input").mkdir(parents=True)
        try:
            (inputs / "rows.json").write_text(json.dumps(as_columns(rows)), encoding="utf-8")
            ask = [{**one, "without": PARTS} for one in _asked(asked, lambda metric: ["rows"])]
            (inputs / "ask.json").write_text(json.dumps(ask), encoding="utf-8")
            python = envs.ensure((sealed / "env" / "requirements.lock").read_text(encoding="utf-8"), shop.home.path).python
            job = _job(name, python, _code(sealed / CODE, work / "code"), work / "job", inputs, WATCHED_TIMEOUT)
            state = shop.target.job(shop.target.submit(job, lambda line: None))
            if state.error is not None:
                raise state.error
            assert state.output is not None
            answer: dict[str, dict[str, Any]] = json.loads((state.output / "metrics" / "metrics.json").read_text(encoding="utf-8"))
            return answer
        finally:
            shutil.rmtree(work, ignore_errors=True)


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
