"""`bias.analysis_config`: a file of SageMaker Clarify, read where the config is accepted.

What it says goes with the config (`bias.asks`), so that the plan shows what is edited in it, and so that a retrained version is judged by
what was accepted, whatever lies there by then. What Clarify's keys mean is for `quality.bias.clarify`, which knows the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.config.document import MAX_BYTES
from modelyard.config.spec import Config
from modelyard.errors import BadInput

_NUMBERS = ("regression", "forecasting")
_STAGES = ("pre_training", "post_training")


def inlined(config: Config, folder: Path) -> Config:
    """The config with what its file says; as it is where there is no file that holds, for `check` tells of that."""
    if config.bias is None or config.bias.analysis_config is None:
        return config
    try:
        said = of_file(folder, config.bias.analysis_config)
    except (BadInput, OSError):
        return config
    return config.model_copy(update={"bias": config.bias.model_copy(update={"asks": said})})


def of_file(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object of a file below `folder`. Raises BadInput, OSError."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadInput(f"{name} is a link that leads out of the model's repository")
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(f"{name} is larger than {MAX_BYTES:,} bytes")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()  # what no journal could keep
    except json.JSONDecodeError as exc:
        raise BadInput(f"{name}, line {exc.lineno}: {exc.msg}") from exc
    except (ValueError, RecursionError) as exc:
        raise BadInput(f"{name} cannot be read as JSON: {str(exc)[:200]}") from exc
    if not isinstance(said, dict):
        raise BadInput(f"{name} holds no JSON object")
    return said


def comparable(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two canonical configs, with what their files say among the other words of `bias`.

    Earlier releases did not keep what the file said. Where one of two is not known, neither is looked at: nothing is known to be lost.
    """
    known = not any(_unknown(config) for config in (before, after))
    return _spelled(before, known), _spelled(after, known)


def _unknown(config: Mapping[str, Any]) -> bool:
    bias = config.get("bias") or {}
    return bias.get("analysis_config") is not None and bias.get("asks") is None


def _spelled(config: dict[str, Any], known: bool) -> dict[str, Any]:
    said = (config.get("bias") or {}).get("asks")
    if said is None:
        return config
    bias = {key: value for key, value in config["bias"].items() if key != "asks"}
    return {**config, "bias": {**bias, **(_words(said, config["model"]["problem_type"]) if known else {})}}


def _words(said: Mapping[str, Any], problem_type: str) -> dict[str, Any]:
    """What a file says in the words of `bias`, as far as they go; the rest by its own keys below `analysis_config`."""
    rest = {key: value for key, value in said.items() if key not in ("facet", "group_variable", "label_values_or_threshold")}
    methods = rest.pop("methods", None)
    methods = methods if isinstance(methods, dict) else {}
    facet, good = said.get("facet"), said.get("label_values_or_threshold")
    if problem_type in _NUMBERS and isinstance(good, list) and len(good) == 1:
        good = good[0]
    facets = [one for one in (facet if isinstance(facet, list) else [facet]) if isinstance(one, dict)]
    return {
        "facets": [_facet(one, said) for one in facets],
        "group_col": _column(said.get("group_variable"), said),
        "label_above" if problem_type in _NUMBERS else "label_values": good,
        **{stage: _metrics(methods.get(f"{stage}_bias")) for stage in _STAGES},
        **{f"analysis_config.{key}": value for key, value in rest.items()},
        **{f"analysis_config.methods.{key}": value for key, value in methods.items() if key not in [f"{s}_bias" for s in _STAGES]},
    }


def _facet(one: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    wanted = one.get("value_or_threshold")
    wanted = wanted if isinstance(wanted, list) or wanted is None else [wanted]
    return {"column": _column(one.get("name_or_index"), said), "value_or_threshold": wanted or None}


def _column(name: Any, said: Mapping[str, Any]) -> Any:
    """A column by its name; a place stays one where no `headers` give it a name."""
    headers = said.get("headers")
    if isinstance(name, int) and not isinstance(name, bool) and isinstance(headers, list) and 0 <= name < len(headers):
        return headers[name]
    return name


def _metrics(asked: Any) -> list[Any] | None:
    """The metrics of a stage; None are all, and a stage that is not named has none."""
    wanted = asked.get("methods", "all") if isinstance(asked, dict) else []
    return None if wanted in ("all", ["all"]) else wanted if isinstance(wanted, list) else [wanted]
