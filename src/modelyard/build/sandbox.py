"""The sandbox of a step or a runner: bubblewrap, with the system read-only, a home of its own and nothing else of the machine.

Inside there is: the system's programs and libraries, the few files of /etc that programs need, what the caller binds, an empty
/tmp, its own /proc and /dev. There is no yard's home, no user's home, no other process, no terminal, and no network unless asked
for.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
# not all of /etc: for root, the step's user is root inside too, and could read what only root may
_ETC = (
    "alternatives", "ca-certificates", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "mime.types", "nsswitch.conf", "passwd", "pki/tls", "pki/ca-trust", "protocols", "resolv.conf", "services", "ssl/certs",
    "ssl/openssl.cnf", "timezone",
)  # fmt: skip


@functools.cache
def available() -> str | None:
    """`bwrap 0.8.0`, or None where bubblewrap is absent or may not make namespaces; really tried, once a process."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    try:
        argv = wrap(["true"], binds={}, read_only={}, network=False, cwd="/", die_with_parent=True)
        subprocess.run(argv, check=True, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"bwrap {said.split()[-1]}"


def wrap(
    argv: list[str],
    *,
    binds: Mapping[Path, str],
    read_only: Mapping[Path, str],
    network: bool,
    cwd: str,
    die_with_parent: bool,
) -> list[str]:
    """The bubblewrap command line that runs `argv` in the sandbox, in folder `cwd` of it.

    `binds` and `read_only` map what is on the machine (a file or folder that exists) to its place inside; a place below another
    lies over it. The environment is the caller's to choose: it passes through unchanged. `die_with_parent` ends everything inside
    when the thread that starts the command dies.
    """
    options = ["bwrap", "--unshare-all", *(["--share-net"] if network else []), "--new-session", "--cap-drop", "ALL"]
    options += ["--die-with-parent"] if die_with_parent else []
    for place in _SYSTEM:
        path = Path(place)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), place]
        elif path.exists():
            options += ["--ro-bind", place, place]
    for name in _ETC:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    options += ["--proc", "/proc", "--dev", "/dev"]
    mounts = [(inside, "--bind", str(outside)) for outside, inside in binds.items()]
    mounts += [(inside, "--ro-bind", str(outside)) for outside, inside in read_only.items()]
    options += ["--tmpfs", "/tmp"]  # noqa: S108  (the sandbox's own, and a bind may lie over it)
    for inside, how, outside in sorted(mounts, key=lambda mount: Path(mount[0]).parts):
        options += [how, outside, inside]
    return [*options, "--chdir", cwd, "--", *argv]


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
