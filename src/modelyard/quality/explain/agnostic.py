"""Attributions of any model, by asking it: which method, and how much of the background, a given amount of work allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelyard.quality.explain import kernel
from modelyard.quality.explain.game import Floats, Game
from modelyard.quality.explain.permutation import permutation

WORK = 1_000_000
"""Rows that the model may be asked for; at a hundred thousand a second it is ten seconds."""
LEAST = 10
"""Background rows that are kept, however much work it is."""
COALITIONS = 64


@dataclass(frozen=True)
class Choice:
    """How to explain: background rows used, coalitions (kernel), whether the result is exact for them, and why it was chosen so."""

    method: Literal["kernel", "permutation"]
    background: int
    coalitions: int
    exact: bool
    why: str


def choose(method: str, rows: int, features: int, background: int, work: int = WORK) -> Choice:
    """The method for `rows` explained rows. method: auto, kernel or permutation.

    auto asks all coalitions where the work allows it, which is exact, else random orders.
    """
    all_coalitions = 2**features - 2 if features < 60 else work
    exact = rows * background * max(all_coalitions, 1) <= work and features <= 16
    if method == "permutation" or (method == "auto" and not exact):
        used = _fitting(background, work // max(1, rows * 2 * max(features - 1, 1)))
        return Choice("permutation", used, 0, features <= 2, "random orders and their reverse" + _thinned(used, background))
    wanted = min(all_coalitions, 2 * features + COALITIONS)
    used = background if exact else _fitting(background, work // max(1, rows * wanted))
    count = min(all_coalitions, max(wanted, work // max(1, rows * used)))
    exact = count == all_coalitions and features <= 16
    how = f"all {2**features:,} coalitions, which is exact" if exact else f"a regression on {count:,} coalitions"
    return Choice("kernel", used, count, exact, how + _thinned(used, background))


def _fitting(background: int, room: int) -> int:
    return min(background, max(LEAST, room))


def _thinned(used: int, background: int) -> str:
    return f", against {used:,} of {background:,} rows of the background to bound the work" if used < background else ""


def attribute(game: Game, choice: Choice, seed: int) -> Floats:
    """(rows, features) attributions. The game's background has `choice.background` rows."""
    if choice.method == "permutation":
        return permutation(game, seed)
    return kernel.exact(game) if choice.exact else kernel.regression(game, choice.coalitions, seed)
