"""Places of an endpoint's processes: the process in a place may die and be replaced, its socket or port stays."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from modelyard import __version__
from modelyard.errors import BadInput, NotFound, StepFailed
from modelyard.home import scratch_prefix
from modelyard.runners import LOAD_SECONDS, start
from modelyard.serve import left, processes, runner, stats
from modelyard.serve.processes import Child
from modelyard.signature import Signature
from modelyard.targets.base import Variant

BACK_OFF, LONGEST_BACK_OFF, STEADY = 0.2, 30.0, 60.0
"""Seconds: first pause before a dead process is started again, the longest one, and the life after which it counts as steady."""
HUNG = 3
"""A runner that holds a batch for longer than so many of the endpoint's time-outs is ended, and started again."""
CANNOT_LISTEN = 2
"""The front's exit code where it cannot have its port."""


@dataclass
class BackOff:
    """When a process that died may start again: later each time, until one has lived for long, or been of use."""

    pause: float = BACK_OFF / 2
    started: float = 0.0
    not_before: float = 0.0
    useful: bool = False

    def begin(self) -> None:
        self.started, self.useful = time.monotonic(), False

    def died(self) -> float:
        """Note a death; returns the pause in seconds."""
        now = time.monotonic()
        self.pause = BACK_OFF if self.useful or now - self.started > STEADY else min(self.pause * 2, LONGEST_BACK_OFF)
        self.not_before = now + self.pause
        return self.pause

    def forgive(self) -> None:
        """It died of something that will not happen again."""
        self.pause, self.not_before = BACK_OFF / 2, 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.not_before


@dataclass(eq=False)
class RunnerPlace:
    """One runner of a version, with a folder and a socket of its own. `idle_since`: when (monotonic) it last had something to do."""

    variant: Variant
    log: Path
    folder: Path = field(init=False)
    child: Child | None = None
    restarts: int = 0
    back_off: BackOff = field(default_factory=BackOff)
    idle_since: float = field(default_factory=time.monotonic)
    batches: int = 0
    answered: int = 0

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
        self.child = start(self.variant.model, self.socket, self.log, example=self._example())

    def _example(self) -> Path | None:
        """The file with what it predicts before it gets traffic."""
        if self.variant.example is None:
            return None
        path = self.folder / "example.json"
        signature = Signature.from_dict(json.loads(self.variant.model.signature.read_text(encoding="utf-8")))
        return path if runner.write_example(path, self.variant.example, signature) else None

    def revive(self) -> None:
        """Start it now if it is dead, whatever pause it was to have. Raises StepFailed."""
        self.look()
        if self.child is None:
            self.start()

    def wait(self) -> None:
        """Wait until its model is loaded and has predicted. Raises StepFailed with the log's tail."""
        runner.wait_ready(self.socket, LOAD_SECONDS, self.child)

    def note(self, seen: stats.RunnerStats | None, timeout: float) -> str | None:
        """Take in what the front sees of it. Ends a runner that holds a batch for far longer than `timeout`: returns the sentence."""
        now = time.monotonic()
        if seen is None or seen.busy_seconds or seen.batches != self.batches:
            self.idle_since = now
        if seen is None:
            return None
        self.back_off.useful |= seen.answered > self.answered
        self.batches, self.answered = seen.batches, seen.answered
        if self.child is None or seen.busy_seconds <= HUNG * timeout or now - self.back_off.started <= seen.busy_seconds:
            return None  # (what a front that is gone saw may be of the process before)
        self.child.stop(0)
        return f"a runner held a request for {seen.busy_seconds:.1f} s without an answer and was ended"

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
    """A front of an endpoint. What dead fronts counted is kept and added to what the present one counts.

    `before` is asked whether a port can be had, and raises BadInput where it cannot. `arguments`, `env`: the front's (serve/front.py).
    One that a killed owner left, with the same arguments and of the same release, is taken over as it is: its callers notice nothing.
    """

    def __init__(
        self,
        folder: Path,
        stats_name: str,
        *,
        host: str,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        before: Callable[[int], None] = lambda port: None,
        routes: Path | None = None,
    ) -> None:
        self._host, self._arguments, self._env, self._before_start = host, arguments, env, before
        self._routes, self._stats, self._log = routes or folder / "routes.json", folder / stats_name, folder / "front.log"
        self._child: Child | left.Left | None = None
        self._back_off = BackOff()
        self._before: dict[str, stats.VariantStats] = {}
        self._said: tuple[tuple[int, int], stats.Stats] | None = None
        self._lock = threading.Lock()
        self.port = 0

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.is_alive()

    @property
    def pid(self) -> int:
        """0 where none runs."""
        return self._child.pid if self._child is not None else 0

    def start(self, ports: list[int]) -> None:
        """Start it on the first of these ports that can be had. Raises BadInput where none can, StepFailed, Unavailable."""
        self.settle()
        if (found := self._left(ports)) is not None:
            self._child, self.port = found, found.port
            self._back_off.begin()
            return
        for port in ports:
            try:
                self._before_start(port)
                self.port = processes.wait_front(self._spawn(port), self._stats).port
                return
            except BadInput:
                if port == ports[-1]:
                    raise
            except StepFailed as exc:
                if self._child is None or self._child.exit_code != CANNOT_LISTEN:
                    raise
                if port == ports[-1]:
                    raise BadInput(exc.what, where=str(self._log)) from exc
            except BaseException:
                self.stop()
                raise

    def _left(self, ports: list[int]) -> left.Left | None:
        """The front that a killed owner left here, if it is as asked for, and of this release, so that it reads the tables that we write;
        another one is ended, and makes way."""
        found = left.front(self._stats)
        if found is None:
            return None
        alike = list(found.argv[:-2]) == processes.front_argv(self._routes, self._stats, self._host, self._arguments)
        if alike and found.release == __version__ and (found.port in ports or 0 in ports):
            return found
        found.stop()
        return None

    def _spawn(self, port: int) -> Child:
        self._back_off.begin()
        self._child = made = processes.spawn_front(
            routes=self._routes,
            stats_path=self._stats,
            log=self._log,
            host=self._host,
            port=port,
            arguments=self._arguments,
            env=self._env,
        )
        return made

    def settle(self) -> str | None:
        """If it died, note what it had counted. Returns the sentence of its death, once."""
        with self._lock:
            if self._child is None or self._child.is_alive():
                return None
            self._before = ended(self._totals(self._read()))
            self._stats.unlink(missing_ok=True)
            code, self._child = self._child.stop(0), None
        how = "" if code is None else f" with code {code}"
        return f"the front ended{how}; started again in {self._back_off.died():.1f} s"

    def look(self, port: int) -> str | None:
        """Start it again on the port if it died, after a pause. Returns the sentence of a death, once."""
        said = self.settle()
        if self._child is None and self._back_off.over:
            try:
                self._before_start(port)
                self._spawn(port)
            except (StepFailed, BadInput) as exc:
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

    def follow(self, counted: dict[str, stats.VariantStats]) -> None:
        """Take over what others have counted."""
        self._before = together(self._before, ended(counted))

    def _read(self) -> stats.Stats:
        try:
            state = self._stats.stat()
            seen = (state.st_mtime_ns, state.st_ino)
            if self._said is None or self._said[0] != seen:
                self._said = (seen, stats.read(self._stats))
            return self._said[1]
        except (OSError, NotFound, BadInput):
            return stats.Stats(pid=0, started_at=0.0)

    def _totals(self, now: stats.Stats) -> dict[str, stats.VariantStats]:
        return together(self._before, now.variants)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(processes.FRONT_SECONDS)


def ended(counted: dict[str, stats.VariantStats]) -> dict[str, stats.VariantStats]:
    """What a front counted whose requests are all over."""
    return {version: msgspec.structs.replace(one, in_flight=0) for version, one in counted.items()}


def together(one: dict[str, stats.VariantStats], other: dict[str, stats.VariantStats]) -> dict[str, stats.VariantStats]:
    """The counters of both, by version."""
    nothing = stats.VariantStats()
    return {v: total(one.get(v, nothing), other.get(v, nothing)) for v in {**one, **other}}


def total(now: stats.VariantStats, before: stats.VariantStats) -> stats.VariantStats:
    """The counters of two fronts together, or of one after the other."""
    return stats.VariantStats(
        answered=now.answered + before.answered,
        errors=now.errors + before.errors,
        client_errors=now.client_errors + before.client_errors,
        rejected=now.rejected + before.rejected,
        in_flight=now.in_flight + before.in_flight,
        histogram=[a + b for a, b in zip(now.histogram, before.histogram, strict=True)],
        compared=now.compared + before.compared,
        disagreed=now.disagreed + before.disagreed,
        quarantined=now.quarantined + before.quarantined,
    )
