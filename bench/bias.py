"""The 13 post-training bias metrics of a large table, ours and `smclarify`'s (Clarify's own library), measured in one run.

    python bench/bias.py [--rows 1000000] [--repeat 5] [--exact] [--json] [--no-library]

Made rows: two groups, six numeric features, a conditioning column of 8 values. Measured is the step from columns (facet, labels,
predictions, conditioning column, features) to the 13 numbers: ours without and with bootstrap intervals (200 resamples). Beyond 50,000
rows the product's flip test draws 5,000 rows to ask and 25,000 to compare with; `--exact` measures that of all rows too. The library's
functions are called one by one on the same columns; it is installed into a folder of its own. Its flip test, minutes long at a
million rows, runs on 20,000 rows (--library-flip-rows), as does ours beside it, and the ratio of each part is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from modelyard.quality.bias import POST_TRAINING
from modelyard.quality.bias.facets import Condition, Group
from modelyard.quality.bias.flip import flips
from modelyard.quality.bias.measure import Interval, People, features, measure, subgroups

PACKAGES = ("smclarify==0.5", "pandas==3.1.1", "python-dateutil", "six", "pyfunctional", "dill", "tabulate")
NAMES = [f"n{i}" for i in range(6)]
LIBRARY = """
import json, sys, time
import pandas as pd
from smclarify.bias import metrics
frame, flip_rows = pd.read_parquet(sys.argv[1]), int(sys.argv[2])
values, seconds = {}, {}
for metric in metrics.POSTTRAINING_METRICS:
    name = metric.__name__
    table = frame.head(flip_rows) if name == "FT" else frame
    given = dict(df=table[[c for c in table if c[0] == "n"]], feature=table["label"], sensitive_facet_index=table["facet"] == "d",
        label=table["label"], positive_label_index=table["label"], predicted_label=table["predicted"],
        positive_predicted_label_index=table["predicted"], group_variable=table["group"])
    began = time.perf_counter()
    values[name] = float(metrics.call_metric(metric, **given))
    seconds[name] = time.perf_counter() - began
print(json.dumps({"values": values, "seconds": seconds}))
"""


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    facet = random.random(rows) < 0.4
    numbers = random.normal(size=(rows, len(NAMES))) + 0.3 * facet[:, None]
    score = numbers.sum(axis=1) / 3
    columns = {name: numbers[:, i] for i, name in enumerate(NAMES)}
    truth, answer = score + random.normal(size=rows) > 0.2, score > 0.1
    group = random.integers(0, 8, rows)
    return pl.DataFrame({**columns, "facet": np.where(facet, "d", "a"), "label": truth, "predicted": answer, "group": group})


def ours(frame: pl.DataFrame, interval: Interval, metrics: tuple[str, ...] = POST_TRAINING) -> dict[str, float]:
    """From columns to numbers, everything included that the product does."""
    codes, groups = subgroups(frame["group"])
    label, predicted = frame["label"].to_numpy(), frame["predicted"].to_numpy()
    people = People(label, predicted, codes, groups, features=features(frame, NAMES)[0])
    found = measure(people, Group((Condition("facet", ("d",), texts=("d",)),), "d"), frame, metrics, interval)
    return {row["metric"]: row["value"] for row in found}


def timed(work: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Seconds, the median of `repeat` runs, and the last result."""
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)), result


def flip_values(frame: pl.DataFrame) -> float:
    columns = [frame[name].to_numpy()[:, None] for name in NAMES]
    facet = (frame["facet"] == "d").to_numpy()
    return flips(columns, facet, frame["predicted"].to_numpy(), exact=True).value


def library(frame: pl.DataFrame, flip_rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file, packages = Path(folder) / "table.parquet", Path(folder) / "packages"
        frame.write_parquet(file)
        uv = str(Path(sys.executable).with_name("uv"))
        install = [uv, "pip", "install", "-q", "--python", sys.executable, "--no-deps", "--target", str(packages), *PACKAGES]
        subprocess.run(install, check=True)
        env = {**os.environ, "PYTHONPATH": str(packages), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", LIBRARY, str(file), str(flip_rows)]
        return dict(json.loads(subprocess.run(command, check=True, env=env, capture_output=True, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--library-flip-rows", type=int, default=20_000)
    parser.add_argument("--no-library", action="store_true")
    parser.add_argument("--exact", action="store_true", help="measure the flip test of all rows too, half a minute of a million")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    frame = table(asked.rows)
    ours(frame.head(1000), Interval(resamples=0))  # imports are no part of it
    counts = tuple(name for name in POST_TRAINING if name != "FT")
    plain, values = timed(lambda: ours(frame, Interval(resamples=0)), asked.repeat)
    counted, _ = timed(lambda: ours(frame, Interval(resamples=0), counts), asked.repeat)
    sure, _ = timed(lambda: ours(frame, Interval(resamples=200)), asked.repeat)
    result: dict[str, Any] = {
        "rows": asked.rows,
        "cpus": os.cpu_count(),
        "ours_13_metrics_s": plain,
        "ours_13_metrics_with_intervals_s": sure,
        "ours_12_metrics_without_flip_test_s": counted,
        "flip_test_drawn": values["FT"],
    }
    if asked.exact:
        seconds, flipped = timed(lambda: flip_values(frame), 1)
        result |= {"ours_flip_test_of_all_rows_s": seconds, "flip_test_of_all_rows": flipped}
    if not asked.no_library:
        small = frame.head(asked.library_flip_rows)
        beside, flipped = timed(lambda: flip_values(small), asked.repeat)
        theirs = library(frame, asked.library_flip_rows)
        worst = max(abs(theirs["values"][name] - value) for name, value in {**{n: values[n] for n in counts}, "FT": flipped}.items())
        twelve = sum(theirs["seconds"][name] for name in counts)
        result |= {
            "library_12_metrics_without_flip_test_s": twelve,
            "library_flip_test_s": theirs["seconds"]["FT"],
            "ours_flip_test_of_the_same_rows_s": beside,
            "flip_test_rows": small.height,
            "ratio_12_metrics": twelve / counted,
            "ratio_flip_test": theirs["seconds"]["FT"] / beside,
            "greatest_difference": worst,
        }
    print(json.dumps(result, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
