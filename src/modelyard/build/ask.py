"""Asks a warm interpreter (runtime/zygote.py) to run a command, and becomes what comes of it: its streams, its exit code.

Run as `python -I -S ask.py SOCKET REQUEST OTHERWISE...`, by path, with the standard library only. REQUEST is JSON; the variables of
the command are this process's own. Where nobody takes the request, OTHERWISE, a command, is run instead.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys


def main(path: str, request: dict[str, object], otherwise: list[str]) -> int:
    body = json.dumps({**request, "environment": dict(os.environ)}).encode()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        socket.send_fds(connection, [struct.pack("!I", len(body))], [0, 1, 2])
        connection.sendall(body)
        taken = connection.recv(1)
    except OSError:
        taken = b""
    if not taken:  # nothing of the command has been run
        os.execvp(otherwise[0], otherwise)  # noqa: S606  (an argument list, no shell)
    try:
        answer = connection.recv(4, socket.MSG_WAITALL)
    except OSError:
        answer = b""
    if len(answer) < 4:
        sys.stderr.write("the warm interpreter ended\n")
        return 137
    return int(struct.unpack("!i", answer)[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]))
