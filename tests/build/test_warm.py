"""The warm interpreter beside a fresh one in bubblewrap: the same to the script, as far from everything else, and nothing left."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.build import ask, sandbox
from modelyard.build.warm import Warm

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}
PYTHON = Path(sys.executable)

pytestmark = [pytest.mark.needs("bwrap"), pytest.mark.skipif(not sandbox.namespaces(), reason="users may not make namespaces here")]


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    (tmp_path / "run" / "ml").mkdir(parents=True)
    (tmp_path / "run" / "other").mkdir()
    (tmp_path / "run" / "other" / "holdout").write_text("secret")
    made = Warm(PYTHON, ["json", "numpy"], [tmp_path / "run"], ENVIRONMENT, tmp_path / "log")
    yield made
    made.close()


def command(warm: Warm, tmp_path: Path, code: str, *arguments: str, network: bool = False, fork: bool = True) -> list[str]:
    (tmp_path / "run" / "ml" / "script.py").write_text(code)
    wrap = warm.wrap if fork else sandbox.wrap
    places = {tmp_path / "run" / "ml": "/opt/ml"}
    view = sandbox.View(places, sandbox.python_mounts(PYTHON), network=network, cwd="/opt/ml", hostname="algo-1")
    argv = wrap([str(PYTHON), "--", "script.py", *arguments], view)
    assert (ask.__file__ in argv) == fork
    return argv


def run(warm: Warm, tmp_path: Path, code: str, *arguments: str, fork: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    argv = command(warm, tmp_path, code, *arguments, fork=fork)
    environment = {**ENVIRONMENT, **variables}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


TELL = """
import json, os, socket, sys
first = sys.stdin.read()
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "environ": dict(os.environ), "cwd": os.getcwd(), "name": __name__, "file": __file__,
    "main": sys.modules["__main__"].__dict__ is globals(), "stdin": first, "host": socket.gethostname(), "uid": os.getuid(),
    "hash": hash("a text"), "executable": sys.executable, "flags": list(sys.flags), "session": os.getsid(0) == os.getpid() or "other",
    "root": sorted(set(os.listdir("/")) - {"lib32", "libx32"}), "ml": sorted(os.listdir("/opt/ml")), "spec": __spec__, "sig": len(sys.argv),
}))
"""


def test_a_script_cannot_tell_it_from_a_fresh_interpreter(warm: Warm, tmp_path: Path) -> None:
    told = [run(warm, tmp_path, TELL, "--a", "b c", fork=fork, SM_HPS="{}", PYTHONPATH="/opt/ml/code") for fork in (True, False)]
    assert [t.stderr for t in told] == ["", ""]
    forked, fresh = (json.loads(t.stdout) for t in told)
    for one in (forked, fresh):
        one.pop("session")
    assert forked == fresh


def test_it_is_as_far_from_everything_else(warm: Warm, tmp_path: Path) -> None:
    code = f"""
import json, os, socket
def gone(path):
    try:
        os.listdir(path); return False
    except OSError:
        return True
def unreachable(address):
    try:
        socket.create_connection(address, 2); return False
    except OSError:
        return True
status = open("/proc/self/status").read()
held = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"))]
print(json.dumps({{
    "run": gone({str(tmp_path / "run")!r}), "home": gone("/root/.ssh") and not os.path.exists("/root/.bashrc"), "held": sorted(set(held)),
    "no_new": "NoNewPrivs:\\t1" in status, "others": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
    "network": unreachable(("192.0.2.1", 80)), "interfaces": [name for _, name in socket.if_nameindex()],
    "opt": os.listdir("/opt"),
}}))
"""
    found = json.loads(run(warm, tmp_path, code).stdout)
    assert found.pop("others") == [1, 2]
    assert found == {
        "run": True, "home": True, "held": ["0000000000000000"], "no_new": True, "network": True, "interfaces": ["lo"], "opt": ["ml"],
    }  # fmt: skip


def test_nothing_of_one_script_is_there_for_the_next(warm: Warm, tmp_path: Path) -> None:
    first = "import json, numpy, os; json.mine = 1; os.environ['MINE'] = '1'; open('/tmp/mine', 'w'); print(numpy.random.rand())"
    second = "import json, numpy, os; print(hasattr(json, 'mine'), 'MINE' in os.environ, os.path.exists('/tmp/mine'), numpy.random.rand())"
    one, other = run(warm, tmp_path, first), run(warm, tmp_path, second)
    assert other.stdout.startswith("False False False ")
    assert one.stdout.strip() != other.stdout.split()[-1]  # no two draw the same numbers


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
        ("import os; os._exit(3)", 3, ""),
        ("import atexit; atexit.register(print, 'late'); print('early')", 0, ""),
        ("def f():\n    raise ValueError('broken')\nf()", 1, ""),
        ("x = (", 1, "SyntaxError"),
    ],
)
def test_ends_are_those_of_an_interpreter(warm: Warm, tmp_path: Path, code: str, exit_code: int, words: str) -> None:
    forked, fresh = (run(warm, tmp_path, code, fork=fork) for fork in (True, False))
    assert forked.returncode == exit_code == fresh.returncode
    assert (forked.stdout, words in forked.stderr) == (fresh.stdout, True)
    if "ValueError" in code:
        assert forked.stderr == fresh.stderr


SAME = {
    "a module beside the script hides an imported one": "import platform; print(platform.__file__)",
    "what is printed is out, however it ends": "import os; print('loss=3', end=''); os._exit(0)",
    "text and bytes come in order": "import sys; print('a', end=''); sys.stdout.buffer.write(b'b'); print('c')",
    "its own hook hears of an exception": "import sys; sys.excepthook = lambda *a: print('heard', a[0]); 1 / 0",
    "objects end with their names about them": "import json\nclass A:\n    def __del__(self): print(json.dumps(1))\na = A()",
    "what a library holds is written": "import numpy; f = numpy.held = open('held', 'w'); f.write('x'); print(1)",
    "libraries end in peace": "import logging; logging.basicConfig(level=20); logging.info('hi')",
    "processes of a pool": "from concurrent.futures import ProcessPoolExecutor as P\nimport math\n"
    "with P(1) as pool:\n    print(list(pool.map(math.sqrt, [4])))",
    "spawned ones": "import multiprocessing as m, math\n"
    + "if __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as pool:\n        print(pool.map(math.sqrt, [4]))",
    "nothing that it has opened is closed for it": "import gc, os\nfds = [os.open('/dev/null', 0) for _ in range(40)]\ngc.collect()\n"
    + "print([fd for fd in fds if os.close(fd)])",
    "syntax": "x = = 1",
    "streams": "import sys; print([(s.encoding, s.errors, s.write_through) for s in (sys.stdin, sys.stdout, sys.stderr)], sys.orig_argv)",
    "names of streams": "import sys; print([(s.name, s.mode) for s in (sys.stdin, sys.stdout, sys.stderr)])",
    "settings of the kernel are not to be written": "import os\n"
    + "print([os.access(p, os.W_OK) for p in ('/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches')])",
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME.keys())
def test_a_script_does_the_same_in_either(warm: Warm, tmp_path: Path, code: str) -> None:
    if "platform" in code:
        (tmp_path / "run" / "ml" / "platform.py").write_text("")
    fresh, forked = (run(warm, tmp_path, code, fork=fork) for fork in (False, True))
    assert (forked.returncode, forked.stdout, forked.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)
    assert forked.stdout + forked.stderr
    if "held" in code:
        assert (tmp_path / "run" / "ml" / "held").read_text() == "x"
    assert "True" not in forked.stdout or "kernel" not in code


@pytest.mark.parametrize("fork", [True, False])
def test_a_module_run_by_name_has_a_main_of_its_own_and_its_own_exit_code(warm: Warm, tmp_path: Path, fork: bool) -> None:
    (tmp_path / "run" / "ml" / "package.py").write_text("import sys\nprint(__name__, sys.argv[1:], 'socket' in globals())\n")
    argv = command(warm, tmp_path, "", "x", fork=fork)
    at = argv.index("script.py") if not fork else None
    argv = [
        json.dumps({**json.loads(word), "argv": [str(PYTHON), "-m", "package", "x"]}) if fork and word.startswith("{") else word
        for word in argv
    ]
    if at is not None:
        argv[at - 1 : at + 1] = ["-m", "package"]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "__main__ ['x'] False\n", "")


def test_what_is_the_platforms_is_not_to_be_written_while_packages_are_imported(tmp_path: Path) -> None:
    for name in ("run/ml", "run/lib", "ours"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run" / "lib" / "hostile.py").write_text(
        f"open({str(tmp_path / 'run' / 'tried')!r}, 'w').close()\nopen({str(tmp_path / 'ours' / 'left')!r}, 'w')\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path / "run" / "lib")}
    warm = Warm(PYTHON, ["hostile"], [tmp_path / "run"], environment, tmp_path / "log", read_only=[tmp_path / "ours"])
    try:
        assert run(warm, tmp_path, "print('went on')").stdout == "went on\n"
        assert (tmp_path / "run" / "tried").exists() and not (tmp_path / "ours" / "left").exists()
    finally:
        warm.close()


def test_what_began_a_thread_while_it_was_imported_is_not_forked(tmp_path: Path) -> None:
    (tmp_path / "run" / "ml").mkdir(parents=True)
    (tmp_path / "run" / "lib").mkdir()
    (tmp_path / "run" / "lib" / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path / "run" / "lib")}
    warm = Warm(PYTHON, ["threaded"], [tmp_path / "run"], environment, tmp_path / "log")
    try:
        done = run(warm, tmp_path, "print('went on')")  # asked for at once or later: in a sandbox either way
        assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
        assert warm._launcher.process.wait(60) == 0
    finally:
        warm.close()


LEAVE = """
import atexit, threading, time
def late(): time.sleep(0.2); open("thread", "w").write("x")
opened = open("opened", "w")
opened.write("not closed, not flushed")
atexit.register(lambda: open("exit", "w").write("x"))
threading.Thread(target=late).start()
"""


@pytest.mark.parametrize("fork", [True, False])
def test_what_a_script_leaves_open_is_closed_at_its_end(warm: Warm, tmp_path: Path, fork: bool) -> None:
    assert run(warm, tmp_path, LEAVE, fork=fork).returncode == 0
    left = {p.name: p.read_text() for p in (tmp_path / "run" / "ml").iterdir() if p.suffix != ".py"}
    assert left == {"thread": "x", "opened": "not closed, not flushed", "exit": "x"}


def test_threads_are_as_many_as_the_variables_say(warm: Warm, tmp_path: Path) -> None:
    code = "import numpy, os; print(os.environ['OMP_NUM_THREADS']); from threadpoolctl import threadpool_info as i\n"
    code += "print({p['num_threads'] for p in i()})"
    assert run(warm, tmp_path, code, OMP_NUM_THREADS="1").stdout == "1\n{1}\n"


def holding(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


HOLD = """
import fcntl, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
file = open("lock", "w"); fcntl.flock(file, fcntl.LOCK_EX)
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["client", "close", "launcher"])
def test_what_was_forked_never_outlives_whoever_wants_it(warm: Warm, tmp_path: Path, how: str) -> None:
    argv = command(warm, tmp_path, HOLD)
    with subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "held\n"
        lock = tmp_path / "run" / "ml" / "lock"
        assert holding(lock)
        if how == "client":
            client.kill()
        elif how == "close":
            warm.close()
        else:
            warm._launcher.process.kill()
        deadline = time.monotonic() + 10
        while holding(lock) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not holding(lock)
        if how != "client":
            assert client.wait(10) == 137


def test_without_it_the_command_goes_into_a_sandbox(warm: Warm, tmp_path: Path) -> None:
    argv = command(warm, tmp_path, "import os; print(os.listdir('/opt/ml'))")
    warm.close()
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "['script.py']\n")


def test_what_cannot_be_forked_is_not(warm: Warm, tmp_path: Path) -> None:
    view = sandbox.View({tmp_path / "run" / "ml": "/opt/ml"}, sandbox.python_mounts(PYTHON), network=True, cwd="/opt/ml")
    for argv in (["/bin/sh", "x.sh"], ["/usr/bin/python3", "x.py"], [str(PYTHON), "-c", "pass"]):
        assert ask.__file__ not in warm.wrap(argv, view)
    assert ask.__file__ not in warm.wrap([str(PYTHON), "x.py"], replace(view, binds={tmp_path: "/opt/ml"}))


def test_many_at_once(warm: Warm, tmp_path: Path) -> None:
    argv = command(warm, tmp_path, "import sys, time; time.sleep(0.2); print(sys.stdin.read() * 1000, end=''); sys.exit(5)")
    clients = [subprocess.Popen(argv, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    outputs = [client.communicate(str(i), timeout=60)[0] for i, client in enumerate(clients)]
    assert outputs == [str(i) * 1000 for i in range(8)]
    assert [client.returncode for client in clients] == [5] * 8
    assert os.path.exists(argv[4])  # noqa: PTH110


def test_what_a_program_of_the_platforms_imports_is_there_for_it_alone(tmp_path: Path) -> None:
    folder, shown = tmp_path / "program", tmp_path / "run"
    (folder / "ours").mkdir(parents=True)
    (folder / "ours" / "__init__.py").touch()
    (folder / "ours" / "helper.py").write_text("import os\nPROCESS = os.getpid()\n")
    (folder / "ours" / "main.py").write_text("import os, sys\nfrom ours import helper\nprint(__name__, helper.PROCESS == os.getpid())\n")
    (shown / "ml").mkdir(parents=True)
    (shown / "ml" / "script.py").write_text("import gc, sys\nprint([n for n in sys.modules if n.startswith('ours')], 'ours' in sys.path)")
    made = Warm(PYTHON, [], [shown], ENVIRONMENT, tmp_path / "log", read_only=[folder], program=(str(folder), "ours.main"))
    try:
        python = sandbox.python_mounts(PYTHON)
        alone = sandbox.View({shown / "ml": "/opt/ml"}, {folder: str(folder), **python}, cwd=str(folder))
        told = []
        script = (["--", "script.py"], sandbox.View({shown / "ml": "/opt/ml"}, python, cwd="/opt/ml"))
        for argv, view in (
            script,
            (["-m", "ours.main"], alone),
            script,
            (["-m", "ours.main"], replace(alone, cwd="/")),  # elsewhere it is a module like any other, and not there
        ):
            command = made.wrap([str(PYTHON), *argv], view)
            assert ask.__file__ in command
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            told.append((done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]))
    finally:
        made.close()
    assert told[1] == ("__main__ False", ""), "imported before the fork, and run as a program"
    assert told[0] == told[2] == ("[] False", "")
    assert told[3][0] == "" and "No module named 'ours'" in told[3][1]
