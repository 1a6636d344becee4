"""Evidently's DataDriftPreset with its defaults: reference file, window file, runs."""

import sys

from timing import CATEGORIES, NUMBERS, stage, tell

with stage("import"):
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

for _ in range(int(sys.argv[3])):
    with stage("read"):
        reference, window = (pd.read_parquet(path, columns=NUMBERS + CATEGORIES) for path in sys.argv[1:3])
    with stage("report"):
        definition = DataDefinition(numerical_columns=NUMBERS, categorical_columns=CATEGORIES)
        datasets = [Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference)]
        found = Report([DataDriftPreset()]).run(*datasets).dict()
counts = [m["value"]["count"] for m in found["metrics"] if isinstance(m["value"], dict) and "count" in m["value"]]
tell(moved=int(counts[0]) if counts else None)
