"""What the leaves of an ensemble add, summed in the order of its trees, as the native models do: NumPy's own sums may be pairwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_row(values: NDArray[Any], init: Any) -> Any:
    """The sum of one row over the first axis (trees), which begins with `init`, as a number or a list. It may overwrite the values."""
    if not len(values):
        return init.tolist()
    values[0] += init
    return np.add.accumulate(values, axis=0, out=values)[-1].tolist()


def of_rows(values: NDArray[Any], init: Any) -> NDArray[Any]:
    """The sums over the first axis (trees), each beginning with `init`. It may overwrite the values."""
    if not len(values):
        return np.full(values.shape[1:], init)
    values[0] += init
    if values[0].size == 1:  # NumPy would sum a single column pairwise
        last: NDArray[Any] = np.add.accumulate(values, axis=0)[-1]
        return last
    total: NDArray[Any] = np.add.reduce(values, axis=0)
    return total
