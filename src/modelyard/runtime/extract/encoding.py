"""Encoders: what a category becomes is asked of the fitted encoder itself, one category after the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from modelyard.runtime.extract.builder import FLAG, Builder, Cannot, Fact, Table, Transform
from modelyard.runtime.extract.versions import since

MOST_CELLS = 4_000_000
"""Of a table that an encoder makes when it is asked."""
Read = Callable[[Any], "list[Any]"]
"""From what an encoder makes of a column, (rows, columns), sparse or not, to what the plan needs of each row."""


def _absent(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)


class Column:
    """A column of an encoder: width, how many columns it becomes; keys, the values that it knows (texts or floats; none that is
    missing), and made, what each becomes; `unknown` and `missing` likewise, None where the encoder refuses them."""

    def __init__(self, probe: Probe, place: int, kind: str, *, none: bool) -> None:
        known = [v for v in probe.known[place] if not _absent(v)]
        texts = [v for v in known if isinstance(v, str)]
        if kind not in ("number", "bool", "text") or len(texts) != (len(known) if kind == "text" else 0):
            raise Cannot(f"{probe.name} was fitted on other values than those of the column that it is given")
        if kind != "text" and len(known) < len(probe.known[place]) and probe.boxed(place) and not since(1, 6):
            raise Cannot(f"{probe.name} before scikit-learn 1.6 refuses booleans where training saw some missing, and others not")
        self.width = probe.widths[place]
        self.keys = [str(v) if kind == "text" else _number(v) for v in known]
        self.made = probe.of(place, known)
        self.unknown = probe.alone(place, _other(self.keys, kind))
        self.missing = probe.alone(place, None if none else float("nan"))


def _number(value: Any) -> float:
    if abs(value) >= 2**53:  # a neighbour would be taken for it
        raise Cannot(f"the category {value} is too large to be told from others as a float64")
    return float(value)


def _other(keys: Sequence[Any], kind: str) -> Any:
    """A value that is none of the keys."""
    if kind == "text":
        return max((str(k) for k in keys), key=len, default="") + "?"
    return next(float(n) for n in range(2, len(keys) + 3) if float(n) not in keys)


class Probe:
    """A fitted encoder that is asked. widths: how many columns it makes of each column."""

    def __init__(self, builder: Builder, model: Any, read: Read, widths: list[int] | None) -> None:
        self.np, self.model, self.name, self._read = builder.np, model, type(model).__name__, read
        self.known = [values.tolist() for values in model.categories_]
        self._numbers = all(values.dtype.kind in "fiu" for values in model.categories_)
        if not all(self.known):
            raise Cannot(f"{self.name} knows no value of a column")
        first = self._asked([[values[0] for values in self.known]])
        count, self._sparse = first.shape[1], hasattr(first, "tocsr")
        self.widths = widths or [count // len(self.known)] * len(self.known)
        if sum(self.widths) != count:
            raise Cannot(f"{self.name} makes {count} columns of {len(self.known)}")

    def boxed(self, place: int) -> bool:
        """Whether what it knows of a column are Python objects."""
        return bool(self.model.categories_[place].dtype.kind == "O")

    def _asked(self, rows: list[list[Any]]) -> Any:
        """What it makes of rows."""
        table = self.np.empty((len(rows), len(rows[0])), dtype=self.np.float64 if self._numbers else object)
        for i, column in enumerate(zip(*rows)):
            table[:, i] = column
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = self.model.transform(table)
        return made.tocsr() if hasattr(made, "tocsr") else self.np.asarray(made, dtype=self.np.float64)

    def of(self, place: int, values: list[Any]) -> list[Any]:
        """What values of a column become, beside values of the others that it knows."""
        start, usual = sum(self.widths[:place]), [known[0] for known in self.known]
        some = len(values) if self._sparse else max(1, MOST_CELLS // (sum(self.widths) + len(usual)))
        found: list[Any] = []
        for first in range(0, len(values), some or 1):
            rows = [[*usual[:place], value, *usual[place + 1 :]] for value in values[first : first + some]]
            found += self._read(self._asked(rows)[:, start : start + self.widths[place]])
        return found

    def alone(self, place: int, value: Any) -> Any:
        """What a value becomes that it may refuse: then None."""
        try:
            return self.of(place, [value])[0]
        except (ValueError, TypeError):
            return None


def _columns(builder: Builder, model: Any, table: Table, read: Read, widths: list[int] | None = None) -> list[tuple[int, Column]]:
    name = type(model).__name__
    Builder.sized(model, table)
    if table.sparse:
        raise Cannot(f"{name} refuses sparse input")
    if not _exact(builder, getattr(model, "dtype", "f8")):
        raise Cannot(f"{name} makes numbers of type {builder.np.dtype(model.dtype)}")
    plain = [s for s in table.slots if not builder.objects(table, s) and builder.facts[s].kind != "text"]
    builder.require(plain, "bounded", f"Input X of {name} contains infinity")
    probe = Probe(builder, model, read, widths)
    found = []
    for place, slot in enumerate(table.slots):
        fact = builder.facts[slot]
        found.append((slot, Column(probe, place, fact.kind, none=fact.none and builder.objects(table, slot))))
    return found


def _exact(builder: Builder, kind: Any) -> bool:
    """Whether an encoder's type holds numbers as a slot does: float64, or ints."""
    dtype = builder.np.dtype(kind)
    return dtype.kind in "iub" or dtype == builder.np.float64


def onehot(builder: Builder, model: Any, table: Table) -> Table:
    sparse = bool(model.sparse_output if hasattr(model, "sparse_output") else model.sparse)
    made: list[int] = []
    for slot, column in _columns(builder, model, table, _places(builder), _widths(model)):
        made += builder.add(
            "onehot",
            [FLAG] * column.width,
            slot=slot,
            keys=column.keys,
            places=column.made,
            width=column.width,
            unknown=column.unknown,
            missing=column.missing,
        )
    return table.made(made, sparse=sparse)


def _widths(model: Any) -> list[int]:
    """How many columns each column becomes."""
    if hasattr(model, "_n_features_outs"):
        return [int(n) for n in model._n_features_outs]
    dropped = model.drop_idx_ if model.drop_idx_ is not None else [None] * len(model.categories_)
    return [len(values) - (drop is not None) for values, drop in zip(model.categories_, dropped)]


def _places(builder: Builder) -> Read:
    """Where each row has its 1; -1 where it has none."""

    def read(rows: Any) -> list[Any]:
        places = builder.np.full(rows.shape[0], -1)
        row, column = rows.nonzero()
        places[row] = column
        found: list[Any] = places.tolist()
        return found

    return read


def looked_up(builder: Builder, model: Any, table: Table) -> Table:
    """OrdinalEncoder and TargetEncoder: a number, or one a class, for each value."""
    made: list[int] = []
    for slot, column in _columns(builder, model, table, lambda rows: rows.tolist()):
        rows = [*column.made, column.unknown, column.missing]
        facts = [_fact(rows, i) for i in range(column.width)]
        made += builder.add(
            "lookup",
            facts,
            slot=slot,
            keys=column.keys,
            values=[_written(cells) for cells in column.made],
            unknown=_written(column.unknown),
            missing=_written(column.missing),
        )
    return table.made(made)


def _fact(rows: list[list[float] | None], i: int) -> Fact:
    cells = [row[i] for row in rows if row is not None]
    return Fact(limit=max((abs(c) for c in cells if c == c), default=0.0), missing=any(c != c for c in cells))


def _written(cells: list[float] | None) -> list[float | None] | None:
    return None if cells is None else [None if c != c else c for c in cells]


TRANSFORMS: dict[tuple[str, str], Transform] = {
    ("sklearn", "OneHotEncoder"): onehot,
    ("sklearn", "OrdinalEncoder"): looked_up,
    ("sklearn", "TargetEncoder"): looked_up,
}
