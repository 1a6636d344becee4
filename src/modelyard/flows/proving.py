"""Proof of a row plan: the same answers as the native model, for the hold-out and for rows at the edges of the plan; the same refusals.

A label that differs is a difference, however near to the threshold the scores are. What fails for many rows together is asked again in
halves, down to the single row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.serve.oracle import Columns, Oracle
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.refused import Refused
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature

CHUNK = 1000
"""Edge rows that the native model is asked at a time."""
MOST_REFUSED = 200
"""Rows that the plan refuses which the native model is asked one by one; the more reasons, the fewer of each."""
MOST_HALVES = 500
"""Calls that narrowing down failures may take: a model that fails for rows together, and answers each by itself, has no plan."""
SHOWN = 200
"""Characters of an edge row in a sentence."""
Row = Sequence[Any]


class Unequal(Exception):
    """The plan does not answer as the model does; the message says for which row, and how."""


@dataclass
class Proof:
    """What was compared: of the hold-out `rows` as a table, and `one_by_one` of them row by row. `largest` is the largest difference of a
    score, absolute or relative (the lesser), `where` its row."""

    rows: int = 0
    one_by_one: int = 0
    edge_rows: int = 0
    refused_alike: int = 0
    largest: float = 0.0
    where: str = ""


class Prover:
    """Holds a plan against answers, both ways that it is used: row by row, and whole tables. `tolerance` is the scores'."""

    def __init__(self, plan: RowPlan, signature: Signature, tolerance: float) -> None:
        self._plan, self._signature, self._tolerance = plan, signature, tolerance
        self.proof = Proof()

    def holdout(self, columns: Columns, recorded: Columns, seconds: float) -> None:
        """Every row against what was recorded, and row by row too, evenly spread, as many as can be done in `seconds`. Raises Unequal.

        Rows with a missing value where training saw none are left out: an endpoint lets none of them through."""
        never = [columns[column.name] for column in self._signature.columns if not column.nullable]
        kept = [i for i in range(len(recorded["prediction"])) if all(values[i] is not None for values in never)]
        columns, recorded = ({name: [values[i] for i in kept] for name, values in table.items()} for table in (columns, recorded))
        count = len(kept)

        def place(i: int) -> str:
            return f"row {kept[i]} of the hold-out"

        self._table(columns, count, recorded, place)
        own = [columns[name] for name in self._signature.names]
        taken, answers, until = [], [], time.monotonic() + seconds
        for i in _scattered(count):
            try:
                answers.append(self._plan.row([values[i] for values in own]))
            except Refused as exc:
                raise Unequal(f"{place(i)}: the plan refuses it ({exc.what}), and the model answers") from exc
            taken.append(i)
            if time.monotonic() > until:
                break
        self._compare(self._columns(answers), {name: [v[i] for i in taken] for name, v in recorded.items()}, lambda i: place(taken[i]))
        self.proof.rows, self.proof.one_by_one = count, len(taken)

    def edges(self, rows: Sequence[Row], oracle: Oracle) -> None:
        """Each row against the native model. Raises Unequal, Unavailable."""
        answered: list[tuple[Row, tuple[Any, ...]]] = []
        refused: dict[str, list[Row]] = {}
        for row in rows:
            try:
                answered.append((row, self._plan.row(row)))
            except Refused as exc:
                refused.setdefault(exc.what, []).append(row)
        self._answered(answered, oracle)
        for row in _spread(list(refused.values()), MOST_REFUSED):
            self._refused(row, oracle)
        self.proof.edge_rows = len(rows)

    def _answered(self, answered: list[tuple[Row, tuple[Any, ...]]], oracle: Oracle) -> None:
        """Rows that the plan answers, in chunks; where the native model fails for one, its halves are asked."""
        waiting = [answered[start : start + CHUNK] for start in range(0, len(answered), CHUNK)]
        most = oracle.asked + len(waiting) + MOST_HALVES
        while waiting:
            chunk = waiting.pop()
            columns = self._rows([row for row, _ in chunk])
            try:
                theirs = oracle.answers(columns, len(chunk))
            except ModelFailed as exc:
                if len(chunk) == 1:
                    raise Unequal(f"{self._shown(chunk[0][0])}: the plan answers it, and the model fails: {exc.what}") from exc
                if oracle.asked > most:
                    raise Unequal(f"the model fails for rows together that it answers one by one: {exc.what}") from exc
                waiting += [chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :]]
                continue

            def place(i: int, chunk: list[tuple[Row, tuple[Any, ...]]] = chunk) -> str:
                return self._shown(chunk[i][0])

            self._compare(self._columns([ours for _, ours in chunk]), theirs, place)
            self._table(columns, len(chunk), theirs, place)

    def _refused(self, row: Row, oracle: Oracle) -> None:
        """A row that the plan refuses one by one: as a table it does too, and so does the native model."""
        columns = self._rows([row])
        try:
            theirs = oracle.answers(columns, 1)
        except ModelFailed:
            pass
        else:
            raise Unequal(f"{self._shown(row)}: the plan refuses it, and the model answers {theirs['prediction'][0]!r}")
        try:
            self._plan.many(columns, 1)
        except Refused:
            self.proof.refused_alike += 1
        else:
            raise Unequal(f"{self._shown(row)}: the plan refuses it as a row, and answers it as a table")

    def _table(self, columns: Columns, count: int, theirs: Columns, place: Callable[[int], str]) -> None:
        try:
            ours = self._plan.many(columns, count)
        except Refused as exc:
            raise Unequal(f"{place(exc.row)}: the plan refuses it ({exc.what}), and the model answers") from exc
        self._compare(ours, theirs, place)

    def _compare(self, ours: Columns, theirs: Columns, place: Callable[[int], str]) -> None:
        """Labels one by one, scores within the tolerance; the largest difference is kept. Raises Unequal."""
        import numpy as np

        for name in self._signature.outputs:
            if name == "prediction" and self._signature.answer != "number":
                for i, (a, b) in enumerate(zip(ours[name], theirs[name], strict=True)):
                    if a != b and str(a) != str(b):  # classes of several types are recorded as text
                        raise Unequal(f"{place(i)}: {a!r}, and the model answers {b!r}")
                continue
            own, native = np.asarray(ours[name], dtype=np.float64), np.asarray(theirs[name], dtype=np.float64)
            if not len(native):
                continue
            apart = np.abs(own - native) / np.maximum(1.0, np.abs(native))
            worst = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
            if not apart[worst] <= self._tolerance:
                said = f"{name} {own[worst]:.17g}, and the model answers {native[worst]:.17g}"
                raise Unequal(f"{place(worst)}: {said}; they may lie {self._tolerance:g} apart")
            if apart[worst] > self.proof.largest:
                self.proof.largest, self.proof.where = float(apart[worst]), f"{name}, {place(worst)}"

    def _columns(self, answers: Sequence[tuple[Any, ...]]) -> Columns:
        """Answers of rows as columns of outputs."""
        return {name: [answer[k] for answer in answers] for k, name in enumerate(self._signature.outputs)}

    def _rows(self, rows: Sequence[Row]) -> Columns:
        return {name: [row[k] for row in rows] for k, name in enumerate(self._signature.names)}

    def _shown(self, row: Row) -> str:
        said = ", ".join(f"{name} = {value!r}" for name, value in zip(self._signature.names, row, strict=True))
        return f"the edge row ({said if len(said) <= SHOWN else said[: SHOWN - 3] + '...'})"


def _scattered(count: int) -> Iterable[int]:
    """All numbers below `count`, in an order of which every beginning is spread over the whole."""
    step = max(1, int(count * 0.618))
    while math.gcd(step, count) > 1:
        step += 1
    return (k * step % count for k in range(count))


def _spread(groups: list[list[Row]], most: int) -> Iterable[Row]:
    """At most `most` rows, as many of each group as there is room for, evenly spread over it."""
    share = max(1, most // max(1, len(groups)))
    for group in groups[:most]:
        every = -(-len(group) // share)
        yield from group[::every]
