"""Shapley values by coalitions: exact where all are asked, else KernelSHAP's weighted regression on the ones that weigh most.

Lundberg and Lee 2017, theorem 2; whole sizes of coalitions first, from the smallest and largest inwards, then pairs of a coalition and
its complement drawn by weight (Covert and Lee, "Improving KernelSHAP", AISTATS 2021).
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from modelyard.quality.explain.game import BATCH, Bools, Floats, Game, Ints


def exact(game: Game) -> Floats:
    """(rows, features): Shapley values by definition, from all 2^features coalitions against every background row."""
    players = len(game.features)
    codes = np.arange(1 << players)
    joined = (codes[:, None] >> np.arange(players)) & 1 == 1
    worth = _worth(game, joined[1:-1])
    worth = np.column_stack([np.full(game.rows, game.base), worth, game.outputs])
    size = joined.sum(axis=1)
    weight = np.array([math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players) for s in range(players)])
    result = np.empty((game.rows, players))
    for j in range(players):
        without = codes[~joined[:, j]]
        result[:, j] = (worth[:, without | (1 << j)] - worth[:, without]) @ weight[size[without]]
    return result


def regression(game: Game, count: int, seed: int) -> Floats:
    """(rows, features): from about `count` coalitions, the same for every row. Values of a row sum to its output less the base."""
    players = len(game.features)
    if players == 1:
        return (game.outputs - game.base)[:, None]
    joined, weight = coalitions(players, count, np.random.default_rng(seed))
    worth = _worth(game, joined)
    total = game.outputs - game.base
    # the sum is kept by leaving the last feature to it
    left = joined[:, :-1].astype(float) - joined[:, -1:]
    right = (worth - game.base - np.outer(total, joined[:, -1])) * weight
    inner = (left * weight[:, None]).T @ left
    first = np.linalg.lstsq(inner, left.T @ right.T, rcond=None)[0].T
    return np.column_stack([first, total - first.sum(axis=1)])


def coalitions(players: int, count: int, draw: np.random.Generator) -> tuple[Bools, Floats]:
    """Coalitions, neither empty nor whole, and their weights in the regression; all of them where `count` reaches so far."""
    sets: list[tuple[int, ...]] = []
    weights: list[float] = []
    sizes = range(1, players // 2 + 1)
    paired = {s: (players - 1) / (s * (players - s)) * (1 if 2 * s == players else 2) for s in sizes}
    whole = sum(paired.values())
    rest = list(sizes)
    for s in sizes:
        room = math.comb(players, s) * (1 if 2 * s == players else 2)
        if room > count - len(sets):
            break
        rest.remove(s)
        for inside in combinations(range(players), s):
            both = [inside] if 2 * s == players else [inside, tuple(j for j in range(players) if j not in inside)]
            sets += both
            weights += [paired[s] / whole / room] * len(both)
    if rest and (pairs := (count - len(sets)) // 2) > 0:
        share = np.array([paired[s] for s in rest])
        seen: dict[tuple[int, ...], float] = {}
        for s in draw.choice(rest, size=pairs, p=share / share.sum()):
            inside = tuple(sorted(int(j) for j in draw.choice(players, size=int(s), replace=False)))
            for members in (inside, tuple(j for j in range(players) if j not in inside)):
                seen[members] = seen.get(members, 0.0) + share.sum() / whole / (2 * pairs)
        sets += list(seen)
        weights += list(seen.values())
    joined = np.zeros((len(sets), players), dtype=bool)
    for i, members in enumerate(sets):
        joined[i, list(members)] = True
    return joined, np.array(weights)


def _worth(game: Game, joined: Bools) -> Floats:
    """(rows, coalitions): the mean output over the background. Mixtures that are the same are asked once."""
    count, players = len(joined), len(game.features)
    found = np.empty((game.rows, count))
    if not count:
        return found
    step = max(1, BATCH // (count * game.usual))
    for start in range(0, game.rows, step):
        rows = np.arange(start, min(start + step, game.rows))
        row, other = np.repeat(rows, game.usual), np.tile(np.arange(game.usual), len(rows))
        mixed = (game.differ(row, other)[:, None, :] & joined).reshape(-1, players)
        pair = np.repeat(np.arange(len(row)), count)
        once, place = _once(pair, mixed)
        values = game.values(row[pair[once]], other[pair[once]], mixed[once])[place]
        found[rows] = values.reshape(len(rows), game.usual, count).mean(axis=1)
    return found


def _once(pair: Ints, mixed: Bools) -> tuple[Ints, Ints]:
    """Where each different mixture of a pair stands first, and for each mixture its place among those."""
    packed = np.column_stack([pair.astype(">i8").view(np.uint8).reshape(-1, 8), np.packbits(mixed, axis=1)])
    keys = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").ravel()
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return first, place.ravel()
