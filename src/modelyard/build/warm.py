"""A warm interpreter for the Python steps of one build: imports are paid once, and each step is a fork (runtime/zygote.py)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from modelyard.build import ask, enter, sandbox
from modelyard.build.forerunner import Forerunner
from modelyard.runtime import interpreter, zygote

SAID = "namespaces of its own, forked from a warm interpreter"
_INSIDE = "/opt/modelyard"
_QUIET = {"OPENBLAS_THREAD_TIMEOUT": "20"}
"""For the import alone, of which no script sees it: the threads of OpenBLAS, begun as it is loaded and anew in a fork, wait for work for
2^20 cycles of the processor, and then sleep. By themselves they would turn for 2^26 of them each time, on a core that others need."""


class Asked(TypedDict):
    """What an interpreter was begun with, but for the folders of its run."""

    python: str
    modules: list[str]
    environment: dict[str, str]
    read_only: list[str]
    program: list[str] | None


class Warm:
    """Starts at once, in the background. `wrap` has the form of `sandbox.wrap`, so that a step runs in it as in any sandbox.

    `shown` are the folders of the build that its steps may be given parts of, `environment` the variables that every step has: what a
    library reads while it is imported must not differ. `read_only` are folders of the platform's that steps see and nobody may write
    to, whatever is imported. `program`, a folder and a module in it, is one of the platform's own that will be forked too, as
    `-m module` in that folder: what it imports from there is imported beforehand, where no script sees it. `scratch` is a folder with a
    short path that is shown too; its name begins with `prefix`. `forerunner` is one that was begun for it, and this one's to close. What
    cannot be forked (another interpreter, another language, a source outside `shown`) goes into a sandbox the usual way, and so does
    everything once the zygote is gone.
    """

    def __init__(
        self,
        python: Path,
        modules: Iterable[str],
        shown: Iterable[Path],
        environment: Mapping[str, str],
        log: Path,
        *,
        read_only: Iterable[Path] = (),
        program: tuple[str, str] | None = None,
        prefix: str = "modelyard-warm-",
        forerunner: Forerunner | None = None,
    ) -> None:
        self.said, modules, read_only = SAID, list(modules), list(read_only)
        self.asked = Asked(
            python=str(python),
            modules=modules,
            environment=dict(environment),
            read_only=[str(path.absolute()) for path in read_only],
            program=list(program) if program else None,
        )
        self._python, self._environment = python, dict(environment)
        self._folder = Path(tempfile.mkdtemp(prefix=prefix))
        os.mkfifo(self._folder / "warm.alive", 0o600)
        # whoever sweeps the home leaves a folder alone that has a reader
        self._alive = os.fdopen(os.open(self._folder / "warm.alive", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
        self.scratch = self._folder / "scratch"
        self._up = self.scratch / "up"
        own, others = [path.absolute() for path in (*shown, self.scratch)], [path.absolute() for path in read_only]
        self._shown = [*own, *others]
        for path in own:
            path.mkdir(parents=True, exist_ok=True)
        mine = {Path(str(one.__file__)): f"{_INSIDE}/{Path(str(one.__file__)).name}" for one in (zygote, interpreter, enter)}
        seen = {path: str(path) for path in others}
        view = sandbox.View({path: str(path) for path in own}, {**sandbox.python_mounts(python), **mine, **seen})
        # a fork has a /proc of its own only where none of this one is covered
        mounts = [mount for mount in sandbox.mounts(view, processes=True) if not mount[2].startswith("/proc/")]
        self._launcher = forerunner or Forerunner()
        self._launcher.listener.bind(str(self._folder / "socket"))
        self._launcher.listener.listen(64)
        plan = {
            "inside": _INSIDE,
            "mounts": mounts,
            "python": str(python),
            "environment": {**_QUIET, **self._environment},
            "modules": modules,
            "log": str(log),
            "socket": self._launcher.listener.fileno(),
            "program": self.asked["program"],
            "up": str(self._up),
        }
        self._launcher.tell(plan)

    def wrap(self, argv: list[str], view: sandbox.View) -> list[str]:
        """The command that runs `argv` in a fork; of what cannot be forked, as `sandbox.wrap` or `sandbox.enclose` have it."""
        usual = sandbox.find("auto")
        assert usual is not None  # else there would be no warm interpreter
        cold = usual.wrap(argv, view)
        if not self._can(argv, [*view.binds, *view.read_only]):
            return cold
        mounts = sandbox.mounts(view, processes=True)
        program = argv[1] == "-m" and [view.cwd, argv[2]] == self.asked["program"]
        request = {"argv": argv, "mounts": mounts, "network": view.network, "cwd": view.cwd, "hostname": view.hostname, "program": program}
        request["launcher"] = self._launcher.process.pid
        return [sys.executable, "-I", "-S", ask.__file__, str(self._folder / "socket"), json.dumps(request), *cold]

    def _can(self, argv: list[str], sources: Iterable[Path]) -> bool:
        python = set(sandbox.python_mounts(self._python))
        known = all(any(source.is_relative_to(shown) for shown in (*self._shown, *python)) for source in sources)
        script = len(argv) > 1 and (argv[1] in ("--", "-m") or not argv[1].startswith("-"))
        return known and script and argv[0] == str(self._python) and self.lives

    @property
    def lives(self) -> bool:
        return self._launcher.process.poll() is None

    @property
    def up(self) -> bool:
        """Whether its namespaces have been made, which may not be allowed here: `sandbox.own_processes` is so, too."""
        return self.lives and self._up.exists()

    def close(self) -> None:
        """End it, and everything that was forked from it."""
        self._launcher.close()
        self._alive.close()
        shutil.rmtree(self._folder, ignore_errors=True)
