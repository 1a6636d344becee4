"""Explanations online: how each answer came about, asked of the version's own runner, beside the answer.

The runner sees through tree ensembles and linear models (runtime/explain.py); one that cannot declines, and the caller is told why.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.errors import BadInput, YardError
from modelyard.serve.refusals import ModelFailed, TooLarge
from modelyard.serve.rows import Rows
from modelyard.signature import Signature

if TYPE_CHECKING:
    from modelyard.serve.client import Runners
    from modelyard.serve.protocols.reading import Formats

MOST_ROWS = 1000
"""Rows that are explained in one request."""
_PARQUET = "application/vnd.apache.parquet"


class NotExplained(BadInput):
    """This version cannot explain its answers; the message says why."""

    code, http_status = "not_explained", 422


class Explained(msgspec.Struct, frozen=True):
    """attributions: a list a column of the signature, of a number a row; with `base` they sum to the output, in the unit `output`."""

    attributions: list[list[float]]
    base: float
    output: str
    method: str
    why: str
    error: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Attributions of the rows of a request; `of` is the output that they explain, by its name in the signature."""

    of: str
    names: tuple[str, ...]
    found: Explained

    def plain(self) -> dict[str, Any]:
        """`{"output", "unit", "base", "method", "why", "attributions": [{column: number}]}`, an object a row."""
        found = self.found
        rows = [dict(zip(self.names, values, strict=True)) for values in zip(*found.attributions, strict=True)]
        return {
            "output": self.of,
            "unit": found.output,
            "base": found.base,
            "method": found.method,
            "why": found.why,
            "attributions": rows,
        }

    def clarify(self, signature: Signature, predictions: bytes) -> dict[str, Any]:
        """As SageMaker Clarify's online explainability answers: `predictions` as text, and a list of features a row."""
        kinds = {"int": "numerical", "float": "numerical", "bool": "categorical", "str": "categorical", "datetime": "categorical"}
        heads = [(c.name, kinds[c.type]) for c in signature.columns]
        rows = [
            [
                {"feature_header": name, "feature_type": kind, "attributions": [{"attribution": [value]}]}
                for (name, kind), value in zip(heads, values, strict=True)
            ]
            for values in zip(*self.found.attributions, strict=True)
        ]
        return {
            "version": "1.0",
            "predictions": {"content_type": "application/json", "data": predictions.decode()},
            "explanations": {"kernel_shap": rows},
        }


class Explainer:
    """Explains the answers of one version. `background` is a Parquet file of rows that attributions are held against, None where the
    version keeps none; `of` is the output to explain, by default the one that matters most."""

    def __init__(self, formats: Formats, runners: Runners, background: str | None, of: str | None) -> None:
        self._formats, self._runners, self._path = formats, runners, background
        self.of = of or _output(formats.signature)
        self._background: Rows | None = None

    async def explain(self, rows: Rows) -> Explanation:
        """Raises NotExplained, TooLarge, and what asking a runner raises (NoRunner, QueueFull, TimedOut, ModelFailed)."""
        if rows.count > MOST_ROWS:
            raise TooLarge(f"the body has {rows.count} rows; at most {MOST_ROWS} are explained at once", next="Send smaller bodies.")
        if self._background is None:
            self._background = await asyncio.to_thread(self._read)
        behind = {"rows": self._background.count, "columns": self._background.encoded()}
        fields = {"rows": rows.count, "columns": rows.encoded(), "background": behind, "output": self.of, "method": "auto"}
        reply = await self._runners.ask("explain", fields, rows.count)
        names = self._formats.signature.names
        if (declined := reply.get("declined")) is not None:
            raise NotExplained(f"this version's answers are not explained: {declined}", next="Ask without explanations.")
        if (error := reply.get("error")) is not None:
            raise ModelFailed(f"the runner does not explain: {error.get('what') if isinstance(error, dict) else error}")
        try:
            found = msgspec.convert(reply.get("explained"), Explained)
        except msgspec.ValidationError as exc:
            raise ModelFailed(f"the runner's explanation is not as the protocol has it: {exc}") from None
        if [len(values) for values in found.attributions] != [rows.count] * len(names):
            raise ModelFailed("the runner's explanation has not a value a row and column")
        return Explanation(self.of, names, found)

    def _read(self) -> Rows:
        """The background's rows; read as any Parquet body is. Raises NotExplained."""
        if self._path is None:
            hint = "Write `explain: {}` in config.yaml and build again, or ask without explanations."
            raise NotExplained("this version keeps no background to explain its answers against", next=hint)
        try:
            return self._formats.parse(Path(self._path).read_bytes(), _PARQUET, received_at=0)
        except OSError as exc:
            raise NotExplained(f"the background cannot be read: {exc.strerror}", where=self._path) from None
        except YardError as exc:
            raise NotExplained(f"the background does not hold: {exc.what}", where=self._path) from None


def _output(signature: Signature) -> str:
    """The score of the positive class, else of the first; else the number that is predicted."""
    if signature.problem_type == "anomaly_detection":
        return "score"
    if signature.positive_class is not None and signature.positive_output in signature.outputs:
        return signature.positive_output
    return signature.outputs[min(1, len(signature.outputs) - 1)]
