"""Shapley values by joining in random orders: every background row stands in once, in one order and in its reverse.

Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature contributions", Knowledge and Information
Systems 2014, with antithetic orders (Mitchell et al., "Sampling permutations for Shapley value estimation", JMLR 2022). Since each
background row stands in equally often, the values of a row sum to its output less the base, whatever was drawn. Exact where the model's
features act alone or in pairs.
"""

from __future__ import annotations

import numpy as np

from modelyard.quality.explain.game import BATCH, Floats, Game


def permutation(game: Game, seed: int) -> Floats:
    """(rows, features). Asks at most 2 (features - 1) mixtures a row and background row."""
    players = len(game.features)
    draw = np.random.default_rng(seed)
    total = np.zeros((game.rows, players))
    pairs = game.rows * game.usual
    step = max(1, BATCH // max(1, 2 * (players - 1)))
    for start in range(0, pairs, step):
        pair = np.arange(start, min(start + step, pairs))
        np.add.at(total, pair // game.usual, _both_ways(game, pair // game.usual, pair % game.usual, draw))
    return total / game.usual


def _both_ways(game: Game, row: np.typing.NDArray[np.int64], other: np.typing.NDArray[np.int64], draw: np.random.Generator) -> Floats:
    """(pairs, features): what each feature's joining changed, mean of an order and its reverse."""
    differ = game.differ(row, other)
    count = differ.sum(axis=1)
    order = np.argsort(draw.random(differ.shape) + 2.0 * ~differ, axis=1)  # features that are the same come last, and change nothing
    place = np.argsort(order, axis=1)
    steps = np.maximum(count - 1, 0)
    pair = np.repeat(np.arange(len(row)), steps)
    size = np.arange(len(pair)) - np.repeat(np.cumsum(steps) - steps, steps) + 1
    forward = place[pair] < size[:, None]
    backward = place[pair] >= (count[pair] - size)[:, None]
    values = game.values(np.tile(row[pair], 2), np.tile(other[pair], 2), np.concatenate([forward, backward]))
    width = differ.shape[1] + 1
    ways = []
    for half in (values[: len(pair)], values[len(pair) :]):
        worth = np.empty((len(row), width))
        worth[:, 0] = game.usuals[other]
        worth[pair, size] = half
        worth[np.arange(width) >= np.maximum(count, 1)[:, None]] = np.repeat(game.outputs[row], width - np.maximum(count, 1))
        worth[count == 0] = 0.0  # the two rows are the same
        ways.append(np.diff(worth, axis=1))
    turned = np.take_along_axis(ways[1], np.maximum(count[:, None] - 1 - np.arange(width - 1), 0), axis=1)
    turned[np.arange(width - 1) >= count[:, None]] = 0.0
    changes = (ways[0] + turned) / 2
    return np.take_along_axis(changes, place, axis=1)
