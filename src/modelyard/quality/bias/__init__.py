"""Bias: SageMaker Clarify's 8 pre-training and 13 post-training metrics of a facet, by Clarify's names.

`catalogue` says what the metrics are called, what neutral is and what they mean; importing it loads neither NumPy nor Polars.
`kernels` holds the arithmetic, on counts; `flip` the flip test, which needs the rows; `facets` turns columns into groups; `measure`
puts them together; `clarify` reads and writes Clarify's own files.
"""

from modelyard.quality.bias.catalogue import METRICS, NEUTRAL, POST_TRAINING, PRE_TRAINING, Metric

__all__ = ["METRICS", "NEUTRAL", "POST_TRAINING", "PRE_TRAINING", "Metric"]
