"""The monitors: what each waits for, and who judges a window for it. A new monitor is a row here and a module beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelyard.config.spec import Config
from modelyard.flows.monitor import attribution, bias, data_quality, drift, estimate, performance
from modelyard.flows.monitor.window import Window
from modelyard.monitor.book import Word
from modelyard.monitor.verdicts import Kind, Verdict
from modelyard.registry.state import ModelState

NONE = timedelta(0)


@dataclass(frozen=True)
class Monitor:
    """`delay`: how long after a window's end it is judged. `labelled`: judged again when labels come late. `holds`: it is given the
    window's rows, which are held in memory; else it draws some of them itself.

    `span`: how long its windows are. `ripe`: how long after a window's end it is judged once more, where it said that it was not `mature`.
    """

    kind: Kind
    enabled: Callable[[Config], bool]
    judge: Callable[[Window], Verdict]
    delay: Callable[[Config], timedelta] = lambda config: NONE
    labelled: bool = False
    holds: bool = True
    span: Callable[[Config], str] = lambda config: config.monitor.window
    ripe: Callable[[Config], timedelta] | None = None


MONITORS: dict[str, Monitor] = {
    monitor.kind: monitor
    for monitor in (
        Monitor("data_quality", lambda c: c.monitor.data_quality.enabled, data_quality.judge),
        Monitor("drift", lambda c: c.monitor.drift.enabled, drift.judge),
        Monitor("estimate", estimate.enabled, estimate.judge),  # before performance, which is held against it
        Monitor(
            "performance",
            lambda c: c.monitor.performance.enabled,
            performance.judge,
            delay=lambda c: c.monitor.performance.label_delay,
            labelled=True,
        ),
        Monitor("bias", bias.enabled, bias.judge, labelled=True, ripe=lambda c: c.monitor.performance.label_delay),
        Monitor("attribution", attribution.enabled, attribution.judge, span=attribution.span, holds=False),
    )
}
"""By kind, in the order in which they are shown."""


def standing(state: ModelState, words: Iterable[Word]) -> list[Word]:
    """Those of the words that are of now: of windows that were not over when their monitor was switched on again."""
    return [word for word in words if not (at := state.began.get(word.monitor)) or word.span.end > datetime.fromisoformat(at)]
