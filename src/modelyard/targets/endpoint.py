"""One local endpoint: a front that stays, runners that come and go, and a routing table between them.

A roll-out changes the table, not the front: new runners are ready before the table names them, and old ones end only after the front
has taken up the table without them, answered what was in flight, and lingered. So it is when their number follows the load.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from modelyard.errors import BadInput, NoRoom, Unavailable, YardError
from modelyard.serve import left, routes, stats
from modelyard.serve.keys import Keys, Pass
from modelyard.targets.base import EndpointSpec, EndpointState
from modelyard.targets.crew import Crew, Places, least, most, place
from modelyard.targets.fronts import Fronts, Listening
from modelyard.targets.lingering import Lingering
from modelyard.targets.places import RunnerPlace
from modelyard.targets.shared import Seat, SharedFront
from modelyard.targets.tables import generation, sleeps, table

OnFailure = Callable[[str, str, str, str], None]
"""Told of a process that died, or of rows that are refused: model, stage, version ("" for the front), reason."""


class LocalEndpoint:
    """Thread-safe. One change goes on at a time; while it waits for models to load, the watcher's `look` goes on too."""

    def __init__(
        self, name: str, folder: Path, shared: SharedFront, on_failure: OnFailure, on_refusal: OnFailure, *, lasts: bool = False
    ) -> None:
        self.name, self._folder, self._shared = name, folder, shared
        self._on_failure, self._on_refusal = on_failure, on_refusal
        self.capture = folder / "capture"
        self._spec: EndpointSpec | None = None
        self._crews: dict[str, Crew] = {}
        self._loading: list[RunnerPlace] = []
        before = left.fronts(folder)
        self._lasts = lasts or bool(before)
        name_before = next((one.name for one in before), "stats")
        self._front: Fronts | Seat = Fronts(folder, Listening(), name_before, lasts=self._lasts)
        self._generation = 0
        self._change, self._lock, self._ending = threading.Lock(), threading.RLock(), threading.Event()
        self._lingering = Lingering(name, self._lock, self._ending, self._in_flight)
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
                for new in _all(fresh):
                    new.stop()
                if isinstance(exc, YardError):
                    self._check_open()
                raise
            finally:
                self._loading = []
            return self.state()

    def let_in(self, access: routes.Access) -> bool:
        """Have the front let these callers in, and no others; False where the endpoint is not up. Raises Unavailable."""
        with self._lock:
            if self._spec is None:
                return False
            self._spec = replace(self._spec, access=access)
            self._write(self._spec, self._places())
            self._front.wait_generation(self._generation)
            return True

    def _with_keys_of_now(self, spec: EndpointSpec) -> EndpointSpec:
        """Keys may have been made or revoked since somebody asked for this."""
        return spec if spec.access.keys is None else replace(spec, access=routes.Access(Keys(self._folder).hashes()))

    def _own(self, spec: EndpointSpec | None) -> Pass:
        """What lets the platform's own calls in."""
        if spec is None:
            return Pass()
        key = "" if spec.access.keys is None else Keys(self._folder).own()
        return Pass(key, None if spec.tls is None else spec.tls[0])

    def _check_open(self) -> None:
        if self._ending.is_set():
            raise Unavailable("the endpoint is being ended", where=self.name)

    def _missing(self, spec: EndpointSpec) -> Places:
        """Places for the runners that `spec` wants at least and that are not there: those that linger yet, and new ones."""
        found: Places = {}
        for v in spec.variants:
            standing = list(self._standing(v.version))
            found[v.version] = self._lingering.call_back(v.version, least(v) - len(standing))
            standing += found[v.version]
            while len(standing) < least(v):
                standing.append(place(v, self._folder, standing))
                found[v.version].append(standing[-1])
        return found

    def _standing(self, version: str) -> list[RunnerPlace]:
        return self._crews[version].places if version in self._crews else []

    def _load(self, spec: EndpointSpec, fresh: Places) -> None:
        """Start new runners and wait for them; and for one of a version that is there and of whose runners none answers."""
        self._loading = [new for new in _all(fresh) if not new.alive]
        for new in self._loading:
            new.start()
            self._check_open()
        for new in self._loading:
            new.wait()
        for v in spec.variants:
            standing = self._standing(v.version)
            if v.weight and standing and not sleeps(v) and not fresh[v.version] and not self._answers(standing):
                with self._lock:
                    standing[0].revive()
                standing[0].wait()

    def _switch(self, spec: EndpointSpec, fresh: Places) -> None:
        """Put the new table in force, or leave the old one there; then let go of what no table names."""
        with self._lock:
            self._check_open()
            spec = self._with_keys_of_now(spec)
            wanted = {v.version: [*self._standing(v.version), *fresh[v.version]][: most(v)] for v in spec.variants}
            try:
                front = self._front_for(spec)
                if self._spec is None or front.routes != self._front.routes:  # a front needs a table to start
                    self._write(spec, wanted, front)
                    self._listen(spec, front)
                else:  # a port that cannot be had must not change the one in force
                    self._listen(spec, front)
                    self._write(spec, wanted)
                self._front.wait_generation(self._generation)
            except BaseException:
                if self._spec is not None:
                    self._write(self._spec, self._places())
                raise
            surplus = [one for one in _all(self._places()) if one not in _all(wanted)]
            for version in self._crews.keys() - wanted.keys():
                self._crews.pop(version).end()
            for v in spec.variants:
                crew = self._crews.setdefault(v.version, Crew(v, self._folder))
                crew.variant, crew.places = v, wanted[v.version]
            self._spec = spec
            self._lingering.retire(surplus, spec)

    def _places(self) -> Places:
        return {version: crew.places for version, crew in self._crews.items()}

    def _write(self, spec: EndpointSpec, runners: Places, front: Fronts | Seat | None = None) -> None:
        path = (front or self._front).routes
        self._generation = (self._generation or generation(path)) + 1
        sockets = {version: [one.socket for one in places] for version, places in runners.items()}
        troubles = {version: crew.trouble for version, crew in self._crews.items()}
        try:
            routes.write(path, table(spec, self._folder, self._generation, sockets, troubles))
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom("the disk is full: the endpoint stays as it was", where=self.name, next="make room and try again") from exc
            raise

    def _front_for(self, spec: EndpointSpec) -> Fronts | Seat:
        """The fronts that there are, if they are as asked for; else new ones, or a seat in the front that is shared."""
        old, listening = self._front, Listening.of(spec)
        alike = listening == old.listening and spec.shared == isinstance(old, Seat)
        if alike and (not old.alive or spec.port in (0, old.port)):
            return old
        if self._spec is None and not spec.shared and isinstance(old, Fronts):  # ours, but for the name, were never started
            self._front = Fronts(self._folder, listening, old.name, lasts=self._lasts)
            return self._front
        if spec.shared:
            front: Fronts | Seat = Seat(self._shared, spec)
        else:
            front = Fronts(self._folder, listening, f"stats-g{self._generation}", lasts=self._lasts)
        front.follow(old.counted()[1])
        return front

    def _listen(self, spec: EndpointSpec, front: Fronts | Seat) -> None:
        """See that these fronts run, on the right port; what must give way answers until they are up."""
        old, seen = self._front, self._front.counted()[1]
        if front is old and front.alive:
            return
        kept = old.port if type(front) is type(old) else 0
        ports = [spec.port] if spec.port else list(dict.fromkeys([kept or spec.preferred_port, 0]))
        try:
            front.start(ports, beside=old.ports if old.alive else ())
        except BadInput as exc:
            hint = f"name another `port` under environments.{spec.stage}, or 0 for any"
            raise BadInput(f"the {spec.stage} endpoint cannot listen: {exc.what}", where=self.name, next=hint) from exc
        self._front = front
        if self._spec is None:
            left.end(self._folder, but=front.pids if isinstance(front, Fronts) else ())
        if front is not old:
            self._lingering.later(spec, lambda: _part(front, old, seen))

    def _in_flight(self, version: str) -> int:
        return self._front.counted()[1].get(version, stats.VariantStats()).in_flight

    def stop(self) -> None:
        """End it, and a change that is under way."""
        self._ending.set()
        for new in self._loading:
            new.end()
        with self._change, self._lock:
            self._spec = None
            self._front.stop()
            for crew in self._crews.values():
                crew.end()
                for one in crew.places:
                    one.stop()
            self._crews = {}
        self._lingering.join()

    # -- watching ------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Start again what died, after a pause that grows, add and take away runners by the load, and tell of each death. Called by the
        supervisor."""
        if not self._lock.acquire(blocking=False):
            return  # the table is just being changed
        refusals: list[tuple[str, str]] = []
        try:
            spec = self._spec
            if spec is None:
                return
            told = [("", reason) for reason in self._front.look()]
            seen, counted = self._front.counted()
            for version, crew in self._crews.items():
                told += [(version, reason) for reason in crew.look(seen, spec.limits.timeout_s)]
                refusal = crew.quarantined(counted[version].quarantined) if version in counted else None
                refusals += [(version, refusal)] if refusal is not None else []
                self._scale(spec, crew, seen)
        finally:
            self._lock.release()
        for tell, sentences in ((self._on_failure, told), (self._on_refusal, refusals)):
            for version, reason in sentences:
                tell(spec.model, spec.stage, version, reason)

    def _scale(self, spec: EndpointSpec, crew: Crew, seen: stats.Stats) -> None:
        """Have the version have as many runners as it needs now."""
        number = crew.wanted(seen)
        if number > len(crew.places):
            thread = crew.grow(lambda new: self._grown(crew, new), lambda exc: self._not_grown(crew, exc))
            if thread is not None:
                self._lingering.mind(thread)
        elif number < len(crew.places):
            idle = crew.rest()
            self._write(spec, self._places())
            self._lingering.retire([idle], spec)
        elif crew.recovered():
            self._write(spec, self._places())

    def _grown(self, crew: Crew, new: RunnerPlace) -> None:
        """A runner that was loaded in the background takes its share."""
        with self._lock:
            if self._spec is None or crew not in self._crews.values() or len(crew.places) >= most(crew.variant):
                new.stop()
                return
            crew.places, crew.trouble = [*crew.places, new], ""
            self._write(self._spec, self._places())

    def _not_grown(self, crew: Crew, exc: YardError) -> None:
        with self._lock:
            spec = self._spec
            if spec is None or crew not in self._crews.values():
                return
            reason = crew.failed(exc)
            self._write(spec, self._places())
        self._on_failure(spec.model, spec.stage, crew.variant.version, reason)

    def state(self) -> EndpointState:
        """How it is, by the fronts' own counters."""
        seen, counted = self._front.counted()
        spec, variants = self._spec, {}
        for v in spec.variants if spec else ():
            one, crew = counted.get(v.version, stats.VariantStats()), self._crews.get(v.version) or Crew(v, self._folder)
            variants[v.version] = crew.state(v.weight, one, answers=self._answers(crew.places, seen))
        up = self._front.alive and seen.ready
        kept = seen.capture
        lost = kept.dropped + kept.failed
        own, at = self._own(spec), seen.written_at
        return EndpointState(self.name, self._front.address, up, self.capture, variants, lost, kept.last_error, own, at)

    def _answers(self, places: list[RunnerPlace], seen: stats.Stats | None = None) -> bool:
        """Whether the front is connected to a runner that lives, or would be when asked."""
        if self._front.unloaded:
            return any(p.alive for p in places)
        seen = seen or self._front.counted()[0]
        return any(p.alive and (found := seen.runners.get(str(p.socket))) is not None and found.connected for p in places)


def _part(front: Fronts | Seat, old: Fronts | Seat, seen: dict[str, stats.VariantStats]) -> None:
    """End old fronts; what they have counted beyond what was `seen` of it counts on."""
    old.stop()
    front.follow({version: stats.difference(after, seen.get(version)) for version, after in old.counted()[1].items()})


def _all(runners: Places) -> list[RunnerPlace]:
    return [one for places in runners.values() for one in places]
