"""Evidently's word on windows: how many columns drifted, and whether that is the dataset's drift, all by its defaults.

`DriftedColumnsCount` is the verdict of `DataDriftPreset` without the pictures of each column, which take six times as long; both count
the same columns.
"""

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import DriftedColumnsCount
from windows import Judge, answer

SHARE = 0.5
"""The preset's `drift_share`."""


def make(reference: pd.DataFrame, numbers: list[str], words: list[str]) -> Judge:
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
    before = Dataset.from_pandas(reference, data_definition=definition)

    def judge(window: pd.DataFrame) -> dict[str, object]:
        now = Dataset.from_pandas(window, data_definition=definition)
        (metric,) = Report([DriftedColumnsCount()]).run(now, before).dict()["metrics"]
        assert f"drift_share={SHARE}" in metric["metric_name"], metric["metric_name"]
        return {"dataset": bool(metric["value"]["share"] >= SHARE), "columns": int(metric["value"]["count"])}

    return judge


answer(make)
