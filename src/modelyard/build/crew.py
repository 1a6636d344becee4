"""The hosts of one training job, each a process of this machine: started together, heard as one, and all stopped when one fails.

Run as `python -I -S crew.py PLAN`, by path, with the standard library only, below the keeper (build/launch.py), which ends whatever
this leaves behind. PLAN is a JSON file: `result`, a file to be written with the host that failed first, `mark`, a variable of ours
that each host gets, and `hosts`, each with `name`, `argv`, `env` and `cwd`. Each line of a host comes out with its name before it.
The exit code is 0 once all have ended with 0, else that of the host that failed first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

LONGEST_PIECE = 65_536
LOOK, LAST_LINES = 0.02, 1.0
"""Bytes read of a line at a time; seconds between two looks at who has ended, and for the last lines of those who have."""


def _pass_on(host: str, process: subprocess.Popen[bytes], alone: threading.Lock) -> None:
    assert process.stdout is not None  # by stdout=PIPE
    while piece := process.stdout.readline(LONGEST_PIECE):
        with alone:
            sys.stdout.buffer.write(f"[{host}] ".encode() + piece.rstrip(b"\n") + b"\n")
            sys.stdout.buffer.flush()


def main(plan: dict[str, Any]) -> int:
    alone = threading.Lock()
    processes: dict[str, subprocess.Popen[bytes]] = {}
    threads = []
    for host in plan["hosts"]:  # from this thread: their sandboxes end with the one that started them
        name = host["name"]
        processes[name] = subprocess.Popen(
            host["argv"],
            env={**host["env"], plan["mark"]: os.environ[plan["mark"]]},
            cwd=host["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threads.append(threading.Thread(target=_pass_on, args=(name, processes[name], alone), daemon=True))
        threads[-1].start()
    failed = _wait(processes)
    if failed:
        for process in processes.values():
            process.kill()
        with open(plan["result"], "w") as file:  # noqa: PTH123  (pathlib costs 10 ms of a start)
            json.dump({"host": failed}, file)
    for process in processes.values():
        process.wait()
    deadline = time.monotonic() + LAST_LINES
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))  # a daemon of a step may hold its pipe: the keeper ends it
    if not failed:
        return 0
    code = processes[failed].returncode
    with alone:
        print(f"modelyard: {failed} failed; the other hosts were stopped", flush=True)
    return code if code > 0 else 128 - code


def _wait(processes: dict[str, subprocess.Popen[bytes]]) -> str:
    """The name of the host that failed first; empty once all have ended well."""
    left = dict(processes)
    while left:
        for name, process in list(left.items()):
            if (code := process.poll()) is not None:
                if code != 0:
                    return name
                del left[name]
        time.sleep(LOOK)
    return ""


if __name__ == "__main__":
    with open(sys.argv[1]) as opened:  # noqa: PTH123
        plan = json.load(opened)
    sys.exit(main(plan))
