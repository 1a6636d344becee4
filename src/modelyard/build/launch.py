"""The keeper of a step: a small process between the owner and the step, so that nothing of the step outlives either.

Run as `python -I -S launch.py OWNER_PID COMMAND...`, by path, with the standard library only. It starts COMMAND, waits, then
kills whatever COMMAND left behind and exits as COMMAND did (128 + N for signal N). It kills everything at once when it gets
SIGTERM, which the kernel also sends it when the owner's thread that started it dies. As a child subreaper it inherits daemons too
(double forks, new sessions), so none escapes by leaving its process group. Should the keeper be killed, COMMAND gets SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(top: int) -> list[int]:
    """Process ids below `top`, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208  (pathlib costs 10 ms of a start)
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                # the name, in parentheses, may hold anything; the parent is the second field after it
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [top]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _kill_all() -> None:
    """SIGKILL every descendant until none is left; what forks in the meantime is met in the next round."""
    while True:
        try:  # all that is left below is a child of ours by now, or below one: without children there is nothing to look for
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def main(owner: int, command: list[str]) -> int:
    # waited for, not handled: a handler of Python's runs between two of its instructions, and would never run if the signal came just
    # before a wait for the child began
    waited = {signal.SIGTERM, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle: it tells us with SIGTERM
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != owner:
        return 128 + signal.SIGTERM  # the owner died before the line above
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    keeper, child = os.getpid(), os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == keeper:
                os.execvp(command[0], command)  # noqa: S606  (an argument list, no shell)
        except OSError as exc:
            os.write(2, f"{command[0]} cannot be started: {exc.strerror}\n".encode())
        os._exit(127)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    while (code := _ended(child)) is None:
        if signal.sigwait(waited) == signal.SIGTERM:
            _kill_all()
            return 128 + signal.SIGTERM
    _kill_all()
    return code if code >= 0 else 128 - code


def _ended(child: int) -> int | None:
    """The exit code of the child, negative for a signal; None while it runs. Whatever else has ended is reaped on the way."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in (0, child):
            return os.waitstatus_to_exitcode(status) if pid else None


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
