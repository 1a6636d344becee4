"""The signature: what a version takes and gives. It travels with the bundle; serving, monitoring and replay all read it here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

ColumnType = Literal["int", "float", "str", "bool", "datetime"]
ProblemType = Literal["binary_classification", "multiclass_classification", "regression"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """A feature: its name, its type, and whether training ever saw it missing."""

    name: str
    type: ColumnType
    nullable: bool = False


@dataclass(frozen=True)
class Signature:
    """Columns in the model's order; outputs in the answer's order.

    Classification answers `prediction` (one of `classes`) and `probability_<class>` for each class, in that order; regression
    answers `prediction` (float). `id_col`, `time_col` and `entity_cols` may come with a request beside the features.
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

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("prediction", *(f"probability_{c}" for c in self.classes))

    @property
    def positive_output(self) -> str:
        """Name of the score of the positive class (binary classification only)."""
        return f"probability_{self.positive_class}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Signature:
        columns = tuple(Column(**c) for c in data["columns"])
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "columns"}
        return cls(columns=columns, **rest)
