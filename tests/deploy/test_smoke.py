from __future__ import annotations

from typing import Any

import pytest

from modelyard.deploy.smoke import compare

ROW = {"prediction": 1, "probability_1": 0.25}


def test_the_same_answers_pass() -> None:
    result = compare([ROW, ROW], [{**ROW, "more": "is no matter"}, {"prediction": 1.0, "probability_1": 0.25 + 5e-10}])
    assert (result.ok, result.sentence) == (True, "2 rows answered as at build time (within 1e-09)")


@pytest.mark.parametrize(
    ("expected", "got", "said"),
    [
        ([], [], "there was no row to send"),
        ([ROW, ROW], [ROW], "2 rows were sent and 1 answers came"),
        ([ROW], [{"prediction": 1}], "row 0 was answered without `probability_1`"),
        ([ROW, ROW], [ROW, {**ROW, "probability_1": 0.2501}], "row 1: `probability_1` is 0.2501, and was 0.25 at build time"),
        ([ROW], [{**ROW, "prediction": 0}], "row 0: `prediction` is 0, and was 1 at build time"),
        ([ROW], [{**ROW, "prediction": None}], "row 0: `prediction` is None, and was 1 at build time"),
        ([ROW], [{**ROW, "prediction": "1"}], "row 0: `prediction` is '1', and was 1 at build time"),
        ([{"prediction": True}], [{"prediction": 1}], "row 0: `prediction` is 1, and was True at build time"),
        ([{"prediction": 1.0}], [{"prediction": float("nan")}], "row 0: `prediction` is nan, and was 1.0 at build time"),
    ],
)
def test_any_difference_is_named(expected: list[dict[str, Any]], got: list[dict[str, Any]], said: str) -> None:
    result = compare(expected, got)
    assert (result.ok, result.sentence) == (False, said)


@pytest.mark.parametrize("value", [0.0, None, "late", True, False, 3, 1e300, -2.5])
def test_every_kind_of_output_equals_itself(value: Any) -> None:
    assert compare([{"prediction": value}], [{"prediction": value}]).ok


def test_the_last_bits_of_a_large_number_do_not_matter() -> None:
    assert compare([{"prediction": 523_001_234.5}], [{"prediction": 523_001_234.5000003}]).ok  # other batch, other sum
    assert not compare([{"prediction": 523_001_234.5}], [{"prediction": 523_001_236.5}]).ok
    assert compare([{"prediction": 1.0}], [{"prediction": 1.05}], tolerance=0.1).ok
