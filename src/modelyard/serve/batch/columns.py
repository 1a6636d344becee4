"""Columns of a piece as a model takes them: arrays with what is missing apart, and the rows that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelyard import zones
from modelyard.errors import BadInput
from modelyard.serve.batch.order import MISSING
from modelyard.serve.coerce import json_coercer, text_coercer
from modelyard.serve.plan.refused import missing
from modelyard.signature import Column, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MISSING = pa.array(MISSING)
_ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string(), "datetime": pa.timestamp("us", "UTC")}
_NUMPY = {"int": np.int64, "float": np.float64, "bool": np.bool_, "datetime": np.int64}


@dataclass(frozen=True)
class Values:
    """A column: int64, float64, bool, or int64 microseconds; of texts the places among `words`. `missing` marks rows without a value
    (None: none is); their `data` means nothing."""

    kind: str
    data: NDArray[Any]
    missing: NDArray[np.bool_] | None = None
    words: list[str] | None = None

    def taken(self, rows: NDArray[np.bool_]) -> Values:
        """Some of the rows."""
        return Values(self.kind, self.data[rows], None if self.missing is None else self.missing[rows], self.words)

    def array(self) -> NDArray[Any]:
        """As a row plan takes it: numbers as float64 (NaN: missing), instants as datetime64[us], texts as objects (None: missing)."""
        if self.words is not None:
            words = np.array([*self.words, None], dtype=object)
            made: NDArray[Any] = words[self.data if self.missing is None else np.where(self.missing, len(self.words), self.data)]
            return made
        if self.kind == "datetime":
            instants = self.data.astype("datetime64[us]")
            return instants if self.missing is None else np.where(self.missing, np.datetime64("NaT", "us"), instants)
        if self.missing is None:
            return self.data
        return np.where(self.missing, np.nan, self.data.astype(np.float64))

    def list(self) -> list[Any]:
        """As the wire has it: None is missing, instants are microseconds."""
        values: list[Any] = self.array().tolist() if self.words is not None else self.data.tolist()
        if self.missing is not None and self.words is None:
            for row in np.flatnonzero(self.missing).tolist():
                values[row] = None
        return values


def of_table(table: pa.Table, signature: Signature, *, text: bool) -> tuple[dict[str, Values], dict[int, str]]:
    """The signature's columns of a table, and why rows do not fit, by row. `text`: cells are as a CSV file has them.

    What an endpoint refuses does not fit here either: a value that is missing where training never saw it missing, an infinite number.
    Raises BadInput where a column is not there.
    """
    found, bad = {}, dict[int, str]()
    for column in signature.columns:
        if column.name not in table.column_names:
            raise BadInput(f"there is no column `{column.name}`", where=f"column `{column.name}`", next="The model needs it.")
        cells = table.column(column.name)
        found[column.name] = _values(cells.combine_chunks() if cells.num_chunks != 1 else cells.chunk(0), column, bad, text=text)
        _mark_missing(found[column.name], column, bad)
    return found, bad


def of_records(records: Sequence[Mapping[str, Any]], signature: Signature, bad: dict[int, str]) -> dict[str, Values]:
    """The signature's columns of records of JSON, as `of_table` has those of a table; rows that do not fit are added to `bad`."""
    found = {}
    for column in signature.columns:
        found[column.name] = of_list([record.get(column.name) for record in records], column, bad, text=False)
        _mark_missing(found[column.name], column, bad)
    return found


def _mark_missing(values: Values, column: Column, bad: dict[int, str]) -> None:
    if values.missing is not None and not column.nullable:
        for row in np.flatnonzero(values.missing).tolist():
            bad.setdefault(row, missing(column.name))


def _values(cells: Any, column: Column, bad: dict[int, str], *, text: bool) -> Values:
    try:
        return _opened(_cast(cells, column, text=text), column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        pass
    listed = cells.to_pylist()
    return of_list([_text(v) for v in listed] if text else listed, column, bad, text=text or pa.types.is_string(cells.type))


def _text(value: Any) -> Any:
    return "" if value is None else value


def _cast(cells: Any, column: Column, *, text: bool) -> Any:
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells, kind = cells.dictionary_decode(), kind.value_type
    if column.type == "str":
        if text:
            return pc.if_else(pc.equal(cells, ""), None, cells) if column.nullable else cells
        return cells.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if column.type == "datetime" or column.type == "bool":
            raise pa.ArrowInvalid("by hand")  # ISO 8601 in all its forms, and truths as callers write them
        cells = pc.if_else(pc.is_in(cells, value_set=_MISSING.cast(kind)), None, cells)
    elif column.type == "datetime":
        if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
            raise pa.ArrowInvalid("by hand")
        cells = zones.arrow(cells)
        return cells if cells.type.tz else _in_utc(cells, column.timezone)
    elif column.type == "bool" and not pa.types.is_boolean(kind):
        raise pa.ArrowInvalid("by hand")
    if column.type == "int" and pa.types.is_floating(kind):
        cells = pc.if_else(pc.is_nan(cells), None, cells)
    return cells.cast(_ARROW[column.type])


def _in_utc(cells: Any, timezone: str) -> Any:
    """Naive timestamps as a build reads them in a zone; one at an end of the calendar stays in it."""
    if timezone == zones.DEFAULT:
        return pc.assume_timezone(cells, timezone)
    local = cells.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    made = np.clip(zones.of_array(local, timezone), np.minimum(local, zones.FIRST), np.maximum(local, zones.LAST))
    mask = np.asarray(cells.is_null()) if cells.null_count else None
    return pa.array(made, pa.timestamp("us", "UTC"), mask=mask)


def _opened(cells: Any, kind: str) -> Values:
    """An Arrow array of the column's own type. Raises ArrowInvalid for infinite numbers: which rows have them is to be found by hand."""
    missing = np.asarray(cells.is_null()) if cells.null_count else None
    if kind == "str":
        coded = cells.dictionary_encode()
        return Values(kind, np.asarray(coded.indices.fill_null(0)), missing, coded.dictionary.to_pylist())
    if kind == "datetime":
        cells = cells.cast(pa.int64())
    if missing is not None:
        cells = cells.fill_null(False if kind == "bool" else 0)
    data = cells.to_numpy(zero_copy_only=False)
    if kind == "float":
        finite = np.isfinite(data)
        if not finite.all():
            if np.isinf(data).any():
                raise pa.ArrowInvalid("infinite")
            missing = ~finite if missing is None else missing | ~finite
    return Values(kind, data, missing)


def of_list(values: Sequence[Any], column: Column, bad: dict[int, str], *, text: bool) -> Values:
    """A column of plain values, one by one where some do not fit; those rows are added to `bad`."""
    loose = replace(column, nullable=True)
    coerce = text_coercer(column if column.type == "str" else loose) if text else json_coercer(loose, finite=False)
    try:
        return _from_plain(coerce(list(values)), column.type)
    except BadInput:
        pass
    kept: list[Any] = []
    for row, value in enumerate(values):
        try:
            kept += coerce([None if isinstance(value, float) and value != value else value])
        except BadInput as exc:
            if text and value in ("NA", "NaN", "nan", "null"):
                kept.append(None)
                continue
            bad.setdefault(row, exc.what)
            kept.append(None)
    return _from_plain(kept, column.type)


def _from_plain(values: list[Any], kind: str) -> Values:
    if kind == "str":
        return _opened(pa.array(values, pa.string()), kind)
    holes = np.fromiter((v is None for v in values), bool, len(values)) if None in values else None
    whole = values if holes is None else [0 if v is None else v for v in values]
    return Values(kind, np.array(whole, dtype=_NUMPY[kind]), holes)
