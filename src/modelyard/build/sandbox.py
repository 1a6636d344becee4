"""The sandbox of a step or a runner: the system read-only, a home of its own and nothing else of the machine.

Inside there is: the system's programs and libraries, the few files of /etc that programs need, what the caller binds, an empty
/tmp, its own /proc and /dev. There is no yard's home, no user's home, no other process, no terminal, and no network unless asked
for.

Bubblewrap makes it. Where that is absent but the kernel lets users have namespaces, we make one ourselves (build/enter.py), for steps:
the same files at the same places, so that /opt/ml is there. It keeps the same things apart, but for one where the kernel refuses a
fresh /proc (in a container that hides parts of its own): there other processes can be seen in it, though not looked into.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modelyard.build import enter
from modelyard.errors import BadInput

Within = Literal["auto", "bubblewrap", "namespace", "plain"]
"""What a step runs in: the best there is, one by name, or nothing at all."""

Mounts = Mapping[Path, str | tuple[str, ...]]
"""What is on the machine, and its place inside, or its places."""
Mount = tuple[str, str, str]
"""How (see build/enter.py), source and place."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
# not all of /etc: for root, the step's user is root inside too, and could read what only root may
_ETC = (
    "alternatives", "ca-certificates", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "mime.types", "nsswitch.conf", "passwd", "pki/tls", "pki/ca-trust", "protocols", "R", "resolv.conf", "services", "ssl/certs",
    "ssl/openssl.cnf", "timezone",
)  # fmt: skip
_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
"""The kernel's own, which answer to root of the machine, capabilities or not: a step of root's could have a program run there."""


@dataclass(frozen=True)
class View:
    """What a command sees in a sandbox.

    `binds` and `read_only` map what is on the machine (a file or folder that exists) to its place inside; a place below another
    lies over it. `cwd` is a folder of the inside, `hostname` the machine's name there, empty for the real one. `die_with_parent` ends
    everything inside when the thread that starts the command dies.
    """

    binds: Mounts = field(default_factory=dict)
    read_only: Mounts = field(default_factory=dict)
    network: bool = False
    cwd: str = "/"
    die_with_parent: bool = True
    hostname: str = ""


Wrap = Callable[[list[str], View], list[str]]
"""`wrap` below, of one kind of sandbox."""


@dataclass(frozen=True)
class Sandbox:
    """A kind of sandbox that works here: its name for people, and what puts a command into it."""

    said: str
    wrap: Wrap


def find(within: Within = "auto") -> Sandbox | None:
    """The sandbox that a step runs in; None for none. Raises BadInput where the one that is asked for by name does not work here."""
    if within == "plain":
        return None
    bubblewrap = available() if within != "namespace" else None
    if bubblewrap is not None:
        return Sandbox(bubblewrap, wrap)
    if within != "bubblewrap" and namespaces():
        return Sandbox("namespaces of its own", enclose)
    if within != "auto":
        raise BadInput(f"a step cannot run in {within} here", next="install bubblewrap, or let users have namespaces")
    return None


@functools.cache
def available() -> str | None:
    """`bwrap 0.8.0`, or None where bubblewrap is absent or may not make namespaces; really tried, once a process."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    try:
        subprocess.run(wrap(["true"], View()), check=True, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"bwrap {said.split()[-1]}"


def wrap(argv: list[str], view: View) -> list[str]:
    """The bubblewrap command line that runs `argv` in the sandbox. The environment is the caller's to choose: it passes unchanged."""
    options = ["bwrap", "--unshare-all", *(["--share-net"] if view.network else []), "--new-session", "--cap-drop", "ALL"]
    options += ["--die-with-parent"] if view.die_with_parent else []
    options += ["--hostname", view.hostname] if view.hostname else []
    for place in _SYSTEM:
        path = Path(place)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), place]
        elif path.exists():
            options += ["--ro-bind", place, place]
    for name in _ETC:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    options += ["--proc", "/proc", *(word for path in _SETTINGS for word in ("--ro-bind-try", path, path)), "--dev", "/dev"]
    options += ["--tmpfs", "/tmp"]  # noqa: S108  (the sandbox's own, and a bind may lie over it)
    for how, outside, inside in _placed(view):
        options += ["--ro-bind" if how == "read-only" else "--bind", outside, inside]
    return [*options, "--chdir", view.cwd, "--", *argv]


def _placed(view: View) -> list[Mount]:
    """How, source and place of each mount, those that lie over others after them."""
    found: list[Mount] = []
    for how, mounts in (("bind", view.binds), ("read-only", view.read_only)):
        for outside, inside in mounts.items():
            found += [(how, str(outside), place) for place in ((inside,) if isinstance(inside, str) else inside)]
    return sorted(found, key=lambda mount: Path(mount[2]).parts)


@functools.cache
def namespaces() -> bool:
    """Whether a user may make namespaces and mount in them; really tried, once a process."""
    return own_processes() or _works(_enclosed(["true"], View(), processes=False))


@functools.cache
def own_processes() -> bool:
    """Whether process ids and a /proc of its own can be among them; really tried, once a process."""
    return _works(_enclosed(["true"], View(), processes=True))


def _works(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=20, stdin=subprocess.DEVNULL).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def enclose(argv: list[str], view: View) -> list[str]:
    """As `wrap`, in namespaces that we make ourselves; they always end with the thread that starts them."""
    assert view.die_with_parent  # runners, which must outlive it, have bubblewrap or nothing
    return _enclosed(argv, view, processes=own_processes())


def _enclosed(argv: list[str], view: View, *, processes: bool) -> list[str]:
    plan = {
        "network": view.network,
        "mounts": mounts(view, processes=processes),
        "cwd": view.cwd,
        "hostname": view.hostname,
        "processes": processes,
    }
    return [*_ENTER, json.dumps(plan), *argv]


def mounts(view: View, *, processes: bool) -> list[Mount]:
    """What a new root consists of, in the order to be made; `processes`: with a /proc of its own."""
    found: list[Mount] = []
    for place in _SYSTEM:
        path = Path(place)
        if path.is_symlink():
            found.append(("link", str(path.readlink()), place))
        elif path.exists():
            found.append(("read-only", place, place))
    found += [("read-only", f"/etc/{name}", f"/etc/{name}") for name in _ETC if Path(f"/etc/{name}").exists()]
    found += [("proc", "", "/proc") if processes else ("bind", "/proc", "/proc")]
    found += [("read-only", path, path) for path in _SETTINGS if Path(path).exists()]
    found += [("fresh", "", "/dev/shm"), ("fresh", "", "/tmp")]  # noqa: S108  (the sandbox's own)
    found += [("bind", f"/dev/{name}", f"/dev/{name}") for name in _DEVICES if Path(f"/dev/{name}").exists()]
    found += [("link", f"/proc/self/fd{end}", f"/dev/{name}") for name, end in _STREAMS]
    return found + _placed(view)


def cut_off(argv: list[str]) -> list[str]:
    """`argv` with no network but loopback, which all that it starts has in common; nothing else is different for it."""
    return [*_ENTER, json.dumps({"network": False, "mounts": None}), *argv]


_ENTER = (sys.executable, "-I", "-S", enter.__file__)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_STREAMS = (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2"))


def python_mounts(python: Path) -> dict[Path, str]:
    """What the interpreter `python` needs read-only at its own place: its environment, and the installation it was made from.

    Interpreters of pyenv, uv or conda live in a user's home, so exactly their folders are bound, and of a link on the way only
    the link itself.
    """
    mounts: dict[Path, str] = {}
    for prefix in _prefixes(python):
        if not any(prefix.is_relative_to(system) for system in _SYSTEM):
            mounts[prefix] = str(prefix)
    hop = python.absolute()
    while hop.is_symlink():
        hop = hop.parent / hop.readlink()
        if not any(hop.is_relative_to(place) for place in (*mounts.values(), *_SYSTEM)):
            mounts[hop] = str(hop)
    return mounts


def _prefixes(python: Path) -> Iterable[Path]:
    """Folders with the interpreter's packages and standard library: of the environment, and of its base."""
    binaries = [python.absolute().parent, python.resolve().parent]
    settings = binaries[0].parent / "pyvenv.cfg"
    if settings.is_file():
        for line in settings.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home":
                binaries.append(Path(value.strip()))
    for folder in dict.fromkeys(binaries):
        prefix = folder.parent
        # the landmark keeps a home folder with a bin/python in it from being taken for an installation
        if (prefix / "pyvenv.cfg").is_file() or any(prefix.glob("lib/python3*/os.py")):
            yield prefix
