"""The columns that an endpoint takes, whatever the body is written in: names, what may be missing, how many rows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from modelyard.errors import BadInput
from modelyard.serve.coerce import place
from modelyard.serve.refusals import TooLarge
from modelyard.signature import Signature

Given = tuple[dict[str, list[Any]], int]
"""Values as they came, by column, and how many rows they are."""


class Wanted:
    """What the rows of one signature may hold.

    `extras` names further columns that may come along and are kept beside the features (sensitive columns). `names` are all that may
    come, the features first.
    """

    def __init__(self, signature: Signature, extras: Sequence[str], max_rows: int) -> None:
        self.signature, self.max_rows = signature, max_rows
        special = [c for c in (signature.id_col, signature.time_col) if c is not None]
        self.features = signature.names
        self.extras = tuple(dict.fromkeys(c for c in (*signature.companions, *extras) if c not in (*self.features, *special)))
        self.names = tuple(dict.fromkeys((*self.features, *special, *self.extras)))
        self.known = frozenset(self.names)
        self.nullable = {c.name: c.nullable for c in signature.columns}

    def few_rows(self, count: int) -> None:
        """Raises TooLarge for more rows than the endpoint takes."""
        if count > self.max_rows:
            raise TooLarge(f"the body has {count} rows; the endpoint takes {self.max_rows}", next="Send smaller bodies.")

    def check(self, names: Sequence[str]) -> None:
        """Raises BadInput for a name that is unknown or stands there twice."""
        for name in names:
            if name not in self.known:
                raise self.unknown(name, None)
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise BadInput(f"the column `{twice}` stands there twice", where=f"column `{twice}`")

    def by_name(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Given:
        """Columns out of rows of values under `names`. Raises BadInput for unknown, repeated or missing columns and ragged rows."""
        self.few_rows(len(rows))
        self.check(names)
        width = len(names)
        if set(map(len, rows)) - {width}:
            row = next(i for i, values in enumerate(rows) if len(values) != width)
            raise BadInput(f"row {row} has {len(rows[row])} values for {width} columns", where=f"row {row}")
        given = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False)) if rows else {}
        return self.completed(given, len(rows))

    def by_column(self, given: dict[str, list[Any]]) -> Given:
        """Columns as they are. Raises BadInput for unknown or missing columns, and for columns of several lengths."""
        self.check(list(given))
        count = len(next(iter(given.values()), ()))
        for name, values in given.items():
            if len(values) != count:
                raise BadInput(f"`{name}` has {len(values)} values where `{next(iter(given))}` has {count}", where=f"column `{name}`")
        self.few_rows(count)
        return self.completed(given, count)

    def completed(self, given: dict[str, list[Any]], count: int) -> Given:
        """With the nullable columns that were left out, each of them missing. Raises BadInput for another that was left out."""
        for name, nullable in self.nullable.items():
            if name not in given and count:
                if not nullable:
                    raise BadInput(
                        f"the column `{name}` is missing",
                        where=f"column `{name}`",
                        next=f"The model takes: {', '.join(self.nullable)}.",
                    )
                given[name] = [None] * count
        return given, count

    def unknown(self, name: str, row: int | None, more: str = "") -> BadInput:
        """The error that says that there is no such column, and which one may be meant."""
        close = difflib.get_close_matches(name[:256], self.names, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else f"The model takes: {', '.join(self.nullable)}."
        shown = name if len(name) <= 80 else name[:77] + "..."
        where = f"column `{shown}`" if row is None else place(row, shown)
        return BadInput(f"the model has no column `{shown}`{more}", where=where, next=hint)
