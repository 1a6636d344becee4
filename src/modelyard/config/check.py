"""What can be known to be wrong with a config without running anything: files, columns, metrics.

Only the headers of a local data file are read, and nothing heavy is imported where there is none to read.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Collection, Iterator
from pathlib import Path

from modelyard.config import words
from modelyard.config.document import Document, locate
from modelyard.config.load import Loaded, shown_path
from modelyard.config.spec import Config
from modelyard.errors import Problem

_MAX_HEADER = 1_000_000

Finding = tuple[words.Path, str, str]
"""A path in the config, what is wrong there, and what to do next."""


def check(loaded: Loaded, *, metrics: Collection[str] | None = None) -> list[Problem]:
    """Every problem that shows without running anything, in the file's order.

    Args:
        loaded: a config that holds.
        metrics: names of the metrics of its problem type; None leaves them unjudged.
    """
    found = [*_files(loaded), *_columns(loaded), *_metrics(loaded, metrics)]
    if not found:
        return []
    document = Document(loaded.text, shown_path(loaded.path))  # a second reading, only where there is something to place
    for path, message, next in found:
        document.report(locate(document.root, path) if document.root else (1, 1), message, next)
    return sorted(document.problems, key=lambda p: (p.line, p.column))


def _files(loaded: Loaded) -> Iterator[Finding]:
    config, named = loaded.config, list[tuple[words.Path, str, str | None]]()
    source_dir = config.train.source_dir if config.train else None
    if config.train is not None:
        named += [(("train", "entry_point"), config.train.entry_point, source_dir)]
        named += [(("train", "requirements"), config.train.requirements, None)] if config.train.requirements else []
        named += [(("train", "source_dir"), config.train.source_dir, None)] if config.train.source_dir else []
    if config.preprocess is not None:
        named += [(("preprocess", "entry_point"), config.preprocess.entry_point, None)]
    if config.inference.entry_point is not None:
        named += [(("inference", "entry_point"), config.inference.entry_point, source_dir)]
    if config.bring is not None:
        named += [(("bring", "artifact"), config.bring.artifact, None)] if "://" not in config.bring.artifact else []
        named += [(("bring", "requirements"), config.bring.requirements, None)] if config.bring.requirements else []
    if (data := _data_name(config)) is not None:
        named += [(("data", "source", "location"), data, None)]
    for path, name, source_dir in named:
        finding = _file(loaded.folder, path, name, source_dir)
        if finding is not None:
            yield finding


def _file(folder: Path, path: words.Path, name: str, source_dir: str | None) -> Finding | None:
    if path[-1] == "location" and any(mark in name for mark in "*?["):
        return None if next(iter(_matches(folder, name)), None) else (path, f"no file matches {name}", "")
    # With `source_dir`, SageMaker takes an entry point from there; a path from config.yaml is as clear.
    places = [folder / name] if source_dir is None else [folder / source_dir / name, folder / name]
    try:
        existing = next((p for p in places if p.exists()), None)
        if existing is None:
            near = _nearest_file(places[0])
            return path, f"there is no file {name}" + (f"; did you mean {near}?" if near else ""), ""
        if not existing.resolve().is_relative_to(folder.resolve()):
            return path, f"{name} is a link that leads out of the model's repository", ""
        if (path[-1] == "source_dir") != existing.is_dir() and path[-1] not in ("location", "artifact"):
            return path, f"{name} is {'a folder, not a file' if existing.is_dir() else 'a file, not a folder'}", ""
    except OSError as exc:
        return path, f"{name} cannot be looked at: {exc.strerror}", ""
    return None


def _nearest_file(missing: Path) -> str | None:
    if not missing.parent.is_dir():
        return None
    return words.nearest(missing.name, (p.name for p in itertools.islice(missing.parent.iterdir(), 1000)))


def _data_name(config: Config) -> str | None:
    location = config.data.source.location
    return location if isinstance(location, str) and "://" not in location else None


def _matches(folder: Path, name: str) -> list[Path]:
    return sorted(p for p in itertools.islice(folder.glob(name), 1000) if p.is_file())


def _first_file(folder: Path, name: str, using: str) -> Path | None:
    """The file whose header stands for all of a pattern's or a folder's."""
    if any(mark in name for mark in "*?["):
        return next(iter(_matches(folder, name)), None)
    if (folder / name).is_dir():
        return next(iter(_matches(folder / name, f"**/*.{using}")), None)
    return folder / name if (folder / name).is_file() else None


def _columns(loaded: Loaded) -> Iterator[Finding]:
    name = _data_name(loaded.config)
    file = None if name is None else _first_file(loaded.folder, name, loaded.config.data.source.using)
    if file is None:
        return
    try:
        known = header(file, loaded.config.data.source.using)
    except (OSError, ValueError, csv.Error) as exc:
        yield ("data", "source", "location"), f"{name} cannot be read as {loaded.config.data.source.using}: {str(exc)[:200]}", ""
        return
    if not known:
        yield ("data", "source", "location"), f"{name} has no columns", ""
        return
    for path, column in _named_columns(loaded):
        if column not in known:
            near = words.nearest(column, known)
            hint = f"; did you mean `{near}`?" if near else ""
            yield path, f"{name} has no column `{column}`{hint}", "" if near else f"its columns: {', '.join(known[:30])}"
    yield from _left_out(loaded)


def header(path: Path, using: str) -> list[str]:
    """The column names of a local csv or parquet file.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read as that.
    """
    if using == "parquet":
        import pyarrow.parquet

        return [str(n) for n in pyarrow.parquet.read_schema(path).names]
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(_MAX_HEADER)
    return next(csv.reader([first]), [])


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
    if config.preprocess is None:  # which may make columns that the source does not have
        yield from ((("evaluate", "slices", i), c) for i, c in enumerate(config.evaluate.slices))
        yield from ((("monitor", "drift", "columns", i), c) for i, c in enumerate(config.monitor.drift.columns or ()))


def _left_out(loaded: Loaded) -> Iterator[Finding]:
    """Columns that are needed and yet excluded."""
    data, excluded = loaded.config.data, set(loaded.config.data.schema_.exclude)
    for key, column in (("target_col", data.target_col), ("time_col", data.time_col), ("id_col", data.id_col)):
        if column in excluded:
            place = ("data", "schema", "exclude", data.schema_.exclude.index(column))
            yield place, f"`{column}` is the {key}, and cannot be excluded", ""


def _metrics(loaded: Loaded, metrics: Collection[str] | None) -> Iterator[Finding]:
    if metrics is None:
        return
    criteria = loaded.config.evaluate.validation_criteria
    gates = [(("evaluate", "validation_criteria", i, "metric"), c.metric) for i, c in enumerate(criteria)]
    performance = loaded.config.monitor.performance.criteria
    watched = [(("monitor", "performance", "criteria", i, "metric"), c.metric) for i, c in enumerate(performance)]
    for path, metric in (*gates, *watched):
        if metric not in metrics:
            near = words.nearest(metric, metrics)
            hint = f"; did you mean {near}?" if near else ""
            kind = loaded.config.model.problem_type
            yield path, f"{kind} has no metric {metric}{hint}", f"its metrics: {', '.join(sorted(metrics))}"
