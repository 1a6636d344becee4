"""Clarify's own files: an `analysis_config.json` is taken as the question, and the answer can be written as an `analysis.json`.

What such a file holds is honoured, or refused by name: see docs/reference/bias.md for each key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from modelyard.config.spec import Facet
from modelyard.errors import BadInput, NotFound
from modelyard.quality.bias import facets
from modelyard.quality.bias.analysis import NUMBERS, Asked, Good
from modelyard.quality.bias.catalogue import METRICS, POST_TRAINING, PRE_TRAINING

SCALE = 0.05
"""Clarify takes a column of whole numbers for a scale where at least this share of its values is distinct."""
_OURS = {
    "dataset_type": "the rows come from `data.source`",
    "predictor": "predictions are those of this build's model",
    "predicted_label": "predictions are those of this build's model",
}
_READ = {"headers", "label", "label_values_or_threshold", "facet", "group_variable", "probability_threshold", "methods", "version"}


@dataclass(frozen=True)
class Setting:
    """What this build knows: its training data, and how its config has it. decision_threshold: of the positive class's score."""

    training: pl.DataFrame
    target: str
    problem_type: str
    positive_class: Any
    decision_threshold: float | None
    explains: bool


def read(path: Path) -> dict[str, Any]:
    """The file's JSON object. Raises NotFound, BadInput."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise NotFound("there is no such file", where=str(path), next="correct `bias.analysis_config`") from exc
    except (ValueError, OSError) as exc:
        raise BadInput(f"it cannot be read as JSON: {exc}", where=str(path)) from exc
    if not isinstance(found, dict):
        raise BadInput("a JSON object is expected", where=str(path))
    return found


def asked(config: Mapping[str, Any], setting: Setting, file: str = "analysis_config.json") -> Asked:
    """What the file asks for, on this build's data. Raises BadInput, with the key as the place, for what cannot be honoured."""
    reader = _Reader(config, setting, file)
    reader.refuse_the_unknown()
    pre, post = reader.metrics("pre_training_bias", PRE_TRAINING), reader.metrics("post_training_bias", POST_TRAINING)
    good = reader.good()
    group = config.get("group_variable")
    return Asked(
        reader.facets(),
        good,
        group_col=None if group is None else reader.column(group, "group_variable"),
        pre_training=pre,
        post_training=post,
        notes=tuple(reader.notes()),
    )


def columns(config: Mapping[str, Any], known: Sequence[str]) -> set[str]:
    """The columns of the data that a file names, by name or place, whatever else is wrong with it."""
    facet, headers = config.get("facet"), config.get("headers")
    named = [one.get("name_or_index") for one in (facet if isinstance(facet, list) else [facet]) if isinstance(one, dict)]
    headers = headers if isinstance(headers, list) and headers else known
    found = set()
    for name in (*named, config.get("group_variable"), config.get("label")):
        word = headers[name] if isinstance(name, int) and 0 <= name < len(headers) else name
        found |= {word} if isinstance(word, str) else set()
    return found


class _Reader:
    def __init__(self, config: Mapping[str, Any], setting: Setting, file: str) -> None:
        self.config, self.setting, self.file = config, setting, file

    def bad(self, what: str, key: str, next: str = "") -> BadInput:
        return BadInput(what, where=f"{self.file}: {key}", next=next)

    def refuse_the_unknown(self) -> None:
        for key in self.config:
            if key not in _READ and key not in _OURS:
                raise self.bad("this key of Clarify's is not supported", key, "remove it")
        label = self.config.get("predicted_label")
        if isinstance(label, str) and label in self.setting.training.columns:
            raise self.bad(
                f"'{label}' is a column of the data, but predictions are those of this build's model", "predicted_label", "remove it"
            )
        target = self.config.get("label", self.setting.target)
        if self.column(target, "label") != self.setting.target:
            raise self.bad(f"the label is '{target}', but `data.target_col` is '{self.setting.target}'", "label", "make them agree")
        methods = self.config.get("methods", {})
        if not isinstance(methods, dict):
            raise self.bad("an object is expected", "methods")
        for key, what in methods.items():
            if key in ("shap", "pdp") and not self.setting.explains:
                raise self.bad(
                    "explanations are asked for by `explain` in config.yaml", f"methods.{key}", f"add `explain`, or remove {key}"
                )
            if key not in ("shap", "pdp", "report", "pre_training_bias", "post_training_bias"):
                raise self.bad("this method of Clarify's is not supported", f"methods.{key}", "remove it")
            if not isinstance(what, dict):
                raise self.bad("an object is expected", f"methods.{key}")

    def column(self, name: Any, key: str) -> str:
        """A column by its name, or by its place in `headers` (or in the data)."""
        columns = self.config.get("headers") or list(self.setting.training.columns)
        if isinstance(name, int) and not isinstance(name, bool):
            if not 0 <= name < len(columns):
                raise self.bad(f"there is no column {name}: there are {len(columns)}, counted from 0", key)
            name = columns[name]
        if not isinstance(name, str):
            raise self.bad("the name of a column, or its place, is expected", key)
        facets.column(self.setting.training, name, f"{self.file}: {key}")
        return name

    def metrics(self, method: str, all_: tuple[str, ...]) -> tuple[str, ...]:
        methods = self.config.get("methods", {})
        if method not in methods:
            return ()
        wanted = methods[method].get("methods", "all")
        if odd := [key for key in methods[method] if key != "methods"]:
            raise self.bad("this key of Clarify's is not supported", f"methods.{method}.{odd[0]}", "remove it")
        if wanted == "all" or wanted == ["all"]:
            return all_
        for name in wanted if isinstance(wanted, list) else [wanted]:
            if name not in all_:
                raise self.bad(f"there is no such metric as {name!r}", f"methods.{method}.methods", f"the metrics are {', '.join(all_)}")
        return tuple(name for name in all_ if name in wanted)

    def good(self) -> Good:
        key, setting = "label_values_or_threshold", self.setting
        wanted = self.config.get(key)
        if not isinstance(wanted, list) or not wanted:
            raise self.bad("a list of the good labels, or with one threshold, is expected", key)
        if setting.problem_type in NUMBERS:
            if len(wanted) != 1:
                raise self.bad("of a scale, one threshold is expected", key)
            return Good(above=self.number(wanted[0], key))
        labels = setting.training[setting.target]
        there = {facets.key(v) for v in facets.values(labels)}
        for value, word in zip(wanted, facets.keys_of(labels, wanted), strict=True):
            if word not in there:
                raise self.bad(f"the label {value!r} does not occur in the data", key)
        return Good(tuple(wanted), score_from=self.score_from(wanted))

    def score_from(self, wanted: list[Any]) -> float | None:
        key, setting = "probability_threshold", self.setting
        if self.config.get(key) is None:
            return None
        threshold = self.number(self.config[key], key)
        if threshold == setting.decision_threshold:
            return None
        positive = facets.keys_of(setting.training[setting.target], (setting.positive_class,))
        if setting.problem_type != "binary_classification" or facets.keys_of(setting.training[setting.target], wanted) != positive:
            raise self.bad("a threshold of the probability needs `data.positive_class` as the one good label", key, "remove it")
        return threshold

    def number(self, value: Any, key: str) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as exc:
            raise self.bad(f"{value!r} is not a number", key) from exc

    def facets(self) -> tuple[Facet, ...]:
        listed = self.config.get("facet")
        listed = [listed] if isinstance(listed, dict) else listed
        if not isinstance(listed, list) or not listed:
            raise self.bad("a list of facets is expected", "facet")
        return tuple(self.facet(one, f"facet[{place}]") for place, one in enumerate(listed))

    def facet(self, one: Any, key: str) -> Facet:
        if not isinstance(one, dict) or "name_or_index" not in one:
            raise self.bad("an object with `name_or_index` is expected", key)
        if odd := [name for name in one if name not in ("name_or_index", "value_or_threshold")]:
            raise self.bad("this key of Clarify's is not supported", f"{key}.{odd[0]}", "remove it")
        name, wanted = self.column(one["name_or_index"], f"{key}.name_or_index"), one.get("value_or_threshold")
        wanted = wanted if isinstance(wanted, list) or wanted is None else [wanted]
        if not is_scale(self.setting.training[name], wanted):
            return Facet(column=name, disadvantaged=tuple(wanted) if wanted else None)
        if not wanted:
            raise self.bad(f"'{name}' is a scale of numbers: a threshold is expected", f"{key}.value_or_threshold")
        return Facet(column=name, above=self.number(wanted[0], f"{key}.value_or_threshold"))

    def notes(self) -> list[str]:
        found = [f"{key} of {self.file}: {why}" for key, why in _OURS.items() if key in self.config]
        methods = self.config.get("methods", {})
        found += [
            f"methods.{key} of {self.file} is answered by `explain`, by its own settings" for key in ("shap", "pdp") if key in methods
        ]
        return found + ([f"methods.report of {self.file}: the report is always written"] if "report" in methods else [])


def is_scale(series: pl.Series, wanted: list[Any] | None) -> bool:
    """Whether Clarify takes a column for a scale, with a threshold, rather than for categories (`smclarify`'s rule)."""
    if wanted is not None and len(wanted) > 1:
        return False
    if series.dtype.is_float():
        return True
    known = series.drop_nulls()
    return series.dtype.is_integer() and len(known) > 0 and known.n_unique() / len(known) >= SCALE


def analysis(document: Mapping[str, Any], shap: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Any]:
    """`analysis.json` in Clarify's shape of a document by `analyse`.

    shap: global SHAP values by label (`label0`, or a class) and feature, where there are explanations. Metrics stand in the order
    of their names; an undefined one has a null and the `error`, an infinite one the word `Infinity`, as Clarify writes them.
    """
    found: dict[str, Any] = {"version": "1.0"}
    for stage in ("pre_training", "post_training"):
        if any(f[stage] for f in document["facets"]):
            found[f"{stage}_bias_metrics"] = _stage(document, stage)
    if shap:
        values = {label: {"global_shap_values": dict(features)} for label, features in shap.items()}
        found["explanations"] = {"kernel_shap": values}
    return found


def _stage(document: Mapping[str, Any], stage: str) -> dict[str, Any]:
    by_column: dict[str, list[dict[str, Any]]] = {}
    for facet in document["facets"]:
        rows = sorted(facet[stage], key=lambda row: str(row["metric"]))
        held = {"value_or_threshold": facet.get("interval", facet.get("value")), "metrics": [_metric(row) for row in rows]}
        by_column.setdefault(facet["column"], []).append(held)
    return {"label": document["label"], "facets": by_column, "label_value_or_threshold": document["good_as_clarify"]}


def _metric(row: Mapping[str, Any]) -> dict[str, Any]:
    written = {"name": row["metric"], "description": METRICS[row["metric"]].title, "value": row["value"]}
    return {**written, "error": row["error"]} if "error" in row else written
