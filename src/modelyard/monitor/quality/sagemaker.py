"""The files of SageMaker Model Monitor: statistics.json, constraints.json, constraint_violations.json.

Shapes by AWS's developer guide ("Schema for Statistics", "Schema for Constraints", "Schema for Violations") and by files that its
container wrote. Pure: documents in and out, no file is opened here; `config.constraints` reads a constraints.json.

A distribution is ten buckets of one width from the least to the greatest value, and a sketch whose level i holds values that stand for
2^i each, as KLL's do (Z. Karnin, K. Lang, E. Liberty, FOCS 2016): ours writes each bucket of a profile's own sketch in binary.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast, get_args

from modelyard.config.spec import ColumnConstraint
from modelyard.errors import BadInput
from modelyard.monitor.profile import sketch
from modelyard.monitor.quality.checking import Check, Violation
from modelyard.monitor.quality.counting import FRESH, Counts, distance, written
from modelyard.signature import Signature

BUCKETS = 10
INFERRED = {"int": "Integral", "float": "Fractional", "str": "String", "bool": "String", "datetime": "Integral", "any": "Unknown"}
KLL = {"c": 0.64, "k": 2048.0}
"""The parameters that SageMaker's container writes."""


def constraints(held: Mapping[str, ColumnConstraint], tolerance: float) -> dict[str, Any]:
    """A constraints.json. What SageMaker has no key for stands in a feature's `modelyard`, so that nothing is lost on the way back.

    A `distance` is a feature's own override, since they need not be alike.
    """
    match = 1 - tolerance
    return {
        "version": 0.0,
        "features": [_constraint(name, one, match) for name, one in held.items()],
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Enabled",
            "datatype_check_threshold": match,
            "domain_content_threshold": match,
            "distribution_constraints": {
                "perform_comparison": "Disabled",
                "comparison_threshold": 0.1,
                "comparison_method": "Robust",
                "categorical_comparison_threshold": 0.1,
                "categorical_drift_method": "LInfinity",
            },
        },
    }


def _constraint(name: str, held: ColumnConstraint, match: float) -> dict[str, Any]:
    told = INFERRED[held.type or "any"]
    ours: dict[str, Any] = {"type": held.type} if held.type in (None, "bool") else {}
    ours |= {k: v for k in ("min", "max", "range_match") if (v := getattr(held, k)) is not None}
    feature: dict[str, Any] = {"name": name, "inferred_type": told}
    if held.completeness is not None:
        feature["completeness"] = held.completeness
    if held.non_negative is not None:
        feature["num_constraints"] = {"is_non_negative": held.non_negative}
    if held.categories is not None:
        feature["string_constraints"] = {"domains": [written(c) for c in held.categories]}
    override: dict[str, Any] = {}
    for key, value in (("datatype_check_threshold", held.type_match), ("domain_content_threshold", held.domain_match)):
        override |= {key: value} if value is not None and value != match else {}
    if held.distance is not None:
        spread = {"perform_comparison": "Enabled", "comparison_threshold": held.distance, "comparison_method": "Robust"}
        override["distribution_constraints"] = {**spread, "categorical_comparison_threshold": held.distance}
    feature |= {"monitoringConfigOverrides": override} if override else {}
    return feature | ({"modelyard": ours} if ours else {})


def statistics(profile: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """A statistics.json of a profile's features, in the signature's order. Times are microseconds since 1970."""
    features = [_statistic(c.name, c.type, profile["columns"][c.name], profile["rows"]) for c in signature.columns]
    return {"version": 0.0, "dataset": {"item_count": profile["rows"]}, "features": features}


def _statistic(name: str, kind: str, column: Mapping[str, Any], rows: int) -> dict[str, Any]:
    common = {"num_present": rows - column["missing"], "num_missing": column["missing"]}
    head = {"name": name, "inferred_type": INFERRED[kind]}
    if column["kind"] == "categorical":
        named = {**column["counts"], **(column["fresh"] if column["new"] else {})}
        buckets = [{"value": value, "count": count} for value, count in named.items() if count]
        found = {"common": common, "distinct_count": len(buckets), "distribution": {"categorical": {"buckets": buckets}}}
        return {**head, "string_statistics": found}
    present, mean, low, high = common["num_present"], column["mean"], column["min"], column["max"]
    numbers: dict[str, Any] = {"common": common}
    if present and None not in (mean, low, high):
        deviation = math.sqrt(max(0.0, column["m2"]) / present) if column["m2"] is not None else None
        numbers |= {"mean": mean, "sum": mean * present, "std_dev": deviation, "min": low, "max": high}
        kll = {
            "buckets": _buckets(column["sketch"], low, high),
            "sketch": {"parameters": KLL, "data": _levels(column["sketch"], low, high, whole=kind == "int")},
        }
        numbers["distribution"] = {"kll": kll}
    return {**head, "numerical_statistics": numbers}


def _buckets(found: Mapping[str, Any], low: float, high: float) -> list[dict[str, float]]:
    """Counts between eleven evenly spaced bounds; what a bucket of the sketch holds is taken to be spread evenly over it."""
    edges = [low + (high - low) * i / BUCKETS for i in range(BUCKETS)] + [high]
    up_to = [0, *(_below(found, edge) for edge in edges[1:-1]), sum(found["counts"])]
    return [{"lower_bound": a, "upper_bound": b, "count": float(up_to[i + 1] - up_to[i])} for i, (a, b) in enumerate(pairwise(edges))]


def _below(found: Mapping[str, Any], value: float) -> int:
    total = 0.0
    for at, count in zip(found["at"], found["counts"], strict=True):
        low, high = sketch.bounds(found, at)
        total += count if high <= value else count * (value - low) / (high - low) if low < value else 0
    return round(total)


def _levels(found: Mapping[str, Any], low: float, high: float, *, whole: bool) -> list[list[float]]:
    """Values by what they stand for: 1, 2, 4, ... rows each."""
    levels: list[list[float]] = []
    for at, count in zip(found["at"], found["counts"], strict=True):
        a, b = sketch.bounds(found, at)
        value = min(max((a + b) / 2 if math.isfinite(a + b) else a, low), high)
        value = float(round(value)) if whole else value
        for level in range(int(count).bit_length()):
            levels += [[] for _ in range(level + 1 - len(levels))]
            if count >> level & 1:
                levels[level].append(value)
    return levels


def violations(found: Iterable[Violation]) -> dict[str, Any]:
    """A constraint_violations.json."""
    keys = ("feature_name", "constraint_check_type", "description")
    return {"violations": [{key: getattr(one, key) for key in keys} for one in found]}


def read_violations(document: Any) -> list[Violation]:
    """A constraint_violations.json, ours or SageMaker's. Raises BadInput."""
    listed = document.get("violations") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise BadInput("no constraint_violations.json: it has no list `violations`")
    found = []
    for place, one in enumerate(listed):
        name, kind = (one.get("feature_name"), one.get("constraint_check_type")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or kind not in get_args(Check):
            raise BadInput(f"violation {place} names no feature, or none of the checks {', '.join(get_args(Check))}")
        found.append(Violation(name, cast(Check, kind), str(one.get("description", ""))))
    return found


def of_statistics(document: Any, held: Mapping[str, ColumnConstraint], baseline: Mapping[str, Any]) -> tuple[dict[str, Counts], list[str]]:
    """What breaks constraints by a statistics.json, ours or SageMaker's, and the features in it that no constraint names.

    Counts beyond a range come from its sketch, else from its buckets: they are as exact as these. Raises BadInput.
    """
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list) or not all(isinstance(f, dict) and isinstance(f.get("name"), str) for f in features):
        raise BadInput("no statistics.json: it has no list `features` of named ones")
    if "dataset" not in document and features and not any(_KINDS & f.keys() for f in features):
        raise BadInput("no statistics.json: none of its features has statistics", next="a constraints.json goes into the config")
    by_name, known = {f["name"]: f for f in features}, baseline["columns"]
    try:
        rows = _sound(document, features)
        counts = {n: _told(by_name[n], one, rows, known.get(n)) if n in by_name else Counts(rows, absent=True) for n, one in held.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BadInput(f"a feature of it does not hold: {type(exc).__name__} {exc}") from exc
    return counts, [name for name in by_name if name not in held]


def _sound(document: Mapping[str, Any], features: list[dict[str, Any]]) -> int:
    """The rows of the data set. Raises BadInput for a feature that is there twice, and for counts and values that are none, with their
    place."""
    names = set[str]()
    _reckon(document.get("dataset") or {}, "dataset: ", _no_count)
    for number, feature in enumerate(features):
        where = f"feature `{feature['name']}`: "
        if feature["name"] in names:
            raise BadInput(f"feature {number}: `{feature['name']}` is there twice")
        names.add(feature["name"])
        _reckon(feature, where, _no_count)
        if _common(feature)["num_present"]:  # of no value some write NaN
            _reckon(feature, where, _no_value)
    rows = _items(document, features)
    for feature in features:
        if (present := _common(feature)["num_present"]) > rows:
            raise BadInput(f"feature `{feature['name']}`: num_present is {present:,}, and the data set has {rows:,} rows")
    return rows


def _reckon(found: Any, path: str, wrong: Callable[[Any, str, Any], str]) -> None:
    """Raises BadInput for the first part of a document of which something is `wrong`, by its key, its path and its value."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        here = f"{path}[{key}]" if isinstance(found, list) else f"{path}{'' if path.endswith(' ') else '.'}{key}"
        if isinstance(value, dict | list):
            _reckon(value, here, wrong)
        elif value is not None and (said := wrong(key, here, value)):
            raise BadInput(f"{here} is {value}, and {said}")


def _no_count(key: Any, path: str, value: Any) -> str:
    counts = key in ("item_count", "num_present", "num_missing", "count")
    return "no count" if counts and not (_is_number(value) and value >= 0) else ""


def _no_value(key: Any, path: str, value: Any) -> str:
    values = key in ("min", "max", "lower_bound", "upper_bound") or ".sketch.data[" in path
    return "no number" if values and not _is_number(value) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_KINDS = {"numerical_statistics", "string_statistics"}


def _items(document: Mapping[str, Any], features: list[dict[str, Any]]) -> int:
    told = (document.get("dataset") or {}).get("item_count")
    return int(told) if told is not None else max((sum(_common(f).values()) for f in features), default=0)


def _common(feature: Mapping[str, Any]) -> dict[str, int]:
    found = (feature.get("numerical_statistics") or feature.get("string_statistics") or {}).get("common") or {}
    return {key: int(found.get(key, 0)) for key in ("num_present", "num_missing")}


def _told(feature: Mapping[str, Any], held: ColumnConstraint, rows: int, before: Mapping[str, Any] | None) -> Counts:
    inferred = feature.get("inferred_type", "Unknown")
    good = {"int": ("Integral",), "float": ("Integral", "Fractional"), "str": ("String",), "bool": ("String",)}
    mistyped = held.type in good and inferred not in ("Unknown", *good[held.type])
    if (numbers := feature.get("numerical_statistics")) is not None:
        counts, column = _of_numbers(numbers, held, rows, before)
    else:
        counts, column = _of_text(feature.get("string_statistics") or {}, held, rows, before)
    counts = replace(counts, mistyped=counts.present if mistyped else 0)
    if held.distance is None or before is None or column is None:
        return counts
    seen = sum(before["counts"].values()) + before["other"] if before["kind"] == "categorical" else sum(before["counts"])
    return replace(counts, distance=distance(column, before), reference=seen)


def _of_numbers(
    numbers: Mapping[str, Any], held: ColumnConstraint, rows: int, before: Mapping[str, Any] | None
) -> tuple[Counts, dict[str, Any] | None]:
    """The counts, and the column in the baseline's bins where that is one of numbers."""
    present, values = _common({"numerical_statistics": numbers})["num_present"], list(_weighted(numbers))
    scale = present / (sum(weight for _, weight in values) or 1)
    low, high = -math.inf if held.min is None else held.min, math.inf if held.max is None else held.max
    outside = round(scale * sum(weight for value, weight in values if not low <= value <= high))
    negative = round(scale * sum(weight for value, weight in values if value < 0)) if held.non_negative else 0
    counts = Counts(rows, present, outside=outside, negative=negative, least=numbers.get("min"), greatest=numbers.get("max"))
    if before is None or before["kind"] != "numeric" or before["low"] is None:
        return counts, None
    bins = [0.0] * (len(before["edges"]) + 2)
    for value, weight in values:
        bins[0 if value < before["low"] else 1 + bisect_left(before["edges"], value)] += weight
    return counts, {"kind": "numeric", "counts": bins}


def _of_text(
    text: Mapping[str, Any], held: ColumnConstraint, rows: int, before: Mapping[str, Any] | None
) -> tuple[Counts, dict[str, Any] | None]:
    """Likewise of categories."""
    buckets = ((text.get("distribution") or {}).get("categorical") or {}).get("buckets") or []
    seen = {str(bucket["value"]): int(bucket["count"]) for bucket in buckets}
    known = None if held.categories is None else {written(c) for c in held.categories}
    fresh = {} if known is None else {value: count for value, count in seen.items() if value not in known}
    present = _common({"string_statistics": text})["num_present"]
    counts = Counts(rows, present, new=sum(fresh.values()), fresh=dict(list(fresh.items())[:FRESH]))
    if before is None or before["kind"] != "categorical":
        return counts, None
    told = {value: seen.get(value, 0) for value in before["counts"]}
    return counts, {"kind": "categorical", "counts": told, "other": sum(seen.values()) - sum(told.values()), "new": 0}


def _weighted(numbers: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """Values and how many rows each stands for: of the sketch, else the middles of the buckets, else the least and the greatest."""
    kll = (numbers.get("distribution") or {}).get("kll") or {}
    if levels := (kll.get("sketch") or {}).get("data"):
        yield from ((float(value), 2.0**level) for level, values in enumerate(levels) for value in values)
    elif buckets := kll.get("buckets"):
        yield from (((b["lower_bound"] + b["upper_bound"]) / 2, float(b["count"])) for b in buckets)
    else:
        yield from ((float(numbers[key]), 0.5) for key in ("min", "max") if numbers.get(key) is not None)
