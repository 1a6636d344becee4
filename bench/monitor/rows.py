"""The tables: thirty numbers (normal, lognormal and gamma in turn), ten categories (2 to 200 values, Zipf), and a score.

A window's first ten numbers are shifted by 0.1 to 1, and four more are stretched by 5 to 20%; of three categories the most frequent
value comes more often. Written in row groups of 131,072 rows, a group at a time.
"""

from __future__ import annotations

from pathlib import Path

NUMBERS, CATEGORIES = [f"f.n{i}" for i in range(30)], [f"f.c{i}" for i in range(10)]
SCORE = "y.prediction"
LEVELS = (2, 3, 5, 8, 12, 20, 30, 50, 100, 200)
GROUP = 131_072


def write(path: Path, rows: int, seed: int, *, shifted: bool) -> None:
    """A Parquet file, whole or not at all; nothing where it is there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    random, work = np.random.default_rng(seed), path.with_suffix(".work")
    kinds = {**dict.fromkeys(NUMBERS, pa.float64()), **dict.fromkeys(CATEGORIES, pa.string()), SCORE: pa.float64()}
    with pq.ParquetWriter(work, pa.schema(kinds)) as writer:
        for start in range(0, rows, GROUP):
            n = min(GROUP, rows - start)
            columns: dict[str, object] = {name: _numbers(random, i, n, shifted) for i, name in enumerate(NUMBERS)}
            columns |= {name: _words(random, i, n, shifted) for i, name in enumerate(CATEGORIES)}
            columns[SCORE] = 1 / (1 + np.exp(-0.8 * columns["f.n0"] + 0.5 * columns["f.n3"]))  # type: ignore[operator]
            writer.write_table(pa.table(columns).cast(pa.schema(kinds)), row_group_size=GROUP)
    work.replace(path)


def _numbers(random: object, i: int, n: int, shifted: bool) -> object:
    drawn = (lambda: random.normal(size=n), lambda: random.lognormal(0, 0.7, n), lambda: random.gamma(2, 1, n))[i % 3]()  # type: ignore[attr-defined]
    if shifted and i < 10:
        return drawn + 0.1 * (i + 1)
    return drawn * (1 + 0.05 * (i - 9)) if shifted and i < 14 else drawn


def _words(random: object, i: int, n: int, shifted: bool) -> object:
    import numpy as np
    import pyarrow as pa

    chances = 1 / np.arange(1, LEVELS[i] + 1)
    chances[0] *= 1.1 + 0.1 * i if shifted and i % 3 == 0 else 1
    codes = random.choice(LEVELS[i], size=n, p=chances / chances.sum())  # type: ignore[attr-defined]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), pa.array([f"v{k:03}" for k in range(LEVELS[i])]))
