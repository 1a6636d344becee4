"""Train, validation and test: by time, by seed, or as the data says. Every row of the snapshot is in exactly one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.config.spec import Data
from modelyard.data.columns import need
from modelyard.errors import BadInput

if TYPE_CHECKING:
    import polars as pl

PARTS = ("train", "validation", "test")


def split(frame: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    """The three parts of `frame`, keyed `train`, `validation`, `test`; their rows are the frame's, each once.

    `time`: oldest rows train, newest test (stable sort by `time_col`); rows of one instant stay together, so that no test row
    happened at a time that training has seen. `random`: a permutation by the frozen Mersenne generator of NumPy's RandomState,
    the same on every machine and NumPy version; rows keep the frame's order inside a part. `provided`: as the column says.
    Only validation may be empty, and only where its share is 0 or the column never names it.

    Raises BadInput when the column is missing, says something else, or train or test would be empty.
    """
    by = data.split.by
    parts = _provided(frame, data) if by == "provided" else _by_time(frame, data) if by == "time" else _random(frame, data)
    for name in ("train", "test"):
        if parts[name].is_empty():
            raise BadInput(
                f"the {name} part of the split would be empty: the data has {frame.height} rows",
                where="data.split",
                next="give more rows, or other `ratios`",
            )
    return parts


def _cuts(rows: int, ratios: tuple[float, float, float]) -> tuple[int, int]:
    train = round(rows * ratios[0])
    return train, max(train, rows - round(rows * ratios[2]))


def _by_time(frame: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    time_col = data.time_col or ""
    need(time_col, frame.columns, "data.time_col")
    ordered = frame.sort(time_col, maintain_order=True, nulls_last=False)
    times, cuts = ordered[time_col], []
    for cut in _cuts(frame.height, data.split.ratios):
        whole = cut
        if 0 < cut < frame.height and times[cut - 1] == times[cut]:
            same = times.eq_missing(times[cut]).arg_true()
            first, after = int(same[0]), int(same[-1]) + 1
            # to the nearer edge of the instant, unless that empties an end
            whole = first if first > 0 and (cut - first <= after - cut or after >= frame.height) else after
        cuts.append(whole)
    first_cut, second_cut = cuts[0], max(cuts)
    return dict(zip(PARTS, (ordered[:first_cut], ordered[first_cut:second_cut], ordered[second_cut:]), strict=True))


def _random(frame: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    import numpy as np

    order = np.random.RandomState(data.split.seed).permutation(frame.height)
    first, second = _cuts(frame.height, data.split.ratios)
    groups = (order[:first], order[first:second], order[second:])
    return {name: frame[np.sort(rows)] for name, rows in zip(PARTS, groups, strict=True)}


def _provided(frame: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    import polars as pl

    column = data.split.column or ""
    need(column, frame.columns, "data.split.column")
    said = frame[column].cast(pl.String).unique().to_list()
    strange = sorted(repr(value) for value in said if value not in PARTS)
    if strange:
        raise BadInput(f"column `{column}` says {', '.join(strange[:5])}; it may say train, validation or test", where="data.split.column")
    return {name: frame.filter(pl.col(column).cast(pl.String) == name) for name in PARTS}
