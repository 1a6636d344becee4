"""Two models measured alike, whatever each one's own signature says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelyard.signature import Signature

MEASURED_BY = ("group_col", "weight_col", "at", "season", "naive_error")
"""What a signature says of how rows are measured, and not of what its model's answers mean."""


def measured_alike(champion: Signature, ours: Signature) -> Signature:
    """The champion's signature with what `ours` measures by: what its answers mean is its own affair, the class that is looked for is not.

    Of two classes, the positive one is that of `ours` where the champion knows it, however it writes it.
    """
    from modelyard.quality.encode import key

    same: dict[str, Any] = {name: getattr(ours, name) for name in MEASURED_BY}
    wanted = next((c for c in champion.classes if key(c) == key(ours.positive_class)), None)
    if champion.problem_type == ours.problem_type == "binary_classification" and wanted is not None:
        same["positive_class"] = wanted
    return replace(champion, **same)
