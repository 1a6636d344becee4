"""The fronts of an endpoint: one process or several on one port. One that dies takes no other down, and is started again."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from modelyard.serve import left, sockets, stats
from modelyard.serve.protocols import places
from modelyard.targets.base import EndpointSpec
from modelyard.targets.places import FrontPlace, together

_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
"""Addresses that mean all of a machine's, and how it then reaches itself."""
_CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "FSSPEC_")
"""How the names of variables begin by which fsspec's file systems find their credentials."""


@dataclass(frozen=True)
class Listening:
    """Where and how fronts listen; `names` are further ones for the Host header. A change of it needs other processes.

    `grpc_port` 0 is any free one. `remote`: they read and write storage elsewhere, with the credentials in our environment.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    tls: tuple[Path, Path] | None = None
    fronts: int = 1
    grpc_port: int | None = None
    remote: bool = False

    @classmethod
    def of(cls, spec: EndpointSpec) -> Listening:
        asked = spec.asynchronous
        remote = asked is not None and any(places.local(address) is None for address in (*asked.inputs, asked.output))
        return cls(spec.host, spec.names, spec.tls, spec.fronts, spec.grpc_port, remote)

    @property
    def arguments(self) -> list[str]:
        """A front's own (serve/front.py)."""
        words = ["--share-port", *(word for name in self.names for word in ("--name", name))]
        if self.grpc_port is not None:
            words += ["--grpc-port", str(self.grpc_port)]
        return words if self.tls is None else [*words, "--certificate", str(self.tls[0]), "--key", str(self.tls[1])]

    @property
    def env(self) -> dict[str, str]:
        """What a front gets of our environment: nothing, unless it reads storage elsewhere."""
        return {k: v for k, v in os.environ.items() if self.remote and k.startswith(_CREDENTIALS)}

    def address(self, port: int) -> str:
        """How this machine calls the endpoint."""
        host = f"[{self.host}]" if ":" in self.host and self.host not in _ANY else _ANY.get(self.host, self.host)
        return f"{'http' if self.tls is None else 'https'}://{host}:{port}"


class Fronts:
    """All fronts of an endpoint, as one. They share their port with each other and with nobody else."""

    unloaded = False  # it always holds the endpoint

    def __init__(self, folder: Path, listening: Listening, name: str = "stats", *, lasts: bool = False) -> None:
        self.listening, self.routes, self._ours = listening, folder / "routes.json", frozenset[int]()
        self._folder = folder
        self.name, self._lasts, self._chosen = name, lasts, listening
        if listening.grpc_port == 0:
            before = left.front(folder / f"{name}.json")
            self._chosen = replace(listening, grpc_port=(before.grpc_port if before else 0) or _free(listening.host))
        names = [f"{name}{f'-{i}' if i else ''}.json" for i in range(listening.fronts)]
        shown = [word for one in names if len(names) > 1 for word in ("--all-stats", str(folder / one))]
        self._places = [self._place(folder, one, [*shown, "--number", str(i)]) for i, one in enumerate(names)]

    def _place(self, folder: Path, stats_name: str, more: list[str]) -> FrontPlace:
        words, listening = [*self._chosen.arguments, *more, *(["--lasting"] if self._lasts else [])], self.listening
        return FrontPlace(folder, stats_name, host=listening.host, arguments=words, before=self._see_that_it_is_free, env=listening.env)

    @property
    def alive(self) -> bool:
        """Whether one of them answers."""
        return any(place.alive for place in self._places)

    @property
    def port(self) -> int:
        return self._places[0].port

    @property
    def ports(self) -> tuple[int, ...]:
        """All that they listen on: HTTP's, and gRPC's."""
        return tuple(port for port in (self.port, self._chosen.grpc_port) if port)

    @property
    def pids(self) -> set[int]:
        """Of those that run."""
        return {place.pid for place in self._places if place.alive}

    @property
    def address(self) -> str:
        return self.listening.address(self.port)

    def _see_that_it_is_free(self, port: int) -> None:
        """A shared port is no longer refused by the system, so it and gRPC's are asked for alone first. Raises BadInput."""
        if not self.alive:
            for one in {port, self._chosen.grpc_port or 0} - self._ours - {0}:
                sockets.listen(self.listening.host, one).close()

    def start(self, ports: list[int], *, beside: Collection[int] = ()) -> None:
        """Start them on the first of these ports that can be had; `beside` are those that we ourselves still listen on, as fronts do that a
        killed owner left: those of them that are as asked for are taken over.

        Raises BadInput where none can be had, StepFailed, Unavailable; then none of them runs.
        """
        self._ours = frozenset(beside) | {port for one in left.fronts(self._folder) for port in (one.port, one.grpc_port) if port}
        try:
            self._places[0].start(ports)
            for place in self._places[1:]:
                place.start([self.port])
        except BaseException:
            self.stop()
            raise

    def look(self) -> list[str]:
        """Start again those that died, after a pause. Returns the sentence of each death, once."""
        self._ours = frozenset()
        return [said for said in [place.look(self.port) for place in self._places] if said is not None]

    def wait_generation(self, generation: int) -> None:
        """Wait until the routing table of `generation` is in force in all that live. Raises Unavailable."""
        for place in self._places:
            if place.alive or place is self._places[0]:
                place.wait_generation(generation)

    def counted(self) -> tuple[stats.Stats, dict[str, stats.VariantStats]]:
        """What the present fronts say together, and the counters of all that there ever were, by version."""
        said = [place.counted() for place in self._places]
        return _one([now for now, _ in said]), reduce(together, (counters for _, counters in said))

    def follow(self, counted: dict[str, stats.VariantStats]) -> None:
        """Take over what others have counted so far."""
        self._places[0].follow(counted)

    def stop(self) -> None:
        for place in self._places:
            place.stop()


def _free(host: str) -> int:
    """A port that is free now. Raises BadInput."""
    with sockets.listen(host, 0) as listener:
        port: int = listener.getsockname()[1]
    return port


def _one(all_: list[stats.Stats]) -> stats.Stats:
    """The stats of one front, or of several as those of one. Each has its own connections to the runners."""
    if len(all_) == 1:
        return all_[0]
    first = all_[0]
    runners: dict[str, stats.RunnerStats] = {}
    wanted: dict[str, int] = {}
    kept = stats.CaptureStats()
    for one in all_:
        for path, runner in one.runners.items():
            seen = runners.get(path)
            runners[path] = runner if seen is None else _runner(seen, runner)
        for version, count in one.wanted.items():
            wanted[version] = wanted.get(version, 0) + count
        for name in ("eligible", "captured", "dropped", "failed", "sampled_out"):
            setattr(kept, name, getattr(kept, name) + getattr(one.capture, name))
        kept.last_error = one.capture.last_error or kept.last_error
    return stats.Stats(
        pid=first.pid,
        started_at=first.started_at,
        generation=min(one.generation for one in all_),
        port=first.port,
        grpc_port=first.grpc_port,
        ready=any(one.ready for one in all_),
        written_at=min(one.written_at for one in all_),
        unrouted=sum(one.unrouted for one in all_),
        bad_tables=sum(one.bad_tables for one in all_),
        variants=reduce(together, (one.variants for one in all_)),
        runners=runners,
        capture=kept,
        wanted=wanted,
    )


def _runner(one: stats.RunnerStats, other: stats.RunnerStats) -> stats.RunnerStats:
    return stats.RunnerStats(
        one.version,
        one.connected or other.connected,
        max(one.busy_seconds, other.busy_seconds),
        one.waiting_rows + other.waiting_rows,
        one.batches + other.batches,
        max(one.restarts, other.restarts),
        one.answered + other.answered,
    )
