from __future__ import annotations

import random

import numpy as np
import pytest

from modelyard.serve.plan import sums


@pytest.mark.parametrize("trees", [0, 1, 1000])
@pytest.mark.parametrize("rows", [1, 3])
def test_sums_are_taken_one_after_the_other(trees: int, rows: int) -> None:
    """A thousand numbers that are summed pairwise give another float64."""
    drawn = random.Random(0)
    values = [[drawn.uniform(-1, 1) * 10 ** drawn.randrange(9) for _ in range(rows)] for _ in range(trees)]
    wanted = [0.1] * rows
    for row in values:
        wanted = [total + x for total, x in zip(wanted, row, strict=True)]
    array = np.array(values).reshape(trees, rows)
    assert sums.of_rows(array.copy(), np.float64(0.1)).tolist() == wanted
    assert sums.of_row(array[:, 0].copy(), np.float64(0.1)) == wanted[0]
