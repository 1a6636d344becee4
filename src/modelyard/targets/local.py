"""The local target: jobs as subprocesses and endpoints as a front and runners on this machine, watched by the owner of the home."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelyard.build import contract, early, sandbox, stage
from modelyard.build.processes import RECORD
from modelyard.build.stage import METRICS
from modelyard.build.warm import Asked, Warm
from modelyard.errors import Unavailable
from modelyard.feed import FEED, Feed
from modelyard.home import Home, scratch_prefix
from modelyard.serve import left, routes
from modelyard.serve import runner as serve_runner
from modelyard.targets import bytecode, tables
from modelyard.targets.base import EndpointSpec, EndpointState, Job, JobState, OnLine
from modelyard.targets.endpoint import LocalEndpoint, OnFailure
from modelyard.targets.jobs import Jobs
from modelyard.targets.shared import SharedFront

log = logging.getLogger("modelyard")
RUNNER = "modelyard.runtime.runner"
WATCH = 0.2
"""Seconds between two looks at the endpoints' processes."""
_AT_ONCE = 16
"""Endpoints that end together."""


class LocalTarget:
    """Implements `targets.base.Target`. Its processes end when the owner of the home does; with `lasts`, endpoints go on as they are
    when it is killed, and the next owner takes them over.

    `on_failure` is told of a runner or front that died, `on_refusal` (else it too) of rows that are refused since they killed runners.
    """

    def __init__(self, home: Home, on_failure: OnFailure, on_refusal: OnFailure | None = None, *, lasts: bool = False) -> None:
        self._lasts = lasts
        self._home, self._on_failure, self._on_refusal = home, on_failure, on_refusal or on_failure
        self._jobs = Jobs(lambda job, on_line, cancel: _work(job, on_line, cancel, self._warm.get(job.run)))
        self._warm: dict[str, Warm] = {}
        self.submit, self.job, self.cancel = self._jobs.submit, self._jobs.job, self._jobs.cancel
        self._endpoints: dict[str, LocalEndpoint] = {}
        self._shared = SharedFront(home.endpoints / ".shared", lasts=lasts)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        for run in home.runs.glob("*"):
            if Feed(run / FEED).over:
                continue  # of thousands of runs, those are not gone through
            for depth in ("*", "*/*", "*/*/*"):  # a build's own steps, further ones, those of a trial
                for record in run.glob(f"{depth}/{RECORD}"):
                    contract.kill_leftover(record.parent)  # what outlived an owner that was killed together with its keepers
        self._watcher.start()

    def warm_up(self, run: str, python: Path, modules: Sequence[str], shown: Sequence[Path]) -> None:
        """Start a warm interpreter, where users may make namespaces. MODELYARD_WARM=0 turns it off."""
        if not modules or os.environ.get("MODELYARD_WARM") == "0":
            return
        environment, log = stage.variables(python, "/tmp"), self._home.runs / run / "warm.log"  # noqa: S108  (the sandbox's own)
        runtime = serve_runner.install_runtime(self._home.path)
        ours = [stage.shims(), runtime]
        asked = Asked(
            python=str(python),
            modules=[*modules],
            environment=environment,
            read_only=[str(path) for path in ours],
            program=[str(runtime), RUNNER],
        )
        made = early.taken(run, asked) if [*shown] == [self._home.runs / run] else None
        self.cool_down(run)
        if made is None and sandbox.own_processes():
            program, prefix = (str(runtime), RUNNER), scratch_prefix(self._home.path)
            made = Warm(python, modules, shown, environment, log, read_only=ours, program=program, prefix=prefix)
        if made is None:
            return
        threading.Thread(target=_meanwhile, args=(runtime,), name="meanwhile", daemon=True).start()
        with self._lock:
            self._warm[run] = made

    def warm(self, run: str) -> Warm | None:
        return self._warm.get(run)

    def cool_down(self, run: str) -> None:
        with self._lock:
            warm = self._warm.pop(run, None)
        early.drop(run)
        if warm is not None:
            warm.close()

    def apply(self, spec: EndpointSpec) -> EndpointState:
        with self._lock:
            if self._closing.is_set():
                raise Unavailable("the target is closing", where=spec.name)
            folder = self._home.endpoints / spec.name
            endpoint = self._endpoints.get(spec.name) or LocalEndpoint(
                spec.name, folder, self._shared, self._on_failure, self._on_refusal, lasts=self._lasts
            )
            self._endpoints[spec.name] = endpoint
        try:
            return endpoint.apply(spec)
        except BaseException:
            with self._lock:
                failed = not endpoint.serving and self._endpoints.get(spec.name) is endpoint
                if failed:
                    del self._endpoints[spec.name]
            if failed:
                endpoint.stop()
            raise

    def let_in(self, name: str, access: routes.Access) -> None:
        endpoint = self._endpoints.get(name)
        if endpoint is None or not endpoint.let_in(access):  # what a killed owner left may answer yet
            tables.let_in(self._home.endpoints / name / "routes.json", access)
            tables.let_in(self._shared.tables / f"{name}.json", access)

    def endpoint(self, name: str) -> EndpointState | None:
        endpoint = self._endpoints.get(name)
        return endpoint.state() if endpoint is not None and endpoint.serving else None

    def remove(self, name: str) -> None:
        with self._lock:
            endpoint = self._endpoints.pop(name, None)
        if endpoint is not None:
            endpoint.stop()

    def close(self) -> None:
        with self._lock:
            self._closing.set()
            names = list(self._endpoints)
        with ThreadPoolExecutor(_AT_ONCE) as ending:  # each answers first what it holds
            list(ending.map(self.remove, names))
        if self._lasts:
            left.end_all(self._home.endpoints)  # of an owner before us, and never taken over
        self._jobs.close()
        for run in list(self._warm):
            self.cool_down(run)
        self._watcher.join()

    def _watch(self) -> None:
        """Look after the endpoints for ever: whatever goes wrong with one look (a full disk), there is another."""
        while not self._closing.wait(WATCH):
            for endpoint in list(self._endpoints.values()):
                try:
                    endpoint.look()
                except Exception:
                    log.exception("the processes of %s could not be looked after", endpoint.name)


def _meanwhile(runtime: Path) -> None:
    """What is wanted later: the other kind of sandbox, for what cannot be forked (0.1 s), and the runtime's bytecode."""
    sandbox.find()
    bytecode.compile_all(runtime)


def _work(job: Job, on_line: OnLine, cancel: threading.Event, warm: Warm | None = None) -> JobState:
    train = job.kind == "train"
    step = contract.StepJob(
        run_id=job.run,
        name=job.name,
        python=job.python,
        entry_point=job.entry_point,
        code=job.code,
        base=job.base,
        channels=job.inputs if train else {},
        hyperparameters=job.hyperparameters,
        timeout=job.timeout,
        cpus=job.cpus,
        network=job.network,
        contract=job.contract,
        environment=job.environment,
        instances=job.instances,
        retries=job.retries,
        metrics=job.metrics,
        arguments=job.arguments,
        model_path=job.model_path,
        warm=warm,
    )
    if not train:
        done = contract.process(
            step,
            job.arguments,
            job.inputs,
            job.outputs,
            on_line,
            input_paths=job.input_paths,
            output_paths=job.output_paths,
            cancel=cancel,
        )
        return JobState("done", isolation=done.sandbox, output=done.output_dir)
    done = contract.train(step, on_line, cancel=cancel)
    left = {"output": done.output_dir / "data", METRICS: job.base / METRICS}
    beside = {name: path for name, path in left.items() if path.exists()}
    return JobState("done", isolation=done.sandbox, output=done.model_dir, beside=beside, metrics=done.metrics, notes=done.notes)
