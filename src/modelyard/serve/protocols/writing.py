"""Outputs to bytes: the answers of one signature, in each content type that callers may accept."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.serve.protocols.records import AWKWARD
from modelyard.serve.refusals import NotAcceptable
from modelyard.signature import Signature

if TYPE_CHECKING:
    from modelyard.serve.rows import Rows

JSON, CSV, LINES = "application/json", "text/csv", "application/jsonlines"
ARROW, PARQUET, NPY = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "application/x-npy"
KINDS = (JSON, CSV, LINES, ARROW, PARQUET, NPY)
"""What an endpoint writes, by how much it likes to."""
_SAME = {"application/x-ndjson": LINES, "application/jsonl": LINES, "application/x-jsonlines": LINES, "application/x-parquet": PARQUET}
_USUAL = frozenset({None, "", JSON, "*/*"})
_WEIGHT = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)")


class _Whole(msgspec.Struct):
    """An answer as JSON has it."""

    predictions: list[Any]
    model: str
    version: str


class Writer:
    """Writes the answers of one signature. `outputs` are by name, a list each, in any order."""

    def __init__(self, signature: Signature) -> None:
        self.outputs = signature.outputs
        self._scored = "score" in self.outputs
        classes = [] if self._scored else [str(c) for c in signature.classes]
        fields: list[tuple[str, Any]] = [("inference_id", str), ("prediction", Any)]
        self._probabilities: Any = None
        if any(map(AWKWARD.search, classes)):
            self._probabilities = lambda *values: dict(zip(classes, values, strict=True))
            fields.append(("probabilities", dict[str, float]))
        elif classes:
            names = [f"p{i}" for i in range(len(classes))]
            self._probabilities = msgspec.defstruct(
                "Probabilities", [(n, float) for n in names], rename=dict(zip(names, classes, strict=True)), gc=False
            )
            fields.append(("probabilities", self._probabilities))
        elif self._scored:
            fields.append(("score", float))
        self._answer = msgspec.defstruct("Answer", fields, gc=False)
        encoder = msgspec.json.Encoder()
        self._encode, self._encode_lines = encoder.encode, encoder.encode_lines

    def write(self, kind: str, rows: Rows, outputs: dict[str, list[Any]], model: str, version: str) -> bytes:
        """The answer as one of `KINDS`."""
        ids = rows.inference_ids
        if kind == JSON:
            if rows.values or rows.explained is not None:
                return self._json_asked(rows, outputs, model, version)
            return self.json(ids, outputs, model, version)
        if kind == CSV:
            return self.csv(ids, outputs)
        if kind == LINES:
            return self._encode_lines(self._answers(ids, outputs))
        if kind == NPY:
            from modelyard.serve.protocols import npy

            return npy.write(outputs["prediction"])
        from modelyard.serve.protocols import arrow

        return arrow.write(ids, {name: outputs[name] for name in self.outputs}, parquet=kind == PARQUET)

    def _answers(self, ids: list[str], outputs: dict[str, list[Any]]) -> list[Any]:
        columns = [outputs[name] for name in self.outputs]
        if len(columns) == 1:
            return list(map(self._answer, ids, columns[0]))
        if self._scored:
            return list(map(self._answer, ids, *columns))
        return list(map(self._answer, ids, columns[0], map(self._probabilities, *columns[1:])))

    def one_row(self, model: str, version: str) -> Callable[[str, Sequence[Any]], bytes]:
        """What writes `json` of one row, its outputs in the signature's order. It works on one answer of its own: not thread-safe."""
        encode, probabilities = self._encode, self._probabilities
        answer: Any = self._answer("", None) if probabilities is None and not self._scored else self._answer("", None, None)
        whole = _Whole([answer], model, version)

        def write(inference_id: str, outputs: Sequence[Any]) -> bytes:
            answer.inference_id, answer.prediction = inference_id, outputs[0]
            if probabilities is not None:
                answer.probabilities = probabilities(*outputs[1:])
            elif len(outputs) > 1:
                answer.score = outputs[1]
            return encode(whole)

        if not isinstance(probabilities, type) or len(self.outputs) != 3:
            return write
        pair: Any = probabilities(0.0, 0.0)
        answer.probabilities = pair

        def write_pair(inference_id: str, outputs: Sequence[Any]) -> bytes:
            answer.inference_id = inference_id
            answer.prediction, pair.p0, pair.p1 = outputs
            return encode(whole)

        return write_pair

    def json(self, ids: list[str], outputs: dict[str, list[Any]], model: str, version: str) -> bytes:
        """`{"predictions": [{"inference_id", "prediction", "probabilities" or "score"}], "model", "version"}`."""
        return self._encode({"predictions": self._answers(ids, outputs), "model": model, "version": version})

    def _json_asked(self, rows: Rows, outputs: dict[str, list[Any]], model: str, version: str) -> bytes:
        predictions = outputs["prediction"] if rows.values else self._answers(rows.inference_ids, outputs)
        answer: dict[str, Any] = {"predictions": predictions, "model": model, "version": version}
        if rows.explained is not None:
            answer["explanations"] = rows.explained.plain()
        return self._encode(answer)

    def csv(self, ids: list[str], outputs: dict[str, list[Any]]) -> bytes:
        """A header, then a line a row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("inference_id", *self.outputs))
        writer.writerows(zip(ids, *(outputs[name] for name in self.outputs), strict=True))
        return text.getvalue().encode()


def negotiate(accept: str | None) -> str:
    """The answer's content type, one of `KINDS`; JSON where the caller does not care. Raises NotAcceptable."""
    if accept in _USUAL:
        return JSON
    best, kind = 0.0, ""
    for part in (accept or "").split(","):
        name, _, parameters = part.partition(";")
        found = _WEIGHT.search(parameters)
        weight, offer = float(found[1]) if found else 1.0, _offer(name.strip().lower())
        if offer and weight > best:
            best, kind = weight, offer
    if not kind:
        raise NotAcceptable(f"the caller accepts `{(accept or '')[:80]}`", next=f"The endpoint writes {', '.join(KINDS)}.")
    return kind


def _offer(name: str) -> str:
    if name in ("*/*", "application/*"):
        return JSON
    if name == "text/*":
        return CSV
    return name if name in KINDS else _SAME.get(name, "")
