"""From the wire's columns to what a model takes: a pandas DataFrame where pandas is there, else a NumPy array."""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.runtime.wire import BadFrame


def optional(name: str) -> Any:
    """The module `name`, or None where the environment does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def check(message: dict[str, Any], names: list[str]) -> tuple[dict[str, list[Any]], int]:
    """The columns and the number of rows of a `predict` message. Raises BadFrame."""
    columns, rows = message.get("columns"), message.get("rows")
    if not isinstance(columns, dict) or not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise BadFrame("`predict` needs `columns` (an object of lists) and `rows` (at least 1)")
    for name in names:
        values = columns.get(name)
        if not isinstance(values, list) or len(values) != rows:
            raise BadFrame(f"column `{name}` must be a list of {rows} values")
    return columns, rows


class Inputs:
    """Builds the input object, in the signature's column order, with its dtypes.

    int: int64, or float64 where values are missing (as pandas reads them); float: float64; str: object (pandas 3: str); bool:
    bool, or object where values are missing; datetime: datetime64 in UTC. Without pandas: a 2-D float64 array (an object array
    if a column is text).
    """

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        self.columns = [(str(c["name"]), str(c["type"])) for c in columns]
        self.names = [name for name, _ in self.columns]
        self.numpy: Any = importlib.import_module("numpy")
        self.pandas: Any = optional("pandas")
        self.plain = all(kind == "float" for _, kind in self.columns)
        self.index = None if self.pandas is None else self.pandas.Index(self.names)
        self.text: Any = "str" if self.pandas is not None and int(self.pandas.__version__.split(".")[0]) >= 3 else object

    def arranged(self, names: list[str]) -> Inputs:
        """The same for some of the columns, in the order of `names`."""
        kinds = dict(self.columns)
        return self if names == self.names else Inputs([{"name": name, "type": kinds[name]} for name in names])

    def __call__(self, columns: dict[str, list[Any]]) -> Any:
        if self.pandas is None:
            return self._array(columns)
        if self.plain:  # one array for all columns: pandas takes it as it is
            return self.pandas.DataFrame(self.numpy.array([columns[name] for name in self.names], dtype="float64").T, columns=self.index)
        texts = self._texts(columns)
        return self.pandas.DataFrame(
            {name: texts[name] if kind == "str" else self._values(columns[name], kind) for name, kind in self.columns}, columns=self.index
        )

    def _texts(self, columns: dict[str, list[Any]]) -> dict[str, Any]:
        """The text columns, cut out of one array of all their values: pandas takes longer to make an array than to fill it."""
        names = [name for name, kind in self.columns if kind == "str"]
        if not names:
            return {}
        values = [value for name in names for value in columns[name]]
        if self.text is object:
            whole = self.numpy.empty(len(values), dtype=object)
            whole[:] = values
        else:
            whole = self.pandas.array(values, dtype=self.text)
        rows = len(values) // len(names)
        return {name: whole[i * rows : (i + 1) * rows] for i, name in enumerate(names)}

    def _values(self, values: list[Any], kind: str) -> Any:
        np, pd = self.numpy, self.pandas
        if kind == "float":
            return np.array(values, dtype=np.float64)  # NumPy reads None as NaN here
        if kind == "datetime":
            return pd.to_datetime(pd.Series(np.array(self._instants(values), dtype="datetime64[us]")), utc=True)
        missing = None in values
        if kind == "int":
            return np.array(values, dtype=np.float64 if missing else np.int64)
        return np.array(values, dtype=object if missing else bool)

    def _instants(self, values: list[Any]) -> list[Any]:
        never = self.numpy.datetime64("NaT", "us")
        return [never if v is None else self.numpy.datetime64(v, "us") for v in values]

    def _array(self, columns: dict[str, list[Any]]) -> Any:
        np = self.numpy
        if any(kind == "str" for _, kind in self.columns):
            table = np.empty((len(columns[self.names[0]]), len(self.names)), dtype=object)
            for i, name in enumerate(self.names):
                table[:, i] = columns[name]
            return table
        return np.column_stack([np.array(columns[name], dtype=np.float64) for name in self.names])
