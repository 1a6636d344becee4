"""ONNX models by ONNX Runtime: one matrix in, or one tensor a column; a fixed batch dimension is padded and chunked."""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.runtime.outputs import BadOutput, gives_probabilities, plain

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def open_session(path: str) -> Any:
    """An InferenceSession on the CPU for the model in the file `path`."""
    ort = importlib.import_module("onnxruntime")
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


class OnnxModel:
    """Answers `(rows, classes)` probabilities for a classifier, a vector of numbers for a regression."""

    def __init__(self, session: Any, signature: dict[str, Any]) -> None:
        self.np: Any = importlib.import_module("numpy")
        self.session = session
        self.inputs = list(session.get_inputs())
        self.outputs = list(session.get_outputs())
        self.names = [str(c["name"]) for c in signature["columns"]]
        self.classes: list[Any] = list(signature.get("classes") or [])
        self.classifier = gives_probabilities(signature)
        self.single = len(self.inputs) == 1 and not (len(self.names) == 1 and self.inputs[0].name == self.names[0])
        self._check_inputs()
        fixed = [i.shape[0] for i in self.inputs if i.shape and isinstance(i.shape[0], int) and i.shape[0] > 0]
        self.batch: int | None = fixed[0] if fixed else None

    def _check_inputs(self) -> None:
        for part in self.inputs:
            if part.type not in _DTYPES:
                raise BadOutput(f"the ONNX input `{part.name}` is a {part.type}, which is not supported")
        if self.single:
            width = self.inputs[0].shape[-1] if self.inputs[0].shape else None
            if isinstance(width, int) and width != len(self.names):
                raise BadOutput(f"the ONNX model takes {width} columns, the signature has {len(self.names)}")
        else:
            missing = sorted({i.name for i in self.inputs} - set(self.names))
            if missing:
                raise BadOutput(f"the ONNX model takes an input `{missing[0]}`, which is no column of the signature")

    def predict(self, columns: dict[str, list[Any]], rows: int) -> Any:
        """Probabilities or numbers for `rows` rows given by column."""
        feeds = self._feeds(columns)
        if self.batch is None:
            return self._result(self.session.run(None, feeds))
        parts = [self._chunk(feeds, start, rows) for start in range(0, rows, self.batch)]
        return self.np.concatenate(parts)

    def _feeds(self, columns: dict[str, list[Any]]) -> dict[str, Any]:
        np = self.np
        if self.single:
            part = self.inputs[0]
            return {part.name: np.column_stack([self._tensor(columns[n], part.type) for n in self.names])}
        return {i.name: self._tensor(columns[i.name], i.type).reshape(-1, 1) for i in self.inputs}

    def _tensor(self, values: list[Any], kind: str) -> Any:
        dtype = _DTYPES[kind]
        if dtype == "object":
            return self.np.array(["" if v is None else str(v) for v in values], dtype=object)
        if dtype.startswith("float"):
            return self.np.array(values, dtype=dtype)
        if None in values:
            raise BadOutput(f"row {values.index(None)} has a missing value; the ONNX model takes whole numbers there", values.index(None))
        return self.np.array(values, dtype=dtype)

    def _chunk(self, feeds: dict[str, Any], start: int, rows: int) -> Any:
        """One run of the fixed batch size; the last is padded by its own last row, and the padding's answers are cut off."""
        size = int(self.batch or 1)
        stop = min(start + size, rows)
        parts = {name: values[start:stop] for name, values in feeds.items()}
        if stop - start < size:
            parts = {n: self.np.concatenate([v, self.np.repeat(v[-1:], size - len(v), axis=0)]) for n, v in parts.items()}
        return self._result(self.session.run(None, parts))[: stop - start]

    def _result(self, results: list[Any]) -> Any:
        np = self.np
        if not self.classifier:
            for values in results:
                if hasattr(values, "dtype") and values.dtype.kind == "f":
                    return values.reshape(len(values), -1)[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
            raise BadOutput("the ONNX model has no output of numbers")
        for values in results:
            if isinstance(values, list) and values and isinstance(values[0], dict):
                return self._zipped(values)
            if hasattr(values, "dtype") and values.dtype.kind == "f" and values.ndim == 2 and values.shape[1] in (1, len(self.classes)):
                return np.asarray(values)
        raise BadOutput("the ONNX model has no output of probabilities, one a class")

    def _zipped(self, maps: list[dict[Any, float]]) -> Any:
        """scikit-learn's converter writes a map of class to probability a row ("ZipMap")."""
        keys = {str(plain(k)): k for k in maps[0]}
        unknown = [c for c in self.classes if str(c) not in keys]
        if unknown or len(keys) != len(self.classes):
            raise BadOutput(f"the ONNX model's classes {list(keys)} are not the signature's {self.classes}")
        order = [keys[str(c)] for c in self.classes]
        return self.np.array([[m[k] for k in order] for m in maps], dtype=self.np.float64)
