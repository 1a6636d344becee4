"""CatBoost: its trees, from the model's own JSON. Values are cast to float32 and go right where they are above a border."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from modelyard.runtime.extract.builder import Builder, Cannot, Method, Table
from modelyard.runtime.extract.groves import Grove, Node, Split

_LINKS = {
    "Logloss": "sigmoid", "CrossEntropy": "sigmoid", "MultiClass": "softmax", "MultiClassOneVsAll": "sigmoid",
    "RMSE": "", "MAE": "", "Quantile": "", "MAPE": "", "Huber": "", "Lq": "", "Expectile": "", "LogLinQuantile": "",
    "Poisson": "exp", "Tweedie": "exp", "YetiRank": "", "YetiRankPairwise": "", "PairLogit": "", "PairLogitPairwise": "",
    "QueryRMSE": "", "QuerySoftMax": "",
}  # fmt: skip


def predicted(builder: Builder, model: Any, table: Table) -> list[int]:
    """What `predict` of a regressor or a ranker gives."""
    sums, loss = _sums(builder, model, table)
    link = _link(loss)
    if link in ("sigmoid", "softmax"):
        raise Cannot(f"CatBoost's predict with the loss {loss} gives no probabilities")
    return builder.link(link, sums) if link else sums


def raw(builder: Builder, model: Any, table: Table) -> list[int]:
    """What `predict` of the plain `CatBoost` gives: sums, whatever the loss."""
    return _sums(builder, model, table)[0]


def probabilities(builder: Builder, model: Any, table: Table) -> list[int]:
    """What `predict_proba` of a classifier gives."""
    sums, loss = _sums(builder, model, table)
    link = _link(loss)
    if link not in ("sigmoid", "softmax"):
        raise Cannot(f"CatBoost's loss {loss} gives no probabilities")
    found = builder.link(link, sums)
    return builder.link("complement", found) if len(found) == 1 else found


def _link(loss: str) -> str:
    if loss not in _LINKS:
        raise Cannot(f"CatBoost's loss {loss} has no row plan")
    return _LINKS[loss]


def _sums(builder: Builder, model: Any, table: Table) -> tuple[list[int], str]:
    """The slots of the raw scores, and the loss by its name."""
    if any(builder.facts[slot].kind == "text" for slot in table.slots):
        raise Cannot("CatBoost's columns of categories and of text have no row plan")
    document = _document(model)
    info = document["features_info"]
    if set(info) - {"float_features"}:
        raise Cannot("CatBoost's columns of categories and of text have no row plan")
    features = {int(f["feature_index"]): f for f in info.get("float_features", [])}
    names = list(getattr(model, "feature_names_", []) or [])
    if names and len(names) != len(table.slots):
        raise Cannot(f"the model was trained on {len(names)} features and is given {len(table.slots)}")
    scale, bias = document["scale_and_bias"]
    reader, grove = _Reader(features, len(bias)), Grove()
    target = 0 if len(bias) == 1 else -1
    for tree in document.get("oblivious_trees", ()):
        grove.plant((tree, 0, 0), target, reader.oblivious)
    for tree in document.get("trees", ()):
        grove.plant(tree, target, reader.node)
    by = {"scale": float(scale)} if scale != 1 else {}
    sums = grove.stand(builder, table, set(), [0.0] * len(bias), compare="le", cast="f4", **by)
    loss = document["model_info"]["params"]["loss_function"]["type"]
    return [builder.arithmetic(slot, ("add", float(value))) for slot, value in zip(sums, bias)], str(loss)


class _Reader:
    """Nodes of trees whose leaves hold `width` numbers."""

    def __init__(self, features: dict[int, dict[str, Any]], width: int) -> None:
        self._features, self._width = features, width

    def oblivious(self, place: tuple[dict[str, Any], int, int]) -> Node:
        """All nodes of a level ask the same; `place` is the tree, the level, and the answers so far, a bit a level."""
        tree, level, bits = place
        splits = tree["splits"] or []
        if level < len(splits):
            return self._split(splits[level], (tree, level + 1, bits), (tree, level + 1, bits | 1 << level))
        return self._leaf(tree["leaf_values"][bits * self._width : (bits + 1) * self._width])

    def node(self, tree: dict[str, Any]) -> Node:
        """Of a tree that is not symmetric."""
        if "split" in tree:
            return self._split(tree["split"], tree["left"], tree["right"])
        return self._leaf(tree["value"] if isinstance(tree["value"], list) else [tree["value"]])

    def _leaf(self, values: list[float]) -> Node:
        if len(values) != self._width:
            raise Cannot("a CatBoost model of as many biases as a leaf has no numbers")
        return float(values[0]) if self._width == 1 else [float(value) for value in values]

    def _split(self, split: dict[str, Any], left: Any, right: Any) -> Split:
        if split["split_type"] != "FloatFeature":
            raise Cannot("CatBoost's columns of categories and of text have no row plan")
        feature = self._features[int(split["float_feature_index"])]
        missing_left = feature["nan_value_treatment"] != "AsTrue"
        return Split(int(feature["flat_feature_index"]), float(split["border"]), left, right, missing_left)


def _document(model: Any) -> dict[str, Any]:
    """The model as CatBoost writes it to JSON. Raises Cannot where it does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            model.save_model(str(path), format="json")
        except Exception as exc:  # of CatBoost's own kinds, by version
            first = (str(exc).strip().splitlines() or [""])[0][:200]
            raise Cannot(f"CatBoost does not write this model to JSON: {first}") from exc
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


METHODS: dict[tuple[str, str, str], Method] = {
    ("catboost", "CatBoostClassifier", "predict_proba"): probabilities,
    ("catboost", "CatBoostRegressor", "predict"): predicted,
    ("catboost", "CatBoostRanker", "predict"): predicted,
    ("catboost", "CatBoost", "predict"): raw,
}
