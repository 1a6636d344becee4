"""Heavy hitters: the most frequent of very many values, in a summary of bounded size that adds up.

Misra and Gries's, merged as in P. K. Agarwal et al., "Mergeable summaries" (PODS 2012): add the counts; where more than `KEPT` values are
left, subtract the (KEPT + 1)-th greatest count from all and drop what reaches 0. A kept count is too small by at most the sum of what
was subtracted, which is kept beside it and is itself at most n / (KEPT + 1) of n values; a dropped value came no more often than that. With
up to `KEPT` values in all, nothing is subtracted and every count is exact, in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

KEPT = 32


def merge(summaries: Iterable[tuple[Mapping[str, int], int]]) -> tuple[dict[str, int], int]:
    """One summary of several (counts, error), or of exact counts with an error of 0; most frequent first."""
    counts: dict[str, int] = {}
    error = 0
    for one, wrong in summaries:
        error += wrong
        for value, n in one.items():
            counts[value] = counts.get(value, 0) + n
    if len(counts) > KEPT:
        cut = sorted(counts.values(), reverse=True)[KEPT]
        counts, error = {value: n - cut for value, n in counts.items() if n > cut}, error + cut
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), error
