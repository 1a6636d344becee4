"""Asks a warm interpreter (runtime/zygote.py) to run a command, and becomes what comes of it: its streams, its exit code.

Run as `python -I -S ask.py SOCKET REQUEST OTHERWISE...`, by path, with the standard library only, and little of that: it is waited for.
REQUEST is JSON; the variables of the command are this process's own, and follow it, a zero byte before each. Where nobody takes the
request, OTHERWISE, a command, is run instead.
"""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_UNIX, MSG_WAITALL, SCM_RIGHTS, SOL_SOCKET, socket  # `socket` itself takes as long to import as Python to start

OTHERWISE = 6
"""Where OTHERWISE begins in the command line above."""


def main(path: str, request: str, otherwise: list[str]) -> int:
    body = b"\0".join([request.encode(), *(name + b"=" + value for name, value in os.environb.items())])
    connection = socket(AF_UNIX)
    try:
        connection.connect(path)
        connection.sendmsg([struct.pack("!I", len(body))], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("3i", 0, 1, 2))])
        connection.sendall(body)
        taken = connection.recv(1)
    except OSError:
        taken = b""
    if not taken:  # nothing of the command has been run
        os.execvp(otherwise[0], otherwise)  # noqa: S606  (an argument list, no shell)
    try:
        answer = connection.recv(4, MSG_WAITALL)
    except OSError:
        answer = b""
    if len(answer) < 4:
        sys.stderr.write("the warm interpreter ended\n")
        return 137
    return int(struct.unpack("!i", answer)[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
