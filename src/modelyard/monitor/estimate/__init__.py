"""Performance before labels: what it is likely to be, from the answers alone. Pure: arrays in, numbers out.

- `calibration`, `cbpe`: answers that are classes with probabilities. How often a calibrated probability comes true is known, so the
  confusion matrix can be expected: confidence-based performance estimation (Białek et al. 2024, "Estimating Model Performance Under
  Covariate Shift Without Labels", arXiv:2401.08348).
- `trees`, `dle`: answers that are numbers. A second model learns from the hold-out how wrong the first one tends to be where: direct
  loss estimation (NannyML's; the idea is Lakshmanan's "child model").
- `unrest`: how much performance moves with time, whatever the features say: bands hold that too.
- `trust`: what labels, when they came, said of the estimates before.

Both see what the features say (more hard cases, covariate shift) and are blind to a changed relation of features to truth (concept
drift): that is what the reconciliation with labels is for.
"""

from __future__ import annotations
