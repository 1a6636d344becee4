"""What a monitor answers, and when answers add up to an alert.

No data is never healthy: a window that cannot be judged is `unknown`, and an unknown window neither raises nor ends an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from modelyard.config.spec import AlertAfter

Kind = Literal["data_quality", "drift", "performance", "estimate", "bias", "attribution"]
Status = Literal["healthy", "warning", "violated", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """A monitor's answer about one window.

    Attributes:
        kind: which monitor.
        status: `warning` means something moved, not enough to violate; `unknown` that there was too little to judge by.
        reason: a sentence with the numbers and the names that moved.
        evidence: JSON-ready facts behind the reason.
    """

    kind: Kind
    status: Status
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        return cls(**data)


def in_alarm(history: Sequence[Status], after: AlertAfter) -> bool:
    """Whether `num_violation_windows` of the last `num_windows` known ones are violated (oldest first)."""
    known = [s for s in history if s != "unknown"][-after.num_windows :]
    return known.count("violated") >= after.num_violation_windows
