from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.runtime.outputs import BadOutput, Outputs
from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import Input, Plan
from modelyard.signature import Column, Signature

odd = st.sampled_from((0.5, 1.0, 0.0, 1 + 5e-7, -5e-7, 1.1, -0.2, math.inf, -math.inf, math.nan))
score = st.one_of(st.floats(0, 1), odd)


def signed(kind: Any, width: int, **more: Any) -> Signature:
    return Signature(kind, tuple(Column(f"x{i}", "float", True) for i in range(width)), **more)


def cases() -> list[tuple[Signature, int | None]]:
    binary: dict[str, Any] = {"classes": ("no", "yes"), "positive_class": "yes"}
    return [
        (signed("regression", 1), None),
        (signed("binary_classification", 2, **binary), None),
        (signed("binary_classification", 2, **binary, decision_threshold=0.25), None),
        (signed("binary_classification", 2, classes=(0, 1), positive_class=0), None),
        (signed("multiclass_classification", 3, classes=("a", "b", "c")), None),
        (signed("multilabel_classification", 3, classes=("a", "b", "c"), label_separator=","), None),
        (signed("multilabel_classification", 2, classes=(1, 2), decision_threshold=0.7), None),
        (signed("anomaly_detection", 1, classes=(False, True), positive_class=True, decision_threshold=0.5), None),
        (signed("anomaly_detection", 1, classes=("odd", "fine"), positive_class="odd"), 1),
    ]


def plan_for(signature: Signature, decided: int | None) -> tuple[Plan, Signature]:
    """A plan that answers its inputs."""
    width = len(signature.columns)
    if decided is not None:
        signature = Signature.from_dict({**signature.to_dict(), "columns": [c.__dict__ for c in signed("regression", 2).columns]})
    inputs = tuple(Input(c.name, "float", True) for c in signature.columns)
    return Plan(inputs, (), tuple(range(width)), decided=decided), signature


def native(signature: Signature, row: tuple[float, ...], decided: int | None) -> Any:
    """What the runner makes of the same scores."""
    scores = [math.nan if x is None else x for x in row]
    raw: Any = np.array([scores])
    if signature.problem_type == "anomaly_detection":
        raw = {"score": scores[:1], "prediction": [-1 if scores[1] < 0 else 1]} if decided is not None else scores[:1]
    elif signature.problem_type == "regression":
        raw = scores[:1]
    try:
        made = Outputs(signature.to_dict())(raw, 1)
    except BadOutput:
        return "refused"
    return tuple(values[0] for values in made.values())


@pytest.mark.parametrize(("signature", "decided"), cases())
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_predictions_are_made_as_the_runner_makes_them(signature: Signature, decided: int | None, data: st.DataObject) -> None:
    plan, signature = plan_for(signature, decided)
    compiled = RowPlan(plan, signature)
    row = data.draw(st.tuples(*[score] * len(signature.columns)))
    wanted = native(signature, row, decided)
    for work in (
        lambda: interpret(plan, finish_for(plan, signature), row),
        lambda: compiled.row(row),
        lambda: tuple(values[0] for values in compiled._by_blocks([[x] * 3 for x in row], 3).values()),
    ):
        try:
            found = tuple(v.item() if hasattr(v, "item") else v for v in work())
        except Refused:
            found = "refused"  # type: ignore[assignment]
        assert found == wanted


def test_a_plan_of_another_signature_is_refused() -> None:
    signature = signed("multiclass_classification", 2, classes=("a", "b", "c"))
    with pytest.raises(BadInput, match="2 scores, and the signature has 3"):
        finish_for(Plan((Input("x0", "float", True), Input("x1", "float", True)), (), (0, 1)), signature)
    with pytest.raises(BadInput, match="not the signature's columns"):
        finish_for(Plan((Input("x0", "float", True), Input("x1", "float")), (), (0, 1, 1)), signature)
    strange = signed("anomaly_detection", 1, classes=(0, 1), positive_class=1)
    with pytest.raises(BadInput, match="does not say which rows are anomalies"):
        finish_for(Plan((Input("x0", "float", True),), (), (0,)), strange)
