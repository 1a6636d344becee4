"""Where a step runs: its folders, which become /opt/ml, what it may see of the machine, and its processes, on one host or several.

In a sandbox the folders really are /opt/ml/..., so a script that hard-codes them runs unchanged. Without one they are `base`,
and the SM_ variables say so; code that names /opt/ml itself is then refused before it runs. A step sees none of the owner's
environment: PATH, HOME, LANG, TMPDIR, the contract's variables, its own and caps on threads are all there is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from modelyard.build import ask, crew, literals, processes, sandbox
from modelyard.build.dialect import HOST, MASTER_PORT
from modelyard.build.step import ScriptFailed, StepJob
from modelyard.errors import BadInput, NotFound
from modelyard.runtime import missing

ML, SHIMS = literals.ML, "/opt/modelyard/shims"
PROCESSING = "MODELYARD_PROCESSING_DIR"
"""Says where /opt/ml/processing is, for scripts that also run where there is no sandbox. No part of SageMaker's contract."""
KEPT, METRICS = "checkpoints", "metrics.json"
"""What an earlier try of the same job leaves to the next, and what was read off the log of all of them."""
PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where a step finds programs beside those of its environment."""
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "LOKY_MAX_CPU_COUNT",
)  # fmt: skip
_FOLDERS = ("code", "config", "input", "model", "output", KEPT, "processing")
_OTHERS = "hosts"
REASON = 1024


class Command(NamedTuple):
    """What runs on a host: a command line, and the contract's variables for it."""

    argv: list[str]
    variables: Mapping[str, str]


@functools.cache
def shims() -> Path:
    """The folder of the stand-ins for SageMaker's own Python packages."""
    from modelyard.runtime import shims as package

    return Path(next(iter(package.__path__)))


class _Member(TypedDict):
    """A host as build/crew.py wants it."""

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: str


def _as_it_began(job: StepJob) -> bool:
    """Whether a warm interpreter began as this job would: with its variables, which libraries read while they are imported."""
    return job.within == "auto" and job.instances == 1 and not job.cpus and not job.environment


def variables(python: Path, tmp: str, cpus: int = 0) -> dict[str, str]:
    """The environment that every step has, before its contract's variables; nothing of the owner's."""
    caps = {name: str(cpus) for name in _THREADS} if cpus else {}
    caps.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count()))  # joblib cannot count cores without /sys, and warns at length
    return {
        "PATH": f"{python.absolute().parent}:{PATH}",
        "HOME": tmp,
        "TMPDIR": tmp,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # lines are seen when they are written
        "PYTHONHASHSEED": "0",  # the order of sets is the same when a version is reproduced
        **caps,
    }


class Stage:
    """The folders, mounts and environment of one try of a job."""

    def __init__(self, job: StepJob) -> None:
        self.job = job
        self._sandbox = job.warm if job.warm is not None and _as_it_began(job) else sandbox.find(job.within)
        if self._sandbox is None:
            hint = "install bubblewrap, or let users have namespaces"
            if not job.network:
                said = "a step without a network needs a sandbox, which is not available here"
                raise BadInput(said, where=job.name, next=f"{hint}; or set `network_isolation: false`")
            if job.instances > 1:
                raise BadInput("training on several hosts needs a sandbox, which is not available here", where=job.name, next=hint)
        self.hosts = [f"algo-{i + 1}" for i in range(job.instances)]
        self._said = self._sandbox.said if self._sandbox else None
        self.root = ML if self._sandbox else str(job.base.absolute())
        self.shims = SHIMS if self._sandbox else str(shims())
        self._read_only: dict[Path, tuple[str, ...]] = {shims(): (SHIMS,)}

    @property
    def said(self) -> str | None:
        """What it runs in, by name; None where it runs plainly."""
        return self._said

    def base(self, host: str = HOST) -> Path:
        """What is /opt/ml on a host."""
        return self.job.base if host == HOST else self.job.base / _OTHERS / host

    def prepare(self, code: str, *, keep: bool = False) -> None:
        """A base for each host with the contract's folders, empty but for checkpoints to `keep`, and the job's code in `code`."""
        job = self.job
        if not (job.code / job.entry_point).is_file():
            raise NotFound(f"there is no {job.entry_point} in the code", where=f"{job.name}.entry_point")
        if self._sandbox is None and (found := literals.hard_coded(job.code)) is not None:
            hint = f"take folders from SM_MODEL_DIR, SM_CHANNEL_TRAIN, {PROCESSING}; or install bubblewrap, or let users have namespaces"
            raise BadInput(f"the code names {ML}, which cannot be made here without a sandbox", where=f"{found[0]}:{found[1]}", next=hint)
        processes.kill_leftover(job.base / processes.RECORD)
        _empty(job.base, keep=keep)
        for host in self.hosts:
            base = self.base(host)
            for name in (*_FOLDERS, "input/config", "input/data", "output/data", "output/intermediate", "processing/input", "tmp"):
                (base / name).mkdir(parents=True, exist_ok=True)
            shutil.copytree(job.code, base / code, dirs_exist_ok=True, copy_function=shutil.copyfile)
            for path in [base / code, *(base / code).rglob("*")]:
                # a snapshot of the code is read-only; SageMaker's is not, and commands are made executable
                path.chmod(0o755)

    def show(self, path: Path, place: str) -> None:
        """Let the step read `path`, a folder or a file put into a folder, at `place` of /opt/ml."""
        if not path.exists():
            raise NotFound(f"the input {place.rpartition('/')[2]} is not there", where=self.job.name)
        place = f"{place}/{path.name}" if path.is_file() else place
        for host in self.hosts:
            inside = self.base(host) / place
            inside.parent.mkdir(parents=True, exist_ok=True)
            if self._sandbox is None:
                inside.symlink_to(path.absolute())
        if self._sandbox:
            self._read_only[path.absolute()] = (*self._read_only.get(path.absolute(), ()), f"{ML}/{place}")

    def copy(self, path: Path, place: str) -> None:
        """As `show`, but a copy that the step may write to, merged with what is there already; links stay links."""
        if not path.exists():
            raise NotFound(f"the input {place.rpartition('/')[2]} is not there", where=self.job.name)
        for host in self.hosts:
            inside = self.base(host) / place
            inside.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                shutil.copyfile(path, inside / path.name)
                continue
            shutil.copytree(path, inside, symlinks=True, dirs_exist_ok=True, copy_function=shutil.copyfile)
            for copied in [inside, *inside.rglob("*")]:
                if not copied.is_symlink():
                    copied.chmod(0o755)

    def write(self, files: Mapping[str, Any], host: str = HOST) -> None:
        """JSON files, by their path below /opt/ml."""
        for name, content in files.items():
            path = self.base(host) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")

    def master_port(self) -> int:
        """The rendezvous port of SageMaker's, or another where something else of this machine has it."""
        if len(self.hosts) == 1 or not self.job.network:
            return MASTER_PORT
        for port in (MASTER_PORT, 0):
            with contextlib.suppress(OSError), socket.create_server(("", port)) as tried:
                return int(tried.getsockname()[1])
        return MASTER_PORT

    def run(
        self,
        commands: Mapping[str, Command],
        cwd: str,
        timeout: float,
        on_line: Callable[[str], None],
        cancel: threading.Event | None,
        beyond: Callable[[str], None] = lambda line: None,
    ) -> processes.Ended:
        """Run a command line with its variables on each host, in the folder `cwd` of /opt/ml (empty: `/`, as processing has it)."""
        job = self.job
        single = len(commands) == 1
        hosts = [self._member(host, command, cwd) for host, command in commands.items()]
        first, argv = hosts[0], hosts[0]["argv"]
        if not single:
            plan = job.base / "crew.json"
            plan.touch(mode=0o600)
            plan.write_text(json.dumps({"hosts": hosts, "result": str(self._result), "mark": processes.TOKEN}), encoding="utf-8")
            argv = [sys.executable, "-I", "-S", crew.__file__, str(plan)]
            argv = argv if job.network else sandbox.cut_off(argv)
        try:
            return processes.run(
                argv,
                env=first["env"] if single else self._environment(HOST),
                cwd=Path(first["cwd"]) if single else job.base,
                timeout=timeout,
                log=job.base / "step.log",
                record=job.base / processes.RECORD,
                on_line=on_line,
                cancel=cancel,
                beyond=beyond,
            )
        except OSError as exc:
            if exc.errno != 7:  # E2BIG: one variable, SM_TRAINING_ENV, holds all hyperparameters
                raise
            raise BadInput("the hyperparameters are too large together", where=job.name, next="put them into a file") from exc
        finally:
            for host in self.hosts:
                shutil.rmtree(self.base(host) / "tmp", ignore_errors=True)

    def _member(self, host: str, command: Command, cwd: str) -> _Member:
        return {
            "name": host,
            "argv": self._wrapped(host, command.argv, cwd),
            "env": {**self._environment(host), **self.job.environment, **command.variables},
            "cwd": str(self.base(host) if self._sandbox else self.base(host) / cwd),
        }

    def _wrapped(self, host: str, argv: list[str], cwd: str) -> list[str]:
        if self._sandbox is None:
            return argv
        base = self.base(host).absolute()
        names = self.job.base.absolute() / f"etc-hosts-{host}"
        names.write_text(self._names(), encoding="utf-8")
        # folder by folder, so that the step can reach neither its record nor its log
        binds = {base / name: f"{ML}/{name}" for name in _FOLDERS if name != KEPT}
        binds |= {self.job.base.absolute() / KEPT: f"{ML}/{KEPT}", base / "tmp": "/tmp"}  # noqa: S108  (the sandbox's own)
        view = sandbox.View(
            binds=binds,
            read_only={**sandbox.python_mounts(self.job.python), **self._read_only, names: "/etc/hosts"},
            network=self.job.network or len(self.hosts) > 1,  # several share one that is cut off as a whole
            cwd=f"{ML}/{cwd}" if cwd else "/",
            hostname=host,
        )
        wrapped = self._sandbox.wrap(argv, view)
        if self._sandbox is self.job.warm and ask.__file__ not in wrapped:  # it could not be forked
            self._said = getattr(sandbox.find(self.job.within), "said", None)
        return wrapped

    def _names(self) -> str:
        """/etc/hosts: ours at loopback addresses of this job's own, then the machine's."""
        if len(self.hosts) == 1:
            lines = [f"127.0.0.1 localhost {HOST}"]
        else:
            a, b = hashlib.sha256(str(self.job.base.absolute()).encode()).digest()[:2]
            lines = ["127.0.0.1 localhost", *(f"127.{1 + a % 254}.{b}.{i + 1} {host}" for i, host in enumerate(self.hosts))]
        with contextlib.suppress(OSError):
            lines.append(Path("/etc/hosts").read_text(encoding="utf-8", errors="replace"))
        return "\n".join(lines) + "\n"

    def _environment(self, host: str) -> dict[str, str]:
        tmp = "/tmp" if self._sandbox else str((self.base(host) / "tmp").absolute())  # noqa: S108  (the sandbox's own)
        return variables(self.job.python, tmp, self.job.cpus)

    @property
    def _result(self) -> Path:
        return self.job.base / "crew.result"

    def failed_host(self) -> str:
        """The host that failed first."""
        try:
            return str(json.loads(self._result.read_text(encoding="utf-8"))["host"])
        except (OSError, ValueError, KeyError):
            return HOST

    def judge(self, ended: processes.Ended, reason: str, exit_code: int) -> None:
        """Raises ScriptFailed unless the step exited with 0."""
        job = self.job
        if ended.stopped == "timeout":
            said = f"{job.entry_point} ran longer than {job.timeout:g} s and was stopped"
            hint = "give it more time with `max_runtime`, or less to do"
        elif ended.stopped:
            said, hint = f"{job.entry_point} was cancelled", ""
        elif ended.code == 0:
            return
        else:
            host = f" on {self.failed_host()}" if len(self.hosts) > 1 else ""
            said = f"{job.entry_point} exited with {ended.code}{host}"
            said += " (killed by SIGKILL: often no memory was left)" if ended.code == 137 else ""
            said += f": {reason.strip()}" if reason.strip() else ""
            hint = f"the whole log is {job.base / 'step.log'}"
            if (lacking := missing.in_log(ended.tail)) is not None:
                hint = lacking
            elif self._sandbox is None and any(ML in line for line in ended.tail):
                hint = f"without a sandbox there is no {ML}: take folders from SM_MODEL_DIR, SM_CHANNEL_TRAIN, {PROCESSING}"
        stopped = bool(ended.stopped)
        raise ScriptFailed(
            said, where=job.name, next=hint, log_tail=ended.tail, script_code=ended.code, exit_code=exit_code, stopped=stopped
        )


def _empty(base: Path, *, keep: bool) -> None:
    for path in base.iterdir() if base.exists() else ():
        if path.is_dir() and not path.is_symlink():
            if not (keep and path.name == KEPT):
                shutil.rmtree(path)
        elif not (keep and path.name == METRICS):
            path.unlink()
    base.mkdir(parents=True, exist_ok=True)


def first(path: Path) -> str:
    """The first characters of a message that the step left, if it is a plain file."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(4 * REASON).decode("utf-8", "replace")[:REASON]


def leave(path: Path, text: str) -> None:
    """Write a file into a folder that the step could fill: never through a link it may have left there."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)


def files_in(folder: Path) -> Sequence[Path]:
    """Every file below a folder."""
    return [p for p in folder.rglob("*") if p.is_file()]
