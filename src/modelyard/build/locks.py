"""Locks: the exact versions that a model runs with, resolved by uv once and then kept while what they were made of is the same.

A lock is text for pip and uv, the bundle's env/requirements.lock: a first line that names the Python and the platform, then one pinned
package a line, sorted. It names no index, no host of one and no path. A lock that was made is used again for the same requirements on
the same platform until somebody asks for a new one (`modelyard build --refresh`): that an unpinned package has a newer release
changes no version by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from modelyard import files
from modelyard.build import installer, pythons
from modelyard.build import requirements as wants
from modelyard.errors import BadInput

DEFAULTS = {
    "sklearn": "scikit-learn\npandas\npyarrow\njoblib\n",
    "xgboost": "xgboost-cpu\nscikit-learn\npandas\npyarrow\n",
    "lightgbm": "lightgbm\nscikit-learn\npandas\npyarrow\n",
    "catboost": "catboost\npandas\npyarrow\n",
    "pytorch": "torch\nnumpy\npandas\npyarrow\n",
    "tensorflow": "tensorflow\npandas\npyarrow\n",
    "onnx": "onnxruntime\nnumpy\n",
    "mlflow": "mlflow\npandas\npyarrow\n",
    "r": "numpy\n",
    "custom": "numpy\n",
}
"""Requirements where the config names none, by framework. `xgboost-cpu` is the same release of the same people without NCCL (300 MB),
which only several GPUs need."""
_LOCAL = re.compile(r"([^ ;@+]+==[^ ;+]+)(\+[A-Za-z0-9._-]+)")
_HEAD = re.compile(r"# Python (\d+\.\d+), [^\n]+\n")


@dataclass(frozen=True)
class Lock:
    """A lock's text; `made` is when it was resolved (Unix seconds), `kept` whether that was before now."""

    text: str
    made: float
    kept: bool

    @property
    def packages(self) -> int:
        return sum(not line.startswith(("#", " ")) for line in self.text.splitlines())


def lock(
    requirements: Path | None,
    framework: str,
    home: Path,
    *,
    python: str | None = None,
    where: str = "train.requirements",
    refresh: bool = False,
    beside: Path | None = None,
) -> Lock:
    """The pinned versions of a requirements.txt or pyproject.toml (by default what `framework` needs), for Python `python` (3.11).

    `beside` is a requirements.txt in the script's own folder: where no other is named, it is locked together with what `framework` needs,
    as SageMaker's toolkits install it on top of what their container has.

    Raises NotFound for a missing file or interpreter, BadInput for what a lock cannot hold, with the file's line, and StepFailed with
    uv's own explanation when the requirements cannot be met together.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-lock-") as folder:
        if requirements is None:
            requirements = Path(folder) / "requirements.txt"
            also = f"-r {beside.absolute()}\n" if beside is not None and beside.is_file() else ""
            requirements.write_text(DEFAULTS[framework] + also, encoding="utf-8")
        wanted, interpreter = wants.read(requirements, where), pythons.find(python)
        kept = home / "locks" / f"{_key(wanted, interpreter)}.json"
        if not refresh and (found := _kept(kept)) is not None:
            _tell_indexes(found.text, wanted, home)
            return found
        made = Lock(_resolved(wanted, interpreter, Path(folder), where), time.time(), kept=False)
        _tell_indexes(made.text, wanted, home)
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.replace(kept, json.dumps({"lock": made.text, "made": made.made}).encode(), durable=False)
    return made


def python_of(text: str) -> str | None:
    """The Python that a lock was made for, such as 3.11; None for one that does not say."""
    head = _HEAD.match(text)
    return head[1] if head else None


def indexes(text: str, home: Path) -> str:
    """The lines of a requirements.txt that named this lock's indexes, as this home remembers them; the lock itself names none."""
    try:
        return _indexes(text, home).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _key(wanted: wants.Wanted, python: pythons.Python) -> str:
    """What a lock is made of: the files' content, the platform, and where packages are looked for."""
    env = os.environ
    places = {**installer.settings(env), **{k: v for k, v in env.items() if k.startswith("UV_") and k != "UV_CACHE_DIR"}}
    words = [wanted.path.name == "pyproject.toml", wanted.digest, python.facts, places]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _kept(path: Path) -> Lock | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Lock(str(found["lock"]), float(found["made"]), kept=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _indexes(text: str, home: Path) -> Path:
    return home / "locks" / f"{hashlib.sha256(text.encode()).hexdigest()}.indexes"


def _tell_indexes(text: str, wanted: wants.Wanted, home: Path) -> None:
    if wanted.indexes and indexes(text, home) != (lines := "".join(f"{line}\n" for line in wanted.indexes)):
        path = _indexes(text, home)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, lines.encode(), durable=False)


def _resolved(wanted: wants.Wanted, python: pythons.Python, work: Path, where: str) -> str:
    source = wanted.path
    options = ["--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"]
    target = work / "requirements.lock"
    what = f"{source.name} cannot be resolved"
    argv = ["pip", "compile", "--python", str(python.program), *options, "--output-file", str(target), str(source.absolute())]
    if source.with_name("uv.lock") in wanted.files:
        argv += ["--constraints", str(_exported(source, work))]
    installer.uv(argv, what, source.parent, work)
    lines = [_pinned(line, wanted, where) for line in target.read_text(encoding="utf-8").splitlines()]
    return f"# Python {python.minor}, {python.system} {python.machine}\n" + "".join(f"{line}\n" for line in lines)


def _exported(project: Path, work: Path) -> Path:
    """The versions of a project's uv.lock, to hold to where its pyproject.toml still allows them."""
    target = work / "exported.txt"
    options = ["--frozen", "--no-emit-project", "--no-emit-workspace", "--no-hashes", "--no-header", "--no-annotate", "--no-dev"]
    argv = ["export", *options, "--format", "requirements-txt", "--project", str(project.parent), "--output-file", str(target)]
    installer.uv(argv, "uv.lock cannot be read", work, work)
    return target


def _public(line: str, wanted: wants.Wanted) -> str:
    """A line without the local part of its version, which only this machine's folder of wheels may know (torch==2.13.0+cpu); pip and uv
    take a local version for its public one. Kept where the requirements themselves name it."""
    match = _LOCAL.match(line)
    if match is None or any(match[2].encode() in content for content in wanted.files.values()):
        return line
    return match[1] + line[match.end() :]


def _pinned(line: str, wanted: wants.Wanted, where: str) -> str:
    """A line of the lock, with the hashes that were demanded. Raises BadInput for one that cannot be kept in a bundle."""
    name, _, address = line.partition(" @ ")
    scheme, _, rest = address.partition("://")
    who = rest.partition("/")[0].rpartition("@")[0]
    if who and (":" in who or not scheme.endswith("ssh")):  # `git@` of an SSH address is a name that all use, and the key is elsewhere
        hint = "a lock is kept in the bundle for all to read; let git or uv find the password by itself"
        raise BadInput("a requirement's address holds a password", where=where, next=hint)
    if address.startswith("file:") or line.startswith(("-e ", "./", "/", "file:")):
        hint = "publish it to an index, or put its code beside the script"
        raise BadInput(f"`{name}` is a path of this machine: a bundle's lock cannot name it", where=where, next=hint)
    if not wanted.hashes:
        return _public(line, wanted)
    package = wants.normal(re.split(r"[\[ =<>!~;@]", line, maxsplit=1)[0])
    if package not in wanted.hashes:
        hint = "where one package has hashes, all need them, those that they need in turn too: `uv pip compile --generate-hashes`"
        raise BadInput(f"{line} has no hash in {wanted.path.name}", where=where, next=hint)
    return line + "".join(f" --hash={digest}" for digest in sorted(wanted.hashes[package]))
