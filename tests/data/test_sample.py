from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelyard.config.spec import Data, Sample
from modelyard.data import snapshots
from modelyard.data.parts import Parts, of
from modelyard.data.sample import Draw


def drawn(eligible: list[bool], rows: int, seed: int, batches: list[int]) -> list[int] | None:
    draw, start = Draw(Sample.model_construct(rows=rows, seed=seed)), 0
    for size in [*batches, len(eligible)]:
        draw.see(pl.Series(eligible[start : start + size], dtype=pl.Boolean))
        start += size
    found = draw.rows()
    return None if found is None else found.tolist()


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 50), st.integers(-5, 5), st.lists(st.integers(0, 40), max_size=5))
def test_a_sample_is_of_eligible_rows_and_hangs_on_no_batch(eligible: list[bool], rows: int, seed: int, batches: list[int]) -> None:
    places = [i for i, ok in enumerate(eligible) if ok]
    found = drawn(eligible, rows, seed, batches)
    assert found == drawn(eligible, rows, seed, [])
    if len(places) <= rows:
        assert found is None
    else:
        assert found is not None and len(found) == rows and set(found) <= set(places) and found == sorted(found)


def test_more_rows_push_out_few_and_seeds_differ() -> None:
    small, large = drawn([True] * 1000, 100, 1, []), drawn([True] * 1100, 100, 1, [])
    assert small and large
    assert len(set(small) - set(large)) == sum(place >= 1000 for place in large) < 30
    assert drawn([True] * 1000, 100, 2, []) != small


def test_every_row_is_as_likely() -> None:
    found = np.concatenate([drawn([True] * 200, 50, seed, []) for seed in range(400)])  # type: ignore[arg-type]  # none is None
    assert stats.chisquare(np.bincount(found, minlength=200)).pvalue > 1e-4  # the seeds are fixed: it passes each time or never


def test_a_sampled_snapshot_has_the_rows_asked_for(home: Path) -> None:
    frame = pl.DataFrame({"n": range(1000), "y": [None if i % 10 == 0 else i % 2 for i in range(1000)]})
    words = {"source": {"using": "csv", "location": "x"}, "target_col": "y", "sample": {"rows": 100}}
    snapshot = snapshots.take(of(frame), Data.model_validate(words), "UTC", home)
    assert (snapshot.rows, snapshot.dropped) == (100, ("100 rows without y dropped", "a sample of 100 of 1,000 rows, seed 42"))
    pieces = Parts(tuple(frame[i : i + 37] for i in range(0, 1000, 37)), frame.schema)
    assert snapshots.take(pieces, Data.model_validate(words), "UTC", home).digest == snapshot.digest
    assert all(n % 10 for n in snapshots.read(snapshot)["n"])
    whole = snapshots.take(of(frame), Data.model_validate({**words, "sample": {"rows": 5000}}), "UTC", home)
    assert (whole.rows, whole.dropped) == (900, ("100 rows without y dropped",))
