"""What columns must hold: suggested by the training data, with the config's words over it.

The training data is a sample, and a window another one, so a column that is complete in the first may lack a value in the second, and
its greatest value may be exceeded, though nothing changed. How often that may be is said in the constraint itself, so that it can be
read and edited, and so that a check needs no more than the constraint:
- **completeness**: 1 less the greatest share of missing values that the training data leaves room for (C. J. Clopper, E. S. Pearson,
  Biometrika 26, 1934), less `tolerance`, or a quarter of that share where it is more: gaps come and go more than samples do.
- **range_match**, where the training data is small: of m rows, the share of the world that lies beyond the least and the greatest value
  is distributed Beta(2, m - 1) (S. S. Wilks, Annals of Mathematical Statistics 12, 1941).
- **domain_match**, likewise: values that came once stand for as much of the world as those that never came (I. J. Good, Biometrika 40,
  1953). A column in which they are many has no domain at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modelyard.config.spec import ColumnConstraint, DataQuality
from modelyard.errors import BadInput
from modelyard.signature import Signature

CHANCE = 0.001
"""How often all the checks of a window together may fail where nothing changed."""
SLACK = 0.25


def suggest(baseline: Mapping[str, Any], signature: Signature, tolerance: float) -> dict[str, ColumnConstraint]:
    """Constraints on every feature, in the signature's order, from a version's baseline (see `profile`)."""
    doubt = CHANCE / max(1, len(signature.columns))
    rows = int(baseline["rows"])
    found: dict[str, ColumnConstraint] = {}
    for column in signature.columns:
        counted = baseline["columns"][column.name]
        present = rows - counted["missing"]
        says: dict[str, Any] = {"completeness": _completeness(counted["missing"], rows, tolerance, doubt)}
        if column.type != "datetime":  # times go on: no range, and no type that a check could miss
            says |= {"type": column.type, **_type_match(present, tolerance, doubt)}
            says |= _domain(counted, present, tolerance, doubt) if counted["kind"] == "categorical" else {}
            says |= _range(counted, present, tolerance, doubt) if counted["kind"] == "numeric" else {}
        found[column.name] = ColumnConstraint.model_validate(says)
    return found


def held(baseline: Mapping[str, Any], signature: Signature, quality: DataQuality) -> dict[str, ColumnConstraint]:
    """What holds: the suggested constraints, unless `suggest` is off, and over each of their words that of the config."""
    found = suggest(baseline, signature, quality.tolerance) if quality.suggest else {}
    for name, written in quality.columns.items():
        found[name] = written.over(found.get(name, ColumnConstraint()))
    return found


def verify(quality: DataQuality, kinds: Mapping[str, str]) -> None:
    """See that the config asks for no range of a column of words, of which no value would ever lie outside. kinds: `numeric` or
    `categorical`, by column, where that is known. Raises BadInput."""
    for name, key in quality.ranged():
        if kinds.get(name) == "categorical":
            what, where = f"`{key}` is about numbers, and `{name}` holds categories", f"monitor.data_quality.columns.{name}.{key}"
            raise BadInput(what, where=where, next="write `categories`, or leave it out")


def upper(hits: float, rows: int, doubt: float) -> float:
    """The greatest share of which `hits` of `rows` are a sample, wrong once in 1 / `doubt`: Clopper and Pearson's bound."""
    from scipy.special import betaincinv

    return float(betaincinv(hits + 1, rows - hits, 1 - doubt)) if rows > hits else 1.0


def _completeness(missing: int, rows: int, tolerance: float, doubt: float) -> float:
    most = upper(missing, rows, doubt)
    return _down(1 - most - max(tolerance, SLACK * most))


def _type_match(present: int, tolerance: float, doubt: float) -> dict[str, float]:
    return _match("type_match", upper(0, present, doubt), tolerance)


def _range(counted: Mapping[str, Any], present: int, tolerance: float, doubt: float) -> dict[str, Any]:
    if counted["low"] is None or not counted["edges"]:
        return {}
    says = {"min": counted["low"], "max": counted["edges"][-1], "non_negative": counted["low"] >= 0 or None}
    return says | _match("range_match", upper(1, present, doubt), tolerance)


def _domain(counted: Mapping[str, Any], present: int, tolerance: float, doubt: float) -> dict[str, Any]:
    if counted["other"] or not counted["counts"] or counted["once"] > tolerance * present:
        return {}
    return {"categories": tuple(sorted(counted["counts"])), **_match("domain_match", upper(counted["once"], present, doubt), tolerance)}


def _match(name: str, most: float, tolerance: float) -> dict[str, float]:
    """Said only where the sample leaves room for more than the tolerance."""
    return {name: _down(1 - most)} if most > tolerance else {}


def _down(share: float) -> float:
    """With four digits, as a person reads it."""
    return max(0.0, math.floor(share * 10_000) / 10_000)
