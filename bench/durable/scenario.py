"""What both engines run: six steps, a wait for an approval, two steps. And the places where a test kills the process.

`HOME/effects.log` gets a line `<monotonic seconds> <pid> <word>` for each thing that happens. KILL_AT names one place where the process
sends itself SIGKILL, once (a marker file in HOME remembers), or each time when KILL_ALWAYS is set.
"""

# os and open on purpose: imports are part of what is timed
# ruff: noqa: PTH110, PTH115, PTH118, PTH123, PTH208, SIM115

import os
import signal
import sys
import threading
import time

HOME = sys.argv[1] if len(sys.argv) > 1 else "."
MODE = sys.argv[2] if len(sys.argv) > 2 else "run"
RUN = "run-1"
NAMES = [f"s{i}" for i in range(1, 9)]
WAIT_S = float(os.environ.get("WAIT_S", "600"))
STEP_S = float(os.environ.get("STEP_S", "0.05"))
LOG = os.path.join(HOME, "effects.log")
T0 = time.perf_counter()


def log(word: str) -> None:
    with open(LOG, "a") as f:  # O_APPEND, one write: lines of two processes do not mix
        f.write(f"{time.monotonic():.6f} {os.getpid()} {word}\n")


def kill_point(place: str) -> None:
    if os.environ.get("KILL_AT") != place:
        return
    marker = os.path.join(HOME, "killed." + place)
    if os.path.exists(marker) and not os.environ.get("KILL_ALWAYS"):
        return
    open(marker, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)


def work(name: str) -> dict:
    """The body of a step: its effect is the line `end`."""
    log("begin:" + name)
    time.sleep(STEP_S / 2)
    kill_point("middle:" + name)
    time.sleep(STEP_S / 2)
    log("end:" + name)
    kill_point("effect:" + name)
    return {"name": name, "rows": 336776, "auc": 0.69}


def send_when_waiting(send) -> None:
    """With AUTO_SEND, approve from another thread of this process once the run waits (once in the life of HOME)."""
    sent = os.path.join(HOME, "sent")

    def go() -> None:
        while not os.path.exists(sent):
            if os.path.exists(LOG) and "waiting" in open(LOG).read():
                time.sleep(0.2)
                log("sent")
                send()
                open(sent, "w").close()
                return
            time.sleep(0.002)

    if os.environ.get("AUTO_SEND"):
        threading.Thread(target=go, daemon=True).start()


def held(db_name: str) -> dict:
    """Threads of this process (the kernel's count), open descriptors on the database, resident MB, modules."""
    fds = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]
    rss = next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS"))
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "connections": sum(f.endswith(db_name) for f in fds),
        "rss_mb": round(rss / 1024, 1),
        "modules": len(sys.modules),
    }
