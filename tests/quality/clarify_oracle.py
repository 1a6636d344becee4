"""Clarify's own library, `smclarify`, as an oracle in an environment of its own: JSON lines in, JSON lines out.

`{"columns": {name: values}, "facet": [bool], "label": [bool], "predicted": [bool], "group": values or null}` asks for every metric by
its function; the answer is `{metric: value}`, null where the library raises an error. `columns` is what the flip test looks at.
`{"report": {...}}` asks for a whole report of a CSV file, as Clarify's jobs make it; see `report`. Both may name `metrics`.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import pandas as pd
from smclarify.bias import metrics
from smclarify.bias import report as reports

logging.disable(logging.CRITICAL)


def values(table: dict) -> dict:
    label, predicted = (pd.Series(table[name], dtype=bool) for name in ("label", "predicted"))
    given = {
        "df": pd.DataFrame(table["columns"], index=label.index),
        "feature": label,
        "sensitive_facet_index": pd.Series(table["facet"], dtype=bool),
        "label": label,
        "positive_label_index": label,
        "predicted_label": predicted,
        "positive_predicted_label_index": predicted,
        "group_variable": pd.Series(table["group"]) if table["group"] is not None else None,
    }
    return {m.__name__: value(m, given) for m in [*metrics.PRETRAINING_METRICS, *metrics.POSTTRAINING_METRICS]}


def value(metric, given: dict) -> float | None:
    try:
        return float(metrics.call_metric(metric, **given))
    except Exception:
        return None


def report(file: str, facet: str, facet_values: list, label: str, good: list, predicted: str, group: str | None, features: list) -> dict:
    """Both stages of `bias_report`, and the seconds that the second took."""
    frame = pd.read_csv(file)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("str"), "category"))  # pandas 3's strings are newer than the library
    column = reports.FacetColumn(facet, facet_values)
    truth, answer = (reports.LabelColumn(name, frame[name], list(good)) for name in (label, predicted))
    grouping = frame[group] if group else None
    table = frame[list(dict.fromkeys([*features, facet, label]))]
    before = reports.bias_report(table, column, truth, reports.StageType.PRE_TRAINING, group_variable=grouping)
    began = time.perf_counter()
    after = reports.bias_report(table, column, truth, reports.StageType.POST_TRAINING, answer, group_variable=grouping)
    seconds = time.perf_counter() - began
    return {"pre": before, "post": after, "label": reports.label_value_or_threshold(frame[label], list(good)), "seconds": seconds}


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(report(**asked["report"]) if "report" in asked else values(asked)), flush=True)
