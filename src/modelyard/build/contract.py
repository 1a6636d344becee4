"""Steps under SageMaker's contracts: a training script or a processing script, run in its environment and watched to its end.

In the sandbox the folders really are /opt/ml/..., so a script that hard-codes them runs unchanged. Without one they are `base`,
and the SM_ variables say so. A step sees none of the owner's environment: PATH, HOME, LANG, TMPDIR, the contract's variables and
caps on threads are all there is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.build import classic, processes, sandbox
from modelyard.errors import BadInput, NotFound, StepFailed

ML = "/opt/ml"
PROCESSING = "MODELYARD_PROCESSING_DIR"
"""Says where /opt/ml/processing is, for scripts that also run where there is no sandbox. No part of SageMaker's contract."""
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "LOKY_MAX_CPU_COUNT",
)  # fmt: skip
_FOLDERS = ("code", "config", "input", "model", "output", "checkpoints", "processing")
REASON = 1024


@dataclass(frozen=True)
class StepJob:
    """One step to run. `base` is a folder of its own that becomes /opt/ml; a repeated run starts from an emptied one.

    `code` is copied into it; `channels` (a folder or file each) are shown read-only. `timeout` is in seconds, `cpus` 0 means all.
    `network` False needs the sandbox. `sandboxed` False runs plainly even where a sandbox is there.
    """

    run_id: str
    name: str
    python: Path
    entry_point: str
    code: Path
    base: Path
    channels: Mapping[str, Path] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 3600.0
    cpus: int = 0
    network: bool = True
    framework_module: str | None = None
    sandboxed: bool = True


@dataclass(frozen=True)
class StepOutcome:
    """A step that ended well. `sandbox` names what it ran in, None when it ran plainly."""

    seconds: float
    sandbox: str | None
    log: Path
    model_dir: Path
    output_dir: Path


def train(job: StepJob, on_line: Callable[[str], None], *, cancel: threading.Event | None = None) -> StepOutcome:
    """Run a training script under the classic contract; call and wait in one thread (see build/processes.py).

    output/success or output/failure is written as `sagemaker-training` does. Raises BadInput for a job beyond the contract's
    limits or a sandbox that is needed and absent, NotFound for a missing entry point, and StepFailed, with the last lines, when
    the script exits other than with 0, runs too long, is cancelled, or leaves no file in the model folder.
    """
    classic.check(job.hyperparameters, list(job.channels))
    stage = _Stage(job)
    stage.prepare(job.base / "code")
    setting = classic.Setting(
        job_name=job.run_id,
        entry_point=job.entry_point,
        hyperparameters=job.hyperparameters,
        channels=list(job.channels),
        base=stage.root,
        cpus=job.cpus,
        framework_module=job.framework_module,
    )
    _write_json(job.base / "input" / "config", classic.config_files(setting))
    for name, path in job.channels.items():
        stage.show(path, f"input/data/{name}")
    code = job.base / "code"
    argv = classic.command(str(job.python), job.entry_point, [p.name for p in code.iterdir()])
    argv += classic.arguments(job.hyperparameters)
    ended = stage.run(argv, classic.environment(setting), "code", on_line, cancel)
    failure = _first(job.base / "output" / "failure")
    if ended.code != 0 and not ended.stopped and not failure:
        report = f'ExecuteUserScriptError:\nExitCode {ended.code}\nErrorMessage ""\nCommand "{" ".join(argv)}"'
        _leave(job.base / "output" / "failure", report)
    stage.judge(ended, failure)
    if not any(p.is_file() for p in (job.base / "model").rglob("*")):
        said = f"{job.entry_point} ended well but left no file in the model folder"
        raise StepFailed(said, where=job.name, next="save the model under os.environ['SM_MODEL_DIR']", log_tail=ended.tail)
    _leave(job.base / "output" / "success", "")
    return stage.outcome(ended)


def process(
    job: StepJob,
    arguments: Sequence[str],
    inputs: Mapping[str, Path],
    outputs: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cancel: threading.Event | None = None,
) -> StepOutcome:
    """Run a processing script: inputs at processing/input/<name>, outputs at processing/output/<name> (made before), cwd `/`.

    The outcome's output_dir is the folder of the outputs. `job.channels` and `job.hyperparameters` are not used: they belong to
    training. Raises as `train` does; the first 1,024 characters of output/message become the reason of a failure.
    """
    if len(arguments) > 100 or any(len(a) > 256 or "\0" in a for a in arguments):
        raise BadInput("a processing step takes up to 100 arguments of up to 256 characters", where=f"{job.name}.arguments")
    if len(inputs) > 10 or "code" in inputs:
        raise BadInput("a processing step takes up to 10 inputs, none of them named `code`", where=job.name)
    classic.check({}, [*inputs, *outputs])
    stage = _Stage(job)
    stage.prepare(job.base / "processing" / "input" / "code")
    for name, path in inputs.items():
        stage.show(path, f"processing/input/{name}")
    for name in outputs:
        (job.base / "processing" / "output" / name).mkdir(parents=True)
    facts = {"ProcessingJobName": job.run_id, "AppSpecification": {"ContainerArguments": list(arguments)}}
    _write_json(job.base / "config", {"processingjobconfig.json": facts, "resourceconfig.json": classic.resource_config()})
    script = f"{stage.root}/processing/input/code/{job.entry_point}"
    argv = [str(job.python) if job.entry_point.endswith(".py") else "/bin/sh", script, *arguments]
    ended = stage.run(argv, {PROCESSING: f"{stage.root}/processing"}, "", on_line, cancel)
    stage.judge(ended, _first(job.base / "output" / "message"))
    return stage.outcome(ended, output_dir=job.base / "processing" / "output")


def kill_leftover(base: Path) -> int:
    """Kill what a killed owner left of the step in `base`; the number of processes killed."""
    return processes.kill_leftover(base / processes.RECORD)


class _Stage:
    """The folders, mounts and environment of one run."""

    def __init__(self, job: StepJob) -> None:
        self._job = job
        self._sandbox = sandbox.available() if job.sandboxed else None
        if not job.network and self._sandbox is None:
            hint = "install bubblewrap, or set `train.network_isolation: false`"
            raise BadInput("a step without a network needs the sandbox, which is not available here", where=job.name, next=hint)
        self.root = ML if self._sandbox else str(job.base.absolute())
        self._read_only: dict[Path, str] = {}

    def prepare(self, code: Path) -> None:
        """An empty base with the contract's folders, and the job's code in `code`."""
        job = self._job
        if not (job.code / job.entry_point).is_file():
            raise NotFound(f"there is no {job.entry_point} in the code", where=f"{job.name}.entry_point")
        kill_leftover(job.base)
        if job.base.exists():
            shutil.rmtree(job.base)
        for name in (*_FOLDERS, "input/config", "input/data", "output/data", "output/intermediate", "processing/input", "tmp"):
            (job.base / name).mkdir(parents=True, exist_ok=True)
        shutil.copytree(job.code, code, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for path in [code, *code.rglob("*")]:
            # a snapshot of the code is read-only; SageMaker's is not, and commands are made executable
            path.chmod(0o755)

    def show(self, path: Path, place: str) -> None:
        """Let the step read `path`, a folder or a file put into a folder, at `place` of /opt/ml."""
        if not path.exists():
            raise NotFound(f"the input {place.rpartition('/')[2]} is not there", where=self._job.name)
        inside = self._job.base / place
        if path.is_file():
            inside, place = inside / path.name, f"{place}/{path.name}"
        inside.parent.mkdir(parents=True, exist_ok=True)
        if self._sandbox:
            self._read_only[path.absolute()] = f"{ML}/{place}"
        else:
            inside.symlink_to(path.absolute())

    def run(
        self,
        argv: list[str],
        contract: Mapping[str, str],
        cwd: str,
        on_line: Callable[[str], None],
        cancel: threading.Event | None,
    ) -> processes.Ended:
        job = self._job
        here = job.base / cwd
        if self._sandbox:
            # folder by folder, so that the step can reach neither its record nor its log
            binds = {job.base.absolute() / name: f"{ML}/{name}" for name in _FOLDERS}
            binds[job.base.absolute() / "tmp"] = "/tmp"  # noqa: S108  (the sandbox's own)
            argv = sandbox.wrap(
                argv,
                binds=binds,
                read_only=sandbox.python_mounts(job.python) | self._read_only,
                network=job.network,
                cwd=f"{ML}/{cwd}" if cwd else "/",
                die_with_parent=True,
            )
            here = job.base
        try:
            return processes.run(
                argv,
                env={**self._environment(), **contract},
                cwd=here,
                timeout=job.timeout,
                log=job.base / "step.log",
                record=job.base / processes.RECORD,
                on_line=on_line,
                cancel=cancel,
            )
        except OSError as exc:
            if exc.errno != 7:  # E2BIG: one variable, SM_TRAINING_ENV, holds all hyperparameters
                raise
            raise BadInput("the hyperparameters are too large together", where=job.name, next="put them into a file") from exc
        finally:
            shutil.rmtree(job.base / "tmp", ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        tmp = "/tmp" if self._sandbox else str((self._job.base / "tmp").absolute())  # noqa: S108  (the sandbox's own)
        caps = {name: str(self._job.cpus) for name in _THREADS} if self._job.cpus else {}
        caps.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count()))  # joblib cannot count cores without /sys, and warns at length
        return {
            "PATH": f"{self._job.python.absolute().parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": tmp,
            "TMPDIR": tmp,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",  # lines are seen when they are written
            "PYTHONHASHSEED": "0",  # the order of sets is the same when a version is reproduced
            **caps,
        }

    def judge(self, ended: processes.Ended, reason: str) -> None:
        """Raises StepFailed unless the step exited with 0."""
        job = self._job
        if ended.stopped == "timeout":
            said = f"{job.entry_point} ran longer than {job.timeout:g} s and was stopped"
            hint = "give it more time with `max_runtime`, or less to do"
        elif ended.stopped:
            said, hint = f"{job.entry_point} was cancelled", ""
        elif ended.code == 0:
            return
        else:
            said = f"{job.entry_point} exited with {ended.code}"
            said += " (killed by SIGKILL: often no memory was left)" if ended.code == 137 else ""
            said += f": {reason.strip()}" if reason.strip() else ""
            hint = f"the whole log is {job.base / 'step.log'}"
            if self._sandbox is None and any(ML in line for line in ended.tail):
                hint = f"without a sandbox there is no {ML}: take folders from SM_MODEL_DIR, SM_CHANNEL_TRAIN, {PROCESSING}"
        raise StepFailed(said, where=job.name, next=hint, log_tail=ended.tail)

    def outcome(self, ended: processes.Ended, *, output_dir: Path | None = None) -> StepOutcome:
        base = self._job.base
        return StepOutcome(ended.seconds, self._sandbox, base / "step.log", base / "model", output_dir or base / "output")


def _write_json(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _leave(path: Path, text: str) -> None:
    """Write a file into a folder that the step could fill: never through a link it may have left there."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)


def _first(path: Path) -> str:
    """The first characters of a message that the step left, if it is a plain file."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(4 * REASON).decode("utf-8", "replace")[:REASON]
