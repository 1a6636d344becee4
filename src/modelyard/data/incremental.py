"""Incremental sources: what the highest value seen was, so that a build reads only the rows above it.

home/sources/<key>.json says, for a model and all that decides how its source is read, which snapshot holds what was read so far and
the highest value of the incremental column in it. Losing the file costs one whole reading, never rows.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import files
from modelyard.config.spec import Data
from modelyard.errors import BadInput

if TYPE_CHECKING:
    import polars as pl

    from modelyard.data.parts import Parts

WHERE = "data.source.incremental"
Value = int | float | str | date | datetime


@dataclass(frozen=True)
class Highest:
    """A value of the incremental column as the source gives it: a number, text, a date or a time (naive or in UTC)."""

    value: Value

    def to_json(self) -> dict[str, Any]:
        value = self.value
        kind = "datetime" if isinstance(value, datetime) else type(value).__name__
        return {"type": kind, "value": value.isoformat() if isinstance(value, date) else value}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Highest:
        readers = {"datetime": datetime.fromisoformat, "date": date.fromisoformat}
        return cls(readers[said["type"]](said["value"]) if said["type"] in readers else said["value"])

    @property
    def just_below(self) -> Highest | None:
        """A value that is lower, and after which this one comes, and little else; None where there is none."""
        value = self.value
        if isinstance(value, str):
            return Highest(value[:-1]) if value else None
        if isinstance(value, float):
            return Highest(math.nextafter(value, -math.inf))
        if isinstance(value, date):
            return Highest(value - (timedelta(microseconds=1) if isinstance(value, datetime) else timedelta(days=1)))
        return Highest(value - 1)

    def __str__(self) -> str:
        return self.value.isoformat() if isinstance(self.value, date) else str(self.value)


@dataclass(frozen=True)
class Seen:
    """What was read so far: the snapshot's digest and the highest value in it."""

    digest: str
    highest: Highest


def key(model: str, data: Data, timezone: str) -> str:
    """SHA-256 over the model's name and the config's keys that decide which rows are kept, and how."""
    words = data.model_dump(mode="json", by_alias=True, include={"source", "target_col", "positive_class", "time_col", "id_col", "schema_"})
    return hashlib.sha256(json.dumps([model, timezone, words], sort_keys=True).encode()).hexdigest()


def recall(home: Path, key: str) -> Seen | None:
    path = home / "sources" / f"{key}.json"
    if not path.is_file():
        return None
    said = json.loads(path.read_text(encoding="utf-8"))
    return Seen(said["digest"], Highest.from_json(said["highest"]))


def remember(home: Path, key: str, seen: Seen, model: str) -> None:
    folder = home / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model": model, "digest": seen.digest, "highest": seen.highest.to_json()})
    files.replace(folder / f"{key}.json", text.encode(), durable=True)


def forget(home: Path, model: str) -> int:
    """Have a model's next build read its source whole; gives how many readings are forgotten."""
    found = [path for path in (home / "sources").glob("*.json") if json.loads(path.read_text(encoding="utf-8"))["model"] == model]
    for path in found:
        path.unlink()
    return len(found)


def highest(table: Parts, column: str) -> Highest | None:
    """The highest present value; None where there is none. Raises BadInput for a column that cannot only grow."""
    dtype = table.schema[column]
    best: Any = None
    if not (dtype.is_integer() or dtype.is_float() or dtype.is_temporal() or str(dtype) in ("String", "Null")):
        said = f"`{column}` holds {dtype}: a number, a time or text is needed, which only grows"
        raise BadInput(said, where=WHERE)
    for series in table.column(column):
        value: Any = series.drop_nans().max() if dtype.is_float() else series.max()
        if value is not None and (best is None or value > best):
            best = value
    return None if best is None else Highest(best)


def above(batch: pl.DataFrame, column: str, highest: Highest) -> pl.Series:
    """Which rows are new. Raises BadInput where the column has become another kind of thing than it was."""
    import polars as pl

    try:
        return batch.select((pl.col(column) > pl.lit(highest.value)).fill_null(False)).to_series()
    except pl.exceptions.PolarsError as exc:
        hint = "read the source anew: modelyard data reread MODEL"
        raise BadInput(f"`{column}` is {batch.schema[column]} now, and was {type(highest.value).__name__}", where=WHERE, next=hint) from exc
