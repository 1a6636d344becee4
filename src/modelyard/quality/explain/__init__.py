"""Explanations: how much each feature moved each prediction (SHAP values), overall importance, and pictures of both.

An attribution is a share of the difference between a row's output and the mean output over a background of usual rows: the Shapley value
of the game in which the features that have joined have the row's values, and the others a background row's (Lundberg and Lee, "A unified
approach to interpreting model predictions", NeurIPS 2017; the game is the interventional one of Janzing et al., AISTATS 2020). Models of a
known structure are explained exactly in their own environment (`modelyard.runtime.explain`). What is here asks the model as it answers:

- `game`: mixtures of rows, put to the model many at a time
- `kernel`: exact by all coalitions, or KernelSHAP's regression on some of them
- `permutation`: joining in random orders and their reverse
- `agnostic`: which of them, and how much of the background, for a given amount of work
- `dependence`: how the output moves with one feature (partial dependence)
- `summary`: what is kept of it all; `plots`: pictures of that
"""

from __future__ import annotations

from modelyard.quality.explain.agnostic import Choice, attribute, choose
from modelyard.quality.explain.dependence import partial_dependence
from modelyard.quality.explain.game import Ask, Game
from modelyard.quality.explain.summary import Explanation, summary

__all__ = ["Ask", "Choice", "Explanation", "Game", "attribute", "choose", "partial_dependence", "summary"]
