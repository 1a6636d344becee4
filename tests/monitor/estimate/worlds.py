"""Rows whose truth is known, for estimates to be held against: NumPy alone, so that NannyML's environment makes the same ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Classes(NamedTuple):
    """scores: (n, k) what the model says, too sure of itself; truth: (n,)."""

    scores: Floats
    truth: Ints

    @property
    def answers(self) -> Ints:
        return self.scores.argmax(axis=1)


def classes(rows: int, k: int, seed: int, shift: float = 0.0) -> Classes:
    """`shift` makes rows harder: their logits are nearer to each other."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, k)) * (1.5 - shift) + np.linspace(0.5, 0, k)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (random.random(rows)[:, None] > np.cumsum(probability, axis=1)[:, :-1]).sum(axis=1)
    sure = np.exp(1.8 * logits)
    return Classes(sure / sure.sum(axis=1, keepdims=True), truth)


class Numbers(NamedTuple):
    """x: (n, 3), the last column of categories; truth and answer: (n,). The error grows with the first column, and for some categories."""

    x: Floats
    truth: Floats
    answer: Floats


def numbers(rows: int, seed: int, shift: float = 0.0) -> Numbers:
    random = np.random.default_rng(seed)
    first, second, group = random.normal(shift, 1.0, rows), random.normal(size=rows), random.integers(0, 5, rows)
    answer = 10 + 2 * first + second
    spread = np.exp(0.5 * first) * np.array([0.5, 1.0, 1.0, 2.0, 3.0])[group]
    return Numbers(np.column_stack([first, second, group.astype(np.float64)]), answer + spread * random.normal(size=rows), answer)
