"""`batch`: a message whose columns are buffers in a file, and so are the outputs. JSON of large tables takes longer than most models.

    {"op": "batch", "id", "rows", "file", "out", "columns": {NAME: {"at", "missing", "words"}}}
    {"id", "outputs": {NAME: ...}}

At byte `at` of `file` lie the column's values, little-endian: int64, float64, bool (a byte), datetimes as int64 microseconds, and of text
int32 places among `words`. At byte `missing`, where that is not null, a byte a row is 1 where there is no value. An output is the byte of
`out` at which its float64 values begin, or a list.
"""

from __future__ import annotations

import mmap
from typing import Any

from modelyard.runtime.inputs import Inputs
from modelyard.runtime.wire import BadFrame

_TYPES = {"int": "<i8", "float": "<f8", "bool": "?", "datetime": "<i8", "str": "<i4"}


def batch(message: dict[str, Any], served: Any, names: list[str]) -> dict[str, Any]:
    """The fields of the reply. Raises BadFrame, BadOutput, or whatever the user's code raises."""
    rows, given, made, columns = (message.get(key) for key in ("rows", "file", "out", "columns"))
    if not (isinstance(rows, int) and isinstance(given, str) and isinstance(made, str) and isinstance(columns, dict)) or rows < 1:
        raise BadFrame("`batch` needs `rows` (at least 1), `file`, `out` and `columns`")
    for name in names:
        if not isinstance(columns.get(name), dict):
            raise BadFrame(f"column `{name}` is not there")
    try:
        table = Table(given, columns, rows)
    except (OSError, ValueError) as exc:
        raise BadFrame(f"the file of columns cannot be read: {exc}") from exc
    if served.takes_frames:
        outputs = served.framed(table.frame, rows)
    else:
        outputs = served.predict({name: table.list(name, kind) for name, kind in served.kinds}, rows)
    return {"outputs": _written(outputs, made)}


class Table:
    """The columns in a file."""

    def __init__(self, path: str, columns: dict[str, dict[str, Any]], rows: int) -> None:
        import numpy

        self.np: Any = numpy
        self._rows, self._columns = rows, columns
        with open(path, "rb") as file:  # noqa: PTH123
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _array(self, name: str, kind: str) -> Any:
        return self.np.frombuffer(self._data, _TYPES[kind], self._rows, self._columns[name]["at"])

    def _missing(self, name: str) -> Any:
        at = self._columns[name]["missing"]
        return None if at is None else self.np.frombuffer(self._data, "?", self._rows, at)

    def _texts(self, name: str) -> Any:
        """An array of str and None."""
        words = self.np.array([*self._columns[name]["words"], None], dtype=object)
        places, missing = self._array(name, "str"), self._missing(name)
        return words[places if missing is None else self.np.where(missing, len(words) - 1, places)]

    def list(self, name: str, kind: str) -> list[Any]:
        """A column as on the wire: None is missing, a datetime microseconds."""
        if kind == "str":
            return list(self._texts(name).tolist())
        values, missing = self._array(name, kind).tolist(), self._missing(name)
        for row in self.np.flatnonzero(missing).tolist() if missing is not None else ():
            values[row] = None
        return list(values)

    def frame(self, inputs: Inputs) -> Any:
        """What `inputs` would make of the lists, with the same dtypes."""
        np, pd = self.np, inputs.pandas
        if pd is None:
            return inputs({name: self.list(name, kind) for name, kind in inputs.columns})
        if inputs.plain:
            whole = np.empty((len(inputs.names), self._rows))
            for i, name in enumerate(inputs.names):
                whole[i] = self._numbers(name, "float")
            return pd.DataFrame(whole.T, columns=inputs.index)
        return pd.DataFrame({name: self._series(name, kind, inputs) for name, kind in inputs.columns}, columns=inputs.index)

    def _series(self, name: str, kind: str, inputs: Inputs) -> Any:
        np, pd = self.np, inputs.pandas
        if kind == "str":
            texts = self._texts(name)
            return texts if inputs.text is object else pd.array(texts, dtype=inputs.text)
        if kind == "datetime":
            instants, missing = self._array(name, kind).astype("datetime64[us]"), self._missing(name)
            if missing is not None:
                instants = np.where(missing, np.datetime64("NaT", "us"), instants)
            return pd.to_datetime(pd.Series(instants), utc=True)
        if kind == "bool":
            return np.array(self.list(name, kind), dtype=object) if self._missing(name) is not None else self._array(name, kind).copy()
        return self._numbers(name, kind)

    def _numbers(self, name: str, kind: str) -> Any:
        """A column of numbers, float64 where some are missing."""
        values, missing = self._array(name, kind), self._missing(name)
        if missing is None:
            return values.copy()
        return self.np.where(missing, self.np.nan, values.astype("<f8"))


def _written(outputs: dict[str, list[Any]], path: str) -> dict[str, Any]:
    """Outputs of floats into the file; others stay lists."""
    import numpy as np

    said: dict[str, Any] = {}
    at = 0
    with open(path, "wb") as file:  # noqa: PTH123
        for name, values in outputs.items():
            if not all(type(v) is float for v in values):
                said[name] = values
                continue
            said[name] = at
            at += file.write(np.array(values, dtype="<f8").tobytes())
    return said
