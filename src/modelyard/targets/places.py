"""Places of an endpoint's processes: the process in a place may die and be replaced, its socket or port stays."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.errors import BadInput, NotFound, StepFailed
from modelyard.home import scratch_prefix
from modelyard.runners import LOAD_SECONDS, start
from modelyard.serve import processes, runner, stats
from modelyard.serve.processes import Child
from modelyard.targets.base import Variant

BACK_OFF, LONGEST_BACK_OFF, STEADY = 0.2, 30.0, 60.0
"""Seconds: first pause before a dead process is started again, the longest one, and the life after which it counts as steady."""
CANNOT_LISTEN = 2
"""The front's exit code where it cannot have its port."""


@dataclass
class BackOff:
    """When a process that died may start again: later each time, until one has lived for long."""

    pause: float = BACK_OFF / 2
    started: float = 0.0
    not_before: float = 0.0

    def begin(self) -> None:
        self.started = time.monotonic()

    def died(self) -> float:
        """Note a death; returns the pause in seconds."""
        now = time.monotonic()
        self.pause = BACK_OFF if now - self.started > STEADY else min(self.pause * 2, LONGEST_BACK_OFF)
        self.not_before = now + self.pause
        return self.pause

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.not_before


@dataclass(eq=False)
class RunnerPlace:
    """One runner of a version, with a folder and a socket of its own."""

    variant: Variant
    log: Path
    folder: Path = field(init=False)
    child: Child | None = None
    restarts: int = 0
    back_off: BackOff = field(default_factory=BackOff)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=scratch_prefix(self.variant.model.home)))

    @property
    def socket(self) -> Path:
        return self.folder / "runner.sock"

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.is_alive()

    def start(self) -> None:
        """Raises StepFailed."""
        self.back_off.begin()
        self.child = start(self.variant.model, self.socket, self.log)

    def revive(self) -> None:
        """Start it now if it is dead, whatever pause it was to have. Raises StepFailed."""
        self.look()
        if self.child is None:
            self.start()

    def wait(self) -> None:
        """Wait until its model is loaded. Raises StepFailed with the log's tail."""
        runner.wait_ready(self.socket, LOAD_SECONDS, self.child)

    def look(self) -> str | None:
        """Start again what died, after a pause. Returns the sentence of a death, once."""
        if self.child is not None and not self.child.is_alive():
            code, self.child = self.child.stop(0), None  # its standard input ends, and so does what its sandbox may have left
            self.restarts += 1
            return f"a runner ended with code {code}; started again in {self.back_off.died():.1f} s"
        if self.child is None and self.back_off.over:
            try:
                self.start()
            except StepFailed as exc:
                return f"a runner cannot be started: {exc.what}; tried again in {self.back_off.died():.1f} s"
        return None

    def end(self) -> None:
        """End the process, if there is one; what it holds of a request it answers first."""
        if self.child is not None:
            self.child.stop()

    def stop(self) -> None:
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class FrontPlace:
    """The front of an endpoint. What dead fronts counted is kept and added to what the present one counts."""

    def __init__(self, folder: Path, stats_name: str = "stats.json") -> None:
        self._routes, self._stats, self._log = folder / "routes.json", folder / stats_name, folder / "front.log"
        self._child: Child | None = None
        self._back_off = BackOff()
        self._before: dict[str, stats.VariantStats] = {}
        self._lock = threading.Lock()
        self.port = 0

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.is_alive()

    def start(self, ports: list[int]) -> None:
        """Start it on the first of these ports that can be had. Raises BadInput where none can, StepFailed, Unavailable."""
        self.settle()
        for port in ports:
            self._spawn(port)
            assert self._child is not None
            try:
                self.port = processes.wait_front(self._child, self._stats).port
                return
            except StepFailed as exc:
                if self._child.exit_code != CANNOT_LISTEN:
                    raise
                if port == ports[-1]:
                    raise BadInput(exc.what, where=str(self._log)) from exc
            except BaseException:
                self._child.stop(0)
                raise

    def _spawn(self, port: int) -> None:
        self._back_off.begin()
        self._child = processes.spawn_front(routes=self._routes, stats_path=self._stats, log=self._log, port=port)

    def settle(self) -> str | None:
        """If it died, note what it had counted. Returns the sentence of its death, once."""
        with self._lock:
            if self._child is None or self._child.is_alive():
                return None
            self._before = self._totals(self._read())
            self._stats.unlink(missing_ok=True)
            code, self._child = self._child.stop(0), None
        return f"the front ended with code {code}; started again in {self._back_off.died():.1f} s"

    def look(self) -> str | None:
        """Start it again on the same port if it died, after a pause. Returns the sentence of a death, once."""
        said = self.settle()
        if self._child is None and self._back_off.over:
            try:
                self._spawn(self.port)
            except StepFailed as exc:
                return f"the front cannot be started: {exc.what}; tried again in {self._back_off.died():.1f} s"
        return said

    def wait_generation(self, generation: int) -> None:
        """Wait until the routing table of `generation` is in force. Raises Unavailable."""
        stats.wait_generation(self._stats, generation)

    def counted(self) -> tuple[stats.Stats, dict[str, stats.VariantStats]]:
        """What the present front says, and the counters of all of them, by version."""
        with self._lock:
            now = self._read()
            return now, self._totals(now)

    def follow(self, other: FrontPlace) -> None:
        """Take over what another front has counted so far."""
        self._before = other.counted()[1]

    def _read(self) -> stats.Stats:
        try:
            return stats.read(self._stats)
        except (NotFound, BadInput):
            return stats.Stats(pid=0, started_at=0.0)

    def _totals(self, now: stats.Stats) -> dict[str, stats.VariantStats]:
        versions = {**self._before, **now.variants}
        return {v: _sum(now.variants.get(v, stats.VariantStats()), self._before.get(v, stats.VariantStats())) for v in versions}

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()


def _sum(now: stats.VariantStats, before: stats.VariantStats) -> stats.VariantStats:
    return stats.VariantStats(
        answered=now.answered + before.answered,
        errors=now.errors + before.errors,
        client_errors=now.client_errors + before.client_errors,
        rejected=now.rejected + before.rejected,
        in_flight=now.in_flight,
        histogram=[a + b for a, b in zip(now.histogram, before.histogram, strict=True)],
    )
