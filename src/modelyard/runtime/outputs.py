"""From what a model gives to the signature's outputs, as lists of plain JSON values. Nothing that is not finite gets through."""

from __future__ import annotations

import importlib
from typing import Any

_SLACK = 1e-6  # float32 soft-maxes overshoot 1 by a few ulps


class BadOutput(Exception):
    """The model answered, but not with what its signature promises; `row` where one row is to blame."""

    def __init__(self, what: str, row: int | None = None) -> None:
        super().__init__(what)
        self.row = row


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for."""
    return value.item() if hasattr(value, "item") else value


def class_order(model_classes: Any, classes: list[Any]) -> list[int]:
    """For each class of the signature, its place among the model's `classes_`. Raises BadOutput when the two sets differ."""
    found = [plain(c) for c in model_classes]
    if len(found) == len(classes):
        for same in (lambda a, b: a == b, lambda a, b: str(a) == str(b)):
            order = [next((i for i, f in enumerate(found) if same(f, c)), -1) for c in classes]
            if sorted(order) == list(range(len(classes))):
                return order
    raise BadOutput(
        f"the model's classes {found} are not the signature's {classes}; "
        "define predict_fn(input, model) that returns one probability a class"
    )


class Outputs:
    """Turns raw results into `{output: list}` for a signature (its JSON object)."""

    def __init__(self, signature: dict[str, Any], order: list[int] | None = None) -> None:
        self.np: Any = importlib.import_module("numpy")
        self.classes: list[Any] = list(signature.get("classes") or [])
        self.classifier = signature["problem_type"] != "regression"
        self.binary = signature["problem_type"] == "binary_classification"
        self.order = order
        self.threshold = 0.5 if signature.get("decision_threshold") is None else float(signature["decision_threshold"])
        self.positive = self.classes.index(signature["positive_class"]) if self.binary else -1
        self.names = ["probability_" + str(c) for c in self.classes]

    def __call__(self, raw: Any, rows: int) -> dict[str, list[Any]]:
        """Raises BadOutput for a wrong shape, a value that is not finite, labels where probabilities are promised."""
        if hasattr(raw, "to_dict") and hasattr(raw, "columns"):  # a DataFrame
            raw = {str(name): raw[name].tolist() for name in raw.columns}
        if isinstance(raw, dict):
            return self._named(raw, rows)
        return self._classified(self._probabilities(raw, rows)) if self.classifier else {"prediction": self._numbers(raw, rows).tolist()}

    def _named(self, raw: dict[Any, Any], rows: int) -> dict[str, list[Any]]:
        wanted = self.names if self.classifier else ["prediction"]
        missing = [name for name in wanted if name not in raw]
        if missing:
            raise BadOutput(f"predict_fn returned {sorted(map(str, raw))}; `{missing[0]}` is missing")
        if not self.classifier:
            return {"prediction": self._numbers(raw["prediction"], rows).tolist()}
        table = self.np.column_stack([self._numbers(raw[name], rows) for name in wanted])
        answer = self._classified(self._bounded(table))
        if "prediction" in raw:
            answer["prediction"] = self._labels(raw["prediction"], rows)
        return answer

    def _labels(self, raw: Any, rows: int) -> list[Any]:
        labels = [plain(v) for v in raw]
        if len(labels) != rows:
            raise BadOutput(f"the model gave {len(labels)} predictions for {rows} rows")
        by_value = {c: c for c in self.classes}
        for row, label in enumerate(labels):
            if label not in by_value:
                raise BadOutput(f"the model gave {label!r} in row {row}, which is none of the classes {self.classes}", row)
        return [by_value[v] for v in labels]

    def _numbers(self, raw: Any, rows: int) -> Any:
        """A 1-D float64 array of `rows` finite values."""
        try:
            table = self.np.asarray(raw, dtype=self.np.float64)
        except (TypeError, ValueError) as exc:
            raise BadOutput(f"the model gave values that are no numbers: {exc}") from exc
        if table.shape not in ((rows,), (rows, 1)):
            raise BadOutput(f"the model gave an array of shape {tuple(table.shape)} for {rows} rows")
        return self._finite(table.reshape(rows))

    def _finite(self, table: Any) -> Any:
        good = self.np.isfinite(table)
        if not good.all():
            row = int(self.np.argwhere(~good)[0][0])
            raise BadOutput(f"the model gave a value that is not finite in row {row}", row)
        return table

    def _bounded(self, table: Any) -> Any:
        wrong = (table < -_SLACK) | (table > 1 + _SLACK)
        if wrong.any():
            row = int(self.np.argwhere(wrong)[0][0])
            raise BadOutput(f"the model gave a probability outside 0..1 in row {row}", row)
        return self.np.clip(table, 0.0, 1.0)

    def _probabilities(self, raw: Any, rows: int) -> Any:
        """A (rows, classes) float64 array in the signature's class order."""
        np, k = self.np, len(self.classes)
        table = np.asarray(raw)
        if table.dtype.kind != "f":
            raise BadOutput("the model gave labels, not probabilities; return the output of predict_proba, one column a class")
        if table.shape == (rows, k):
            scores = self._bounded(self._finite(table.astype(np.float64)))
            return scores if self.order is None else scores[:, self.order]
        if self.binary and table.shape in ((rows,), (rows, 1)):
            score = self._bounded(self._finite(table.astype(np.float64).reshape(rows)))
            pair = [1.0 - score, 1.0 - score]
            pair[self.positive] = score
            return np.column_stack(pair)
        raise BadOutput(f"the model gave an array of shape {tuple(table.shape)} for {rows} rows and {k} classes")

    def _classified(self, scores: Any) -> dict[str, list[Any]]:
        np = self.np
        if self.binary:
            chosen = np.where(scores[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)
        else:
            chosen = scores.argmax(axis=1)
        answer: dict[str, list[Any]] = {"prediction": [self.classes[i] for i in chosen.tolist()]}
        for i, name in enumerate(self.names):
            answer[name] = scores[:, i].tolist()
        return answer
