"""One front process for all endpoints of a home that share it (serve/fleet.py), and each endpoint's seat in it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from modelyard.errors import BadInput, NotFound, Unavailable
from modelyard.serve import left, stats
from modelyard.targets.base import EndpointSpec
from modelyard.targets.fronts import Listening
from modelyard.targets.places import FrontPlace, ended, together

_TAKEN_UP = 10.0
_STATS = "stats/.front.json"


class SharedFront:
    """Starts with its first seat and ends with its last one. It listens as the first endpoint says, and the others must say the same."""

    def __init__(self, folder: Path, *, lasts: bool = False) -> None:
        self.tables, self.stats = folder / "tables", folder / "stats"
        self._lasting = ["--lasting"] if lasts or left.fronts(folder) else []
        self._folder = folder
        self._front: FrontPlace | None = None
        self._listening: Listening | None = None
        self._seats: set[str] = set()
        self._lock = threading.RLock()

    @property
    def alive(self) -> bool:
        return self._front is not None and self._front.alive

    @property
    def pid(self) -> int:
        return self._front.pid if self._front is not None else 0

    @property
    def port(self) -> int:
        return self._front.port if self._front is not None else 0

    def take(self, name: str, listening: Listening, ports: list[int]) -> None:
        """A seat for an endpoint. Raises BadInput where the others listen elsewhere or no port can be had, StepFailed, Unavailable."""
        with self._lock:
            if self._front is None:
                for folder in (self.tables, self.stats):
                    folder.mkdir(parents=True, exist_ok=True)
                alone = [*(word for word in listening.arguments if word != "--share-port"), *self._lasting]
                front = FrontPlace(self._folder, _STATS, host=listening.host, arguments=alone, routes=self.tables)
                front.start(self._usual(ports))
                self._front, self._listening = front, listening
            elif listening != self._listening or (ports[0] and ports[0] != self.port and 0 not in ports):
                hint = "give them the same host, port, names and tls, or leave out `shared`"
                raise BadInput("endpoints that share a front listen on one port", where=name, next=hint)
            self._seats.add(name)

    def _usual(self, ports: list[int]) -> list[int]:
        """Where any port will do, first the one that the front had before: the addresses of all endpoints hang on it, and that which comes
        first may have had one of its own."""
        with contextlib.suppress(NotFound, BadInput, OSError):
            before = stats.read(self._folder / _STATS).port
            return list(dict.fromkeys([before, *ports])) if 0 in ports and before else ports
        return ports

    def leave(self, name: str) -> None:
        """Give up a seat. With the last one the process ends."""
        with self._lock:
            self._seats.discard(name)
            if not self._seats and self._front is not None:
                self._front.stop()
                self._front = self._listening = None

    def look(self) -> str | None:
        """Start it again if it died, after a pause. Returns the sentence of a death, to one of those who ask."""
        with self._lock:
            return None if self._front is None else self._front.look(self.port)


class Seat:
    """What `fronts.Fronts` is to an endpoint with a front of its own. The shared one loads an endpoint when it is asked for, and may let go
    of it again."""

    def __init__(self, shared: SharedFront, spec: EndpointSpec) -> None:
        self.name, self.listening, self._shared = spec.name, Listening.of(spec), shared
        self.routes, self._stats = shared.tables / f"{spec.name}.json", shared.stats / f"{spec.name}.json"
        self._before: dict[str, stats.VariantStats] = {}
        self._last = stats.Stats(0, 0.0)
        self._seen: tuple[int, int] | None = None
        self.routes.parent.mkdir(parents=True, exist_ok=True)
        self._stats.unlink(missing_ok=True)

    @property
    def alive(self) -> bool:
        return self._shared.alive

    @property
    def port(self) -> int:
        return self._shared.port

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port,)

    @property
    def address(self) -> str:
        return f"{self.listening.address(self.port)}/{self.name}"

    @property
    def unloaded(self) -> bool:
        """Whether the front would load the endpoint only if it were asked for."""
        return self.alive and not self._now().generation

    def start(self, ports: list[int], *, beside: Collection[int] = ()) -> None:
        """Raises BadInput, StepFailed, Unavailable."""
        self._shared.take(self.name, self.listening, ports)

    def look(self) -> list[str]:
        self.counted()  # what a front that died counted is still there
        said = self._shared.look()
        return [] if said is None else [said]

    def wait_generation(self, generation: int) -> None:
        """Wait until the table of `generation` is in force, or would be when asked for. Raises Unavailable."""
        deadline = time.monotonic() + _TAKEN_UP
        while 0 < self._now().generation < generation:
            if time.monotonic() > deadline:
                what = f"the front has not taken up routing table {generation} in {_TAKEN_UP:g} s"
                raise Unavailable(what, where=str(self._stats))
            time.sleep(0.02)

    def counted(self) -> tuple[stats.Stats, dict[str, stats.VariantStats]]:
        """What the present front says of the endpoint, and the counters of all fronts, by version."""
        now = self._now()
        return now, together(self._before, now.variants)

    def _now(self) -> stats.Stats:
        """The endpoint's stats; those of a front that died are kept apart, and what is not loaded is as ready as its front."""
        try:
            state = self._stats.stat()
            seen = (state.st_mtime_ns, state.st_ino)
            if seen != self._seen:
                said = stats.read(self._stats)
                if said.pid != self._last.pid:
                    self.follow(self._last.variants)
                self._seen, self._last = seen, said
        except (OSError, NotFound, BadInput):
            pass
        if self._last.pid and self._last.pid != self._shared.pid and self.alive:
            self.follow(self._last.variants)
            self._last = stats.Stats(0, 0.0)
        if self._last.generation:
            return self._last
        return msgspec.structs.replace(self._last, ready=self.alive, port=self.port)

    def follow(self, counted: dict[str, stats.VariantStats]) -> None:
        """Take over what others have counted."""
        self._before = together(self._before, ended(counted))

    def stop(self) -> None:
        self.routes.unlink(missing_ok=True)
        self._shared.leave(self.name)
