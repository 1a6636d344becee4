"""Who answers the columns of a piece: a row plan, in this process, or a runner of the version's own environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelyard.serve.batch.columns import Values
from modelyard.serve.batch.order import Answering
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.refused import Refused
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature

Outputs = dict[str, Any]
"""An array or list an output, in the order of the signature's outputs."""


class Answers(Protocol):
    """Raises ModelFailed: Refused, where it is known which row is to blame."""

    def __call__(self, columns: dict[str, Values], count: int) -> Outputs: ...


def begin(order: Answering, worker: int) -> Answers:
    """The one that answers in the process of this number. Raises BadInput where the row plan does not hold."""
    signature = Signature.from_dict(order.signature)
    if order.plan is not None:
        return _by_plan(RowPlan.load(Path(order.plan), signature))
    from modelyard.serve.batch.asking import Asking

    return Asking(Path(order.sockets[worker % len(order.sockets)]), signature)


def _by_plan(plan: RowPlan) -> Answers:
    def answers(columns: dict[str, Values], count: int) -> Outputs:
        return plan.table({name: values.array() for name, values in columns.items()}, count)

    return answers


def answered(
    answers: Answers, columns: dict[str, Values], count: int, bad: dict[int, str], most: int
) -> tuple[Outputs, np.ndarray[Any, Any]]:
    """The outputs of all rows that are answered, and which these are; the others are added to `bad`, up to `most` of them.

    Raises ModelFailed where more are refused; where it is known which, Refused, by its place among all of these rows.
    """
    good = np.ones(count, bool)
    good[list(bad)] = False
    parts: list[Outputs] = []
    _part(answers, columns, np.flatnonzero(good), parts, bad, most)
    good[list(bad)] = False
    return {name: _joined([part[name] for part in parts]) for name in (parts[0] if parts else {})}, good


def _part(answers: Answers, columns: dict[str, Values], rows: Any, parts: list[Outputs], bad: dict[int, str], most: int) -> None:
    """Answer `rows`, around those that are refused."""
    count = len(next(iter(columns.values())).data)
    while len(rows):
        some = columns if len(rows) == count else {name: values.taken(rows) for name, values in columns.items()}
        try:
            parts.append(answers(some, len(rows)))
            return
        except ModelFailed as exc:
            if len(bad) >= most:
                if isinstance(exc, Refused):
                    raise Refused(exc.what, int(rows[exc.row])) from exc
                raise
            place = _blamed(exc, answers, columns, rows)
            bad[int(rows[place])] = exc.what
            if place:
                _part(answers, columns, rows[:place], parts, bad, most)
            rows = rows[place + 1 :]


def _blamed(exc: ModelFailed, answers: Answers, columns: dict[str, Values], rows: Any) -> int:
    """The first row that is refused: as the error says, else by halves."""
    if isinstance(exc, Refused):
        return exc.row
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            answers({name: values.taken(rows[low:middle]) for name, values in columns.items()}, middle - low)
            low = middle
        except ModelFailed:
            high = middle
    return low


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in part]
