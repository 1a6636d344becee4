"""One local endpoint: a front that stays, runners that come and go, and a routing table between them.

A roll-out changes the table, not the front: new runners are ready before the table names them, and old ones end only after the front
has taken up the table without them, answered what was in flight, and lingered.
"""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.errors import BadInput, NoRoom, Unavailable, YardError
from modelyard.serve import routes, stats
from modelyard.targets.base import EndpointSpec, EndpointState, VariantState
from modelyard.targets.places import FrontPlace, RunnerPlace

Places = dict[str, list[RunnerPlace]]
"""Runners by version."""


class LocalEndpoint:
    """Thread-safe. One change goes on at a time; while it waits for models to load, the watcher's `look` goes on too."""

    def __init__(self, name: str, folder: Path, on_failure: Callable[[str, str, str, str], None]) -> None:
        self.name, self._folder, self._on_failure = name, folder, on_failure
        self.capture = folder / "capture"
        self._routes = folder / "routes.json"
        self._spec: EndpointSpec | None = None
        self._runners: Places = {}
        self._loading: list[RunnerPlace] = []
        self._front = FrontPlace(folder)
        self._generation = 0
        self._retiring: list[threading.Thread] = []
        self._change, self._lock, self._ending = threading.Lock(), threading.RLock(), threading.Event()
        self.capture.mkdir(parents=True, exist_ok=True)

    @property
    def serving(self) -> bool:
        return self._spec is not None

    # -- changes -------------------------------------------------------------------------------------------------------------

    def apply(self, spec: EndpointSpec) -> EndpointState:
        """Make it so. Raises StepFailed, and changes nothing, where a version cannot be loaded; BadInput where the port is taken."""
        with self._change:
            self._check_open()
            fresh = self._missing(spec)
            try:
                self._load(spec, fresh)
                self._switch(spec, fresh)
            except BaseException as exc:
                for place in _all(fresh):
                    place.stop()
                if isinstance(exc, YardError):
                    self._check_open()
                raise
            finally:
                self._loading = []
            return self.state()

    def _check_open(self) -> None:
        if self._ending.is_set():
            raise Unavailable("the endpoint is being ended", where=self.name)

    def _missing(self, spec: EndpointSpec) -> Places:
        """Places for the runners that `spec` wants and that are not there."""
        return {
            v.version: [
                RunnerPlace(v, self._folder / f"runner-{v.version}-{i}.log")
                for i in range(len(self._runners.get(v.version, [])), v.workers)
            ]
            for v in spec.variants
        }

    def _load(self, spec: EndpointSpec, fresh: Places) -> None:
        """Start new runners and wait for them; and for one of a version that is there and of whose runners none answers."""
        self._loading = _all(fresh)
        for place in self._loading:
            place.start()
            self._check_open()
        for place in self._loading:
            place.wait()
        for v in spec.variants:
            places = self._runners.get(v.version, [])
            if v.weight and places and not fresh[v.version] and not self._answers(places):
                with self._lock:
                    places[0].revive()
                places[0].wait()

    def _switch(self, spec: EndpointSpec, fresh: Places) -> None:
        """Put the new table in force, or leave the old one there; then let go of what no table names."""
        with self._lock:
            self._check_open()
            wanted = {v.version: [*self._runners.get(v.version, []), *fresh[v.version]][: v.workers] for v in spec.variants}
            try:
                if self._spec is None:  # a front needs a table to start; a port that cannot be had must not change the one in force
                    self._write(spec, wanted)
                    self._listen(spec)
                else:
                    self._listen(spec)
                    self._write(spec, wanted)
                self._front.wait_generation(self._generation)
            except BaseException:
                if self._spec is not None:
                    self._write(self._spec, self._runners)
                raise
            surplus = [place for place in _all(self._runners) if place not in _all(wanted)]
            self._runners, self._spec = wanted, spec
            if surplus:
                self._later(spec, lambda: self._retire(surplus, spec))

    def _write(self, spec: EndpointSpec, runners: Places) -> None:
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
        try:
            routes.write(self._routes, table)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom("the disk is full: the endpoint stays as it was", where=self.name, next="make room and try again") from exc
            raise

    def _listen(self, spec: EndpointSpec) -> None:
        """See that there is a front on the right port; one on another port answers there until the new one is up."""
        front, old = self._front, self._front
        if front.alive and spec.port in (0, front.port):
            return
        if front.alive:
            front = FrontPlace(self._folder, f"stats-{spec.port}.json")
            front.follow(old)
        ports = [spec.port] if spec.port else list(dict.fromkeys([front.port or spec.preferred_port, 0]))
        try:
            front.start(ports)
        except BadInput as exc:
            hint = f"name another `port` under environments.{spec.stage}, or 0 for any"
            raise BadInput(f"the {spec.stage} endpoint cannot listen: {exc.what}", where=self.name, next=hint) from exc
        self._front = front
        if front is not old:
            self._later(spec, old.stop)

    def _later(self, spec: EndpointSpec, work: Callable[[], None]) -> None:
        """Do it after the linger time, or at once when the endpoint ends."""

        def wait() -> None:
            self._ending.wait(spec.linger)
            work()

        thread = threading.Thread(target=wait, name=f"retire {self.name}", daemon=True)
        thread.start()
        self._retiring = [t for t in self._retiring if t.is_alive()] + [thread]

    def _retire(self, places: list[RunnerPlace], spec: EndpointSpec) -> None:
        """End runners that no table names, once what they hold is answered. (The front lets a runner answer before it hangs up.)"""
        until, versions = time.monotonic() + spec.timeout, {p.variant.version for p in places}
        while time.monotonic() < until and not self._ending.is_set() and any(self._in_flight(v) for v in versions):
            time.sleep(0.05)
        for place in places:
            place.stop()

    def _in_flight(self, version: str) -> int:
        return self._front.counted()[1].get(version, stats.VariantStats()).in_flight

    def stop(self) -> None:
        """End it, and a change that is under way."""
        self._ending.set()
        for place in self._loading:
            place.end()
        with self._change, self._lock:
            self._spec = None
            self._front.stop()
            for place in _all(self._runners):
                place.stop()
            self._runners = {}
        for thread in self._retiring:
            thread.join()

    # -- watching ------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Start again what died, after a pause that grows, and tell of each death. Called by the supervisor."""
        if not self._lock.acquire(blocking=False):
            return  # the table is just being changed
        try:
            spec = self._spec
            if spec is None:
                return
            deaths = [("", self._front.look())]
            deaths += [(place.variant.version, place.look()) for place in _all(self._runners)]
        finally:
            self._lock.release()
        for version, reason in deaths:
            if reason is not None:
                self._on_failure(spec.model, spec.stage, version, reason)

    def state(self) -> EndpointState:
        """How it is, by the fronts' own counters."""
        seen, counted = self._front.counted()
        spec, runners, variants = self._spec, self._runners, {}
        for v in spec.variants if spec else ():
            one, places = counted.get(v.version, stats.VariantStats()), runners.get(v.version, [])
            variants[v.version] = VariantState(
                weight=v.weight,
                ready=self._answers(places, seen),
                requests=one.answered + one.errors + one.rejected,
                errors=one.errors + one.rejected,
                refused=one.client_errors,
                in_flight=one.in_flight,
                restarts=sum(p.restarts for p in places),
                latency=tuple(one.histogram),
            )
        up = self._front.alive and seen.ready
        return EndpointState(self.name, f"http://127.0.0.1:{self._front.port}", up, self.capture, variants)

    def _answers(self, places: list[RunnerPlace], seen: stats.Stats | None = None) -> bool:
        """Whether the front is connected to a runner that lives."""
        seen = seen or self._front.counted()[0]
        return any(p.alive and (found := seen.runners.get(str(p.socket))) is not None and found.connected for p in places)


def _all(runners: Places) -> list[RunnerPlace]:
    return [place for places in runners.values() for place in places]
