"""How drift is to be measured, against the types of columns that are known before anything runs: the config's, or a Parquet file's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modelyard.config import files
from modelyard.config.load import Loaded
from modelyard.config.spec import FITTING, KINDS, Config, unfit
from modelyard.signature import answer_of

if TYPE_CHECKING:
    import pyarrow


def findings(loaded: Loaded) -> Iterator[files.Finding]:
    """Measures that fit no value of what they are to measure."""
    config, drift, quality = loaded.config, loaded.config.monitor.drift, loaded.config.monitor.data_quality
    named = quality.ranged() or (drift.enabled and drift.overrides)
    types = _types(loaded) if named and config.preprocess is None else {}  # which may make others of them
    yield from _ranges(config, types)
    if not drift.enabled:
        return
    for name, asked in drift.overrides.items():
        if name in types and (said := unfit(asked.measure, KINDS[types[name]])):
            said, instead = f"{said}, and `{name}` is of type {types[name]}", _instead(KINDS[types[name]])
            yield ("monitor", "drift", "overrides", name, "measure"), said, instead
    kind = config.model.problem_type
    numeric = answer_of(kind) == "number" or kind == "anomaly_detection"  # whether a classifier gives probabilities, the build sees
    if numeric and (said := unfit(drift.prediction.measure, "numeric")):
        yield (
            ("monitor", "drift", "prediction", "measure"),
            f"{said}, and the score of {kind.replace('_', ' ')} is one",
            _instead("numeric"),
        )


def _ranges(config: Config, types: Mapping[str, str]) -> Iterator[files.Finding]:
    """Ranges of columns of words, of which no value would ever lie outside."""
    for name, key in config.monitor.data_quality.ranged():
        if name in types and KINDS[types[name]] == "categorical":
            said = f"`{key}` is about numbers, and `{name}` is of type {types[name]}"
            yield ("monitor", "data_quality", "columns", name, key), said, "write `categories`, or leave it out"


def _instead(kind: str) -> str:
    return f"take one of {', '.join(FITTING[kind])}"


def _types(loaded: Loaded) -> dict[str, str]:
    """The types by column that are sure, in the signature's words: `data.schema.types`, and the plain ones of a Parquet file."""
    source, name = loaded.config.data.source, files.data_name(loaded.config)
    file = files.first_file(loaded.folder, name, source.using) if name is not None and source.using == "parquet" else None
    own: dict[str, str] = {}
    if file is not None:
        import pyarrow.parquet

        try:
            schema: Any = pyarrow.parquet.read_schema(file)
        except (OSError, ValueError):
            return {}  # said of the file itself (columns)
        own = {field.name: word for field in schema if (word := _word(field.type))}
    return {**own, **loaded.config.data.schema_.types}


def _word(kind: pyarrow.DataType) -> str:
    import pyarrow.types

    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        return "str"
    if pyarrow.types.is_boolean(kind):
        return "bool"
    return "int" if pyarrow.types.is_integer(kind) else "float" if pyarrow.types.is_floating(kind) else ""
