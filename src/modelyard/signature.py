"""The signature: what a version takes and gives. It travels with the bundle; serving, monitoring and replay all read it here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from modelyard import zones

ColumnType = Literal["int", "float", "str", "bool", "datetime"]
ProblemType = Literal[
    "binary_classification",
    "multiclass_classification",
    "multilabel_classification",
    "regression",
    "ranking",
    "forecasting",
    "anomaly_detection",
]
Scalar = str | int | float | bool | None
Answer = Literal["class", "labels", "number"]


def answer_of(problem_type: ProblemType) -> Answer:
    """What the `prediction` of a problem type is: one class, a set of labels as text, or a number."""
    if problem_type == "multilabel_classification":
        return "labels"
    return "number" if problem_type in ("regression", "ranking", "forecasting") else "class"


@dataclass(frozen=True)
class Column:
    """A feature: its name, its type, and whether training ever saw it missing. `timezone`: the zone of its naive times."""

    name: str
    type: ColumnType
    nullable: bool = False
    timezone: str = zones.DEFAULT


@dataclass(frozen=True)
class Signature:
    """Columns in the model's order; outputs in the answer's order.

    Every problem type answers `prediction`, and these give scores beside it:

    | problem type | prediction | scores |
    |---|---|---|
    | binary, multiclass | one of `classes` | `probability_CLASS` for each class, in that order |
    | multilabel | text: the labels that hold, in the order of `classes`, joined by `label_separator` | `probability_LABEL` each |
    | anomaly detection | one of the two `classes` | `score`: any number, greater is stranger |
    | regression, ranking, forecasting | a number | |

    `decision_threshold`: from which score the positive class, a label, an anomaly is predicted; None leaves it to the model (0.5 where
    probabilities are given). `id_col`, `time_col`, `entity_cols`, `group_col` and `weight_col` may come with a request beside the features.
    `timezone` is the zone of naive times in `time_col`; that of a feature's stands with its column.
    `at`, `season`, `naive_error` are what metrics of ranked lists and of series are measured by: places that count, rows of a season, and
    the mean absolute error of the seasonal naive forecast on the training rows.
    """

    problem_type: ProblemType
    columns: tuple[Column, ...]
    classes: tuple[Scalar, ...] = ()
    positive_class: Scalar = None
    decision_threshold: float | None = None
    target_col: str = "label"
    id_col: str | None = None
    time_col: str | None = None
    entity_cols: tuple[str, ...] = ()
    group_col: str | None = None
    weight_col: str | None = None
    label_separator: str | None = None
    at: tuple[int, ...] = (5, 10)
    season: int = 1
    naive_error: float | None = None
    timezone: str = zones.DEFAULT

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def answer(self) -> Answer:
        """What `prediction` is: one class, a set of labels as text, or a number."""
        return answer_of(self.problem_type)

    @property
    def outputs(self) -> tuple[str, ...]:
        if self.problem_type == "anomaly_detection":
            return ("prediction", "score")
        return ("prediction", *(f"probability_{c}" for c in self.classes))

    @property
    def companions(self) -> tuple[str, ...]:
        """Columns that may come with a row, are kept beside it (x.*), and are no feature."""
        named = (*self.entity_cols, self.group_col, self.weight_col)
        return tuple(dict.fromkeys(name for name in named if name is not None and name not in self.names))

    @property
    def positive_output(self) -> str:
        """Name of the score of the positive class (binary classification and anomaly detection only)."""
        return "score" if self.problem_type == "anomaly_detection" else f"probability_{self.positive_class}"

    def to_dict(self) -> dict[str, Any]:
        """A zone is left out where it is UTC: so it was meant before signatures had zones, and so their files stay what they were."""
        return asdict(self, dict_factory=lambda pairs: {k: v for k, v in pairs if (k, v) != ("timezone", zones.DEFAULT)})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Signature:
        """Raises BadInput for a zone that this machine does not know: it would read times as others."""
        columns = tuple(Column(**c) for c in data["columns"])
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "columns"}
        made = cls(columns=columns, **rest)
        for name in {made.timezone, *(c.timezone for c in columns)} - {zones.DEFAULT}:
            zones.of(name)
        return made
