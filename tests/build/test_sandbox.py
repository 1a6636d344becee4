from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.build import sandbox
from tests.needs import needs_bwrap, needs_namespaces

PYTHON = Path(sys.executable)


def inside(code: str, home: Path, *, network: bool = False, **binds: str) -> subprocess.CompletedProcess[str]:
    places = {home / name: place for name, place in binds.items()}
    argv = sandbox.wrap([str(PYTHON), "-c", code], sandbox.View(places, sandbox.python_mounts(PYTHON), network=network, cwd="/tmp"))
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})


@needs_bwrap
def test_available_names_the_version() -> None:
    said = sandbox.available()
    assert said is not None
    assert said.startswith("bwrap ")
    assert said.split(" ")[1][0].isdigit()


def test_unavailable_where_it_is_absent_or_may_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert sandbox.available.__wrapped__() is None
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: str(broken))
    assert sandbox.available.__wrapped__() is None


@needs_bwrap
def test_the_machine_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "secrets").mkdir()
    (home / "secrets" / "token").write_text("hunter2")
    (home / "work").mkdir()
    code = f"""
import json, os, pathlib
def tried(what):
    try:
        return what()
    except OSError as exc:
        return type(exc).__name__
print(json.dumps({{
    "home": tried(lambda: os.listdir({str(home)!r})),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "write_usr": tried(lambda: open("/usr/x", "w").write("x")),
    "write_env": tried(lambda: open({str(PYTHON.parent)!r} + "/x", "w").write("x")),
    "pids": [p for p in os.listdir("/proc") if p.isdigit()],
    "work": tried(lambda: pathlib.Path("/opt/ml/out").write_text("kept")),
    "tmp": tried(lambda: pathlib.Path("/tmp/only-in-the-sandbox").write_text("gone")),
    "net": [l.split(":")[0].strip() for l in open("/proc/net/dev").readlines()[2:]],
    "tty": tried(lambda: os.open("/dev/tty", os.O_RDWR)),
    "caps": [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")],
}}))
"""
    done = inside(code, home, work="/opt/ml")
    found = json.loads(done.stdout or "null")
    assert found is not None, done.stderr
    assert found["home"] == found["shadow"] == "FileNotFoundError"
    assert isinstance(found["write_usr"], str)
    assert isinstance(found["write_env"], str)
    assert len(found["pids"]) <= 3
    assert (home / "work" / "out").read_text() == "kept"
    assert found["tmp"] == 4
    assert not Path("/tmp/only-in-the-sandbox").exists()
    assert found["net"] == ["lo"]
    assert isinstance(found["tty"], str)
    assert found["caps"] == ["0" * 16]


@needs_bwrap
def test_the_network_is_there_only_when_asked_for(home: Path) -> None:
    code = "import os; print(os.readlink('/proc/self/ns/net'))"
    outside = str(Path("/proc/self/ns/net").readlink())
    assert inside(code, home, network=True).stdout.strip() == outside
    assert inside(code, home).stdout.strip() not in ("", outside)


@needs_bwrap
def test_a_place_below_another_lies_over_it(home: Path) -> None:
    for name in ("a", "b"):
        (home / name).mkdir()
        (home / name / "x").write_text(name)
    (home / "a" / "sub").mkdir()
    code = "print(open('/opt/ml/x').read(), open('/opt/ml/sub/x').read())"
    assert inside(code, home, b="/opt/ml/sub", a="/opt/ml").stdout == "a b\n"


@needs_namespaces
@pytest.mark.parametrize("processes", [True, False])
def test_namespaces_of_our_own_show_the_same_files(home: Path, processes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if processes and not sandbox.own_processes():
        pytest.skip("the kernel gives no fresh /proc here")
    monkeypatch.setattr(sandbox, "own_processes", lambda: processes)
    for name in ("secrets", "a", "b"):
        (home / name).mkdir()
        (home / name / "x").write_text(name)
    (home / "a" / "sub").mkdir()
    code = f"""
import json, os, socket
def tried(what):
    try:
        return what()
    except OSError as exc:
        return type(exc).__name__
print(json.dumps([
    tried(lambda: os.listdir({str(home / "secrets")!r})), tried(lambda: open("/etc/shadow").read()),
    tried(lambda: open("/usr/x", "w").write("x")), tried(lambda: open({str(PYTHON.parent)!r} + "/x", "w").write("x")),
    open("/opt/ml/x").read(), open("/opt/ml/sub/x").read(), open("/opt/ml/out", "w").write("kept"), os.listdir("/tmp"),
    socket.gethostname(), [name for _, name in socket.if_nameindex()], tried(lambda: socket.create_connection(("127.0.0.1", 9))),
    tried(lambda: open(f"/proc/{{os.getppid()}}/environ").read()), tried(lambda: os.mkfifo("/opt/ml/fifo")),
    [l.split()[1] for l in open("/proc/self/status") if l.startswith(("CapEff", "CapBnd"))],
    os.getpid() == int(os.readlink("/proc/self")), sorted(p for p in os.listdir("/proc") if p.isdigit()),
]))
"""
    places = {home / "b": "/opt/ml/sub", home / "a": "/opt/ml"}
    view = sandbox.View(places, sandbox.python_mounts(PYTHON), cwd="/opt/ml", hostname="algo-1")
    argv = sandbox.enclose([str(PYTHON), "-c", code], view)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
    found = json.loads(done.stdout or "null")
    assert found is not None, done.stderr
    assert found[:2] == ["FileNotFoundError", "FileNotFoundError"]
    assert found[2] == found[3] == "OSError", "read-only"
    own = PYTHON.parts[2:3] if PYTHON.is_relative_to("/tmp") else ()  # where the tests themselves lie there
    assert found[4:11] == ["a", "b", 4, [*own], "algo-1", ["lo"], "ConnectionRefusedError"]
    assert found[11:14] == ["PermissionError", None, ["0" * 16, "0" * 16]]
    assert found[14], "/proc tells of its own processes"
    assert (found[15] == ["1", "2"]) == processes
    assert (home / "a" / "out").read_text() == "kept"


@needs_namespaces
@pytest.mark.parametrize("processes", [True, False])
def test_a_command_ends_as_it_would_outside(processes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "own_processes", lambda: processes)
    for command, code in (("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("(sleep 600; exit 3) & exit 0", 0)):
        argv = sandbox.enclose(["/bin/sh", "-c", command], sandbox.View(network=True))
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, env={"PATH": "/usr/bin:/bin"})
        assert done.returncode in (code, 128 - code), command  # a signal's own number where nothing is in between


@needs_namespaces
def test_a_command_that_is_not_there_is_named() -> None:
    argv = sandbox.enclose(["no-such-program"], sandbox.View(network=True))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith("no-such-program cannot be started in namespaces of its own: No such file")


def test_python_mounts_bind_installations_and_never_a_home(tmp_path: Path) -> None:
    base = tmp_path / "user" / "python"
    (base / "lib" / "python3.11").mkdir(parents=True)
    (base / "lib" / "python3.11" / "os.py").touch()
    (base / "bin").mkdir()
    (base / "bin" / "python3.11").touch()
    shims = tmp_path / "user" / "bin"
    shims.mkdir()
    (shims / "python3").symlink_to(base / "bin" / "python3.11")
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").symlink_to(shims / "python3")
    (env / "pyvenv.cfg").write_text(f"home = {shims}\nversion = 3.11\n")
    mounts = sandbox.python_mounts(env / "bin" / "python")
    assert mounts == {path: str(path) for path in (env, base, shims / "python3")}
    assert sandbox.python_mounts(Path("/usr/bin/python3")) == {}
