"""One local endpoint: a front that stays, runners that come and go, and a routing table between them.

A roll-out changes the table, not the front: new runners are ready before the table names them, and old ones end only after the front
has taken up the table without them, answered what was in flight, and lingered.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import BadInput, NotFound, StepFailed, YardError
from modelyard.runners import LOAD_SECONDS, start
from modelyard.serve import processes, routes, runner, stats
from modelyard.serve.processes import Child
from modelyard.targets.base import EndpointSpec, EndpointState, Variant, VariantState

BACK_OFF, LONGEST_BACK_OFF, STEADY = 0.2, 30.0, 60.0
"""Seconds: first pause before a dead process is started again, the longest one, and the life after which it counts as steady."""


@dataclass
class _Runner:
    """A runner's place: the process in it may be replaced, its socket stays."""

    variant: Variant
    folder: Path
    log: Path
    child: Child | None = None
    restarts: int = 0
    pause: float = BACK_OFF
    started: float = 0.0
    not_before: float = 0.0

    @property
    def socket(self) -> Path:
        return self.folder / "runner.sock"

    def start(self) -> Child:
        self.started = time.monotonic()
        self.child = start(self.variant.model, self.socket, self.log)
        return self.child

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class LocalEndpoint:
    """Thread-safe: `apply` and `stop` exclude each other and the watcher's `look`."""

    def __init__(self, name: str, folder: Path, on_failure: Callable[[str, str, str, str], None]) -> None:
        self.name, self._folder, self._on_failure = name, folder, on_failure
        self._routes, self._stats, self._log = folder / "routes.json", folder / "stats.json", folder / "front.log"
        self.capture = folder / "capture"
        self._spec: EndpointSpec | None = None
        self._runners: dict[str, list[_Runner]] = {}
        self._front: Child | None = None
        self._port = 0
        self._generation = 0
        self._retiring: list[threading.Thread] = []
        self._lock = threading.RLock()
        self.capture.mkdir(parents=True, exist_ok=True)

    @property
    def serving(self) -> bool:
        return self._spec is not None

    def apply(self, spec: EndpointSpec) -> EndpointState:
        """Make it so. Raises StepFailed, and changes nothing, where a version cannot be loaded or the port is taken."""
        with self._lock:
            fresh = {v.version: self._make(v) for v in spec.variants if v.version not in self._runners}
            try:
                for places in fresh.values():
                    for place in places:
                        place.start()
                for places in fresh.values():
                    for place in places:
                        runner.wait_ready(place.socket, LOAD_SECONDS, place.child)
                self._route(spec, {**self._runners, **fresh})
            except BaseException:
                for place in (p for places in fresh.values() for p in places):
                    place.stop()
                raise
            kept = {v.version for v in spec.variants}
            old = [p for version, places in self._runners.items() if version not in kept for p in places]
            self._runners = {version: places for version, places in {**self._runners, **fresh}.items() if version in kept}
            self._spec = spec
            if old:
                self._retire(old, spec)
            return self.state()

    def _make(self, variant: Variant) -> list[_Runner]:
        return [
            _Runner(variant, Path(tempfile.mkdtemp(prefix="modelyard-")), self._folder / f"runner-{variant.version}-{i}.log")
            for i in range(variant.workers)
        ]

    def _route(self, spec: EndpointSpec, runners: dict[str, list[_Runner]]) -> None:
        """Write the table and wait until the front has it in force; the first time, start the front."""
        self._generation += 1
        table = routes.RoutingTable(
            endpoint=spec.name,
            model=spec.model,
            stage=spec.stage,
            generation=self._generation,
            variants=tuple(
                routes.Variant(
                    version=v.version,
                    weight=v.weight,
                    sockets=tuple(str(p.socket) for p in runners[v.version]),
                    signature=json.loads(v.model.signature.read_text(encoding="utf-8")),
                    role="champion" if i == len(spec.variants) - 1 else "challenger",
                    extras=v.extras,
                )
                for i, v in enumerate(spec.variants)
            ),
            capture=routes.Capture(str(self.capture), spec.sample, "buffered" if spec.sample > 0 else "off"),
            limits=routes.Limits(spec.timeout, spec.max_body, max_event_age_days=spec.max_event_age_days),
        )
        routes.write(self._routes, table)
        if self._front is None or not self._front.is_alive():
            self._start_front(spec)
        stats.wait_generation(self._stats, self._generation)

    def _start_front(self, spec: EndpointSpec) -> None:
        wanted = [spec.port] if spec.port else [self._port or spec.preferred_port, 0]
        for port in dict.fromkeys(wanted):
            self._front = processes.spawn_front(routes=self._routes, stats_path=self._stats, log=self._log, port=port)
            try:
                self._port = processes.wait_front(self._front, self._stats).port
                return
            except StepFailed as exc:
                if port == wanted[-1]:
                    hint = f"name another `port` under environments.{spec.stage}, or 0 for any" if spec.port else ""
                    raise BadInput(f"the {spec.stage} endpoint cannot listen: {exc.what}", where=self.name, next=hint) from exc

    def _retire(self, old: list[_Runner], spec: EndpointSpec) -> None:
        """End runners that no table names, once what they hold is answered."""

        def end() -> None:
            until = time.monotonic() + spec.linger + spec.timeout
            time.sleep(spec.linger)
            names = {p.variant.version for p in old}
            while time.monotonic() < until and any(self._in_flight(version) for version in names):
                time.sleep(0.05)
            for place in old:
                place.stop()

        thread = threading.Thread(target=end, name=f"retire {self.name}", daemon=True)
        thread.start()
        self._retiring = [t for t in self._retiring if t.is_alive()] + [thread]

    def _in_flight(self, version: str) -> int:
        try:
            found = stats.read(self._stats).variants.get(version)
        except YardError:
            return 0
        return found.in_flight if found else 0

    def look(self) -> None:
        """Start again what died, after a pause that grows. Called by the supervisor."""
        if not self._lock.acquire(blocking=False):
            return  # a change is under way; it looks itself
        try:
            if self._spec is None:
                return
            if self._front is not None and not self._front.is_alive():
                self._on_failure(
                    self._spec.model, self._spec.stage, "", f"the front ended with code {self._front.exit_code}; started again"
                )
                self._start_front(self._spec)
            for place in (p for places in self._runners.values() for p in places):
                self._revive(place, self._spec)
        finally:
            self._lock.release()

    def _revive(self, place: _Runner, spec: EndpointSpec) -> None:
        now = time.monotonic()
        if place.child is not None:
            if place.child.is_alive():
                return
            place.restarts += 1
            place.pause = BACK_OFF if now - place.started > STEADY else min(place.pause * 2, LONGEST_BACK_OFF)
            place.not_before = now + place.pause
            reason = f"a runner ended with code {place.child.exit_code}; started again in {place.pause:.1f} s"
            place.child = None
            self._on_failure(spec.model, spec.stage, place.variant.version, reason)
        elif now >= place.not_before:
            try:
                place.start()
            except StepFailed:
                place.pause = min(place.pause * 2, LONGEST_BACK_OFF)
                place.not_before = now + place.pause

    def state(self) -> EndpointState:
        """How it is, by the front's own counters."""
        try:
            seen = stats.read(self._stats)
        except (NotFound, BadInput):
            seen = stats.Stats(pid=0, started_at=0.0)
        spec, variants = self._spec, {}
        for v in spec.variants if spec else ():
            one, places = seen.variants.get(v.version, stats.VariantStats()), self._runners.get(v.version, [])
            variants[v.version] = VariantState(
                weight=v.weight,
                ready=any(p.child is not None and p.child.is_alive() for p in places),
                requests=one.answered + one.errors,
                errors=one.errors,
                in_flight=one.in_flight,
                restarts=sum(p.restarts for p in places),
                latency=tuple(one.histogram),
            )
        alive = self._front is not None and self._front.is_alive()
        return EndpointState(self.name, f"http://127.0.0.1:{self._port}", alive and seen.ready, self.capture, variants)

    def stop(self) -> None:
        with self._lock:
            self._spec = None
            if self._front is not None:
                self._front.stop()
            for place in (p for places in self._runners.values() for p in places):
                place.stop()
            self._runners = {}
        for thread in self._retiring:
            thread.join()
