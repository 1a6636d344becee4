"""The whole bias analysis: what is asked, of the training data and of the hold-out's predictions, as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from modelyard import tables
from modelyard.config.spec import Bias, Facet
from modelyard.errors import BadInput
from modelyard.quality.bias import facets
from modelyard.quality.bias.catalogue import POST_TRAINING, PRE_TRAINING
from modelyard.quality.bias.kernels import Bools
from modelyard.quality.bias.measure import Interval, People, features, measure, subgroups
from modelyard.signature import Scalar, Signature

NUMBERS = ("regression", "forecasting")
CLASSES = ("binary_classification", "multiclass_classification", "anomaly_detection")


@dataclass(frozen=True)
class Good:
    """Which outcomes are good ones: these classes, or numbers above. score_from: the probability from which a class is predicted,
    where it is not the model's own answer that counts."""

    classes: tuple[Scalar, ...] = ()
    above: float | None = None
    score_from: float | None = None

    def of(self, outcomes: pl.Series) -> Bools:
        """Boolean (n,): whether a label or an answer is a good one."""
        if self.above is not None:
            return facets.above(outcomes, self.above, "bias.label_above")
        return facets.among(outcomes, facets.keys_of(outcomes, self.classes))


@dataclass(frozen=True)
class Asked:
    """What is to be compared, by which metrics; from `bias:` of the config, or from a file of Clarify's."""

    facets: tuple[Facet, ...]
    good: Good
    intersections: tuple[tuple[str, ...], ...] = ()
    group_col: str | None = None
    weight_col: str | None = None
    pre_training: tuple[str, ...] = PRE_TRAINING
    post_training: tuple[str, ...] = POST_TRAINING
    gated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs beside the label, each once."""
        named = [f.column for f in self.facets] + [name for names in self.intersections for name in names]
        return tuple(dict.fromkeys(named + [name for name in (self.group_col, self.weight_col) if name is not None]))


def asked(bias: Bias, problem_type: str, positive_class: Scalar, weight_col: str | None = None) -> Asked:
    """What `bias:` asks for. Raises BadInput where it is not said which outcomes are good ones, or the problem has none."""
    return Asked(
        bias.facets,
        _good(bias, problem_type, positive_class),
        bias.intersections,
        bias.group_col,
        weight_col,
        PRE_TRAINING if bias.pre_training is None else bias.pre_training,
        POST_TRAINING if bias.post_training is None else bias.post_training,
        tuple(dict.fromkeys(criterion.metric for criterion in bias.criteria)),
    )


def _good(bias: Bias, problem_type: str, positive_class: Scalar) -> Good:
    if problem_type in NUMBERS:
        return Good(above=_needed(bias, "label_above", "label_values", problem_type))
    if problem_type not in CLASSES:
        raise BadInput(f"bias metrics are not defined for {problem_type.replace('_', ' ')}", where="bias", next="remove `bias`")
    if positive_class is not None and bias.label_values is None and bias.label_above is None:
        return Good((positive_class,))
    return Good(tuple(_needed(bias, "label_values", "label_above", problem_type)))


def _needed(bias: Bias, name: str, other: str, problem_type: str) -> Any:
    """The key that says which labels are good ones. Raises BadInput where it is not written, or the wrong one is."""
    kind = problem_type.replace("_", " ")
    if getattr(bias, other) is not None:
        raise BadInput(f"`{other}` does not go with {kind}", where=f"bias.{other}", next=f"write `{name}` in its place")
    if getattr(bias, name) is None:
        raise BadInput(f"bias of {kind} needs to know which labels are the good outcome", where="bias", next=f"write `{name}` under `bias`")
    return getattr(bias, name)


def verify(asked: Asked, training: pl.DataFrame, target: str) -> list[facets.Group]:
    """Settle the comparisons on the training data (columns as in the source). Raises BadInput where any cannot be made."""
    facets.column(training, target, "data.target_col")
    for name in asked.columns:
        if name == target:
            raise BadInput(f"'{name}' is the target: it cannot be a facet as well", where="bias", next="compare by another column")
    if asked.group_col is not None:
        facets.column(training, asked.group_col, "bias.group_col")
    elif needing := [name for name in ("CDDL", "CDDPL") if name in asked.gated]:
        raise BadInput(f"a gate on {needing[0]} needs the column to condition on", where="bias", next="write `group_col` under `bias`")
    if unmeasured := [name for name in asked.gated if name not in (*asked.pre_training, *asked.post_training)]:
        raise BadInput(
            f"there is a gate on {unmeasured[0]}, which is not measured", where="bias.criteria", next="add it to the metrics asked for"
        )
    labels = training[target].filter(facets.known_rows(training[target]))
    good = asked.good.of(labels)
    if good.all() or not good.any():
        which = f"above {asked.good.above:g}" if asked.good.above is not None else " or ".join(map(facets.text, asked.good.classes))
        raise BadInput(
            f"{'every' if len(good) and good.all() else 'no'} label of the training data is {which}: bias cannot be measured",
            where="bias",
            next="correct `positive_class`, `bias.label_values` or `bias.label_above`",
        )
    return facets.settle(training, asked.facets, asked.intersections)[0]


def analyse(
    asked: Asked,
    training: pl.DataFrame,
    holdout: pl.DataFrame,
    signature: Signature,
    interval: Interval,
    beside: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """Pre-training metrics of the training data and post-training metrics of the hold-out, a facet.

    training: columns as in the source. holdout: a predictions table. beside: its rows' facets (and subgroups, and weights), columns as
    in the source, where a column may be called as one of a predictions table is (`version`, `label`); by default the hold-out has them
    itself. Rows without a label are left out of either. Answers a JSON document (no NaN, infinities as the words `Infinity` and
    `-Infinity`): `label`, `good`, `group_col`, `level`, `notes` and `facets`, each with `column`, `columns`, `name`, `value` or
    `threshold`, `rows` and `others` (of the hold-out), and `pre_training` and `post_training` as `measure` has them. For windows of
    production (`production`): `outcome` (what is good), `weight_col`, and of each facet its `conditions` and the hold-out's `cells`.
    """
    verify(asked, training, signature.target_col)
    groups, notes = facets.settle(training, asked.facets, asked.intersections)
    training = training.filter(facets.known_rows(training[signature.target_col]))
    labelled = facets.known_rows(holdout[tables.LABEL])
    holdout, beside = holdout.filter(labelled), (holdout if beside is None else beside).filter(labelled)
    before = _people(asked, training, training[signature.target_col])
    after, skipped = _answered(asked, holdout, beside, signature)
    if "FT" in asked.post_training:
        notes += [f"FT does not look at {', '.join(skipped)}"] if skipped else []
        notes += [f"FT counts rows, whatever their '{asked.weight_col}'"] if asked.weight_col else []
    found = [_facet(group, asked, (before, training), (after, beside), interval) for group in groups]
    notes += _sampling(found)
    return {
        "label": signature.target_col,
        "good": f"above {asked.good.above:g}" if asked.good.above is not None else ",".join(map(facets.text, asked.good.classes)),
        "good_as_clarify": _good_as_clarify(asked.good, training[signature.target_col]),
        "outcome": asdict(asked.good),
        "group_col": asked.group_col,
        "weight_col": asked.weight_col,
        "level": interval.level if interval.resamples else None,
        "facets": found,
        "notes": [
            "pre-training metrics are of the training split, post-training metrics of the hold-out's predictions",
            *asked.notes,
            *notes,
        ],
    }


def _good_as_clarify(good: Good, labels: pl.Series) -> str:
    return facets.interval(labels, good.above) if good.above is not None else ",".join(map(str, good.classes))


def _people(asked: Asked, table: pl.DataFrame, labels: pl.Series, **more: Any) -> People:
    if asked.group_col is not None:
        more["group"], more["groups"] = subgroups(table[asked.group_col])
    if asked.weight_col is not None:
        more["weight"] = facets.weights(table[asked.weight_col])
    return People(asked.good.of(labels), **more)


def _answered(asked: Asked, holdout: pl.DataFrame, beside: pl.DataFrame, signature: Signature) -> tuple[People, list[str]]:
    plain = holdout.select(pl.col(tables.feature(name)).alias(name) for name in signature.names)
    found, skipped = features(plain, signature.names)
    predicted = _predicted(asked.good, holdout, signature)
    return _people(asked, beside, holdout[tables.LABEL], predicted=predicted, features=found), skipped


def _predicted(good: Good, holdout: pl.DataFrame, signature: Signature) -> Bools:
    answers = holdout[tables.PREDICTION]
    missing = int((~facets.known_rows(answers)).sum())
    if missing:
        raise BadInput(
            f"{missing:,} rows of the hold-out have no prediction", where="bias", next="mend the model: it answered nothing there"
        )
    if good.score_from is None:
        return good.of(answers)
    scores = holdout[tables.output(signature.positive_output)]
    return np.asarray(scores.cast(pl.Float64).to_numpy() >= good.score_from)


def _facet(
    group: facets.Group, asked: Asked, before: tuple[People, pl.DataFrame], after: tuple[People, pl.DataFrame], interval: Interval
) -> dict[str, Any]:
    inside, known = group.find(after[1])
    level: dict[str, Any] = {"value": group.value} if group.threshold is None else {"threshold": group.threshold, "interval": group.value}
    pre = measure(before[0], group, before[1], asked.pre_training, interval)
    post = measure(after[0], group, after[1], asked.post_training, interval)
    return {
        "column": "*".join(group.columns),
        "columns": list(group.columns),
        "name": group.name,
        **level,
        "conditions": [asdict(condition) for condition in group.conditions],
        "cells": after[0].cells(inside, known),
        "rows": int(inside.sum()),
        "others": int((known & ~inside).sum()),
        "pre_training": [_plain(row) for row in pre],
        "post_training": [_plain(row) for row in post],
    }


def _sampling(found: Sequence[dict[str, Any]]) -> list[str]:
    return [f"FT of {f['name']} is {row.pop('note')}" for f in found for row in f["post_training"] if "note" in row]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what JSON has no word for."""

    def word(value: Any) -> Any:
        infinite = isinstance(value, float) and math.isinf(value)
        return ("Infinity" if value > 0 else "-Infinity") if infinite else value

    return {name: word(value) for name, value in row.items()}


def measures(document: dict[str, Any]) -> list[dict[str, Any]]:
    """For the gates: a row a metric and facet, with `metric`, `facet` (`carrier=UA`), `column` (of crossed ones `sex*race`) and `value`,
    `low`, `high`: floats, or None where undefined or infinite, `error` then saying which."""

    def finite(value: Any) -> float | None:
        return value if isinstance(value, float) else None

    found = []
    for facet in document["facets"]:
        for row in (*facet["pre_training"], *facet["post_training"]):
            error = {"error": row.get("error", "it is infinite")} if finite(row["value"]) is None else {}
            numbers = {name: finite(row[name]) for name in ("value", "low", "high")}
            found.append({"metric": row["metric"], "facet": facet["name"], "column": facet["column"], **numbers, **error})
    return found
