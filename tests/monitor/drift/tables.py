"""Tables with known distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from modelyard.signature import Column, Signature

MIXED = Signature(
    "binary_classification",
    tuple(Column(f"n{i}", "float") for i in range(6)) + tuple(Column(f"c{i}", "str") for i in range(5)),
    classes=(0, 1),
    positive_class=1,
)
FORTY = Signature(
    "binary_classification",
    tuple(Column(f"x{i}", "float" if i < 30 else "str") for i in range(40)),
    classes=(0, 1),
    positive_class=1,
)


def mixed(rng: np.random.Generator, rows: int, **changed: Any) -> pl.DataFrame:
    """Six numbers and five categories that know nothing of each other."""
    columns: dict[str, Any] = {f"f.n{i}": rng.standard_normal(rows) for i in range(6)}
    columns |= {f"f.c{i}": rng.choice(list("abcde"), rows, p=[0.4, 0.3, 0.15, 0.1, 0.05]) for i in range(5)}
    columns["y.probability_1"] = rng.beta(2, 5, rows)
    return pl.DataFrame({**columns, **changed})


def forty(rng: np.random.Generator, rows: int, alike: float, shifted: int = 0) -> pl.DataFrame:
    """Normal features that share a factor of weight `alike`, the first `shifted` of them by 0.5 sd; a score of them all."""
    x = np.sqrt(alike) * rng.standard_normal((rows, 1)) + np.sqrt(1 - alike) * rng.standard_normal((rows, 40))
    x[:, :shifted] += 0.5
    score = 1 / (1 + np.exp(-x.sum(1) / 6))
    words = np.char.add("v", np.floor(np.abs(x[:, 30:]) * 12).astype(int).astype(str))  # about 40 categories, most of them rare
    columns = {f"f.x{i}": x[:, i] if i < 30 else words[:, i - 30] for i in range(40)}
    return pl.DataFrame({**columns, "y.probability_1": score})
