"""A target: where jobs run and endpoints live. Seven verbs, and three hints; everything else in Modelyard is the same on every target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from modelyard.build.warm import Warm
from modelyard.errors import BadInput
from modelyard.runners import Loadable
from modelyard.serve import routes
from modelyard.serve.keys import Pass

JobStatus = Literal["running", "done", "failed", "cancelled"]
OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One step to run. Paths are on the machine of the control plane; a remote target moves them.

    `kind` is `train` (the SageMaker training contract) or `process` (its processing contract); `base` becomes /opt/ml, and what
    lies in its `checkpoints` from an earlier try of the same job is kept. `contract` is the dialect of a `train` job; `instances` over
    1 runs it once a host. `metrics` are names and regular expressions (one group, the number) of what is read off its log.
    `timeout` (seconds) is for all tries together: the first and up to `retries` more. `environment` adds variables; no secrets.
    `arguments` are words of the command line, of a `train` job those before the hyperparameters. `model_path` is a place below the code
    where a `train` job leaves the model if not in /opt/ml/model; `input_paths` and `output_paths` are folders of a `process` job.
    """

    run: str
    name: str
    kind: Literal["train", "process"]
    python: Path
    entry_point: str
    code: Path
    base: Path
    inputs: Mapping[str, Path]
    outputs: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    timeout: float = 3600.0
    cpus: int = 0
    network: bool = True
    contract: Literal["classic", "v3"] = "classic"
    environment: Mapping[str, str] = field(default_factory=dict)
    instances: int = 1
    retries: int = 0
    metrics: tuple[tuple[str, str], ...] = ()
    model_path: str = ""
    input_paths: Mapping[str, str] = field(default_factory=dict)
    output_paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What every target calls it: the same for the same run and name."""
        return f"{self.run}/{self.name}"


@dataclass(frozen=True)
class JobState:
    """How a job is. `error` is the YardError of a failed one.

    `output` is what it made: the model of a `train` job, the outputs (a folder each) of a `process` job. `beside` are the further files
    and folders that it left, by the name to keep them under: of a `train` job `output` (/opt/ml/output/data) and `metrics.json`
    (what was read off its log: a JSON object a line, see build/metrics.py), where it left any. `metrics` are the last values of
    those, `notes` are sentences for whoever reads the summary: a retry, files of one host that lay over another's.
    """

    status: JobStatus
    seconds: float = 0.0
    isolation: str | None = None
    output: Path | None = None
    error: Exception | None = None
    beside: Mapping[str, Path] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """A version with a share of an endpoint's traffic (percent).

    `plan` is its row plan, by which the front answers itself. `workers` runners stand at least (0: none until asked for), and up to
    `max_workers` by how much waits; one beyond `workers` ends after `idle` seconds without work. A `shadow` has no weight. Answers are
    explained against the rows in `background` (Parquet; None: not at all), for the output `explained`.
    """

    version: str
    weight: int
    model: Loadable
    workers: int = 1
    extras: tuple[str, ...] = ()
    max_workers: int | None = None
    idle: float = 300.0
    plan: Path | None = None
    shadow: bool = False
    example: Mapping[str, Any] | None = field(default=None, hash=False)
    background: Path | None = None
    explained: str | None = None


@dataclass(frozen=True)
class EndpointSpec:
    """An endpoint as it should be. Weights sum to 100; times are in seconds.

    `port` 0 leaves the choice to the target, which takes `preferred_port` where that is free; `grpc_port` likewise (None: no gRPC).
    `names` are further names in callers' Host headers, `tls` the certificate and the key. `capture` says what is kept; its folder is the
    target's own affair, as are the queue of asynchronous requests and the place of the access log. `fronts` processes answer; a `shared`
    endpoint answers in one process and on one port with all the others that say so.
    """

    model: str
    stage: str
    port: int
    preferred_port: int
    variants: tuple[Variant, ...]
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    tls: tuple[Path, Path] | None = None
    grpc_port: int | None = None
    fronts: int = 1
    shared: bool = False
    linger: float = 2.0
    limits: routes.Limits = routes.Limits()
    capture: routes.Capture = routes.Capture("")
    access: routes.Access = routes.Access()
    mirrors: tuple[routes.Mirror, ...] = ()
    sticky: bool = False
    asynchronous: routes.Async | None = None
    traces: routes.Traces | None = None
    access_log: bool = False

    def __post_init__(self) -> None:
        """Raises BadInput for weights that do not hold; a version with weight 0 stands by."""
        weights = {v.version: v.weight for v in self.variants}
        if len(weights) != len(self.variants) or sum(weights.values()) != 100 or min(weights.values()) < 0:
            given = ", ".join(f"{v.version}: {v.weight}" for v in self.variants) or "none"
            raise BadInput(f"weights must sum to 100, a version once each ({given})", where=self.name)

    @property
    def name(self) -> str:
        return f"{self.model}-{self.stage}"


@dataclass(frozen=True)
class VariantState:
    """What a variant did since the endpoint came up; the counters only ever rise, whatever process is started again meanwhile.

    `requests` were answered or failed (`errors`: by the version's doing, or for lack of room); `refused` ones were the caller's fault.
    `latency` counts answers by bucket (see serve.stats). `ready`: its plan or some runner of it answers, or would when asked. `compared`
    rows were answered by another version too, `disagreed` of them otherwise. `runners` stand now.
    """

    weight: int
    ready: bool
    requests: int = 0
    errors: int = 0
    refused: int = 0
    in_flight: int = 0
    restarts: int = 0
    latency: tuple[int, ...] = ()
    compared: int = 0
    disagreed: int = 0
    runners: int = 0


@dataclass(frozen=True)
class EndpointState:
    """An endpoint as it is; `capture` is the folder of captured predictions, `unkept` counts rows of the present front that are not in it,
    as the disk was full or failed, and `unkept_because` is the last reason. `own` lets the platform's own calls in. What was answered by
    `counted_at` (seconds since the epoch) is counted."""

    name: str
    address: str
    ready: bool
    capture: Path
    variants: Mapping[str, VariantState] = field(default_factory=dict)
    unkept: int = 0
    unkept_because: str = ""
    own: Pass = Pass()
    counted_at: float = math.inf


class Target(Protocol):
    """Where jobs run and endpoints live."""

    def submit(self, job: Job, on_line: OnLine) -> str:
        """Start a job; its log goes to `on_line`, a line at a time. Returns its id (`Job.id`).

        One that runs already is left to run, never started beside itself; one that has ended runs again."""
        ...

    def job(self, id: str, timeout: float | None = None) -> JobState:
        """How the job is, after waiting up to `timeout` seconds for its end (None: to its end). Raises NotFound."""
        ...

    def cancel(self, id: str) -> None:
        """End the job and everything it started. Cancelling an ended job does nothing."""
        ...

    def warm_up(self, run: str, python: Path, modules: Sequence[str], shown: Sequence[Path]) -> None:
        """Jobs of `run` will follow in this Python, importing these modules, with inputs out of the folders `shown`. A hint: a target may
        get ready for them in the background, or do nothing."""
        ...

    def warm(self, run: str) -> Warm | None:
        """The interpreter that was got ready for `run` on this machine; None where none was."""
        ...

    def cool_down(self, run: str) -> None:
        """No more jobs of `run` will follow."""
        ...

    def apply(self, spec: EndpointSpec) -> EndpointState:
        """Make the endpoint be as `spec` says, failing no request, and return once it is. Raises StepFailed where a version cannot be
        loaded, BadInput where the port cannot be had, Unavailable where the target is closing: the endpoint then is as it was."""
        ...

    def let_in(self, name: str, access: routes.Access) -> None:
        """Let other callers into an endpoint, at once, also where it goes on without us (kill -9 of an owner); for one that is not there,
        nothing is done. Raises Unavailable."""
        ...

    def endpoint(self, name: str) -> EndpointState | None:
        """How the endpoint is; None where there is none."""
        ...

    def remove(self, name: str) -> None:
        """End an endpoint. Removing one that is not there does nothing."""
        ...

    def close(self) -> None:
        """The control plane ends: a local target ends with it, a remote one goes on without."""
        ...
