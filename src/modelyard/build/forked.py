"""A fork of a warm interpreter (runtime/zygote.py), asked for and waited for by a thread of ours as any process is.

What build/ask.py does for a command line, without a process in between, which would take longer to start than the fork does.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import IO

from modelyard.build import ask

LONGEST = 32 * 4096
"""Bytes of a variable, with its name, that Linux passes to a program."""
LOOK = 0.1
"""Seconds between two looks at whether it is still wanted, while nobody has taken the request."""


class Forked:
    """For one thread, under the names that `subprocess.Popen` has for the same.

    `stdout` has what is written, errors too, and ends when all that runs in the fork's namespace has. `pid` is the launcher of the warm
    interpreter, with which all of its forks end; None where the request does not name it. `lost`: the interpreter ended before the fork.
    """

    def __init__(self, connection: socket.socket, stdout: IO[bytes], pid: int | None) -> None:
        self.stdout, self.pid, self.lost = stdout, pid, False
        self.returncode: int | None = None
        self._connection, self._heard, self._told = connection, b"", False

    def poll(self) -> int | None:
        """Its exit code, once it is known: as a shell gives it, but -SIGTERM of one that `terminate` has ended."""
        return self._listen(time.monotonic())

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, and waits for it. Raises TimeoutExpired."""
        code = self._listen(None if timeout is None else time.monotonic() + timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a fork", timeout or 0.0)
        return code

    def terminate(self) -> None:
        """Ask for its end, and that of all that it has started: for the interpreter, whoever asked has gone."""
        self._told = True
        with contextlib.suppress(OSError):  # it has gone itself
            self._connection.shutdown(socket.SHUT_WR)

    def send(self, body: bytes, streams: tuple[int, int, int], wanted: Callable[[], bool]) -> bool:
        """Send a request and wait until it is taken, both for as long as `wanted` says so. False where nobody will take it."""
        left, waiting = memoryview(body), select.poll()
        try:
            self._connection.sendmsg([ask.LENGTH.pack(len(body))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))])
            waiting.register(self._connection, select.POLLOUT)
            while wanted():
                if waiting.poll(LOOK * 1000):
                    if not left:
                        self._heard = self._connection.recv(1)
                        return self._heard != b""
                    left = left[self._connection.send(left) :]
                    waiting.modify(self._connection, select.POLLOUT if left else select.POLLIN)
        except OSError:
            return False
        return True

    def drain(self, timeout: float) -> None:
        """Wait until nobody holds its output: what the kernel ends with it may take a moment longer. What is still said is lost."""
        waiting, deadline = select.poll(), time.monotonic() + timeout
        waiting.register(self.stdout, select.POLLIN)
        while (seconds := deadline - time.monotonic()) > 0 and waiting.poll(1000 * seconds):
            if not os.read(self.stdout.fileno(), 1 << 16):
                return

    def close(self) -> None:
        self._connection.close()

    def _listen(self, deadline: float | None) -> int | None:
        whole = 1 + ask.ANSWER.size  # that it was taken, and then, once it has ended, how
        while self.returncode is None:
            self._connection.settimeout(None if deadline is None else max(0.0, deadline - time.monotonic()))
            try:
                said = self._connection.recv(whole - len(self._heard))
            except (BlockingIOError, TimeoutError):
                return None
            except OSError:
                said = b""
            self._heard += said
            if not said or len(self._heard) == whole:
                self.lost = not said and not self._told
                self.returncode = -signal.SIGTERM if self._told else 137 if self.lost else int(ask.ANSWER.unpack(self._heard[1:])[0])
                self.close()
        return self.returncode


def asked(path: str, request: str, environment: Mapping[str, str], wanted: Callable[[], bool]) -> Forked | None:
    """Ask the interpreter at `path` (a socket) for a fork that runs `request`, JSON, with these variables.

    None where nobody takes it: nothing of it has been run then, nor will be. What is no longer `wanted` while it waits to be taken is
    given back as it is, to be ended. Raises OSError (E2BIG) and ValueError for variables that no program can be given.
    """
    variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    if any(b"\0" in variable for variable in variables):
        raise ValueError("embedded null byte")
    if any(len(variable) >= LONGEST for variable in variables):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    connection, pid = socket.socket(socket.AF_UNIX), json.loads(request).get("launcher")
    connection.setblocking(False)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY)
    fork = Forked(connection, os.fdopen(reading, "rb"), pid)
    try:
        connection.connect(path)
        taken = fork.send(ask.body(request, variables), (null, writing, writing), wanted)
    except OSError:
        taken = False
    finally:
        os.close(writing)
        os.close(null)
    if taken:
        return fork
    fork.close()
    fork.stdout.close()
    return None
