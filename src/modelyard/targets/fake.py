"""A target without processes, all in memory: for tests, and to see what a release would do. It keeps the contract of every target."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.errors import BadInput, StepFailed, Unavailable
from modelyard.serve import routes, stats
from modelyard.targets.base import EndpointSpec, EndpointState, Job, JobState, OnLine, VariantState
from modelyard.targets.jobs import Jobs, Work

FIRST_PORT = 8001


@dataclass(frozen=True)
class Behaviour:
    """How a version behaves: shares of its requests that fail or are refused, what an answer takes, how often its runner has died, and the
    share of the compared rows that it answers otherwise than the other version.

    `cannot_load` is the reason why it cannot be loaded, where it cannot.
    """

    errors: float = 0.0
    refused: float = 0.0
    latency_ms: float = 5.0
    deaths: int = 0
    disagrees: float = 0.0
    cannot_load: str = ""


@dataclass(frozen=True)
class _Endpoint:
    spec: EndpointSpec
    state: EndpointState
    came: Mapping[str, float]
    compared: Mapping[str, float]


def would_run(job: Job, on_line: OnLine, cancel: threading.Event) -> JobState:
    """The work of a dry run: says what would run."""
    on_line(f"{job.entry_point} would run")
    return JobState("done", output=job.base / ("model" if job.kind == "train" else "outputs"))


class FakeTarget:
    """Implements `targets.base.Target`. `work` does the jobs; `behaviours` says how versions behave, good unless named.

    Before each look at an endpoint (`endpoint()`), `requests` come to it and go by its weights. `taken_ports` cannot be had.
    """

    def __init__(
        self,
        work: Work = would_run,
        behaviours: Mapping[str, Behaviour] | None = None,
        requests: int = 100,
        taken_ports: frozenset[int] = frozenset(),
    ) -> None:
        self.behaviours, self.requests, self.taken_ports = dict(behaviours or {}), requests, taken_ports
        self.applied: list[EndpointSpec] = []
        self._jobs = Jobs(work)
        self.submit, self.job, self.cancel = self._jobs.submit, self._jobs.job, self._jobs.cancel
        self._endpoints: dict[str, _Endpoint] = {}
        self._lock = threading.Lock()
        self._closed = False

    def behaviour(self, version: str) -> Behaviour:
        return self.behaviours.get(version, Behaviour())

    def warm_up(self, run: str, python: Path, modules: Sequence[str], shown: Sequence[Path]) -> None:
        """There is nothing to get ready."""

    def warm(self, run: str) -> None:
        return None

    def cool_down(self, run: str) -> None:
        """Nothing was got ready."""

    def apply(self, spec: EndpointSpec) -> EndpointState:
        with self._lock:
            if self._closed:
                raise Unavailable("the target is closing", where=spec.name)
            old = self._endpoints.get(spec.name)
            loaded = {v.version for v in old.spec.variants} if old else set()
            for version in (v.version for v in spec.variants if v.version not in loaded):
                if reason := self.behaviour(version).cannot_load:
                    raise StepFailed(reason, where=spec.name, log_tail=(f"modelyard: {reason}",))
            before = dict(old.state.variants) if old else {}
            variants = {v.version: replace(before.get(v.version, VariantState(0, True)), weight=v.weight) for v in spec.variants}
            address = f"http://fake.invalid:{self._port(spec, old)}"
            state = EndpointState(spec.name, address, True, Path("fake") / spec.name / "capture", variants)
            kept = ({v: counts.get(v, 0.0) for v in variants} for counts in ((old.came, old.compared) if old else ({}, {})))
            self._endpoints[spec.name] = _Endpoint(spec, state, *kept)
            self.applied.append(spec)
            return state

    def _port(self, spec: EndpointSpec, old: _Endpoint | None) -> int:
        if spec.port in self.taken_ports:
            hint = f"name another `port` under environments.{spec.stage}, or 0 for any"
            raise BadInput(f"the {spec.stage} endpoint cannot listen: port {spec.port} cannot be used", where=spec.name, next=hint)
        kept = int(old.state.address.rpartition(":")[2]) if old else spec.preferred_port
        used = {int(e.state.address.rpartition(":")[2]) for e in self._endpoints.values()}
        return spec.port or kept or max({FIRST_PORT - 1, *used}) + 1

    def let_in(self, name: str, access: routes.Access) -> None:
        with self._lock:
            if (found := self._endpoints.get(name)) is not None:
                self._endpoints[name] = replace(found, spec=replace(found.spec, access=access))

    def endpoint(self, name: str) -> EndpointState | None:
        with self._lock:
            found = self._endpoints.get(name)
            if found is None:
                return None
            self._endpoints[name] = after = self._after_traffic(found)
            return after.state

    def _after_traffic(self, endpoint: _Endpoint) -> _Endpoint:
        states, compared = endpoint.state.variants, dict(endpoint.compared)
        came = {v: endpoint.came[v] + self.requests * s.weight / 100 for v, s in states.items()}
        for mirror in endpoint.spec.mirrors:
            mirrored = self.requests * states[mirror.of].weight / 100 * mirror.share
            compared[mirror.judged] += mirrored
            if any(v.version == mirror.to and v.shadow for v in endpoint.spec.variants):
                came[mirror.to] += mirrored
        variants = {v: _counted(int(came[v]), int(compared[v]), s, self.behaviour(v)) for v, s in states.items()}
        return replace(endpoint, came=came, compared=compared, state=replace(endpoint.state, variants=variants))

    def remove(self, name: str) -> None:
        with self._lock:
            self._endpoints.pop(name, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._endpoints.clear()
        self._jobs.close()


def _counted(came: int, compared: int, state: VariantState, behaves: Behaviour) -> VariantState:
    """A variant's counters after `came` requests in all, and `compared` of them."""
    refused = int(came * behaves.refused)
    errors = int((came - refused) * behaves.errors)
    fresh = came - refused - errors - sum(state.latency)
    latency = list(state.latency) or [0] * len(stats.VariantStats().histogram)
    latency[stats.bucket_of(behaves.latency_ms)] += max(0, fresh)
    return replace(
        state,
        requests=came - refused,
        errors=errors,
        refused=refused,
        restarts=behaves.deaths,
        latency=tuple(latency),
        compared=compared,
        disagreed=int(compared * behaves.disagrees),
    )
