"""The local target: jobs as subprocesses and endpoints as a front and runners on this machine, watched by the owner of the home."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from modelyard.build import contract
from modelyard.errors import NotFound
from modelyard.home import Home
from modelyard.targets.base import EndpointSpec, EndpointState, Job, JobState, JobStatus, OnLine
from modelyard.targets.endpoint import LocalEndpoint

OnFailure = Callable[[str, str, str, str], None]
"""Told of a runner or front that died: model, stage, version ("" for the front), reason."""
WATCH = 0.2
"""Seconds between two looks at the endpoints' processes."""


@dataclass
class _Going:
    """A job and the thread that runs it: its process must be started and awaited by one thread."""

    thread: threading.Thread
    cancel: threading.Event = field(default_factory=threading.Event)
    state: JobState = field(default_factory=lambda: JobState("running"))


class LocalTarget:
    """Implements `targets.base.Target`. Its processes end when the owner of the home does."""

    def __init__(self, home: Home, on_failure: OnFailure) -> None:
        self._home, self._on_failure = home, on_failure
        self._jobs: dict[str, _Going] = {}
        self._endpoints: dict[str, LocalEndpoint] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    # -- jobs ----------------------------------------------------------------------------------------------------------------

    def submit(self, job: Job, on_line: OnLine) -> str:
        id = f"{job.run}/{job.name}"
        with self._lock:
            going = self._jobs.get(id)
            if going is None or going.state.status != "running":
                going = _Going(threading.Thread(target=self._run, args=(id, job, on_line), name=id, daemon=True))
                self._jobs[id] = going
                going.thread.start()
        return id

    def _run(self, id: str, job: Job, on_line: OnLine) -> None:
        with self._lock:
            going = self._jobs[id]
        began = time.monotonic()
        step = contract.StepJob(
            run_id=job.run,
            name=job.name,
            python=job.python,
            entry_point=job.entry_point,
            code=job.code,
            base=job.base,
            channels=job.inputs if job.kind == "train" else {},
            hyperparameters=job.hyperparameters,
            timeout=job.timeout,
            cpus=job.cpus,
            network=job.network,
        )
        try:
            if job.kind == "train":
                done = contract.train(step, on_line, cancel=going.cancel)
            else:
                done = contract.process(step, job.arguments, job.inputs, job.outputs, on_line, cancel=going.cancel)
        except Exception as exc:
            status: JobStatus = "cancelled" if going.cancel.is_set() else "failed"
            going.state = JobState(status, time.monotonic() - began, error=exc)
        else:
            output = done.model_dir if job.kind == "train" else done.output_dir
            going.state = JobState("done", done.seconds, done.sandbox, output)

    def job(self, id: str, timeout: float | None = None) -> JobState:
        going = self._find(id)
        going.thread.join(timeout)
        return going.state

    def cancel(self, id: str) -> None:
        going = self._find(id)
        going.cancel.set()
        going.thread.join()

    def _find(self, id: str) -> _Going:
        with self._lock:
            if id not in self._jobs:
                raise NotFound(f"there is no job {id}")
            return self._jobs[id]

    # -- endpoints -----------------------------------------------------------------------------------------------------------

    def apply(self, spec: EndpointSpec) -> EndpointState:
        with self._lock:
            endpoint = self._endpoints.get(spec.name) or LocalEndpoint(spec.name, self._home.endpoints / spec.name, self._on_failure)
            self._endpoints[spec.name] = endpoint
        try:
            return endpoint.apply(spec)
        except BaseException:
            if not endpoint.serving:
                self.remove(spec.name)
            raise

    def endpoint(self, name: str) -> EndpointState | None:
        endpoint = self._endpoints.get(name)
        return endpoint.state() if endpoint is not None else None

    def remove(self, name: str) -> None:
        with self._lock:
            endpoint = self._endpoints.pop(name, None)
        if endpoint is not None:
            endpoint.stop()

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            jobs = [going for going in self._jobs.values() if going.state.status == "running"]
            names = list(self._endpoints)
        for going in jobs:
            going.cancel.set()
        for name in names:
            self.remove(name)
        for going in jobs:
            going.thread.join()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH):
            for endpoint in list(self._endpoints.values()):
                endpoint.look()
