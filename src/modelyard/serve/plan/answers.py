"""From a plan's answers to what the signature promises, for one row: as `modelyard.runtime.outputs` does it for the native model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelyard.errors import BadInput
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import Plan
from modelyard.signature import Scalar, Signature

SLACK = 1e-6
NOT_FINITE = "the model gave a value that is not finite"
OUTSIDE = "the model gave a probability outside 0..1"
Kind = Literal["number", "binary", "class", "labels", "anomaly"]


@dataclass(frozen=True)
class Finish:
    """How scores become a prediction. `positive` is the positive class's place; `threshold` is None where the plan's `decided` decides."""

    kind: Kind
    classes: tuple[Scalar, ...]
    positive: int
    threshold: float | None
    separator: str


def finish_for(plan: Plan, signature: Signature) -> Finish:
    """Raises BadInput where the plan does not answer what the signature promises."""
    columns = tuple((c.name, c.type, c.nullable) for c in signature.columns)
    if columns != tuple((c.name, c.type, c.nullable) for c in plan.inputs):
        raise BadInput("the row plan's inputs are not the signature's columns")
    if signature.answer == "number":
        kind: Kind = "number"
    elif signature.problem_type == "anomaly_detection":
        kind = "anomaly"
    elif signature.answer == "labels":
        kind = "labels"
    else:
        kind = "binary" if signature.problem_type == "binary_classification" else "class"
    wanted = 1 if kind in ("number", "anomaly") else len(signature.classes)
    if len(plan.answers) != wanted:
        raise BadInput(f"the row plan gives {len(plan.answers)} scores, and the signature has {wanted}")
    if kind == "anomaly" and signature.decision_threshold is None and plan.decided is None:
        raise BadInput("the row plan does not say which rows are anomalies, and the signature has no threshold")
    threshold = signature.decision_threshold
    if threshold is None and kind in ("binary", "labels"):
        threshold = 0.5
    positive = signature.classes.index(signature.positive_class) if kind in ("binary", "anomaly") else -1
    return Finish(kind, signature.classes, positive, threshold, signature.label_separator or "|")


def finish(how: Finish, scores: Sequence[float], decided: float = math.nan) -> tuple[Scalar, ...]:
    """(prediction, *scores) of one row. Raises Refused."""
    if not all(map(math.isfinite, scores)):
        raise Refused(NOT_FINITE)
    if how.kind == "number":
        return (scores[0],)
    if how.kind == "anomaly":
        strange = decided < 0 if how.threshold is None else scores[0] >= how.threshold
        return (how.classes[how.positive if strange else 1 - how.positive], scores[0])
    if any(not -SLACK <= score <= 1 + SLACK for score in scores):
        raise Refused(OUTSIDE)
    scores = [min(max(score, 0.0), 1.0) for score in scores]
    if how.kind == "class":
        return (how.classes[scores.index(max(scores))], *scores)
    assert how.threshold is not None
    if how.kind == "labels":
        held = [str(c) for c, score in zip(how.classes, scores, strict=True) if score >= how.threshold]
        return (how.separator.join(held), *scores)
    return (how.classes[how.positive if scores[how.positive] >= how.threshold else 1 - how.positive], *scores)
