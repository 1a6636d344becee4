"""A step whose fork is asked for and waited for by a thread: the same to the step as under a keeper, and as surely at its end."""

from __future__ import annotations

import array
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import ask, forked, processes, sandbox
from modelyard.build.warm import Warm
from tests.build.test_warm import ENVIRONMENT, HOLD, PYTHON, holding

pytestmark = [pytest.mark.needs("bwrap"), pytest.mark.skipif(not sandbox.namespaces(), reason="users may not make namespaces here")]


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    (tmp_path / "run" / "ml").mkdir(parents=True)
    made = Warm(PYTHON, ["json"], [tmp_path / "run"], ENVIRONMENT, tmp_path / "warm.log")
    yield made
    made.close()


def command(warm: Warm, tmp_path: Path, code: str) -> list[str]:
    (tmp_path / "run" / "ml" / "script.py").write_text(textwrap.dedent(code))
    view = sandbox.View({tmp_path / "run" / "ml": "/opt/ml"}, sandbox.python_mounts(PYTHON), cwd="/opt/ml")
    argv = warm.wrap([str(PYTHON), "--", "script.py"], view)
    assert argv[3] == ask.__file__
    return argv


def run(tmp_path: Path, argv: list[str], on_line: Callable[[str], None], **options: Any) -> processes.Ended:
    record = tmp_path / processes.RECORD
    settings: dict[str, Any] = {"env": ENVIRONMENT, "cwd": tmp_path, "timeout": 120.0, "log": tmp_path / "log", "record": record}
    return processes.run(argv, on_line=on_line, **(settings | options))


def test_it_runs_with_no_process_in_between(warm: Warm, tmp_path: Path) -> None:
    code = """
        import os, sys
        print("one", repr(sys.stdin.read()), os.getpid() == 2, flush=True)
        print(os.environ["MODELYARD_STEP"] != "", file=sys.stderr)
        sys.exit(7)
    """
    seen: list[Any] = []

    def on_line(line: str) -> None:
        children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()
        seen.append((line, json.loads((tmp_path / processes.RECORD).read_text())["pid"], children))

    ended = run(tmp_path, command(warm, tmp_path, code), on_line)
    launcher = warm._launcher.process.pid
    assert [line for line, _, _ in seen] == ["one '' True", "True"]
    assert {pid for _, pid, _ in seen} == {launcher}, "a restart ends the launcher, and all forks with it"
    assert all(children == [str(launcher)] for _, _, children in seen)
    assert (ended.code, ended.stopped, ended.tail) == (7, "", ("one '' True", "True"))
    assert not (tmp_path / processes.RECORD).exists()


@pytest.mark.parametrize(("number", "code"), [(9, 137), (15, 143)])
def test_a_signal_of_its_own_is_its_exit_code(warm: Warm, tmp_path: Path, number: int, code: int) -> None:
    ended = run(tmp_path, command(warm, tmp_path, f"import os; os.kill(os.getpid(), {number})"), print)
    assert (ended.code, ended.stopped, ended.tail) == (code, "", ())


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
def test_all_that_it_started_is_at_its_end_when_it_is_stopped(warm: Warm, tmp_path: Path, how: str) -> None:
    cancel, argv = threading.Event(), command(warm, tmp_path, HOLD)
    limit = {"cancel": cancel} if how == "cancelled" else {"timeout": 5.0}
    ended = run(tmp_path, argv, lambda line: cancel.set(), **limit)
    assert (ended.code, ended.stopped, ended.tail) == (128 + signal.SIGTERM, how, ("held",))
    assert not holding(tmp_path / "run" / "ml" / "lock")
    assert run(tmp_path, command(warm, tmp_path, "print('next')"), print).tail == ("next",), "the interpreter goes on"


def test_an_error_of_the_listener_ends_it(warm: Warm, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, command(warm, tmp_path, HOLD), lambda line: 1 // 0)  # type: ignore[arg-type, return-value]
    assert not holding(tmp_path / "run" / "ml" / "lock")


def test_an_interpreter_that_dies_is_told_of(warm: Warm, tmp_path: Path) -> None:
    ended = run(tmp_path, command(warm, tmp_path, HOLD), lambda line: warm._launcher.process.kill())
    assert (ended.code, ended.stopped, ended.tail) == (137, "", ("held", "the warm interpreter ended"))


def test_one_that_does_not_answer_is_ended_with_its_launcher(warm: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ENDING", 0.5)
    argv, cancel = command(warm, tmp_path, "print('never')"), threading.Event()
    run(tmp_path, command(warm, tmp_path, "pass"), print)  # it is up
    launcher = warm._launcher.process.pid
    (zygote,) = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    os.kill(int(zygote), signal.SIGSTOP)
    cancel.set()
    ended = run(tmp_path, argv, print, cancel=cancel)
    assert (ended.code, ended.stopped, ended.tail) == (128 + signal.SIGTERM, "cancelled", ())
    assert warm._launcher.process.wait(10) == -signal.SIGKILL


OWNER = """
import json, sys
from pathlib import Path
from modelyard.build import processes
from modelyard.build.warm import Warm
from tests.build.test_forked import ENVIRONMENT, HOLD, PYTHON, command, run
work = Path(sys.argv[1])
(work / "run" / "ml").mkdir(parents=True)
warm = Warm(PYTHON, ["json"], [work / "run"], ENVIRONMENT, work / "warm.log")
run(work, command(warm, work, HOLD), lambda line: print(warm._folder, flush=True))
"""


def test_a_killed_owner_takes_it_along_and_a_restart_sees_to_that(tmp_path: Path) -> None:
    lock, root = tmp_path / "run" / "ml" / "lock", Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, cwd=root, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() != "" and holding(lock)
        owner.kill()
        owner.wait()
        processes.kill_leftover(tmp_path / processes.RECORD)
        assert not holding(lock), "once a restart has looked, nothing of it is left"
    assert not (tmp_path / processes.RECORD).exists()


def test_variables_that_no_program_can_be_given(warm: Warm, tmp_path: Path) -> None:
    argv = command(warm, tmp_path, "print('no')")
    with pytest.raises(OSError, match="too long") as found:
        run(tmp_path, argv, print, env={**ENVIRONMENT, "SM_HPS": "x" * forked.LONGEST})
    assert found.value.errno == errno.E2BIG
    with pytest.raises(ValueError, match="null byte"):
        run(tmp_path, argv, print, env={**ENVIRONMENT, "SM_HPS": "a\0b"})


def test_one_that_nobody_takes_is_run_as_ever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        argv = [sys.executable, "-I", "-S", ask.__file__, str(tmp_path / "socket"), "{}", "/bin/echo", "run"]
        assert run(tmp_path, argv, print).tail == ("run",)
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x09half", b"\0\0\0\x09{}}}}}}}}"])
def test_a_client_that_goes_away_leaves_the_interpreter_and_no_stream(warm: Warm, tmp_path: Path, sent: bytes) -> None:
    argv = command(warm, tmp_path, "print('next')")
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(argv[ask.SOCKET])
        if sent:
            streams = array.array("i", [writing] * 3)
            client.sendmsg([sent[:4]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
            client.sendall(sent[4:])
    os.close(writing)
    assert run(tmp_path, argv, print).tail == ("next",)
    deadline = time.monotonic() + 60
    os.set_blocking(reading, False)
    while True:  # until its end: nobody holds the other one
        try:
            if os.read(reading, 4096) == b"":
                break
        except BlockingIOError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    os.close(reading)


def test_a_keeper_that_died_before_it_was_asked_is_made_anew(warm: Warm, tmp_path: Path) -> None:
    def children(pid: int | str) -> list[str]:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def until(met: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not met():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    assert run(tmp_path, command(warm, tmp_path, "print('first')"), print).tail == ("first",)
    (zygote,) = children(warm._launcher.process.pid)
    until(lambda: len(children(zygote)) == 1)
    os.kill(int(children(zygote)[0]), signal.SIGKILL)
    until(lambda: not children(zygote))
    for _ in range(2):
        assert run(tmp_path, command(warm, tmp_path, "print('again')"), print).tail == ("again",)
    assert not children(zygote), "of one that dies by itself there is no further one ahead"
