"""Runners in their sandbox: the one way a model is loaded, for an endpoint, a hold-out, a batch. User code runs nowhere else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.build import sandbox
from modelyard.home import scratch_prefix
from modelyard.serve import runner
from modelyard.serve.processes import Child

LOAD_SECONDS = 300.0
"""How long a model may take to load."""


@dataclass(frozen=True)
class Loadable:
    """What a runner needs to hold a model, bundled or not yet. `home` is the yard's, where the runtime is installed."""

    model: Path
    code: Path
    entry_point: str
    signature: Path
    framework: str
    python: Path
    home: Path


def start(what: Loadable, socket: Path, log: Path) -> Child:
    """Start a runner that will listen on `socket`, in a folder of its own. Then `runner.wait_ready`. Raises StepFailed.

    In the sandbox it sees its model, its code, its environment and its socket's folder, and no network. Without a sandbox it runs
    plainly, which is for one's own code on one's own machine.
    """
    runtime = runner.install_runtime(what.home)
    seen = [path for path in (what.model, what.code, what.signature, runtime) if path.exists()]  # a brought model has no code
    prefix: list[str] = []
    if sandbox.available():
        prefix = sandbox.wrap(
            [],
            binds={socket.parent: str(socket.parent)},
            read_only={**{path: str(path) for path in seen}, **sandbox.python_mounts(what.python)},
            network=False,
            cwd=str(runtime),
            die_with_parent=False,  # it would die with the thread that starts it; end of standard input ends it instead
        )
    return runner.spawn_runner(
        python=what.python,
        runtime=runtime,
        model_dir=what.model,
        code_dir=what.code,
        entry_point=what.entry_point or None,
        signature=what.signature,
        framework=what.framework,
        socket_path=socket,
        log=log,
        prefix=prefix,
    )


@contextmanager
def running(what: Loadable, log: Path) -> Iterator[Path]:
    """A runner for as long as the block lasts; yields its socket. Raises StepFailed, with its last lines, where the model cannot load."""
    folder = Path(tempfile.mkdtemp(prefix=scratch_prefix(what.home)))
    try:
        child = start(what, folder / "runner.sock", log)
        try:
            runner.wait_ready(folder / "runner.sock", LOAD_SECONDS, child)
            yield folder / "runner.sock"
        finally:
            child.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
