from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import ask, processes


def run(tmp_path: Path, argv: list[str], **options: Any) -> tuple[processes.Ended, list[str]]:
    lines: list[str] = []
    settings: dict[str, Any] = {
        "env": {"PATH": os.environ["PATH"]},
        "cwd": tmp_path,
        "timeout": 120.0,
        "log": tmp_path / "log",
        "record": tmp_path / processes.RECORD,
        "on_line": lines.append,
    }
    ended = processes.run(argv, **(settings | options))
    return ended, lines


def start(tmp_path: Path, code: str, **options: Any) -> tuple[processes.Ended, list[str]]:
    return run(tmp_path, [sys.executable, "-c", textwrap.dedent(code)], **options)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def until(met: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def pids_in(path: Path, count: int) -> list[int]:
    """Process ids that a script wrote to a file, a line each, once there are `count`."""
    until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().split()]


def test_lines_come_in_order_from_both_streams_and_are_kept(tmp_path: Path) -> None:
    ended, lines = start(
        tmp_path,
        r"""
        import sys
        print("one", flush=True)
        print("two", file=sys.stderr, flush=True)
        sys.stdout.buffer.write("10%\r50%\r100%\nbad \xff byte\n\nlast without end".encode("latin-1"))
        """,
    )
    assert lines == ["one", "two", "100%", "bad � byte", "", "last without end"]
    assert (tmp_path / "log").read_text() == "\n".join([*lines, ""])
    assert (ended.code, ended.stopped, ended.tail) == (0, "", tuple(lines))
    assert not (tmp_path / processes.RECORD).exists()


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("import os; os.kill(os.getpid(), 15)", 143)],
)
def test_exit_codes(tmp_path: Path, code: str, exit_code: int) -> None:
    assert start(tmp_path, code)[0].code == exit_code


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    lines: list[str] = []
    ended = processes.run(
        ["no-such-command"], env={}, cwd=tmp_path, timeout=60, log=tmp_path / "log", record=tmp_path / "r", on_line=lines.append
    )
    assert (ended.code, lines) == (127, ["no-such-command cannot be started: No such file or directory"])


def test_a_line_of_ten_megabytes_is_cut(tmp_path: Path) -> None:
    ended, lines = start(tmp_path, "print('x' * 10_000_000); print('after')")
    kept = processes.LONGEST_LINE
    assert lines == ["x" * kept + f" [cut: {10_000_000 - kept} more bytes]", "after"]
    assert ended.code == 0


def test_a_log_without_end_is_capped_and_its_end_is_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LONGEST_LOG", 10_000)
    ended, lines = start(tmp_path, "for i in range(100_000): print('line', i)")
    assert (tmp_path / "log").stat().st_size < 10_200
    assert lines[-1].startswith("[the log has reached 10000 bytes")
    assert ended.tail == tuple(f"line {i}" for i in range(99_980, 100_000))


def test_the_step_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    code = "import os, sys; print(sorted(os.environ)); print(sys.stdin.read() == '')"
    _, lines = start(tmp_path, code, env={"PATH": "/usr/bin", "A": "1"})
    found = set(eval(lines[0]))  # noqa: S307  (a list of names that we printed)
    assert {"A", "PATH", processes.TOKEN} <= found <= {"A", "PATH", processes.TOKEN, "LC_CTYPE"}
    assert lines[1] == "True"


IGNORES_SIGTERM = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open("pids", "a", buffering=1) as file:
        file.write(f"{os.getpid()}\\n")
        for _ in range(20):
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            file.write(f"{child.pid}\\n")
    # a daemon: its parent is gone, its session is its own
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with open("pids", "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(600)
        os._exit(0)
    while open("pids").read().count("\\n") < 22:
        time.sleep(0.01)
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_time_out_kills_all_that_was_started(tmp_path: Path) -> None:
    ended, _ = start(tmp_path, IGNORES_SIGTERM, timeout=5.0)
    # on a busy machine the script may not have got to its end by then
    pids = pids_in(tmp_path / "pids", 2)
    assert ended.stopped == "timeout"
    assert [pid for pid in pids if alive(pid)] == []


def test_cancel_kills_all_that_was_started(tmp_path: Path) -> None:
    cancel, seen = threading.Event(), []

    def watch() -> None:
        seen.extend(pid for pid in pids_in(tmp_path / "pids", 22) if alive(pid))
        cancel.set()

    thread = threading.Thread(target=watch)
    thread.start()
    ended, _ = start(tmp_path, IGNORES_SIGTERM, cancel=cancel)
    thread.join()
    assert ended.stopped == "cancelled"
    assert len(seen) == 22
    assert [pid for pid in seen if alive(pid)] == []


def test_an_error_of_the_listener_ends_the_step(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, IGNORES_SIGTERM, on_line=refuse)
    assert [pid for pid in pids_in(tmp_path / "pids", 22) if alive(pid)] == []
    assert not (tmp_path / processes.RECORD).exists()


def test_what_a_step_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    code = """
        import subprocess
        child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
        print(child.pid)
    """
    ended, lines = start(tmp_path, code)
    assert ended.code == 0
    assert not alive(int(lines[0]))


OWNER = """
import sys
from pathlib import Path
from modelyard.build import processes
work = Path(sys.argv[1])
processes.run([sys.executable, "-c", Path(sys.argv[2]).read_text()], env={"PATH": "/usr/bin:/bin"}, cwd=work, timeout=600,
              log=work / "log", record=work / "process.json", on_line=lambda line: None)
"""


def owner(work: Path, script: str) -> subprocess.Popen[bytes]:
    work.mkdir(exist_ok=True)
    (work / "script.py").write_text(textwrap.dedent(script))
    return subprocess.Popen([sys.executable, "-c", OWNER, str(work), str(work / "script.py")])


def test_a_killed_owner_takes_all_with_it(tmp_path: Path) -> None:
    with owner(tmp_path, IGNORES_SIGTERM) as process:
        pids = pids_in(tmp_path / "pids", 22)
        keeper = json.loads((tmp_path / processes.RECORD).read_text())["pid"]
        assert all(alive(pid) for pid in (*pids, keeper))
        process.kill()
    until(lambda: not any(alive(pid) for pid in (*pids, keeper)))
    # the record stays, names nothing that lives, and a restart clears it
    assert processes.kill_leftover(tmp_path / processes.RECORD) == 0
    assert not (tmp_path / processes.RECORD).exists()


def test_a_dying_thread_takes_its_step_with_it(tmp_path: Path) -> None:
    """The kernel's word is about the thread that started it: so nobody may start a step in one and wait for it in another."""
    code = """
        import subprocess, sys, threading, time
        from modelyard.build import launch
        import os
        command = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "sleep", "600"]
        found = []
        thread = threading.Thread(target=lambda: (found.append(subprocess.Popen(command)), time.sleep(1)))
        thread.start()
        thread.join()
        print(found[0].wait(30))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "143", done.stderr


def test_a_killed_keeper_leaves_what_kill_leftover_finds(tmp_path: Path) -> None:
    """Owner and keeper die at once, as under an out-of-memory killer: grandchildren in sessions of their own are left."""
    with owner(tmp_path, IGNORES_SIGTERM) as process:
        pids = pids_in(tmp_path / "pids", 22)
        os.kill(process.pid, signal.SIGSTOP)
        keeper = json.loads((tmp_path / processes.RECORD).read_text())["pid"]
        os.kill(keeper, signal.SIGKILL)
        process.kill()
    until(lambda: not alive(keeper) and not alive(pids[0]))  # the step itself dies with the keeper
    left = [pid for pid in pids if alive(pid)]
    assert len(left) == 21, "the fault was to leave orphans"
    assert processes.kill_leftover(tmp_path / processes.RECORD) == 21
    assert [pid for pid in pids if alive(pid)] == []


def test_kill_leftover_spares_a_process_that_took_the_id(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        (tmp_path / "r").write_text(json.dumps({"token": "0" * 32, "pid": other.pid, "started": 1}))
        assert processes.kill_leftover(tmp_path / "r") == 0
        assert alive(other.pid)
        other.kill()


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"token": "x"}', '{"token": "x", "pid": null, "started": null}'])
def test_kill_leftover_without_a_readable_record(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "r").write_text(text)
    assert processes.kill_leftover(tmp_path / "r") == 0


@pytest.mark.slow
def test_fifty_kills_leave_no_orphan(tmp_path: Path) -> None:
    """At a moment of chance after the start: before, while and after the keeper and its step come up."""
    script = 'import os, subprocess, time\nopen("pids", "a").write(f"{os.getpid()}\\n")\nsubprocess.run(["sleep", "600"])'
    tokens, running = [], 0
    for i in range(50):
        work = tmp_path / str(i)
        with owner(work, script) as process:
            until(lambda: (work / processes.RECORD).exists())  # noqa: B023  (called at once)
            time.sleep(i * 0.003)
            process.kill()
        tokens.append(json.loads((work / processes.RECORD).read_text())["token"])
        running += (work / "pids").exists()
    # a keeper that was not yet a program of its own when its owner died shows itself, sees that, and ends
    time.sleep(1)
    until(lambda: not any(processes._marked(token) for token in tokens))
    assert running >= 10, f"only {running} of 50 steps had begun: the kills came too early to prove anything"
    assert not any(alive(pid) for path in tmp_path.glob("*/pids") for pid in map(int, path.read_text().split()))


def test_what_nobody_forks_has_a_keeper_after_all(tmp_path: Path) -> None:
    """A warm interpreter that has gone by the time it is asked: the command is run, and what it leaves behind ended, as always."""
    code = "import os, subprocess; left = subprocess.Popen(['sleep', '1000']); print(left.pid, os.getppid(), flush=True); os._exit(3)"
    argv = [sys.executable, "-I", "-S", ask.__file__, str(tmp_path / "nobody"), "{}", sys.executable, "-c", code]
    ended, lines = run(tmp_path, argv)
    left, keeper = map(int, lines[0].split())
    assert ended.code == 3 and keeper != os.getpid()
    assert not alive(left) and not alive(keeper)


def test_one_that_waits_for_a_fork_ends_as_a_keeper_would(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as zygote:
        zygote.bind(str(tmp_path / "socket"))
        zygote.listen()
        asked = threading.Event()

        def take() -> None:
            connection, _ = zygote.accept()
            with connection:
                _, streams, *_ = socket.recv_fds(connection, 1, 4)  # held as a fork holds them: else its output would end at once
                connection.sendall(b"+")
                asked.set()
                while connection.recv(1 << 16):
                    pass  # until whoever asked is gone
                for stream in streams:
                    os.close(stream)

        thread = threading.Thread(target=take)
        thread.start()
        argv = [sys.executable, "-I", "-S", ask.__file__, str(tmp_path / "socket"), "{}", "/bin/false"]
        ended, _ = run(tmp_path, argv, cancel=asked)
        thread.join(60)
    assert (ended.code, ended.stopped) == (128 + signal.SIGTERM, "cancelled") and not thread.is_alive()
    assert not (tmp_path / processes.RECORD).exists()
