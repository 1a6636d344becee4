from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Condition
from modelyard.errors import StepFailed
from modelyard.flows import conditions

VALUES = st.one_of(st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text("ab", max_size=2))


def unmet(value: Any, **comparison: Any) -> str:
    return conditions.unmet(Condition.model_validate({"value": "data.rows", **comparison}), value)


@given(VALUES, VALUES)
def test_equality_knows_types_and_its_opposite(value: Any, wanted: Any) -> None:
    same = value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
    assert (unmet(value, equals=wanted) == "") == (unmet(value, one_of=[wanted, "other"]) == "") == same
    assert (unmet(value, not_equals=wanted) == "") == (not same)


@given(st.floats(-5, 5) | st.integers(-5, 5), st.floats(-5, 5))
def test_each_comparison_of_numbers_and_its_opposite(value: float, bound: float) -> None:
    assert (unmet(value, above=bound) == "") == (value > bound) == (unmet(value, at_most=bound) != "")
    assert (unmet(value, below=bound) == "") == (value < bound) == (unmet(value, at_least=bound) != "")


def test_a_whole_number_may_be_greater_than_any_float() -> None:
    assert unmet(10**400, above=1.5) == ""
    assert unmet(-(10**400), above=1.5).startswith("-1000")


@pytest.mark.parametrize("value", [True, None, "7", [7], float("nan"), float("inf")])
def test_what_is_no_number_is_not_compared_with_one(value: Any) -> None:
    with pytest.raises(StepFailed, match="is no number"):
        unmet(value, above=1)


@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("a/~ 0", min_size=1), inner, max_size=2)))
def test_a_pointer_leads_to_every_value(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "s" / "out"
        place.mkdir(parents=True)
        (place / "f.json").write_text(json.dumps(document))
        for pointer, value in _paths(document):
            if pointer:
                assert conditions.read(f"steps.s.out/f.json#{pointer}", Path(folder), {}) == value


def _paths(value: Any, at: str = "") -> list[tuple[str, Any]]:
    found = [(at, value)]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += _paths(inner, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")
    return found


def test_a_file_outside_the_steps_is_none_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"a": 1}')
    (tmp_path / "steps" / "s" / "out").mkdir(parents=True)
    (tmp_path / "steps" / "s" / "out" / "link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(StepFailed, match="is not there"):
        conditions.read("steps.s.out/link.json#/a", tmp_path / "steps", {})
