"""NannyML's univariate drift, Kolmogorov-Smirnov and chi-square, the window as one chunk: reference file, window file, runs."""

import sys
import warnings

from timing import CATEGORIES, NUMBERS, stage, tell

with stage("import"):
    import nannyml
    import pandas as pd

warnings.filterwarnings("ignore")


def read(path: str) -> "pd.DataFrame":
    frame = pd.read_parquet(path, columns=NUMBERS + CATEGORIES)
    return frame.astype(dict.fromkeys(CATEGORIES, "category"))


for _ in range(int(sys.argv[3])):
    with stage("reference"):
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=NUMBERS + CATEGORIES,
            continuous_methods=["kolmogorov_smirnov"],
            categorical_methods=["chi2"],
            chunk_number=1,
        )
        calculator.fit(read(sys.argv[1]))
    with stage("read"):
        window = read(sys.argv[2])
    with stage("report"):
        found = calculator.calculate(window).to_df()
(period,) = [c for c in found.columns if c[-1] == "period"]
alerts = [c for c in found.columns if c[-1] == "alert"]
tell(moved=int(found.loc[found[period] == "analysis", alerts].to_numpy().sum()))
