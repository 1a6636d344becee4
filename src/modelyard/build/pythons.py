"""The Python interpreters of this machine. None is ever downloaded."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import NotFound

OLDEST = (3, 9)
"""What runs in a model's environment of ours needs at least this."""
_ASK = """
import json, platform, sys
print(json.dumps([sys.implementation.name, platform.python_version(), sys.platform, platform.machine()]))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter: its program and what packages are chosen by. `version` is whole, such as 3.11.7."""

    program: Path
    implementation: str
    version: str
    system: str
    machine: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])

    @property
    def facts(self) -> tuple[str, ...]:
        return self.implementation, self.version, self.system, self.machine


def own() -> Python:
    """The platform's own."""
    import platform

    return Python(Path(sys.executable), sys.implementation.name, platform.python_version(), sys.platform, platform.machine())


def find(pin: str | None) -> Python:
    """The interpreter of version `pin` (`3.10`), by default the platform's own.

    Looked for on PATH, among pyenv's and among those that uv knows. Raises NotFound, listing those that there are.
    """
    mine = own()
    if pin is None or pin == mine.minor:
        return mine
    hint = "install it, or name another in `train.python`; none is downloaded"
    if tuple(map(int, pin.split("."))) < OLDEST:
        raise NotFound(f"Python {pin} is too old: a model's runner needs {'.'.join(map(str, OLDEST))}", where="train.python", next=hint)
    for found in _all(pin):
        if found.minor == pin:
            return found
    there = sorted({found.version for found in (mine, *_all(None)) if _numbers(found.version)[:2] >= [*OLDEST]}, key=_numbers)
    raise NotFound(f"there is no Python {pin} on this machine, only {', '.join(there)}", where="train.python", next=hint)


def _all(pin: str | None) -> Iterator[Python]:
    """Interpreters that answer; with a pin, quick places first and no other versions than it by name."""
    for program in dict.fromkeys((*_by_name(pin), *_of_pyenv(pin), *_of_uv(pin))):
        if (found := _asked(program)) is not None:
            yield found


def _by_name(pin: str | None) -> Iterator[Path]:
    for name in [f"python{pin}"] if pin else [f"python3.{minor}" for minor in range(OLDEST[1], 20)]:
        if (found := shutil.which(name)) is not None:
            yield Path(found)


def _of_pyenv(pin: str | None) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser() / "versions"
    found = [folder / "bin" / "python" for folder in root.glob(f"{pin or '3'}.*")]
    return sorted((path for path in found if path.exists()), key=lambda path: _numbers(path.parts[-3]), reverse=True)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _of_uv(pin: str | None) -> Iterator[Path]:
    import uv

    argv = [uv.find_uv_bin(), "python", "list", *([pin] if pin else []), "--only-installed", "--output-format", "json"]
    argv += ["--no-python-downloads", "--no-project"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL).stdout
        yield from (Path(item["path"]) for item in json.loads(said))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return


@functools.lru_cache(maxsize=256)
def _asked(program: Path) -> Python | None:
    """What a program says of itself; None for one that is no working interpreter (pyenv's shims of versions not chosen)."""
    try:
        argv = [str(program), "-I", "-S", "-c", _ASK]
        said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL).stdout
        return Python(program, *json.loads(said))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None
