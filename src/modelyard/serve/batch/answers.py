"""What becomes of a piece: its rows as the model takes them, its answers as they are written."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from modelyard.errors import BadInput
from modelyard.serve.batch import answering, filters
from modelyard.serve.batch import columns as cols
from modelyard.serve.batch.answering import Answers, Outputs, answered
from modelyard.serve.batch.order import Order, Refusal, Shape
from modelyard.serve.batch.reading import Piece
from modelyard.serve.plan.refused import Refused
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature

JOINED, TAKEN = "SageMakerOutput", "SageMakerInput"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Answered(msgspec.Struct):
    """The written form of a piece: a table, or lines of JSON; how many rows it had, and which were refused (numbers in the file)."""

    rows: int
    refused: list[Refusal]
    table: Any = None
    lines: bytes = b""


class Piecework:
    """Answers pieces, one after the other."""

    def __init__(self, answers: Answers, signature: Signature, shape: Shape, max_errors: int) -> None:
        self._answers, self._signature, self._max_errors = answers, signature, max_errors
        self._join = shape.join
        self._input, self._output = filters.parse(shape.input_filter), filters.parse(shape.output_filter)
        self._prediction = _prediction_type(signature)

    def __call__(self, piece: Piece, target: str) -> Answered:
        """Raises BadInput and ModelFailed, which name the row; more than `max_errors` refused rows are one too many."""
        return self._table(piece, piece.table, target) if piece.table is not None else self._lines(piece, target)

    # -- tables ----------------------------------------------------------------------------------------------------------------

    def _table(self, piece: Piece, table: pa.Table, target: str) -> Answered:
        wanted = self._input.columns(table.column_names)
        taken = table.select(wanted)
        if not piece.named and len(wanted) == len(self._signature.names):
            taken = taken.rename_columns(list(self._signature.names))
        elif not piece.named:
            said = f"rows of {len(wanted)} values, and the model takes {len(self._signature.names)} columns"
            raise BadInput(said, next="name the columns in the first line, or leave some out: --input-filter '$[1:]'")
        columns, bad = cols.of_table(taken, self._signature, text=piece.text)
        outputs, good = self._asked(columns, table.num_rows, bad, piece.first)
        answers = pa.table({name: self._array(name, values) for name, values in self._all(outputs).items()})
        kept = table if good.all() else table.filter(pa.array(good))
        numbers = np.flatnonzero(good) + piece.first
        made = self._joined(kept, answers) if self._join else self._identified(kept, numbers, answers)
        made = made.select(self._output.columns(made.column_names))
        refused = [Refusal(piece.first + row, why) for row, why in sorted(bad.items())]
        if target == "jsonl":
            return Answered(table.num_rows, refused, lines=b"".join(_encode(row) + b"\n" for row in made.to_pylist()))
        return Answered(table.num_rows, refused, table=made)

    def _joined(self, table: pa.Table, answers: pa.Table) -> pa.Table:
        for name in answers.column_names:
            if name in table.column_names:
                raise BadInput(f"the input has a column `{name}` as the answer does", next="rename it, or leave out --join")
        return pa.table([*table.columns, *answers.columns], names=[*table.column_names, *answers.column_names])

    def _identified(self, table: pa.Table, numbers: Any, answers: pa.Table) -> pa.Table:
        id_col = self._signature.id_col
        if id_col in table.column_names:
            return answers.add_column(0, id_col, table.column(id_col))
        return answers.add_column(0, "row", pa.array(numbers, pa.int64()))

    def _array(self, name: str, values: Any) -> Any:
        if name != "prediction":
            return pa.array(np.asarray(values, np.float64))
        if isinstance(values, np.ndarray) and values.dtype != object:
            return pa.array(values).cast(self._prediction)
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        return pa.array([str(v) for v in listed] if pa.types.is_string(self._prediction) else listed, self._prediction)

    # -- lines of JSON -----------------------------------------------------------------------------------------------------------

    def _lines(self, piece: Piece, target: str) -> Answered:
        records = [line for line in piece.lines.split(b"\n") if line.strip()]
        bad, given, rows = dict[int, str](), list[Any](), list[Any]()
        for number, line in enumerate(records):
            try:
                record = _decode(line)
                rows.append(self._row(self._input.of(record)))
                given.append(record)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadInput) as exc:
                bad[number] = exc.what if isinstance(exc, BadInput) else f"not JSON: {exc}"
                rows.append({})
                given.append(None)
        columns = cols.of_records(rows, self._signature, bad)
        outputs, good = self._asked(columns, len(records), bad, piece.first)
        numbers = np.flatnonzero(good).tolist()
        answers = self._all(outputs)
        if target != "jsonl":
            made: dict[str, Any] = {"table": self._of_records(given, numbers, piece.first, answers)}
        else:
            made = {"lines": self._written(given, numbers, piece.first, answers, bad)}
        refused = [Refusal(piece.first + row, why) for row, why in sorted(bad.items())]
        return Answered(len(records), refused, **made)

    def _written(self, given: list[Any], numbers: list[int], first: int, answers: Outputs, bad: dict[int, str]) -> bytes:
        """Lines of JSON. What the output filter asks for and a record does not have is a reason to refuse that record."""
        listed = {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in answers.items()}
        lines = []
        for place, number in enumerate(numbers):
            answer = {name: values[place] for name, values in listed.items()}
            try:
                lines.append(_encode(self._output.of(self._beside(given[number], answer, first + number))) + b"\n")
            except BadInput as exc:
                bad[number] = exc.what
        self._bear(bad, first)
        return b"".join(lines)

    def _row(self, record: Any) -> dict[str, Any]:
        """A record by the names of the columns."""
        if isinstance(record, list):
            if len(record) != len(self._signature.names):
                raise BadInput(f"a record of {len(record)} values; the model takes {len(self._signature.names)} columns")
            return dict(zip(self._signature.names, record, strict=True))
        if not isinstance(record, dict):
            raise BadInput(f"a record is an object or a list, not {filters.shown(record)}")
        for name in self._signature.names:
            if name not in record and not any(c.name == name and c.nullable for c in self._signature.columns):
                raise BadInput(f"the record has no `{name}`")
        return record

    def _beside(self, record: Any, answer: dict[str, Any], number: int) -> dict[str, Any]:
        """An answer as it is written: with its record, its id or its number."""
        if self._join:
            return {**record, JOINED: answer} if isinstance(record, dict) else {TAKEN: record, JOINED: answer}
        id_col = self._signature.id_col
        if isinstance(record, dict) and id_col in record:
            return {str(id_col): record[id_col], **answer}
        return {"row": number, **answer}

    def _of_records(self, given: list[Any], numbers: list[int], first: int, answers: Outputs) -> pa.Table:
        table = pa.table({name: self._array(name, values) for name, values in answers.items()})
        if self._join:
            raise BadInput("records of JSON are joined with their answers in JSON lines only", next="end the output with .jsonl")
        id_col = self._signature.id_col
        if id_col and all(isinstance(given[n], dict) and id_col in given[n] for n in numbers):
            ids = [given[n][id_col] for n in numbers]
            whole = bool(ids) and all(type(i) is int and -(2**63) <= i < 2**63 for i in ids)
            texts = ids if whole else [None if i is None else str(i) for i in ids]
            made = table.add_column(0, id_col, pa.array(texts, pa.int64() if whole else pa.string()))
        else:
            made = table.add_column(0, "row", pa.array([first + n for n in numbers], pa.int64()))
        return made.select(self._output.columns(made.column_names))

    # -- both --------------------------------------------------------------------------------------------------------------------

    def _asked(self, columns: dict[str, cols.Values], count: int, bad: dict[int, str], first: int) -> tuple[Outputs, Any]:
        self._bear(bad, first)
        try:
            return answered(self._answers, columns, count, bad, self._max_errors) if count else ({}, np.ones(0, bool))
        except ModelFailed as exc:
            where = f"row {first + exc.row}" if isinstance(exc, Refused) else f"rows {first} to {first + count - 1}"
            raise BadInput(exc.what, where=where, next="correct the row, or let rows be refused: --max-errors") from exc

    def _bear(self, bad: dict[int, str], first: int) -> None:
        """Raises BadInput, naming the first of them, where more rows are refused than may be."""
        if len(bad) > self._max_errors:
            row, why = min(bad.items())
            raise BadInput(why, where=f"row {first + row}", next="correct the row, or let rows be refused: --max-errors")

    def _all(self, outputs: Outputs) -> Outputs:
        return {name: outputs.get(name, []) for name in self._signature.outputs}


def begin(order: Order, number: int) -> Piecework:
    """What answers an order's pieces in the worker, or the thread, of this number. Raises BadInput, Unavailable."""
    answers, signature = answering.begin(order.answering, number), Signature.from_dict(order.answering.signature)
    return Piecework(answers, signature, order.shape, order.max_errors)


def _prediction_type(signature: Signature) -> Any:
    if signature.answer == "number":
        return pa.float64()
    kinds = {type(c) for c in signature.classes}
    if signature.answer == "labels" or not kinds:
        return pa.string()
    if len(kinds) > 1:
        return pa.float64() if kinds <= {int, float} else pa.string()
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}.get(kinds.pop(), pa.string())
