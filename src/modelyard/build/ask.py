"""Asks a warm interpreter (runtime/zygote.py) to run a command, and becomes what comes of it: its streams, its exit code.

For whoever wants a command line. A step, for which a thread waits, asks from that thread (build/forked.py).

Run as `python -I -S ask.py SOCKET REQUEST OTHERWISE...`, by path, with the standard library only, and little of that: it is waited for.
REQUEST is JSON; the variables of the command are this process's own, and follow it, a zero byte before each. Where nobody takes the
request, OTHERWISE, a command, is run instead.
"""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_UNIX, MSG_WAITALL, SCM_RIGHTS, SOL_SOCKET, socket  # `socket` itself takes as long to import as Python to start

SOCKET, REQUEST, OTHERWISE = 4, 5, 6
"""Where they are in the command line above; OTHERWISE goes on to its end."""
LOST = "the warm interpreter ended\n"
LENGTH, ANSWER = struct.Struct("!I"), struct.Struct("!i")


def body(request: str, variables: list[bytes]) -> bytes:
    """What a request is sent as, after its length and with its streams; `variables` are NAME=VALUE."""
    return b"\0".join([request.encode(), *variables])


def main(path: str, request: str, otherwise: list[str]) -> int:
    asked = body(request, [name + b"=" + value for name, value in os.environb.items()])
    connection = socket(AF_UNIX)
    try:
        connection.connect(path)
        connection.sendmsg([LENGTH.pack(len(asked))], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("3i", 0, 1, 2))])
        connection.sendall(asked)
        taken = connection.recv(1)
    except OSError:
        taken = b""
    if not taken:  # nothing of the command has been run
        os.execvp(otherwise[0], otherwise)  # noqa: S606  (an argument list, no shell)
    try:
        answer = connection.recv(ANSWER.size, MSG_WAITALL)
    except OSError:
        answer = b""
    if len(answer) < ANSWER.size:
        sys.stderr.write(LOST)
        return 137
    return int(ANSWER.unpack(answer)[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
