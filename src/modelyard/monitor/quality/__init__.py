"""Data quality: constraints that the training data suggests and the config has the last word over, and who breaks them.

`suggest` reads constraints off a baseline, `held` lays the config's over them, `of_window` counts what breaks them in a window, `check`
says which counts are more than chance explains, and `judge` makes a verdict of it. `sagemaker` has the three files of SageMaker Model
Monitor: statistics.json, constraints.json, constraint_violations.json.
"""

from modelyard.monitor.quality.checking import Violation, check, judge
from modelyard.monitor.quality.constraints import held, suggest, verify
from modelyard.monitor.quality.counting import Counts, of_window

__all__ = ["Counts", "Violation", "check", "held", "judge", "of_window", "suggest", "verify"]
