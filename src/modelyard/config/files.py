"""The files that a config names: whether they are there, inside the model's repository, and of the right kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from modelyard.config import words
from modelyard.config.load import Loaded
from modelyard.config.spec import Config
from modelyard.files import is_data

Finding = tuple[words.Path, str, str]
"""A path in the config, what is wrong there, and what to do next."""
Named = tuple[words.Path, str, str | None]
"""A path in the config, the file it names, and the folder that it may be relative to."""

_FROM = "paths start at the folder of config.yaml"


def findings(loaded: Loaded) -> Iterator[Finding]:
    if (data := data_name(loaded.config)) is not None:
        data_file: list[Named] = [(("data", "source", "location"), data, None)]
    else:
        data_file = []
    named = [*data_file, *scripts(loaded.config), *_others(loaded.config)]
    for path, name, source_dir in named:
        finding = _file(loaded.folder, path, name, source_dir)
        if finding is not None:
            yield finding


def scripts(config: Config) -> Iterator[Named]:
    """Code that the build runs and what lies beside it, with the folder that SageMaker takes an entry point from."""
    parts: list[tuple[words.Path, object]] = [(("train",), config.train), (("preprocess",), config.preprocess)]
    parts += [(("postprocess",), config.postprocess), *((("steps", i), step) for i, step in enumerate(config.steps))]
    for path, part in parts:
        source_dir = getattr(part, "source_dir", None)
        for key in ("entry_point", "requirements", "source_dir"):
            if (name := getattr(part, key, None)) is not None:
                yield (*path, key), name, source_dir if key == "entry_point" else None
        for name, reference in getattr(part, "inputs", {}).items():
            if reference.startswith("./"):
                yield (*path, "inputs", name), reference.removeprefix("./"), None
    inference, train = config.inference, config.train
    beside = inference.source_dir or (train.source_dir if train else None)
    if inference.entry_point is not None and not _inside_the_model(config):
        yield ("inference", "entry_point"), inference.entry_point, beside
    for key in ("pre", "post"):
        if (name := getattr(inference, key)) is not None:
            yield ("inference", key), name, beside
    if inference.source_dir is not None:
        yield ("inference", "source_dir"), inference.source_dir, None
    yield from (
        (("evaluate", "custom_metrics", i, "entry_point"), m.entry_point, None) for i, m in enumerate(config.evaluate.custom_metrics)
    )


def _inside_the_model(config: Config) -> bool:
    """Whether the script may travel with the model that is brought, as in SageMaker's model.tar.gz."""
    return config.bring is not None and config.bring.artifact.endswith((".tar.gz", ".tgz"))


def _others(config: Config) -> Iterator[Named]:
    if config.bring is not None:
        if "://" not in config.bring.artifact:
            yield ("bring", "artifact"), config.bring.artifact, None
        if config.bring.requirements:
            yield ("bring", "requirements"), config.bring.requirements, None
    if config.data.source.requirements:
        yield ("data", "source", "requirements"), config.data.source.requirements, None
    if config.bias is not None and config.bias.analysis_config is not None:
        yield ("bias", "analysis_config"), config.bias.analysis_config, None
    if config.monitor.data_quality.constraints is not None:
        yield ("monitor", "data_quality", "constraints"), config.monitor.data_quality.constraints, None


def _file(folder: Path, path: words.Path, name: str, source_dir: str | None) -> Finding | None:
    if path[-1] == "location" and any(mark in name for mark in "*?["):
        return None if next(iter(_matches(folder, name)), None) else (path, f"no file matches {name}", "")
    try:
        existing = found(folder, name, source_dir)
        if existing is None:
            near = _nearest_file(folder / (source_dir or "") / name)
            kind = "folder" if path[-1] == "source_dir" else "file"
            return path, f"there is no {kind} {name}" + (f"; did you mean {near}?" if near else ""), "" if near else _FROM
        if not existing.resolve().is_relative_to(folder.resolve()):
            return path, f"{name} is a link that leads out of the model's repository", ""
        if (path[-1] == "source_dir") != existing.is_dir() and path[-1] not in ("location", "artifact") and path[-2] != "inputs":
            return path, f"{name} is {'a folder, not a file' if existing.is_dir() else 'a file, not a folder'}", ""
    except OSError as exc:
        return path, f"{name} cannot be looked at: {exc.strerror}", ""
    return None


def found(folder: Path, name: str, source_dir: str | None) -> Path | None:
    """The file or folder that a config names: with `source_dir`, SageMaker takes it from there; a path from config.yaml is as clear."""
    places = [folder / name] if source_dir is None else [folder / source_dir / name, folder / name]
    return next((p for p in places if p.exists()), None)


def _nearest_file(missing: Path) -> str | None:
    if not missing.parent.is_dir():
        return None
    return words.nearest(missing.name, (p.name for p in itertools.islice(missing.parent.iterdir(), 1000)))


def data_name(config: Config) -> str | None:
    location = config.data.source.location
    return location if isinstance(location, str) and "://" not in location else None


def _matches(folder: Path, name: str) -> list[Path]:
    return sorted(p for p in itertools.islice(folder.glob(name), 1000) if p.is_file())


def first_file(folder: Path, name: str, using: str) -> Path | None:
    """The file whose header stands for all of a pattern's or a folder's."""
    if any(mark in name for mark in "*?["):
        return next(iter(_matches(folder, name)), None)
    if using == "delta":
        return folder / name if (folder / name).is_dir() else None
    if (folder / name).is_dir():
        return next((p for p in _matches(folder / name, f"**/*.{using}") if is_data(p.relative_to(folder / name))), None)
    return folder / name if (folder / name).is_file() else None
