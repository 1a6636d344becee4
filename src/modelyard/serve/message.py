"""What a runner is asked: a batch of pieces as one message."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.serve import wire
from modelyard.serve.queue import Piece
from modelyard.serve.rows import OneRow


def message(number: int, batch: list[Piece]) -> bytes:
    """The body of the frame that asks a runner for a batch, under this number."""
    call = batch[0].call
    if call.fields is not None:
        return msgspec.json.encode({"id": number, **call.fields})
    assert call.rows is not None
    total = sum(p.rows for p in batch)
    if total == call.size:
        return wire.body(wire.Predict(number, total, call.rows.encoded()))
    if len(batch) == 1:
        _, start, stop = batch[0]
        columns = {name: values[start:stop] for name, values in call.rows.columns.items()}
    else:
        columns = _rows_by_column(batch) or {name: _joined(batch, name) for name in call.rows.columns}
    return wire.body(wire.Predict(number, total, columns))


def _rows_by_column(batch: list[Piece]) -> dict[str, Any] | None:
    """The columns of rows that came each by itself; None where others are among them."""
    rows = [piece.call.rows for piece in batch]
    if not all(type(row) is OneRow for row in rows):
        return None
    return dict(zip(rows[0].names, zip(*(row.row for row in rows), strict=True), strict=True))  # type: ignore[union-attr]


def _joined(batch: list[Piece], name: str) -> list[Any]:
    values: list[Any] = []
    for call, start, stop in batch:
        assert call.rows is not None
        column = call.rows.columns[name]
        values += column if stop - start == call.size else column[start:stop]
    return values
