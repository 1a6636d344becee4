"""Runners in their sandbox: the one way a model is loaded, for an endpoint, a hold-out, a batch. User code runs nowhere else."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.build import sandbox
from modelyard.build.warm import Warm
from modelyard.home import scratch_prefix
from modelyard.serve import runner
from modelyard.serve.processes import Child

LOAD_SECONDS = 300.0
"""How long a model may take to load."""
MODEL, CODE, PROGRAM = "/opt/ml/model", "/opt/ml/code", "/opt/program"
"""Where model and code lie in the sandbox: SageMaker's places, that of a container of one's own (`custom`) for its code included."""


@dataclass(frozen=True)
class Loadable:
    """What a runner needs to hold a model, bundled or not yet. `home` is the yard's, where the runtime is installed.

    `options` are the runner's further arguments (content-type, accept, pre, post), `environment` its further variables.
    """

    model: Path
    code: Path
    entry_point: str
    signature: Path
    framework: str
    python: Path
    home: Path
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)


def start(what: Loadable, socket: Path, log: Path, warm: Warm | None = None, example: Path | None = None) -> Child:
    """Start a runner that will listen on `socket`, in a folder of its own. Then `runner.wait_ready`. Raises StepFailed.

    `example` is a file beside the socket (`runner.write_example`) that it predicts before it listens.

    In the sandbox it sees its model, its code, its environment and its socket's folder, and a network of its own with nobody else in
    it. Without a sandbox it runs plainly, which is for one's own code on one's own machine. `warm` is an interpreter to fork it from.
    """
    runtime = runner.install_runtime(what.home)
    model, code, env = str(what.model), str(what.code), dict(what.environment)
    wrap: Callable[[list[str]], list[str]] = list
    if sandbox.available():
        model, code = MODEL, PROGRAM if what.framework == "custom" else CODE
        shown = {what.model: model, what.code: code, what.signature: str(what.signature), runtime: str(runtime)}
        view = sandbox.View(
            binds={socket.parent: str(socket.parent)},
            read_only={
                **{path: place for path, place in shown.items() if path.exists()},  # a brought model has no code
                **sandbox.python_mounts(what.python),
            },
            cwd=str(runtime),
            die_with_parent=False,  # it would die with the thread that starts it; end of standard input ends it instead
        )
        wrap = functools.partial(warm.wrap if warm is not None and not what.environment else sandbox.wrap, view=view)
        env["MODELYARD_SANDBOXED"] = "1"  # for a server that listens on a port: it may have any
    elif what.code.is_dir():  # from a copy: Python keeps what it compiles beside the code, and a bundle must stay as it was sealed
        code = str(shutil.copytree(what.code, socket.parent / "code", dirs_exist_ok=True))
    return runner.spawn_runner(
        python=what.python,
        runtime=runtime,
        model_dir=Path(model),
        code_dir=Path(code),
        entry_point=what.entry_point or None,
        signature=what.signature,
        framework=what.framework,
        socket_path=socket,
        log=log,
        options={**what.options, **({} if example is None else {"example": str(example)})},
        wrap=wrap,
        env={"SM_MODEL_DIR": model, **env},
    )


@contextmanager
def running(what: Loadable, log: Path, warm: Warm | None = None) -> Iterator[Path]:
    """A runner for as long as the block lasts; yields its socket. Raises StepFailed, with its last lines, where the model cannot load."""
    prefix = scratch_prefix(what.home)
    folder = Path(tempfile.mkdtemp(dir=warm.scratch) if warm is not None else tempfile.mkdtemp(prefix=prefix))
    try:
        child = start(what, folder / "runner.sock", log, warm)
        try:
            runner.wait_ready(folder / "runner.sock", LOAD_SECONDS, child)
            yield folder / "runner.sock"
        finally:
            child.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
