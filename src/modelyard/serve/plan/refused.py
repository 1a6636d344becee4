"""A row that the native model would raise for: the plan raises too."""

from __future__ import annotations

from modelyard.serve.refusals import ModelFailed


class Refused(ModelFailed):
    """The model takes no such row, or its answer is none that the signature allows; `row` is the row's place in the body, from 0."""

    def __init__(self, what: str, row: int = 0) -> None:
        super().__init__(what, where=f"row {row}")
        self.row = row


def missing(column: str) -> str:
    """What is said of a value that is missing in a column that is not nullable, as `serve.coerce` says it."""
    return f"`{column}` is missing; training never saw it missing"
