"""The chapters of a report's page, made ready from its document as plain values and pictures; the template escapes what it prints.

Each chapter's function answers None where it has nothing to say, and the page is without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.quality.card.answering import answering
from modelyard.quality.card.head import head, life
from modelyard.quality.card.made import data, lineage, tuning
from modelyard.quality.card.measured import gates, metrics, pictures, slices
from modelyard.quality.card.understood import bias, explanations

CHAPTERS = {
    "life": ("Life", life),
    "gates": ("Gates", gates),
    "metrics": ("Metrics", metrics),
    "answering": ("How it answers", answering),
    "pictures": ("Pictures", pictures),
    "slices": ("Slices", slices),
    "bias": ("Bias", bias),
    "explanations": ("Explanations", explanations),
    "data": ("Data", data),
    "tuning": ("Tuning", tuning),
    "lineage": ("Lineage", lineage),
}
"""Each chapter's title, and what makes it, in the order of the page."""


def view(found: Mapping[str, Any]) -> dict[str, Any]:
    """All that the template shows of a document of schema `modelyard.report/1`."""
    ready = {name: make(found) for name, (_, make) in CHAPTERS.items()}
    contents = [(name, title) for name, (title, _) in CHAPTERS.items() if ready[name] is not None]
    return {**ready, "head": head(found), "contents": contents}
