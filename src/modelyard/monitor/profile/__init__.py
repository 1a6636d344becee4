"""Profiles: a predictions table as counts in the bins of a baseline, small enough for JSON and enough to judge drift and quality by.

A baseline is made once, from what a version was trained and evaluated on, and fixes the bins; a profile counts a window into them, in
one pass. Profiles of the same baseline add up: `merge` of the profiles of a table's pieces, however it was cut and in whatever order,
is the profile of the table. Counts are equal to the last one, moments to rounding. So a day is made of its windows and a month of its
days, without reading a row again.

    profile = {"format": 2, "rows": int,
               "columns": {NAME: column},
               "score": {"column": "y....", "rows": int, ...as a column},
               "extra": {COLUMN: rows with a value},          of the columns f.* and x.* that are no feature
               "joint": {"rows": int, "sum": float, "squares": float} | None}          of the rows' reconstruction errors (`joint`)

    numbers    = {"kind": "numeric", "low": float | None, "edges": [float, ...], "counts": [int, ...], "missing": int,
                  "min", "max", "mean", "m2": float | None, "zeros", "negatives", "whole", "infinite": int, "sketch": see `sketch`}
    categories = {"kind": "categorical", "counts": {VALUE: int}, "other": int, "new": int,
                  "fresh": {VALUE: int}, "fresh_error": int, "once": int, "missing": int}

**Numbers** have at most 20 bins, quantiles of the baseline, bounded by its least and greatest value, and one bin below and one above;
so a value that training never saw is never hidden among those that it did. Where most values come but once, an edge is raised a little,
by a tenth of a bin's rows at most, to where the sketch counts anyway (`shapes`). `counts`: below `low`, then up to each edge (the last
is the greatest value), then above. Missing is null or NaN. `min`, `max`, `mean` and `m2` (sum of squared deviations from the mean),
`zeros` and `whole` are of the finite values; `infinite` ones lie below or above. A moment beyond float64 is None. Times are microseconds.

**Categories** have the baseline's 100 most frequent values and `other`, which is 0 where these are all; only then is a value outside
them `new`. `fresh` are the heavy hitters outside of them (`heavy`): their counts are exact where `fresh_error` is 0, else too small by
at most that. `once`, of the baseline: how many values came once, which tells how many unseen ones there may be.

More bins would cost little time (1 ns a value for ten) and would make PSI noisier, whose mean by chance grows with their number; what
needs finer steps has the sketch.
"""

from modelyard.monitor.profile.counting import profile, profile_batches
from modelyard.monitor.profile.merging import merge
from modelyard.monitor.profile.scan import parquet
from modelyard.monitor.profile.shapes import baseline, of_features, with_scores
from modelyard.monitor.profile.sketch import quantile
from modelyard.monitor.profile.store import Profiles

__all__ = ["Profiles", "baseline", "merge", "of_features", "parquet", "profile", "profile_batches", "quantile", "with_scores"]
