"""An A/B test by late labels: both versions' rows of the test, as far as the truth of them is known, measured by one metric."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.build import bundle
from modelyard.deploy.rollout import Contest, Rollout
from modelyard.flows import history
from modelyard.flows.moves import Move
from modelyard.quality import arms
from modelyard.quality.metrics import GREATER_IS_BETTER
from modelyard.quality.paired import Trial
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 200_000
"""Newest rows of each version that are looked at."""
LEVEL = 0.05
"""Share of resamples that may show the new version no better, for it to be better beyond chance."""


def judge(move: Move, state: Rollout, since: datetime) -> Contest | None:
    """The verdict on all that was answered from `since` on; None while either version has fewer labels than
    `monitor.performance.min_labels`. It is asked once the bake time is over, and its first verdict counts: whoever looked again and again
    until it suits would see differences where there are none."""
    assert state.metric is not None
    old, new = (_arm(move, version, since) for version in (state.champion, state.version))
    if min(old[0].height, new[0].height) < move.config.monitor.performance.min_labels:
        return None
    return verdict(arms.bootstrap(old, new, state.metric), GREATER_IS_BETTER[state.metric], (new[0].height, old[0].height))


def verdict(trial: Trial, greater_is_better: bool, labelled: tuple[int, int]) -> Contest:
    """Won where the new version is better in all but `LEVEL` of the resamples. `labelled`: rows of the new version and of the champion."""
    old, new = (float(found.get(trial.metric, math.nan)) for found in (trial.champion, trial.challenger))
    numbers = f"{trial.metric} {new:.5g} against the champion's {old:.5g} on {labelled[0]:,} and {labelled[1]:,} labelled rows"
    sign = 1 if greater_is_better else -1
    gains = [sign * d for d in trial.differences if math.isfinite(d)]
    if not gains or not math.isfinite(old) or not math.isfinite(new):
        return Contest(False, f"{numbers}: it cannot be measured for both")
    wins = sum(gain > 0 for gain in gains) / len(gains)
    won = wins >= 1 - LEVEL and sign * (new - old) > 0
    sure = f"better in {wins:.0%} of {len(gains):,} resamples"
    return Contest(won, f"{numbers}, {'better beyond chance' if won else 'not better beyond chance'} ({sure})")


def _arm(move: Move, version: str, since: datetime) -> tuple[pl.DataFrame, Signature]:
    """A version's labelled rows."""
    rows = history.newest(move.shop, move.model, MOST_ROWS, since=since, version=version)
    signature = bundle.open(move.shop.version(move.model, version).digest, move.shop.home.path).signature
    return history.labelled(move.shop, move.model, rows).drop_nulls(tables.LABEL), signature
