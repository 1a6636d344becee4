"""Conditions of steps: the value that one looks at, and whether its comparison holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelyard.config.spec import Condition
from modelyard.errors import StepFailed

_SAID = {
    "equals": "not {}", "not_equals": "which it must not be", "above": "not above {}", "at_least": "not at least {}",
    "below": "not below {}", "at_most": "not at most {}", "one_of": "none of {}",
}  # fmt: skip


def unmet(condition: Condition, value: Any) -> str:
    """Why the comparison does not hold, as the end of a sentence (`X is ...`); empty where it holds. Raises StepFailed for a value that
    cannot be compared so. True is not 1 here, and 1 is 1.0."""
    name, wanted = next((k, v) for k in _SAID if (v := getattr(condition, k)) is not None)
    tests: dict[str, Callable[[], bool]] = {
        "equals": lambda: _equal(value, wanted),
        "not_equals": lambda: not _equal(value, wanted),
        "above": lambda: _number(value) > wanted,
        "at_least": lambda: _number(value) >= wanted,
        "below": lambda: _number(value) < wanted,
        "at_most": lambda: _number(value) <= wanted,
        "one_of": lambda: any(_equal(value, one) for one in wanted),
    }
    return "" if tests[name]() else f"{_shown(value)}, {_SAID[name].format(_shown(wanted))}"


def _equal(value: Any, wanted: Any) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise StepFailed(f"{_shown(value)} is no number, so it cannot be compared with one")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(list(value) if isinstance(value, tuple) else value, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def read(value: str, steps: Path, facts: Mapping[str, Mapping[str, Any]]) -> Any:
    """What `value` of a condition names: `steps.NAME.OUTPUT/FILE.json#/POINTER` below the folder `steps` (SageMaker's PropertyFile and
    JsonGet; the pointer is RFC 6901's), or a fact such as `metrics.loss`. Raises StepFailed where there is none."""
    if not value.startswith("steps."):
        kind, _, name = value.partition(".")
        if name not in facts.get(kind, {}):
            raise StepFailed(f"there is no {value}", next="no line of the log matched its regular expression" if kind == "metrics" else "")
        return facts[kind][name]
    place, _, pointer = value.partition("#")
    output, _, name = place.removeprefix("steps.").partition("/")
    file = steps / Path(*output.split(".")) / name
    if not file.resolve().is_relative_to(steps.resolve()) or not file.is_file():
        raise StepFailed(f"{place} is not there", next=f"write {name} to the output `{output.partition('.')[2]}`")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as exc:
        raise StepFailed(f"{place} is no JSON: {str(exc)[:200]}") from exc
    for word in pointer.split("/")[1:]:
        found = _inside(found, word.replace("~1", "/").replace("~0", "~"), value)
    return found


def _inside(found: Any, word: str, value: str) -> Any:
    if isinstance(found, dict) and word in found:
        return found[word]
    if isinstance(found, list) and word.isdecimal() and int(word) < len(found):
        return found[int(word)]
    raise StepFailed(f"{value}: there is no `{word}`", next=f"there are {', '.join(list(found)[:20])}" if isinstance(found, dict) else "")
