"""The bias metrics as facts: names, neutral values, ranges, formulas, meanings. Loads neither NumPy nor Polars.

Definitions are those of the SageMaker Clarify documentation ("Pre-training Bias Metrics", "Post-training Data and Model Bias
Metrics"); where it leaves a case open, those of Clarify's open library `smclarify` 0.5. In the formulas `a` is the group that may be
favoured and `d` the one that may be wronged (the facet); n counts rows, 1 marks the good outcome, 0 the other, ^ a prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Stage = Literal["pre_training", "post_training"]


@dataclass(frozen=True)
class Metric:
    """A bias metric's facts. `low` and `high` bound its range; `title` is Clarify's description."""

    name: str
    title: str
    stage: Stage
    neutral: float
    low: float
    high: float
    formula: str
    meaning: str

    def sentence(self, value: float) -> str:
        """The value as a sentence, e.g. `DPPL is 0.12 (0 is neutral): group a is ...`."""
        if math.isnan(value):
            return f"{self.name} is undefined on these rows."
        return f"{self.name} is {value:.4g} ({self.neutral:g} is neutral): {self.meaning}."


_Row = tuple[str, str, float, float, float, str, str]
_PRE: tuple[_Row, ...] = (
    ("CI", "Class Imbalance (CI)", 0, -1, 1, "(na - nd) / (na + nd)", "above 0, group d has fewer rows than group a"),
    (
        "DPL",
        "Difference in Positive Proportions in Labels (DPL)",
        0,
        -1,
        1,
        "na1/na - nd1/nd",
        "above 0, group a has the larger share of good labels",
    ),
    (
        "KL",
        "Kullback-Liebler Divergence (KL)",
        0,
        -1 / math.e,
        math.inf,
        "sum over y of Pa(y) ln(Pa(y) / Pd(y))",
        "how far the labels of group a are distributed from those of group d, in nats; labels that either group lacks are left out",
    ),
    (
        "JS",
        "Jensen-Shannon Divergence (JS)",
        0,
        0,
        math.log(2),
        "(KL(Pa, P) + KL(Pd, P)) / 2 with P = (Pa + Pd) / 2",
        "like KL, the same from both sides",
    ),
    ("LP", "L-p Norm (LP)", 0, 0, math.sqrt(2), "(sum over y of |Pa(y) - Pd(y)|^2)^(1/2)", "distance of the groups' label distributions"),
    ("TVD", "Total Variation Distance (TVD)", 0, 0, 1, "sum over y of |Pa(y) - Pd(y)| / 2", "share of labels that would have to change"),
    (
        "KS",
        "Kolmogorov-Smirnov Distance (KS)",
        0,
        0,
        1,
        "max over y of |Pa(y) - Pd(y)|",
        "largest gap between the shares of a label",
    ),
    (
        "CDDL",
        "Conditional Demographic Disparity in Labels (CDDL)",
        0,
        -1,
        1,
        "mean over subgroups i, weighted by ni, of (nd0i/n0i - nd1i/n1i)",
        "above 0, within subgroups group d has more of the bad labels than of the good ones",
    ),
)
_POST: tuple[_Row, ...] = (
    (
        "DPPL",
        "Difference in Positive Proportions in Predicted Labels (DPPL)",
        0,
        -1,
        1,
        "na^1/na - nd^1/nd",
        "above 0, group a is predicted the good outcome more often",
    ),
    ("DI", "Disparate Impact (DI)", 1, 0, math.inf, "(nd^1/nd) / (na^1/na)", "below 1, group d is predicted the good outcome less often"),
    (
        "DCA",
        "Difference in Conditional Acceptance (DCA)",
        0,
        -math.inf,
        math.inf,
        "na1/na^1 - nd1/nd^1",
        "above 0, group a is accepted less often than its labels deserve, compared with group d",
    ),
    (
        "DCR",
        "Difference in Conditional Rejection (DCR)",
        0,
        -math.inf,
        math.inf,
        "nd0/nd^0 - na0/na^0",
        "above 0, group d is rejected less often than its labels deserve, compared with group a",
    ),
    ("SD", "Specificity Difference (SD)", 0, -1, 1, "TNd/nd0 - TNa/na0", "above 0, bad cases are recognised more often in group d"),
    ("RD", "Recall Difference (RD)", 0, -1, 1, "TPa/na1 - TPd/nd1", "above 0, good cases are recognised more often in group a"),
    (
        "DAR",
        "Difference in Acceptance Rates (DAR)",
        0,
        -1,
        1,
        "TPa/na^1 - TPd/nd^1",
        "above 0, those accepted in group a deserve it more often",
    ),
    (
        "DRR",
        "Difference in Rejection Rates (DRR)",
        0,
        -1,
        1,
        "TNd/nd^0 - TNa/na^0",
        "above 0, those rejected in group d deserve it more often",
    ),
    ("AD", "Accuracy Difference (AD)", 0, -1, 1, "ACCa - ACCd", "above 0, the model is right more often about group a"),
    (
        "TE",
        "Treatment Equality (TE)",
        0,
        -math.inf,
        math.inf,
        "FNd/FPd - FNa/FPa",
        "above 0, errors about group d are more often rejections of good cases",
    ),
    (
        "CDDPL",
        "Conditional Demographic Disparity in Predicted Labels (CDDPL)",
        0,
        -1,
        1,
        "mean over subgroups i, weighted by ni, of (nd^0i/n^0i - nd^1i/n^1i)",
        "above 0, within subgroups group d has more of the rejections than of the acceptances",
    ),
    (
        "FT",
        "Flip Test (FT)",
        0,
        -1,
        1,
        "(F+ - F-) / nd",
        "below 0, rows of group d are rejected where their nearest neighbours in group a are accepted",
    ),
    (
        "GE",
        "Generalized Entropy (GE)",
        0,
        0,
        math.inf,
        "sum over rows of ((b / mean b)^2 - 1) / (2 n) with b = y^ - y + 1",
        "how unequally the model's benefit is spread over all rows, whatever their group",
    ),
)


def _metrics() -> dict[str, Metric]:
    def of(stage: Stage, rows: tuple[_Row, ...]) -> dict[str, Metric]:
        return {row[0]: Metric(row[0], row[1], stage, *row[2:]) for row in rows}

    return of("pre_training", _PRE) | of("post_training", _POST)


METRICS: dict[str, Metric] = _metrics()
PRE_TRAINING: tuple[str, ...] = tuple(row[0] for row in _PRE)
POST_TRAINING: tuple[str, ...] = tuple(row[0] for row in _POST)
NEUTRAL: dict[str, float] = {name: metric.neutral for name, metric in METRICS.items()}
