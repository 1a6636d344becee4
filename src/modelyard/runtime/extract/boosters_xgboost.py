"""XGBoost: gradient boosted trees from the model's own JSON, which has every number as the float32 that it is.

XGBoost casts values to float32, compares with <, and sums in float32; so does the plan. Its exponentials are those of the C library in
float32, which may be off by a last bit: hence the tolerance.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from modelyard.runtime.extract.absent import Absent
from modelyard.runtime.extract.builder import Builder, Cannot, Method, Table
from modelyard.runtime.extract.groves import Grove, Node, Split, whole

TOLERANCE = 1e-6
REASON = "XGBoost computes in float32, whose exponentials may differ in the last bit"
_LINKS = {
    "reg:squarederror": "", "reg:squaredlogerror": "", "reg:pseudohubererror": "", "reg:absoluteerror": "", "reg:quantileerror": "",
    "binary:logitraw": "", "rank:pairwise": "", "rank:ndcg": "", "rank:map": "",
    "binary:logistic": "sigmoid", "reg:logistic": "sigmoid", "multi:softprob": "softmax",
    "count:poisson": "exp", "reg:gamma": "exp", "reg:tweedie": "exp",
}  # fmt: skip


def booster(builder: Builder, model: Any, table: Table) -> list[int]:
    """A bare booster, given a DMatrix: all its trees, and an infinite value is refused."""
    if model.num_features() != len(table.slots):
        raise Cannot(f"the model was trained on {model.num_features()} features and is given {len(table.slots)}")
    _numbers(builder, table)
    builder.require(table.slots, "float32", "Input data contains `inf` or a value too large for float32")
    return _answers(builder, model, table, None)


def wrapper(builder: Builder, model: Any, table: Table) -> list[int]:
    """A wrapper of scikit-learn's kind; where it stopped early, the trees up to the best one."""
    if model.missing == model.missing:  # not NaN
        raise Cannot(f"XGBoost was told that {model.missing!r} is a missing value")
    Builder.sized(model, table)
    _numbers(builder, table)
    inside = model.get_booster()
    rounds = int(inside.attr("best_iteration")) + 1 if inside.attr("best_iteration") is not None else None
    return _answers(builder, inside, table, rounds)


def classifier(builder: Builder, model: Any, table: Table) -> list[int]:
    found = wrapper(builder, model, table)
    return builder.link("complement", found, float32=True) if len(found) == 1 else found


def _numbers(builder: Builder, table: Table) -> None:
    """XGBoost refuses columns of Python objects: text, and bools of which one is missing."""
    if any(builder.facts[slot].kind == "text" for slot in table.slots):
        raise Cannot("XGBoost is given a column of text")
    if table.frame:
        builder.require([s for s in table.slots if builder.facts[s].kind == "bool"], "present", "a bool that is missing is no number")


def _answers(builder: Builder, model: Any, table: Table, rounds: int | None) -> list[int]:
    learner = json.loads(bytes(model.save_raw("json")))["learner"]
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in _LINKS:
        raise Cannot(f"XGBoost's objective {objective} has no row plan")
    if kind != "gbtree":
        raise Cannot(f"XGBoost's booster {kind} has no row plan")
    forest = learner["gradient_booster"]["model"]
    margins = _sums(builder, forest, table, _base(builder.np, model), _count(forest, rounds))
    builder.tolerate(TOLERANCE, REASON)
    return builder.link(_LINKS[objective], margins, float32=True) if _LINKS[objective] else margins


def _count(forest: dict[str, Any], rounds: int | None) -> int:
    """How many trees belong to the first `rounds`."""
    count = len(forest["trees"])
    if rounds is None or count == 0:
        return count
    ends = forest.get("iteration_indptr")
    if ends is None:
        raise Cannot("an XGBoost model that stopped early, of a version that does not say which trees belong to a round")
    return int(ends[min(rounds, len(ends) - 1)])


def _sums(builder: Builder, forest: dict[str, Any], table: Table, base: list[float], count: int) -> list[int]:
    grove, absent = Grove(), Absent(builder, table)
    for tree, target in zip(forest["trees"][:count], forest["tree_info"][:count]):
        if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
            raise Cannot("XGBoost's trees with a vector a leaf have no row plan")
        grove.plant(0, int(target), absent.read(_Reader(builder.np, tree).node))
    table = absent.table()
    return grove.stand(builder, table, whole(builder, table), base, compare="lt", cast="f4", sums="f4")


class _Reader:
    def __init__(self, np: Any, tree: dict[str, Any]) -> None:
        self._tree = tree
        self._numbers: list[float] = np.asarray(tree["split_conditions"], dtype=np.float32).astype(np.float64).tolist()
        sizes, starts, named = tree.get("categories_sizes", []), tree.get("categories_segments", []), tree.get("categories", [])
        self._sets = {
            int(node): tuple(int(value) for value in named[start : start + size])
            for node, start, size in zip(tree.get("categories_nodes", []), starts, sizes)
        }

    def node(self, number: int) -> Node:
        tree = self._tree
        left, right = tree["left_children"][number], tree["right_children"][number]
        if left == -1:
            return self._numbers[number]
        feature, missing = int(tree["split_indices"][number]), bool(tree["default_left"][number])
        if tree.get("split_type") and tree["split_type"][number]:  # what is in the set goes right, all else left
            return Split(feature, 0.0, right, left, not missing, self._sets[number])
        return Split(feature, self._numbers[number], left, right, missing)


def _base(np: Any, model: Any) -> list[float]:
    """The margin before any tree, as this very version makes it of `base_score`: that of the same model with leaves of 0."""
    xgboost: Any = importlib.import_module("xgboost")
    document = json.loads(bytes(model.save_raw("json")))
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [0.0 if left == -1 else value for left, value in zip(tree["left_children"], tree["split_conditions"])]
    bare = xgboost.Booster()
    bare.load_model(bytearray(json.dumps(document).encode()))
    row = xgboost.DMatrix(np.full((1, model.num_features()), np.nan))
    return [float(value) for value in np.ravel(bare.predict(row, output_margin=True, validate_features=False))]


METHODS: dict[tuple[str, str, str], Method] = {
    ("xgboost", "Booster", "predict"): booster,
    **{("xgboost", f"XGB{kind}Classifier", "predict_proba"): classifier for kind in ("", "RF")},
    **{("xgboost", f"XGB{kind}", "predict"): wrapper for kind in ("Regressor", "RFRegressor", "Ranker")},
}
