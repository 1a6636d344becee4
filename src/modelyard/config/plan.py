"""What a new config changes against what runs, and which of its gates became easier to pass.

A gate is whatever can stop a bad version or wake somebody: data expectations, validation criteria, approvals, the roll-out's
alarms, the monitors and the governor's limits. `loosening` says of each in which direction it loosens; every change in that
direction is flagged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelyard.config import clarify
from modelyard.config.loosening import ABSENT, loosened
from modelyard.config.spec import STAGES, Stage
from modelyard.config.words import shown

Effect = Literal["build", "deploy", "monitor", "none"]


@dataclass(frozen=True)
class Change:
    """One value that differs.

    Attributes:
        path: such as `evaluate.validation_criteria[roc_auc].threshold`.
        before, after: the values as JSON data; None where there was or is none.
        effect: what has to happen for it to hold: build anew, deploy, the monitors' next look, or nothing.
        loosens: a gate becomes easier to pass.
        sentence: the change in words.
    """

    path: str
    before: Any
    after: Any
    effect: Effect
    loosens: bool
    sentence: str


def plan(before: dict[str, Any] | None, after: dict[str, Any], *, greater_is_better: Mapping[str, bool] | None = None) -> list[Change]:
    """The changes from one canonical config (`load.canonical`) to another, in the file's order.

    Args:
        before: what runs; None where nothing does.
        after: what is wanted.
        greater_is_better: direction of each metric; a moved threshold of a metric it does not know counts as loosened.
    """
    if before is None:
        name = after["model"]["name"]
        return [Change("model.name", None, name, "build", False, f"{name} is new: it is built, judged and deployed")]
    own = {m["name"]: m["greater_is_better"] for m in after.get("evaluate", {}).get("custom_metrics", ())}
    directions = {**(greater_is_better or {}), **own}
    old, new = (dict(_leaves(config, "")) for config in clarify.comparable(before, after))
    fresh = tuple(f"{p}." for p, value in new.items() if value == "present" and p not in old)
    fresh += ("bias.",) if before.get("bias") is None else ()  # where nothing was compared, no comparison is lost
    changes = []
    for path in [*new, *(p for p in old if p not in new)]:
        one, other = old.get(path, ABSENT), new.get(path, ABSENT)
        if one is not ABSENT and other is not ABSENT and _same(one, other):
            continue
        if (one is ABSENT or one is None) and (other is ABSENT or other is None):
            continue  # nothing said either way
        reason = None if path.startswith(fresh) else loosened(path, one, other, directions)
        value_before, value_after = (None if v is ABSENT else v for v in (one, other))
        sentence = _sentence(path, one, other) + (f": {reason}" if reason else "")
        changes.append(Change(path, value_before, value_after, _effect(path), reason is not None, sentence))
    return changes


def plan_stages(
    before: Mapping[Stage, dict[str, Any]] | None,
    after: Mapping[Stage, dict[str, Any]],
    *,
    greater_is_better: Mapping[str, bool] | None = None,
) -> list[Change]:
    """As `plan`, over both stages (`Loaded.canonical()`): a change that only one stage sees says so."""
    changes = {s: plan(before[s] if before else None, after[s], greater_is_better=greater_is_better) for s in STAGES}
    both = [c for c in changes["production"] if c in changes["staging"]]
    only = [replace(c, sentence=f"{c.sentence} ({s} only)") for s in STAGES for c in changes[s] if c not in both]
    return both + only


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and (type(one) is type(other) or {type(one), type(other)} == {int, float})  # true is not 1


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that is compared as one; items of a list of parts go by their name, not by their position."""
    if path in _NAMED and value is not None:
        seen: dict[str, int] = {}
        for item in value:
            kind, own = _NAMED[path](item)
            seen[kind] = seen.get(kind, 0) + 1
            name = f"{path}[{kind if seen[kind] == 1 else f'{kind} #{seen[kind]}'}]"
            yield name, "present"
            for key, one in item.items():
                if key not in own and one is not None:
                    yield from _leaves(one, f"{name}.{key}")
    elif path in _BY_COLUMN:
        for column, expected in value.items():
            yield from ((f"{path}[{column}].{key}", one) for key, one in expected.items())
    elif isinstance(value, dict) and (value.keys() != {"secret"}) and path not in _WHOLE:
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _criterion(item: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What a criterion is about: its metric, of which rows, judged how. Two of one kind differ in how much they ask."""
    against = f" versus {item['versus']}" if item.get("versus") else " drop" if item.get("max_drop") is not None else ""
    part = item.get("slice")
    of = "" if part is None else f" of {part}" if isinstance(part, str) else f" of {part['column']}={shown(part['value'])}"
    bound = f" {item['bound']} bound" if item.get("bound", "value") != "value" else ""
    facet = f" for {item['facet']}" if item.get("facet") else ""
    return f"{item['metric']}{of}{facet}{bound}{against}", ("metric", "versus", "slice", "bound", "facet")


def _by_key(key: str) -> Callable[[dict[str, Any]], tuple[str, tuple[str, ...]]]:
    return lambda item: (str(item[key]), (key,))


_NAMED: dict[str, Callable[[dict[str, Any]], tuple[str, tuple[str, ...]]]] = {
    "evaluate.validation_criteria": _criterion,
    "monitor.performance.criteria": _criterion,
    "bias.criteria": _criterion,
    "bias.facets": _by_key("column"),
    "evaluate.custom_metrics": _by_key("name"),
    "train.metric_definitions": _by_key("name"),
    "steps": _by_key("name"),
}
"""Lists of parts, and what each item is called (with the keys that this says already)."""

_BY_COLUMN = ("data.expect.columns", "monitor.data_quality.columns", "monitor.drift.overrides")
"""Parts by the name of a column, which may hold a dot."""
_WHOLE = ("model.tags", "variables", "data.schema.types")

_EFFECTS: tuple[tuple[str, Effect], ...] = (
    (r"version|model\.(owner|tags|intended_use|limitations)|variables", "none"),
    (r"environments\.|deploy\.|deploy$|environments$", "deploy"),
    (r"monitor\.|alerts\.|labels\.|retrain\.", "monitor"),
    (r"", "build"),
)


def _effect(path: str) -> Effect:
    return next(effect for pattern, effect in _EFFECTS if re.match(pattern, path))


def _sentence(path: str, one: Any, other: Any) -> str:
    if other is ABSENT:
        return f"{path} is removed" + ("" if one == "present" else f" (was {_words(one)})")
    if one is ABSENT:
        return f"{path} is new" + ("" if other == "present" else f": {_words(other)}")
    return f"{path} goes from {_words(one)} to {_words(other)}"


def _words(value: Any) -> str:
    if isinstance(value, list) and len(value) <= 8 and not any(isinstance(v, list | dict) for v in value):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return "none" if value is None else str(value) if isinstance(value, str) and len(value) <= 60 else shown(value)
