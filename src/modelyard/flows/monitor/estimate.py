"""Performance of a window before its labels come, from the answers alone and from what the version's hold-out teaches about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.config.spec import Config
from modelyard.errors import BadInput
from modelyard.flows.monitor import reference
from modelyard.flows.monitor.window import Window
from modelyard.monitor.estimate import trust
from modelyard.monitor.performance import Value
from modelyard.monitor.verdicts import Verdict
from modelyard.quality import catalogue
from modelyard.quality import metrics as measures

if TYPE_CHECKING:
    from modelyard.signature import ProblemType

ESTIMATED: tuple[ProblemType, ...] = ("binary_classification", "multiclass_classification", "regression", "forecasting")
"""Problem types whose performance can be estimated; the others have no probabilities of the truth, and no error a row."""


def enabled(config: Config) -> bool:
    asked = config.monitor.performance
    return asked.enabled and asked.estimate and config.model.problem_type in ESTIMATED


def judge(window: Window) -> Verdict:
    from modelyard.flows.monitor import estimating  # NumPy, which no command that starts a yard need wait for

    asked = window.config.monitor.performance
    if window.signature.problem_type not in ESTIMATED:
        return _unknown(window, f"there is no estimate for {window.signature.problem_type.replace('_', ' ')}")
    values: dict[str, Value] = {}
    try:
        if window.rows.height >= asked.min_labels:
            values = {name: value.within(*catalogue.ends(name)) for name, value in estimating.estimate(window).items()}
    except BadInput as exc:  # answers that are no classes, weights that are no numbers
        return _unknown(window, exc.what)
    if not values and window.rows.height >= asked.min_labels:
        return _unknown(window, "the hold-out or the answers have nothing to estimate by: labels, and probabilities or numbers")
    known = [c for c in asked.criteria if c.metric in values] if values else list(asked.criteria)
    before, _ = reference.values(window, asked.confidence)
    if asked.criteria and not known:
        names = ", ".join(dict.fromkeys(c.metric for c in asked.criteria))
        return _unknown(window, f"what is judged cannot be estimated without labels: {names}")
    return trust.judge(
        values,
        rows=window.rows.height,
        performance=asked.model_copy(update={"criteria": tuple(known)}),
        greater_is_better=measures.GREATER_IS_BETTER,
        holdout={name: value.value for name, value in before.items()},
        record=record(window),
        missing={c.metric: f"{c.metric} cannot be estimated" for c in asked.criteria},
    )


def record(window: Window) -> dict[str, trust.Record]:
    """What labels said of this version's estimates before this window."""
    words = window.shop.book.newest(window.model, "performance", 2 * trust.WINDOWS, before=window.span.start.isoformat())
    return trust.records([word.evidence for word in words if word.version == window.version])


def _unknown(window: Window, said: str) -> Verdict:
    return Verdict("estimate", "unknown", f"estimate: {said}", {"rows": window.rows.height})
