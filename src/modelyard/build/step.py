"""A step as it is asked for, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelyard.build.sandbox import Within
from modelyard.build.warm import Warm
from modelyard.errors import StepFailed


@dataclass(frozen=True)
class StepJob:
    """One step to run. `base` is a folder of its own that becomes /opt/ml; a repeated run starts from an emptied one, but for what
    training left in its `checkpoints`.

    `code` is copied into it; `channels` (a folder or file each) are shown read-only. `timeout` is in seconds, for all tries together;
    `cpus` 0 means all. `network` False needs a sandbox, and so do several `instances`. `within` says what it runs in.
    `environment` adds variables. `metrics` are names and regular expressions of what is read off the log. `arguments` are words before
    those of the hyperparameters, `model_path` is a place below the code where training leaves the model, if not in /opt/ml/model.
    `warm` is an interpreter that has imported what the script will, to be forked where `within` leaves the choice.
    """

    run_id: str
    name: str
    python: Path
    entry_point: str
    code: Path
    base: Path
    channels: Mapping[str, Path] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 3600.0
    cpus: int = 0
    network: bool = True
    framework_module: str | None = None
    within: Within = "auto"
    contract: Literal["classic", "v3"] = "classic"
    environment: Mapping[str, str] = field(default_factory=dict)
    instances: int = 1
    retries: int = 0
    metrics: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    model_path: str = ""
    warm: Warm | None = None


@dataclass(frozen=True)
class StepOutcome:
    """A step that ended well. `sandbox` names what it ran in, None when it ran plainly; `metrics` are the last values that were read
    off its log, and base/metrics.json has them all; `notes` are sentences about how it went."""

    seconds: float
    sandbox: str | None
    log: Path
    model_dir: Path
    output_dir: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ScriptFailed(StepFailed):
    """A script ended with other than 0.

    `script_code` is its own, as a shell gives it, `exit_code` what a job of its contract exits with; `stopped`: by us.
    """

    def __init__(
        self, what: str, *, where: str, next: str, log_tail: tuple[str, ...], script_code: int, exit_code: int, stopped: bool = False
    ) -> None:
        super().__init__(what, where=where, next=next, log_tail=log_tail)
        self.script_code, self.exit_code, self.stopped = script_code, exit_code, stopped
