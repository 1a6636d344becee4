"""The first process of a warm interpreter (runtime/zygote.py), started before it is known what for, and told so when it is.

A command that will build begins one before anything else, with as few imports as there can be: while Python starts there, the command
finds out what to tell it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket  # `socket` itself takes 5 ms to import
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


class Forerunner:
    """Waits for its plan, and then is the launcher that runtime/zygote.py tells of; it ends when `close` is called, or we do.

    `listener` is a socket that it holds too, not bound yet.
    """

    def __init__(self) -> None:
        self.listener = socket(AF_UNIX, SOCK_STREAM)
        program = [str(_HERE.parent / "runtime" / "zygote.py"), "launch", str(_HERE / "enter.py")]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
            pass_fds=(self.listener.fileno(),),
        )

    def tell(self, plan: Mapping[str, Any]) -> None:
        """Give it its plan, once; `listener` is its own from then on. Where it has ended, nothing comes of that."""
        self.listener.close()
        assert self.process.stdin is not None  # by stdin=PIPE
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(plan).encode() + b"\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """End it, and everything that came of it."""
        self.listener.close()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):  # what it was told before it ended
                self.process.stdin.close()
        self.process.wait()
