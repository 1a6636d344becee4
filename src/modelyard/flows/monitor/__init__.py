"""Watch: captured windows -> verdicts of each monitor -> alerts -> the governor's decision.

`look` is one look at a model: every window that is due is judged by every monitor that is on, its word is written to the book, news go
to the journal and to whom they concern, and the governor is asked. Nothing in it is a durable run: a word is written once a window,
whoever is killed, so that the next look finds what is still to be judged. A person's `modelyard monitor --now` goes through the same.
"""

from __future__ import annotations

from modelyard.flows.monitor.governing import govern
from modelyard.flows.monitor.looking import due, judge, look, relabelled
from modelyard.flows.monitor.monitors import MONITORS, Monitor
from modelyard.flows.monitor.unjudged import Due

__all__ = ["MONITORS", "Due", "Monitor", "due", "govern", "judge", "look", "relabelled"]
