"""Rows of a request by column, and who and when each of them is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.errors import BadInput
from modelyard.serve.coerce import place

if TYPE_CHECKING:
    from modelyard.serve.explanations import Explanation

_DAY = 86_400_000_000
MAX_ID = 256
_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Rows:
    """`count` rows, by column in the signature's order.

    `event_times` are microseconds since the epoch, or None where all of them are `received_at` (likewise microseconds). `values` and
    `explain`: the caller asked for the bare predictions, or for explanations, which are then put into `explained`. `note` is what a dialect
    keeps between reading a request and writing the answer.
    """

    columns: dict[str, list[Any]]
    count: int
    inference_ids: list[str]
    received_at: int
    event_times: list[int] | None = None
    extras: dict[str, list[Any]] = field(default_factory=dict)
    values: bool = False
    explain: bool = False
    explained: Explanation | None = None
    note: Any = None
    _encoded: msgspec.Raw | None = None

    def encoded(self) -> msgspec.Raw:
        """The columns as JSON, encoded once: the runner and the capture get the same bytes."""
        if self._encoded is None:
            self._encoded = msgspec.Raw(_encoder.encode(self.columns))
        return self._encoded


class OneRow(Rows):
    """A row with nothing but features, as `row` in the order of `names`; its columns are made when somebody asks for them, which for most
    rows nobody does."""

    __slots__ = ("_made", "names", "row")
    count, event_times, explained, note, values, explain = 1, None, None, None, False, False

    def __init__(self, names: Sequence[str], row: tuple[Any, ...], inference_id: str, received_at: int) -> None:
        self.names, self.row = names, row
        self._made: dict[str, list[Any]] | None = None
        self.inference_ids, self.received_at = [inference_id], received_at
        self.extras, self._encoded = {}, None

    @property
    def columns(self) -> dict[str, list[Any]]:
        if self._made is None:
            self._made = {name: [value] for name, value in zip(self.names, self.row, strict=True)}
        return self._made

    @columns.setter
    def columns(self, columns: dict[str, list[Any]]) -> None:
        raise AttributeError("the columns of a row by itself are what its values are")


_IDS_AT_ONCE = 256


def _drawn(count: int) -> list[str]:
    return secrets.token_bytes(16 * count).hex(" ", 16).split()


new_id: Callable[[], str] = chain.from_iterable(map(_drawn, repeat(_IDS_AT_ONCE))).__next__
"""An inference id of ours: 128 random bits, which are drawn for many ids at a time."""


def header_id(value: str) -> str:
    """An inference id from a header. Raises BadInput when it is empty, too long or not printable ASCII."""
    if not value or len(value) > MAX_ID or not value.isascii() or not value.isprintable():
        raise BadInput(f"an inference id is 1 to {MAX_ID} printable ASCII characters", where="header X-Amzn-SageMaker-Inference-Id")
    return value


def inference_ids(count: int, header: str | None, values: list[Any] | None, column: str, ours: str | None = None) -> list[str]:
    """One id a row: the header's, else the body's, else `ours`, which is made where there is none. Raises BadInput."""
    if header is not None:
        base = header_id(header)
    elif values is None:
        base = ours or new_id()
    else:
        return [_body_id(value, row, column) for row, value in enumerate(values)]
    return [base] if count == 1 else [f"{base}-{row}" for row in range(count)]


def _body_id(value: Any, row: int, column: str) -> str:
    if type(value) is int:
        return str(value)
    if value is None:
        return new_id()
    if type(value) is not str or not 0 < len(value) <= MAX_ID:
        raise BadInput(f"`{column}` must be text of 1 to {MAX_ID} characters, or a whole number", where=place(row, column))
    return value


def event_times(values: list[Any], received_at: int, column: str, max_age_days: float, read: Callable[[str], int]) -> list[int]:
    """Microseconds since the epoch, as `read` has them; a missing one is `received_at`.

    Raises BadInput for what is no ISO 8601 time, is older than `max_age_days`, or is more than a day ahead.
    """
    oldest, newest = received_at - int(max_age_days * _DAY), received_at + _DAY
    result = []
    for row, value in enumerate(values):
        if value is None:
            result.append(received_at)
            continue
        try:
            instant = read(value)
        except (ValueError, TypeError, OverflowError):
            raise BadInput(f"`{column}` must be an ISO 8601 time, such as 2026-01-31T12:00:00Z", where=place(row, column)) from None
        if not oldest <= instant <= newest:
            side = "more than a day ahead" if instant > newest else f"more than {max_age_days:g} days ago"
            raise BadInput(f"`{column}` lies {side}", where=place(row, column), next="Send the time at which the row happened.")
        result.append(instant)
    return result
