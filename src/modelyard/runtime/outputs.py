"""From what a model gives to the signature's outputs, as lists of plain JSON values. Nothing that is not finite gets through."""

from __future__ import annotations

import importlib
from typing import Any

_SLACK = 1e-6  # float32 soft-maxes overshoot 1 by a few ulps
_NUMBERS = ("regression", "ranking", "forecasting")
_LABELS = ("prediction", "predictions", "predicted_label", "label", "labels")
SCORES = ("probabilities", "probability", "scores", "score")
"""What scripts call the probabilities that they answer beside `predictions`."""
ANOMALY, MULTILABEL, BINARY = "anomaly_detection", "multilabel_classification", "binary_classification"


class BadOutput(Exception):
    """The model answered, but not with what its signature promises; `row` where one row is to blame."""

    def __init__(self, what: str, row: int | None = None) -> None:
        super().__init__(what)
        self.row = row


def _advice(table: Any, rows: int) -> str:
    """What to do about a script that answers the first row of many."""
    one = rows > 1 and (table.ndim == 0 or table.shape[0] == 1)
    return "; a script that answers one row at a time wants `inference.batch_strategy: single_record`" if one else ""


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for."""
    return value.item() if hasattr(value, "item") else value


def gives_numbers(signature: dict[str, Any]) -> bool:
    """Whether `prediction` is a number: regression, ranking, forecasting."""
    return signature["problem_type"] in _NUMBERS


def gives_probabilities(signature: dict[str, Any]) -> bool:
    """Whether a probability a class is promised: binary, multiclass and multilabel classification."""
    return not gives_numbers(signature) and signature["problem_type"] != ANOMALY


def class_order(model_classes: Any, classes: list[Any], *, fewer: bool = False) -> list[int]:
    """For each class of the signature, its place among the model's `classes_`. Raises BadOutput when the two sets differ.

    `fewer`: the model may lack classes, which came up only after the rows that it learned from; their place is -1.
    """
    found = [plain(c) for c in model_classes]
    if len(found) == len(classes) or (fewer and 2 <= len(found) < len(classes)):
        for same in (lambda a, b: a == b, lambda a, b: str(a) == str(b)):
            order = [next((i for i, f in enumerate(found) if same(f, c)), -1) for c in classes]
            if sorted(place for place in order if place >= 0) == list(range(len(found))):
                return order
    raise BadOutput(
        f"the model's classes {found} are not the signature's {classes}; "
        "define predict_fn(input, model) that returns one probability a class"
    )


def numbers_classes(model_classes: Any, classes: list[Any]) -> bool:
    """Whether a model's `classes_` are the numbers 0 to k-1 where the signature's classes are k texts: the script encoded the labels, as
    scikit-learn's LabelEncoder does in sorted order, which is the signature's order too."""
    return all(isinstance(c, str) for c in classes) and [plain(c) for c in model_classes] == list(range(len(classes)))


class Outputs:
    """Turns raw results into `{output: list}` for a signature (its JSON object).

    A model that gives labels and no probabilities is taken at its word: probability 1 for the label, 0 for the others. `numbered`: a
    label may be its place among the classes.
    """

    def __init__(self, signature: dict[str, Any], order: list[int] | None = None, *, numbered: bool = False) -> None:
        self.np: Any = importlib.import_module("numpy")
        self.kind = str(signature["problem_type"])
        self.classes: list[Any] = list(signature.get("classes") or [])
        self.binary = self.kind == BINARY
        self.order, self.numbered = order, numbered
        given = signature.get("decision_threshold")
        self.given_threshold = None if given is None else float(given)
        self.threshold = 0.5 if given is None else float(given)
        self.separator = str(signature.get("label_separator") or "|")
        self.positive = self.classes.index(signature["positive_class"]) if self.kind in (BINARY, ANOMALY) else -1
        self.names = ["probability_" + str(c) for c in self.classes] if gives_probabilities(signature) else []

    def __call__(self, raw: Any, rows: int) -> dict[str, list[Any]]:
        """Raises BadOutput for a wrong shape, a value that is not finite, a label that is none of the classes."""
        raw = _opened(raw)
        if self.kind in _NUMBERS:
            return {"prediction": self._numbers(self._column(raw, ("prediction", "predictions", "score")), rows).tolist()}
        if self.kind == ANOMALY:
            return self._strange(raw, rows)
        scores, labels = self._scored(raw, rows)
        answer = self._several(scores) if self.kind == MULTILABEL else self._classified(scores)
        if labels is not None:
            answer["prediction"] = labels
        return answer

    def _column(self, raw: Any, names: tuple[str, ...]) -> Any:
        """The column of a dict that has one of `names`, or its only one; anything but a dict as it is."""
        if not isinstance(raw, dict):
            return raw
        for name in names:
            if name in raw:
                return raw[name]
        if len(raw) == 1:
            return next(iter(raw.values()))
        raise BadOutput(f"the model gave {sorted(map(str, raw))}; `{names[0]}` is missing")

    def _scored(self, raw: Any, rows: int) -> tuple[Any, list[Any] | None]:
        """A (rows, classes) table of probabilities, and the predictions where the model names them itself."""
        if not isinstance(raw, dict):
            return self._probabilities(raw, rows), None
        said = next((raw[name] for name in _LABELS if name in raw), None)
        table = self._table(raw, rows)
        if table is None and said is None:
            missing = next(name for name in self.names if name not in raw)
            raise BadOutput(f"the model gave {sorted(map(str, raw))}; `{missing}` is missing")
        if said is None:
            return table, None
        if self.kind == MULTILABEL:
            chosen = self._marked(said, rows)
            return (chosen if table is None else table), self._joined(chosen > 0)
        labels = self._labels(said, rows)
        return (self._certain(labels) if table is None else self._agreeing(raw, table, labels)), labels

    def _agreeing(self, raw: dict[Any, Any], table: Any, labels: list[Any]) -> Any:
        """The table, where one number a row can be the positive class's probability. Raises BadOutput where it may be the label's."""
        flat = next((raw[name] for name in ("probabilities", "probability", "scores") if name in raw), None)
        if flat is None or self.np.ndim(flat) != 1 or isinstance(flat[0], dict):
            return table
        other = self.classes[1 - self.positive]
        row = next((i for i, label in enumerate(labels) if label == other and table[i, self.positive] > 0.5), None)
        if row is not None:
            said = f"row {row} is {other!r} with a probability of {table[row, self.positive]:g}"
            raise BadOutput(f"{said}: the label's, or that of {self.classes[self.positive]!r}? Give a probability a class", row)
        return table

    def _table(self, raw: dict[Any, Any], rows: int) -> Any:
        """The probabilities in a dict: `probability_<class>` or the class itself by name, `probabilities`, or a binary `score`."""
        by_name = {str(k): v for k, v in raw.items()}
        for names in (self.names, [str(c) for c in self.classes]):
            if all(name in by_name for name in names):
                return self._bounded(self.np.column_stack([self._numbers(by_name[name], rows) for name in names]))
        several = next((by_name[name] for name in ("probabilities", "probability", "scores") if name in by_name), None)
        if several is not None:
            values = list(several)
            if values and isinstance(values[0], dict):
                return self._table({k: [v.get(k) for v in values] for k in values[0]}, rows)
            if self.binary or self.np.ndim(values) > 1:
                return self._probabilities(self.np.asarray(values, dtype=self.np.float64), rows)
            return None  # the probability of the label alone
        if self.binary and "score" in by_name:
            return self._probabilities(self.np.asarray(by_name["score"], dtype=self.np.float64), rows)
        return None

    def _labels(self, raw: Any, rows: int) -> list[Any]:
        labels = [plain(v) for v in raw]
        if len(labels) != rows:
            raise BadOutput(f"the model gave {len(labels)} predictions for {rows} rows")
        by_value = {c: c for c in self.classes}
        by_text = {str(c): c for c in self.classes}
        if self.numbered:
            by_value.update(enumerate(self.classes))
        found = []
        for row, label in enumerate(labels):
            if isinstance(label, list) and len(label) == 1:
                label = plain(label[0])
            if isinstance(label, (list, dict)) or (label not in by_value and str(label) not in by_text):
                raise BadOutput(f"the model gave {label!r} in row {row}, which is none of the classes {self.classes}", row)
            found.append(by_value[label] if label in by_value else by_text[str(label)])
        return found

    def _certain(self, labels: list[Any]) -> Any:
        """Probability 1 for each label."""
        table = self.np.zeros((len(labels), len(self.classes)))
        table[self.np.arange(len(labels)), [self.classes.index(label) for label in labels]] = 1.0
        return table

    def _numbers(self, raw: Any, rows: int) -> Any:
        """A 1-D float64 array of `rows` finite values."""
        try:
            table = self.np.asarray(raw, dtype=self.np.float64)
        except (TypeError, ValueError) as exc:
            raise BadOutput(f"the model gave values that are no numbers: {exc}") from exc
        if table.shape not in ((rows,), (rows, 1)):
            raise BadOutput(f"the model gave an array of shape {tuple(table.shape)} for {rows} rows{_advice(table, rows)}")
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

    def _filled(self, scores: Any) -> Any:
        """With a probability of 0 for each class that the model never saw."""
        whole = self.np.zeros((len(scores), len(self.classes)))
        for i, place in enumerate(self.order or ()):
            if place >= 0:
                whole[:, i] = scores[:, place]
        return whole

    def _probabilities(self, raw: Any, rows: int) -> Any:
        """A (rows, classes) float64 array in the signature's class order."""
        np, k = self.np, len(self.classes)
        if self.kind == MULTILABEL:
            raw = self._positives(raw)
            if isinstance(raw, (list, tuple)) and any(isinstance(v, (list, tuple)) and (not v or isinstance(v[0], str)) for v in raw):
                return self._marked(raw, rows)
        try:
            table = np.asarray(raw)
        except ValueError as exc:
            raise BadOutput(f"the model gave rows of unlike lengths: {exc}") from exc
        if table.shape == (rows, k) and table.dtype.kind in "fiub" and (k > 1 or self.kind == MULTILABEL):
            scores = self._bounded(self._finite(table.astype(np.float64)))
            return scores if self.order is None else scores[:, self.order]
        if self.order is not None and table.shape == (rows, k - self.order.count(-1)) and table.dtype.kind in "fiub":
            return self._filled(self._bounded(self._finite(table.astype(np.float64))))
        if self.binary and table.shape in ((rows,), (rows, 1)) and table.dtype.kind == "f":
            score = self._bounded(self._finite(table.astype(np.float64).reshape(rows)))
            pair = [1.0 - score, 1.0 - score]
            pair[self.positive] = score
            return np.column_stack(pair)
        if table.shape in ((rows,), (rows, 1)):
            flat = table.reshape(rows).tolist()
            return self._marked(flat, rows) if self.kind == MULTILABEL else self._certain(self._labels(flat, rows))
        raise BadOutput(f"the model gave an array of shape {tuple(table.shape)} for {rows} rows and {k} classes{_advice(table, rows)}")

    def _positives(self, raw: Any) -> Any:
        """One (rows, labels) table of scikit-learn's list with a (rows, 2) array a label."""
        if isinstance(raw, list) and len(raw) == len(self.classes) and all(getattr(part, "ndim", 0) == 2 for part in raw):
            return self.np.column_stack([part[:, -1] for part in raw])
        return raw

    def _marked(self, raw: Any, rows: int) -> Any:
        """A (rows, labels) table of 0 and 1 of texts such as `a|b`, or of lists of labels."""
        said = [plain(v) for v in raw]
        if len(said) != rows:
            raise BadOutput(f"the model gave {len(said)} predictions for {rows} rows")
        places = {str(c): i for i, c in enumerate(self.classes)}
        table = self.np.zeros((rows, len(self.classes)))
        for row, value in enumerate(said):
            parts = value.split(self.separator) if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
            for part in (str(p).strip() for p in parts):
                if part and part not in places:
                    raise BadOutput(f"the model gave {part!r} in row {row}, which is none of the labels {self.classes}", row)
                if part:
                    table[row, places[part]] = 1.0
        return table

    def _classified(self, scores: Any) -> dict[str, list[Any]]:
        np = self.np
        if self.binary:
            chosen = np.where(scores[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)
        else:
            chosen = scores.argmax(axis=1)
        return {"prediction": [self.classes[i] for i in chosen.tolist()], **self._by_name(scores)}

    def _several(self, scores: Any) -> dict[str, list[Any]]:
        return {"prediction": self._joined(scores >= self.threshold), **self._by_name(scores)}

    def _joined(self, held: Any) -> list[Any]:
        return [self.separator.join(str(c) for c, yes in zip(self.classes, row) if yes) for row in held.tolist()]

    def _by_name(self, scores: Any) -> dict[str, list[Any]]:
        return {name: scores[:, i].tolist() for i, name in enumerate(self.names)}

    def _strange(self, raw: Any, rows: int) -> dict[str, list[Any]]:
        """A score a row, and the class by the threshold, else by the model's word; a model that only has the word scores 1 and 0."""
        labels = self._verdicts(raw, rows)
        if labels is not None and not (isinstance(raw, dict) and {"score", "anomaly_score"} & set(raw)):
            return {"prediction": labels, "score": [float(label == self.classes[self.positive]) for label in labels]}
        score = self._numbers(self._column(raw, ("score", "anomaly_score")), rows)
        if self.given_threshold is not None:
            other = self.classes[1 - self.positive]
            labels = [self.classes[self.positive] if yes else other for yes in (score >= self.given_threshold).tolist()]
        if labels is None:
            raise BadOutput("the model gives scores and says not which are anomalies: set `evaluate.decision_threshold`")
        return {"prediction": labels, "score": score.tolist()}

    def _verdicts(self, raw: Any, rows: int) -> list[Any] | None:
        """What the model itself calls an anomaly: classes, or scikit-learn's -1 for one and 1 for none; None where it gives scores only."""
        if isinstance(raw, dict):
            said = next((raw[name] for name in _LABELS if name in raw), None)
            return None if said is None else self._sides([plain(v) for v in said], rows)
        values = self.np.asarray(raw)
        if values.dtype.kind == "f" or values.shape not in ((rows,), (rows, 1)):
            return None
        return self._sides(values.reshape(rows).tolist(), rows)

    def _sides(self, said: list[Any], rows: int) -> list[Any]:
        if set(said) <= {-1, 1} and not set(said) <= set(self.classes):
            said = [self.classes[self.positive if v == -1 else 1 - self.positive] for v in said]
        return self._labels(said, rows)


def _opened(raw: Any) -> Any:
    """Tensors as arrays, DataFrames as dicts of lists, Series as lists."""
    if hasattr(raw, "detach"):
        raw = raw.detach().cpu().numpy()
    if hasattr(raw, "to_dict") and hasattr(raw, "columns"):
        if [str(name) for name in raw.columns] == [str(place) for place in range(len(raw.columns))]:
            return raw.to_numpy()  # numbered, not named: a table of classes in their order, as MLflow makes of a network's answer
        return {str(name): raw[name].tolist() for name in raw.columns}
    return raw.tolist() if hasattr(raw, "to_list") and hasattr(raw, "index") else raw
