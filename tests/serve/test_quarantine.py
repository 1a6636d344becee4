from __future__ import annotations

import pytest

from modelyard.serve.quarantine import Quarantine
from modelyard.serve.refusals import ModelFailed
from modelyard.serve.rows import Rows


def rows(*xs: float) -> Rows:
    return Rows({"x": list(xs)}, len(xs), ["i"] * len(xs), 0)


def test_a_row_is_suspected_after_one_death_and_blamed_after_it_has_killed_alone() -> None:
    quarantine = Quarantine()
    assert quarantine.check(rows(1.0)) is False
    assert quarantine.died(rows(1.0), alone=False) == 0
    assert quarantine.check(rows(1.0)) is True and quarantine.check(rows(2.0)) is False
    assert quarantine.died(rows(1.0), alone=True) == 2
    with pytest.raises(ModelFailed, match="this row has killed the runner 2 times; it is not tried again") as refused:
        quarantine.check(rows(1.0))
    assert refused.value.where == "row 0"


def test_deaths_in_company_blame_nobody() -> None:
    quarantine = Quarantine()
    assert [quarantine.died(rows(1.0), alone=False) for _ in range(5)] == [0] * 5
    assert quarantine.died(rows(1.0), alone=True) == 6


def test_the_first_death_alone_may_be_the_machines_fault() -> None:
    quarantine = Quarantine()
    assert quarantine.died(rows(1.0), alone=True) == 0
    quarantine.answered(rows(1.0))
    assert quarantine.check(rows(1.0)) is False
    assert quarantine.died(rows(1.0), alone=True) == 0, "it begins anew"


def test_the_rows_of_a_body_are_judged_together() -> None:
    quarantine = Quarantine()
    for _ in range(2):
        quarantine.died(rows(1.0, 2.0), alone=True)
    with pytest.raises(ModelFailed, match="a row of these has killed the runner 2 times"):
        quarantine.check(rows(1.0, 2.0))
    assert quarantine.check(rows(1.0)) is False


def test_it_remembers_the_latest_only() -> None:
    quarantine = Quarantine(kept=3)
    for x in range(5):
        quarantine.died(rows(float(x)), alone=True)
    assert [quarantine.check(rows(float(x))) for x in range(5)] == [False, False, True, True, True]
