"""alibi-detect's word on windows: TabularDrift with its defaults, a p-value of 0.05 corrected by Bonferroni.

It takes numbers alone. Words are coded, a missing one as a word of its own; missing numbers are the reference's median.
"""

import numpy as np
import pandas as pd
from alibi_detect.cd import TabularDrift
from windows import Judge, answer


def make(reference: pd.DataFrame, numbers: list[str], words: list[str]) -> Judge:
    medians, codes = reference[numbers].median(), {name: {} for name in words}

    def coded(frame: pd.DataFrame) -> np.ndarray:
        columns = [frame[name].fillna(medians[name]).to_numpy(np.float64) for name in numbers]
        for name in words:
            known = codes[name]
            columns.append(np.array([known.setdefault(v, len(known)) for v in frame[name].fillna("")], np.float64))
        return np.stack(columns, axis=1)

    categories = {len(numbers) + i: None for i in range(len(words))} or None
    detector = TabularDrift(coded(reference), categories_per_feature=categories)

    def judge(window: pd.DataFrame) -> dict[str, object]:
        found = detector.predict(coded(window))["data"]
        return {"dataset": bool(found["is_drift"]), "columns": int((found["p_val"] < found["threshold"]).sum())}

    return judge


answer(make)
