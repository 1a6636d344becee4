"""The rows of one request, as columns of plain values and as the object that a model takes: each made of the other when asked for."""

from __future__ import annotations

import datetime
from typing import Any

from modelyard.runtime.features import ordered
from modelyard.runtime.inputs import Inputs

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Rows:
    """`count` rows. `columns` holds a list a column (a missing value is None, a datetime microseconds in UTC), in the order of `inputs`;
    `frame` is what these make of them. After `inference.pre` the frame is what that returned, and the columns are read off it."""

    def __init__(self, columns: dict[str, list[Any]] | None, count: int, inputs: Inputs, frame: Any = None) -> None:
        self.count, self._inputs = count, inputs
        self._columns = None if columns is None else {name: columns[name] for name in inputs.names}
        self._frame = frame

    @property
    def frame(self) -> Any:
        """A pandas DataFrame where pandas is there, else a NumPy array; or what `preprocess` returned."""
        if self._frame is None:
            self._frame = self._inputs(self._columns or {})
        return self._frame

    @property
    def columns(self) -> dict[str, list[Any]]:
        """`{name: list}` as on the wire."""
        if self._columns is None:
            self._columns = listed(self._frame, self._inputs.names)
        return self._columns

    def texted(self) -> dict[str, list[Any]]:
        """The columns with datetimes in ISO 8601 (UTC), for bodies and for other languages."""
        kinds = dict(self._inputs.columns) if self._frame is None else {}
        return {name: _iso(values) if kinds.get(name) == "datetime" else values for name, values in self.columns.items()}

    def arranged(self, wanted: list[str] | None, *, fewer: bool) -> Rows:
        """What `preprocess` returned, its columns as `features.ordered` has them."""
        if not hasattr(self._frame, "columns"):
            return self
        names = [str(name) for name in self._frame.columns]
        found = ordered(wanted, names, fewer=fewer)
        return self if found == names else Rows(None, self.count, self._inputs, self._frame[found])

    def after(self, frame: Any) -> Rows:
        """The rows that `preprocess` made of these, one for one: a DataFrame, an array, or a dict of columns, which becomes a DataFrame
        where pandas is there. Raises ValueError where their number differs."""
        if isinstance(frame, dict) and self._inputs.pandas is not None:
            frame = self._inputs.pandas.DataFrame(frame)
        count = len(next(iter(frame.values()), ())) if isinstance(frame, dict) else len(frame)
        if count != self.count:
            raise ValueError(f"preprocess returned {count} rows for {self.count}")
        return Rows(None, count, self._inputs, frame)


def _iso(values: list[Any]) -> list[Any]:
    return [None if v is None else (_EPOCH + datetime.timedelta(microseconds=v)).isoformat() for v in values]


def listed(frame: Any, names: list[str]) -> dict[str, list[Any]]:
    """A DataFrame, a dict of sequences or a 2-D array as `{name: list of plain values}`; NaN and NaT become None."""
    if hasattr(frame, "columns") and hasattr(frame, "to_dict"):
        frame = {str(name): frame[name] for name in frame.columns}
    if not isinstance(frame, dict):
        width = len(frame[0]) if len(frame) else 0
        known = names if len(names) == width else [f"c{i}" for i in range(width)]
        frame = {name: [row[i] for row in frame] for i, name in enumerate(known)}
    return {str(name): [_plain(v) for v in (values.tolist() if hasattr(values, "tolist") else values)] for name, values in frame.items()}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if value is None or value != value:  # NaN and NaT are not equal to themselves
        return None
    if type(value).__name__ == "NAType":
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
