"""LightGBM: its trees, from the model's own dump, in float64 and compared with <=. Text becomes the number of its category, as the
runner and LightGBM together do it (`frameworks._categories`, and the categories that training saw)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from modelyard.runtime.extract.builder import LARGEST, Builder, Cannot, Fact, Method, Table
from modelyard.runtime.extract.groves import Grove, Node, Split, whole

ZERO = 1.0000000180025095e-35
"""LightGBM takes values that are no farther from 0 for 0, but for those of a sparse table."""
INFINITY = 1e300
"""As what LightGBM writes an infinite threshold, which parts missing values from all others."""
_PLAIN = (
    "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom"
)  # fmt: skip
_EXP = ("poisson", "gamma", "tweedie")


def booster(builder: Builder, model: Any, table: Table) -> list[int]:
    """The trees up to the best iteration, where training stopped early; as `predict` of the booster itself."""
    dump = model.dump_model()
    if len(table.slots) != dump["max_feature_idx"] + 1:
        raise Cannot(f"the model was trained on {dump['max_feature_idx'] + 1} features and is given {len(table.slots)}")
    table, coded = _coded(builder, table, [list(values) for values in model.pandas_categorical or []])
    grove, width = Grove(), int(dump["num_tree_per_iteration"])
    for number, tree in enumerate(dump["tree_info"]):
        grove.plant(tree["tree_structure"], number % width, partial(_node, rounded=not table.sparse))
    rounds = len(dump["tree_info"]) // width
    divide = {"divide": float(rounds)} if dump.get("average_output") and rounds else {}
    sums = grove.stand(builder, table, coded, [0.0] * width, compare="le", cast="f8", **divide)
    return _linked(builder, sums, str(dump.get("objective", "custom")))


def wrapper(builder: Builder, model: Any, table: Table) -> list[int]:
    if callable(getattr(model, "objective_", None)):
        raise Cannot("an objective of one's own")
    return booster(builder, model.booster_, table)


def classifier(builder: Builder, model: Any, table: Table) -> list[int]:
    found = wrapper(builder, model, table)
    return builder.link("complement", found) if len(found) == 1 else found


def _coded(builder: Builder, table: Table, known: list[list[Any]]) -> tuple[Table, set[int]]:
    """The table with text columns as the numbers of their categories; and the slots that hold whole numbers only."""
    texts = [i for i, slot in enumerate(table.slots) if builder.facts[slot].kind == "text"]
    if not table.frame and texts:
        raise Cannot("LightGBM is given a column of text")
    if len(texts) != len(known):
        raise Cannot(f"LightGBM was trained with {len(known)} columns of categories and is given {len(texts)} of text")
    if table.frame:
        bools = [slot for slot in table.slots if builder.facts[slot].kind == "bool"]
        builder.require(bools, "present", "a bool that is missing is no number")
    slots, coded = list(table.slots), whole(builder, table)
    for place, values in zip(texts, known):
        if not all(isinstance(value, str) for value in values):
            raise Cannot("LightGBM was trained with categories that are no text, and is given text")
        codes, nothing = [[float(code)] for code in range(len(values))], [None]
        slots[place] = builder.add(
            "lookup", [Fact(limit=float(len(values)))], slot=slots[place], keys=values, values=codes, unknown=nothing, missing=nothing
        )[0]
        coded.add(slots[place])
    return table._replace(slots=slots), coded


def _node(node: dict[str, Any], *, rounded: bool) -> Node:
    if "split_feature" not in node:
        if node.get("leaf_coeff"):
            raise Cannot("LightGBM's linear trees have no row plan")
        return float(node["leaf_value"])
    feature, left, right = int(node["split_feature"]), node["left_child"], node["right_child"]
    if node["decision_type"] == "==":
        return Split(feature, 0.0, left, right, False, tuple(int(value) for value in node["threshold"].split("||")))
    if node["missing_type"] == "Zero":
        raise Cannot("LightGBM was told that zero is a missing value")
    threshold = _threshold(float(node["threshold"]), rounded=rounded)
    missing_left = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0  # else missing is 0
    return Split(feature, threshold, left, right, missing_left)


def _threshold(value: float, *, rounded: bool) -> float:
    """The threshold for values that are not rounded to 0 first, as LightGBM's are where `rounded`; an infinite one is the greatest
    number."""
    if value >= INFINITY:
        return LARGEST
    if not rounded:
        return value
    if -ZERO <= value < 0:
        return math.nextafter(-ZERO, -math.inf)
    return ZERO if 0 <= value < ZERO else value


def _linked(builder: Builder, sums: list[int], objective: str) -> list[int]:
    """What the objective makes of raw scores; it is written as `name key:value ...`."""
    name, *words = objective.split()
    said = dict(word.split(":", 1) for word in words if ":" in word)
    if name in ("binary", "multiclassova"):
        factor = float(said.get("sigmoid", 1.0))
        return builder.link("sigmoid", [builder.arithmetic(slot, ("mul", factor)) for slot in sums])
    if name == "cross_entropy":
        return builder.link("sigmoid", sums)
    if name == "multiclass":
        return builder.link("softmax", sums)
    if name in _EXP:
        return builder.link("exp", sums)
    if name not in _PLAIN or "sqrt" in words:
        raise Cannot(f"LightGBM's objective `{objective}` has no row plan")
    return sums


METHODS: dict[tuple[str, str, str], Method] = {
    ("lightgbm", "Booster", "predict"): booster,
    ("lightgbm", "LGBMClassifier", "predict_proba"): classifier,
    ("lightgbm", "LGBMRegressor", "predict"): wrapper,
    ("lightgbm", "LGBMRanker", "predict"): wrapper,
}
