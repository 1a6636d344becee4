"""`monitor.data_quality.constraints`: a constraints.json of SageMaker Model Monitor, read where the config is accepted.

What it says becomes constraints of the config's own columns, so that the plan shows what a changed file changes, and so that monitors need
no file that may be gone by then. Its keys, by AWS's developer guide ("Schema for Constraints"), and what they become here:

| in the file | here |
|---|---|
| inferred_type Integral, Fractional, String, Unknown | `type` int, float, str, any |
| completeness | `completeness` |
| num_constraints.is_non_negative | `non_negative` |
| string_constraints.domains | `categories` |
| monitoring_config.datatype_check_threshold | `type_match` of columns with a type |
| monitoring_config.domain_content_threshold | `domain_match` of columns with a domain |
| monitoring_config.distribution_constraints | `distance`, where the comparison is enabled |
| monitoring_config.evaluate_constraints Disabled | nothing of the file holds |
| a feature's monitoringConfigOverrides | these for the one column |

`emit_metrics` is about CloudWatch and says nothing here. Modelyard writes what SageMaker has no key for (a range, a type `bool`) as a
feature's `modelyard`, and reads it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelyard.config.spec import ColumnConstraint, Config
from modelyard.errors import BadInput

MAX_BYTES = 20_000_000
TYPES = {"Integral": "int", "Fractional": "float", "String": "str", "Unknown": "any"}
_PATH = ("monitor", "data_quality", "constraints")


def inlined(config: Config, folder: Path) -> Config:
    """The config with what its file says among its columns; as it is where there is no file that holds, for `findings` tells of that."""
    quality = config.monitor.data_quality
    if quality.constraints is None:
        return config
    try:
        said = of_file(folder, quality.constraints)
    except (BadInput, OSError):
        return config
    columns = {name: quality.columns[name].over(one) if name in quality.columns else one for name, one in said.items()}
    written = quality.model_copy(update={"columns": {**columns, **{n: c for n, c in quality.columns.items() if n not in said}}})
    return config.model_copy(update={"monitor": config.monitor.model_copy(update={"data_quality": written})})


def findings(config: Config, folder: Path) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong with the file; that it is not there is for `files` to tell."""
    name = config.monitor.data_quality.constraints
    if name is None or not (folder / name).is_file():
        return
    try:
        of_file(folder, name)
    except (BadInput, OSError) as exc:
        yield _PATH, f"{name}: {exc.what if isinstance(exc, BadInput) else exc.strerror}", getattr(exc, "next", "")


def of_file(folder: Path, name: str) -> dict[str, ColumnConstraint]:
    """The constraints of a file below `folder`, by column. Raises BadInput, OSError."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadInput("a link that leads out of the model's repository")
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(f"more than {MAX_BYTES:,} bytes")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as exc:
        raise BadInput(f"line {exc.lineno} is no JSON: {exc.msg}") from exc
    except (ValueError, RecursionError) as exc:
        raise BadInput(f"not JSON: {str(exc)[:200]}") from exc
    return read(document)


def read(document: Any) -> dict[str, ColumnConstraint]:
    """A constraints.json as constraints by column, in its order. Keys that it does not know are let be. Raises BadInput."""
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise BadInput("no constraints.json: it has no list `features`", next="write one with `modelyard constraints MODEL -o FILE`")
    common = document.get("monitoring_config") or {}
    if not isinstance(common, dict):
        raise BadInput("`monitoring_config` is no object")
    found: dict[str, ColumnConstraint] = {}
    names = set[str]()
    for place, feature in enumerate(features):
        if not isinstance(feature, dict) or not isinstance(feature.get("name"), str):
            raise BadInput(f"feature {place} has no `name`")
        if feature["name"] in names:
            raise BadInput(f"feature {place}: `{feature['name']}` is there twice")
        names.add(feature["name"])
        own = feature.get("monitoringConfigOverrides") or {}
        try:
            if (one := _column(feature, {**common, **own})) is not None:
                found[feature["name"]] = one
        except (ValidationError, TypeError, AttributeError) as exc:
            said = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else str(exc)
            raise BadInput(f"feature `{feature['name']}`: {said}") from exc
    return found


def _column(feature: Mapping[str, Any], watch: Mapping[str, Any]) -> ColumnConstraint | None:
    if watch.get("evaluate_constraints", "Enabled") == "Disabled":
        return None
    kind = TYPES.get(feature.get("inferred_type", "Unknown"))
    if kind is None:
        raise TypeError(f"`inferred_type` is none of {', '.join(TYPES)}: {feature['inferred_type']}")
    domains = (feature.get("string_constraints") or {}).get("domains")
    if domains is not None and not isinstance(domains, list):
        raise TypeError("`domains` is no list")
    says: dict[str, Any] = {
        "type": kind,
        "completeness": feature.get("completeness"),
        "non_negative": (feature.get("num_constraints") or {}).get("is_non_negative"),
        "categories": tuple(domains) if domains else None,
        **(feature.get("modelyard") or {}),
    }
    spread = watch.get("distribution_constraints") or {}
    if says["type"] != "any":
        says["type_match"] = watch.get("datatype_check_threshold")
    if says["categories"] is not None:
        says["domain_match"] = watch.get("domain_content_threshold")
    if spread.get("perform_comparison") == "Enabled":
        every = spread.get("comparison_threshold", 0.1)  # SageMaker's own default
        says["distance"] = spread.get("categorical_comparison_threshold", every) if says["type"] in ("str", "bool") else every
    return ColumnConstraint.model_validate(says)
