"""A scikit-learn pipeline taken apart: what its last model sees, and which column of the data each column of that comes from.

The owner of a column is found by trying, and not by names: one source column after the other gets other rows' values, and what changes is
its own. Then random mixtures of rows have to come out as mixtures; if they do not, some column is made of several, and nothing can be said.
"""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.runtime.features import raw

LARGEST = 50_000_000
"""Most cells of an encoded table that are held in memory."""


class Declined(Exception):
    """No exact explanation; the message says why."""


class Pipeline:
    """A served model for some rows. model: the last step; table: what it is given for the rows; owner: (columns of the table,) places in
    `names` of the columns of the data that they come from."""

    def __init__(self, served: Any, columns: dict[str, list[Any]], names: list[str]) -> None:
        self.np: Any = importlib.import_module("numpy")
        self.names, self._served, self._columns = names, served, columns
        self.rows = len(columns[names[0]])
        self._steps, self.model = taken_apart(served.model)
        # histogram boosting encodes its categories itself, and puts them first
        self._encode = self.model._preprocess_X if getattr(self.model, "_preprocessor", None) is not None else None
        self.plain = not self._steps and self._encode is None
        self.table = self._encoded(columns)
        self._numbers: Any = None
        self._owner: Any = None

    @property
    def numbers(self) -> Any:
        """The table as (rows, columns) float64, as trees and coefficients see it. Raises Declined where it has text."""
        if self._numbers is None:
            self._numbers = self._as_numbers(self.table)
        return self._numbers

    @property
    def owner(self) -> Any:
        if self._owner is None:
            self._owner = self._by_name() if self.plain else self._by_trying()
        return self._owner

    def summed(self, values: Any) -> Any:
        """(columns of the table, rows) as (source columns, rows)."""
        total = self.np.zeros((len(self.names), values.shape[1]))
        self.np.add.at(total, self.owner, values)
        return total

    def padded(self, values: Any) -> Any:
        """Values of the players that there are as values of all source columns."""
        total = self.np.zeros((len(self.names), values.shape[1]))
        total[: len(values)] = values
        return total

    def _encoded(self, columns: dict[str, list[Any]]) -> Any:
        table = self._served.inputs(columns)
        for step in self._steps:
            table = step.transform(table)
        return table if self._steps else _selected(self.model, table)

    def _as_numbers(self, table: Any) -> Any:
        if table.shape[0] * table.shape[1] > LARGEST:
            raise Declined(f"the encoded rows have {table.shape[1]:,} columns, too many to hold at once")
        if self._encode is not None:
            table = self._encode(table, reset=False)
        try:
            return self.np.asarray(table.toarray() if hasattr(table, "toarray") else table, dtype=self.np.float64)
        except (TypeError, ValueError) as exc:
            raise Declined(f"{type(self.model).__name__} takes columns that are no numbers") from exc

    def _by_name(self) -> Any:
        columns = [str(c) for c in self.table.columns] if hasattr(self.table, "columns") else self._served.inputs.names
        if len(columns) != self.table.shape[1] or not set(columns) <= set(self.names):
            raise Declined("the model's columns are not those of the data")
        return self.np.array([self.names.index(c) for c in columns])

    def _by_trying(self) -> Any:
        np, found = self.np, self.numbers
        generator = np.random.RandomState(0)
        partner = generator.permutation(self.rows)
        owner = np.full(found.shape[1], -1)
        for j, name in enumerate(self.names):
            moved = ~_same(np, self._mixed(partner, [name]), found).all(axis=0)
            for k in np.flatnonzero(moved & (owner >= 0)):
                both = f"`{self.names[owner[k]]}` and `{name}`"
                raise Declined(f"the pipeline makes one column of {both}: their attributions cannot be told apart by it")
            owner[moved] = j
        for _ in range(3):
            taken = generator.rand(len(self.names)) < 0.5
            mixed = self._mixed(partner, [name for name, is_taken in zip(self.names, taken) if is_taken])
            if not _same(np, mixed, np.where((owner >= 0) & taken[owner], found[partner], found)).all():
                raise Declined("the pipeline's columns depend on several columns of the data at once")
        return np.maximum(owner, 0)  # what no column moves is constant, and gets nothing

    def _mixed(self, partner: Any, names: list[str]) -> Any:
        """The table's numbers with other rows' values in some columns of the data."""
        moved = {name: [self._columns[name][i] for i in partner] for name in names}
        return self._as_numbers(self._encoded({**self._columns, **moved}))


def taken_apart(model: Any) -> tuple[list[Any], Any]:
    """The transformers before the model, in order, and the model."""
    steps: list[Any] = []
    while True:
        if hasattr(model, "best_estimator_"):  # a search
            model = model.best_estimator_
        elif type(model).__name__ == "PyFuncModel" and (inside := raw(model)) is not None:
            model = inside
        elif hasattr(model, "named_steps") and hasattr(model, "steps"):
            steps += [step for _, step in model.steps[:-1] if step is not None and step != "passthrough"]
            model = model.steps[-1][1]
        else:
            return steps, model


def _selected(model: Any, frame: Any) -> Any:
    """The columns that a bare model was fitted on, where it knows their names."""
    wanted = getattr(model, "feature_names_in_", None)
    if wanted is None or not hasattr(frame, "columns") or not set(wanted) <= set(frame.columns):
        return frame
    return frame[list(wanted)]


def _same(np: Any, a: Any, b: Any) -> Any:
    if a.shape != b.shape:
        raise Declined("the pipeline does not make a row of a row")
    return (a == b) | (np.isnan(a) & np.isnan(b))
