"""Training under SageMaker's contract: a script, run in its environment and watched to its end. (Processing: build/processing.py.)"""

from __future__ import annotations

import ast
import configparser
import filecmp
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelyard.build import classic, dialect, merging, metrics, processes, v3
from modelyard.build.dialect import Dialect, Setting
from modelyard.build.processing import process
from modelyard.build.stage import KEPT, METRICS, PROCESSING, Command, Stage, files_in, first, leave
from modelyard.build.step import ScriptFailed, StepJob, StepOutcome
from modelyard.errors import BadInput, StepFailed

__all__ = ["PROCESSING", "ScriptFailed", "StepJob", "StepOutcome", "kill_leftover", "process", "train"]

DIALECTS: Mapping[str, Dialect] = {"classic": classic, "v3": v3}


def train(job: StepJob, on_line: Callable[[str], None], *, cancel: threading.Event | None = None) -> StepOutcome:
    """Run a training script under its dialect of the contract; call and wait in one thread (see build/processes.py).

    A script that exits other than with 0 is begun again up to `job.retries` times, within the time that is left, and finds what it
    left in /opt/ml/checkpoints; a line says so. output/success or output/failure is written as the dialect's toolkit does. Of several
    hosts the contents of /opt/ml/model and /opt/ml/output/data are put together, as SageMaker does. Where /opt/ml/model is left empty,
    what the script left at `job.model_path` is the model.

    Raises BadInput for a job beyond the contract's limits or a sandbox that is needed and absent, NotFound for a missing entry point,
    and StepFailed, with the last lines, when the script fails for good, runs too long, is cancelled, or leaves no file in the model
    folder.
    """
    speaks = DIALECTS[job.contract]
    dialect.check(job.hyperparameters, list(job.channels))
    if taken := sorted(set(job.channels) & set(speaks.RESERVED)):
        raise BadInput(f"a channel cannot be named `{taken[0]}`: the dialect {job.contract} has one of that name", where=job.name)
    job.base.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []

    def tell(said: str) -> None:
        notes.append(said)
        on_line(f"{metrics.OURS}{said}")

    recorder = metrics.Recorder(job.metrics, job.base / METRICS, tell)
    try:
        return _tries(job, speaks, on_line, cancel, recorder, notes)
    finally:
        recorder.stop()


def _tries(
    job: StepJob,
    speaks: Dialect,
    on_line: Callable[[str], None],
    cancel: threading.Event | None,
    recorder: metrics.Recorder,
    notes: list[str],
) -> StepOutcome:
    """Train, as often as it may be begun again. Raises as `train` does."""
    began = time.monotonic()

    def hear(line: str) -> None:
        recorder.hear(line)
        on_line(line)

    for again in range(job.retries + 1):
        left = job.timeout - (time.monotonic() - began)
        recorder.begin()
        try:
            outcome = _try(job, speaks, left, hear, cancel, recorder.glimpse)
        except ScriptFailed as exc:
            if exc.stopped or again == job.retries:
                raise
            kept = len(files_in(job.base / KEPT))
            notes.append(f"begun again after {exc.what}")
            said = f"{exc.what}; begun again (retry {again + 1} of {job.retries}), with {kept} checkpoint files"
            on_line(f"{metrics.OURS}{said}")
        else:
            recorder.close()
            return replace(outcome, metrics=recorder.last, notes=(*notes, *outcome.notes))
    raise AssertionError("the last try returns or raises")


def _try(
    job: StepJob,
    speaks: Dialect,
    timeout: float,
    on_line: Callable[[str], None],
    cancel: threading.Event | None,
    beyond: Callable[[str], None],
) -> StepOutcome:
    """One try of training. Raises as `train` does."""
    stage = Stage(job)
    stage.prepare(speaks.CODE, keep=True)
    code, port = job.base / speaks.CODE, stage.master_port()
    files, roots = [p.name for p in code.iterdir()], package_roots(code)
    commands: dict[str, Command] = {}
    for host in stage.hosts:
        setting = Setting(
            job_name=job.run_id,
            entry_point=job.entry_point,
            hyperparameters=job.hyperparameters,
            channels=list(job.channels),
            base=stage.root,
            cpus=job.cpus,
            framework_module=job.framework_module,
            host=host,
            hosts=stage.hosts,
            master_port=port,
            shims=stage.shims,
            roots=roots,
            arguments=job.arguments,
            bare=dialect.bare(job.entry_point, files),
        )
        stage.write(speaks.config_files(setting), host)
        commands[host] = Command(speaks.command(str(job.python), setting, files), speaks.environment(setting))
    for name, path in job.channels.items():
        stage.show(path, f"input/data/{name}")
    ended = stage.run(commands, speaks.CODE, timeout, on_line, cancel, beyond)
    failed = stage.base(stage.failed_host()) / "output" / "failure"
    failure = first(failed)
    if ended.code != 0 and not ended.stopped and not failure:
        leave(failed, speaks.failure(ended.code, commands[stage.failed_host()].argv))
    stage.judge(ended, failure, speaks.exit_code(ended.code))
    notes = []
    for folder in ("model", "output", "output/data"):
        if any((stage.base(host) / folder).is_symlink() for host in stage.hosts):
            said = f"{job.entry_point} left a link at /opt/ml/{folder}, which could lead out of the step"
            raise StepFailed(said, where=job.name, next="leave a folder there", log_tail=ended.tail)
    for folder in ("model", "output/data"):
        clashes = merging.merge(job.base / folder, [stage.base(host) / folder for host in stage.hosts[1:]])
        notes += [_clash(folder, clashes)] if clashes else []
    if not files_in(job.base / "model") and not _taken_over(job, code):
        said = f"{job.entry_point} ended well but left no file in the model folder"
        said += f", and no new one at {job.model_path}" if job.model_path else ""
        hint = "save the model under os.environ['SM_MODEL_DIR'], or say with `train.model_path` where the script leaves it"
        raise StepFailed(said, where=job.name, next=hint, log_tail=ended.tail)
    leave(job.base / "output" / "success", "")
    return StepOutcome(ended.seconds, stage.said, job.base / "step.log", job.base / "model", job.base / "output", notes=tuple(notes))


def _taken_over(job: StepJob, code: Path) -> bool:
    """Put what the script left at `model_path` into the model folder; whether it left anything. What was among the code before it
    ran, and is as it was, is not its work."""
    left = code / job.model_path
    if not job.model_path or not left.exists() or not left.resolve().is_relative_to(code.resolve()):
        return False
    known = {path: job.code / path.relative_to(code) for path in ([left] if left.is_file() else files_in(left))}
    if all(before.is_file() and filecmp.cmp(path, before, shallow=False) for path, before in known.items()):
        return False
    if left.is_file():
        shutil.copyfile(left, job.base / "model" / left.name)
    else:
        shutil.copytree(left, job.base / "model", symlinks=True, dirs_exist_ok=True)
    return True


def _clash(folder: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"several hosts wrote {', '.join(names[:3])}{more} in /opt/ml/{folder}, not the same: algo-1's was kept"


def package_roots(code: Path) -> tuple[str, ...]:
    """Folders of the code, relative to it, that modules are imported from where the code is a package: itself and the `package_dir` of
    its setup.py or setup.cfg, so that it is found as if `pip install .` had been run. (It is not: no metadata, no console scripts,
    no compiled extensions; what it requires is in the lock.)"""
    found = [""]
    if (code / "setup.py").is_file():
        found += [root for root in (*_from_setup_py(code / "setup.py"), *_from_setup_cfg(code / "setup.cfg")) if (code / root).is_dir()]
    return tuple(dict.fromkeys(root for root in found if ".." not in Path(root).parts and not Path(root).is_absolute()))


def _from_setup_py(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    said = [k.value for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords if k.arg == "package_dir"]
    return [
        value.value
        for found in said
        if isinstance(found, ast.Dict)
        for key, value in zip(found.keys, found.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "" and isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]


def _from_setup_cfg(path: Path) -> list[str]:
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(path, encoding="utf-8")
        lines = settings.get("options", "package_dir", fallback="").splitlines()
    except (configparser.Error, UnicodeDecodeError):
        return []
    return [line.partition("=")[2].strip() for line in lines if not line.partition("=")[0].strip() and "=" in line]


def kill_leftover(base: Path) -> int:
    """Kill what a killed owner left of the step in `base`; the number of processes killed."""
    return processes.kill_leftover(base / processes.RECORD)
